//! A base backup in tar files, unpacked: its blocks are read in the order of
//! the data directory, and compared with another backup's, which neither a
//! tar's order nor gzip allows.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
};

use super::ImportError;
use crate::{
    codec::{DecodeError, Decoder},
    fs::Scratch,
    layout::Format,
};

/// What scratch directories of imports are called.
const NAME: &str = "import";
const PIECE: usize = 128 << 10;

/// The tar files of one backup.
#[derive(Debug)]
pub(super) struct TarFiles {
    base: PathBuf,
    /// `pg_wal.tar`, of `-X stream`.
    wal: Option<PathBuf>,
    /// Tablespaces by their OIDs.
    tablespaces: BTreeMap<u32, PathBuf>,
}

impl TarFiles {
    /// Those in `directory`; none where it has no `base.tar`.
    pub(super) fn find(directory: &Path) -> Result<Option<Self>, ImportError> {
        let listed = std::fs::read_dir(directory).map_err(ImportError::io("list", directory))?;
        let (mut base, mut wal, mut tablespaces) = (None, None, BTreeMap::new());
        for entry in listed {
            let path = entry.map_err(ImportError::io("list", directory))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some((stem, suffix)) = name.split_once(".tar") else {
                continue;
            };
            if matches!(suffix, ".zst" | ".lz4" | ".bz2" | ".xz") {
                return Err(ImportError::Compressed(path));
            }
            if !matches!(suffix, "" | ".gz") {
                continue;
            }
            match stem {
                "base" => base = Some(path),
                "pg_wal" => wal = Some(path),
                oid => {
                    if let Ok(oid) = oid.parse() {
                        tablespaces.insert(oid, path);
                    }
                }
            }
        }
        Ok(base.map(|base| TarFiles {
            base,
            wal,
            tablespaces,
        }))
    }

    /// Unpacks them below `root`, into a directory that is gone when it is
    /// dropped. The data directory is `data` in it.
    pub(super) fn unpack(&self, root: &Path) -> Result<Scratch, ImportError> {
        let failed = |cause| ImportError::Unpack(root.to_owned(), cause);
        // What a killed import has left takes the room that this one needs.
        drop(Scratch::abandoned(root, NAME).map_err(failed)?);
        let scratch = Scratch::create(root, NAME).map_err(failed)?;
        let data = scratch.path().join("data");
        unpack(&self.base, &data)?;
        if let Some(wal) = &self.wal {
            unpack(wal, &data.join("pg_wal"))?;
        }
        for (oid, path) in &self.tablespaces {
            let place = scratch.path().join(oid.to_string());
            unpack(path, &place)?;
            let link = data.join("pg_tblspc").join(oid.to_string());
            match symlink(&place, &link) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(ImportError::io("make the link", &link)(error));
                }
                _ => {}
            }
        }
        Ok(scratch)
    }
}

fn unpack(path: &Path, into: &Path) -> Result<(), ImportError> {
    let failed = |cause| ImportError::Unpack(path.to_owned(), cause);
    let file = File::open(path).map_err(ImportError::io("open", path))?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return unpack_tar(file, into).map_err(failed);
    }
    let (reader, writer) = io::pipe().map_err(failed)?;
    let (unpacked, inflated) = thread::scope(|scope| {
        let inflating = scope.spawn(|| inflate(file, writer));
        let unpacked = unpack_tar(reader, into);
        let lost = || Err(io::Error::other("the inflating thread died"));
        (unpacked, inflating.join().unwrap_or_else(|_| lost()))
    });
    // Where one fails, the other sees only that its end is gone.
    match (unpacked, inflated) {
        (Err(error), Err(other)) if other.kind() == io::ErrorKind::BrokenPipe => Err(failed(error)),
        (_, Err(error)) | (Err(error), Ok(())) => Err(failed(error)),
        (Ok(()), Ok(())) => Ok(()),
    }
}

fn unpack_tar(tar: impl Read, into: &Path) -> io::Result<()> {
    std::fs::create_dir_all(into)?;
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        // Links are those of tablespaces, which are made by their tar files.
        if !kind.is_file() && !kind.is_dir() {
            continue;
        }
        if !entry.unpack_in(into)? {
            let path = entry.path()?.display().to_string();
            let problem = format!("\"{path}\" would be outside of it");
            return Err(io::Error::other(problem));
        }
    }
    // Where a reader stops before the end, gzip's own check is missed.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

fn inflate(mut from: File, into: io::PipeWriter) -> io::Result<()> {
    let wrong = |error| match error {
        DecodeError::Sink(cause) => cause,
        error => io::Error::other(error),
    };
    let mut decoder = Decoder::new(Format::Gzip, into, u64::MAX - 1).map_err(wrong)?;
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return decoder.finish().map(drop).map_err(wrong),
            Ok(size) => decoder.write(&piece[..size]).map_err(wrong)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
