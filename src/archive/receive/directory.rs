//! The directory that `pg_receivewal` writes: `stream/wal` in staging. Nothing
//! else is ever put there, since a file of the wrong size stops it; files are
//! only taken away.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{
    archive::staging::{Staging, StagingError},
    fs::create_dir_all,
    postgres::{SegmentName, SegmentSize, WalFileName},
};

/// Where the receiver's files are.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    size: SegmentSize,
}

/// A segment that is received, or has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) segment: SegmentName,
    /// Its number, whatever the timeline.
    pub(super) number: u64,
    /// Whether it has come to its end.
    pub(super) complete: bool,
    /// When it was last written to. Read before its bytes are.
    pub(super) written: Timestamp,
}

impl Received {
    pub(super) fn file_name(&self) -> WalFileName {
        match self.complete {
            true => WalFileName::Segment(self.segment),
            false => WalFileName::Partial(self.segment),
        }
    }
}

/// Everything of streaming on this host.
pub(super) fn root(staging: &Staging) -> PathBuf {
    staging.root().join("stream")
}

impl Directory {
    /// Made where it is missing.
    pub(super) fn open(staging: &Staging) -> Result<Self, StagingError> {
        let path = root(staging).join("wal");
        create_dir_all(&path, 0o750).map_err(StagingError::io("make the directory", &path))?;
        Ok(Directory {
            path,
            size: staging.marker().segment_size,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The segments of the right size, by number and timeline. Another size is
    /// one that is just being made.
    pub(super) fn segments(&self) -> io::Result<Vec<Received>> {
        let mut all = Vec::new();
        self.each(|name, size, written| {
            let complete = matches!(name, WalFileName::Segment(_));
            let number = name.segment().and_then(|it| it.number(self.size));
            if let (Some(segment), Some(number)) = (name.segment(), number)
                && size == self.size.bytes()
            {
                all.push(Received {
                    segment,
                    number,
                    complete,
                    written,
                });
            }
            Ok(())
        })?;
        all.sort_by_key(|it| (it.number, it.segment.timeline, it.complete));
        Ok(all)
    }

    /// Takes away what would stop `pg_receivewal`: a file that it was killed
    /// over while it filled it with zeros, before any WAL came in.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        self.each(|name, size, _| {
            let unfinished = matches!(name, WalFileName::Partial(_)) && size != self.size.bytes();
            if unfinished {
                self.remove(name)
            } else {
                Ok(())
            }
        })
    }

    /// Takes every segment away, so that streaming begins anew.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.each(|name, _, _| match name.holds_pages() {
            true => self.remove(name),
            false => Ok(()),
        })
    }

    pub(super) fn remove(&self, name: WalFileName) -> io::Result<()> {
        match fs::remove_file(self.path.join(name.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// `None`: `pg_receivewal` has just renamed it.
    pub(super) fn file(&self, name: WalFileName) -> io::Result<Option<File>> {
        match File::open(self.path.join(name.to_string())) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn each(
        &self,
        mut visit: impl FnMut(WalFileName, u64, Timestamp) -> io::Result<()>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let written = Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?;
            visit(name, metadata.len(), written)?;
        }
        Ok(())
    }
}
