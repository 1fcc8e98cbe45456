//! The staging directory: where a file waits until every store holds it.
//!
//! ```text
//! walkeep.json              the marker: whose files belong here
//! 000000010000000400000024  a staged file, plain, under PostgreSQL's name
//! receipts/                 what has left, see `receipts`
//! quarantine/               what was put aside because it is not valid
//! tmp/                      files being written
//! stream/                   what is streamed, see `receive`
//! ```
//!
//! Staged files stand in the root under their own names, because that is what
//! `cp %p STAGING/%f` leaves: an older set-up's directory is adopted as it is.

use std::{
    fs::{DirEntry, File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{format, inspect::Owner, receipts::Receipts};
use crate::{
    codec::Sha256,
    fs,
    layout::Generation,
    postgres::{SegmentSize, SystemId, WalFileName},
};

/// The marker's name. Without it the directory is not ours: the volume is not
/// mounted, and what is written would vanish under the mount.
pub const MARKER: &str = "walkeep.json";

/// The format of the staging directory that this program writes.
pub const FORMAT: u32 = 1;

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// [`FORMAT`] at the time of `init`.
    pub format: u32,
    /// The cluster's name in the configuration, for people.
    pub cluster: String,
    /// Which generation of the archive the files go to.
    pub generation: Generation,
    /// The cluster that the archive is bound to.
    pub system_identifier: SystemId,
    /// The size of its segments, in bytes.
    pub segment_size: SegmentSize,
}

/// A staging directory that carries its marker.
#[derive(Debug, Clone)]
pub struct Staging {
    root: PathBuf,
    marker: Marker,
}

/// A file that waits in staging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Its name.
    pub name: WalFileName,
    /// Its length in bytes, holes included.
    pub size: u64,
    /// What it takes of the disk, in bytes.
    pub allocated: u64,
    /// When it was written.
    pub modified: Timestamp,
}

/// Why a staging directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// There is no marker.
    #[error(
        "the staging directory \"{0}\" has no {MARKER}: its volume is not mounted, or `walkeep \
         init` has not been run; nothing was written"
    )]
    NoMarker(PathBuf),
    /// The marker cannot be understood.
    #[error("the marker \"{path}\" cannot be read ({reason}); `walkeep init` can write it anew")]
    BadMarker {
        /// The marker.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A newer walkeep made it.
    #[error(
        "the staging directory \"{path}\" has format {found}, this walkeep knows up to {FORMAT}: \
         install the newer walkeep again"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// The format in the marker.
        found: u32,
    },
    /// The operating system refused.
    #[error("{action} \"{path}\": {cause}")]
    Io {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
}

impl StagingError {
    /// For `map_err`: an I/O error with what was being done.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| StagingError::Io {
            action,
            path,
            cause,
        }
    }
}

impl Staging {
    /// Opens a directory that `init` has made.
    pub fn open(root: &Path) -> Result<Self, StagingError> {
        let path = root.join(MARKER);
        let bytes = match std::fs::read(&path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(StagingError::NoMarker(root.to_owned()));
            }
            bytes => bytes.map_err(StagingError::io("read the marker", &path))?,
        };
        if let Some(found) = format::newer(&bytes, FORMAT) {
            let path = root.to_owned();
            return Err(StagingError::NewerFormat { path, found });
        }
        let marker: Marker =
            serde_json::from_slice(&bytes).map_err(|error| StagingError::BadMarker {
                path,
                reason: error.to_string(),
            })?;
        Ok(Staging {
            root: root.to_owned(),
            marker,
        })
    }

    /// Makes the directory and its parts, and binds it by `marker`. A marker
    /// that is there is replaced: `init` has looked at it before.
    pub fn create(root: &Path, marker: &Marker) -> Result<Self, StagingError> {
        for part in ["", "receipts", "quarantine", "tmp"] {
            let directory = root.join(part);
            fs::create_dir_all(&directory, 0o2770)
                .map_err(StagingError::io("make the directory", &directory))?;
        }
        let path = root.join(MARKER);
        let mut text =
            serde_json::to_vec_pretty(marker).map_err(|error| StagingError::BadMarker {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        text.push(b'\n');
        fs::write(&path, &text).map_err(StagingError::io("write the marker", &path))?;
        Staging::open(root)
    }

    /// Binds the directory to the next generation by `marker`. The receipts of
    /// the one before are put aside: its successor may use the same names
    /// again. Nothing of the old generation waits here any more.
    pub fn begin_generation(&self, marker: &Marker) -> Result<Self, StagingError> {
        let receipts = self.root.join("receipts");
        let aside = format!("receipts.g{}", self.marker.generation);
        let aside = self.root.join(aside);
        // It is there where this was interrupted before the marker.
        if !aside.exists() {
            fs::rename(&receipts, &aside)
                .map_err(StagingError::io("put the receipts aside", &receipts))?;
        }
        Staging::create(&self.root, marker)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the marker says.
    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Whose files belong here.
    pub fn owner(&self) -> Owner {
        Owner {
            system_id: self.marker.system_identifier,
            segment_size: self.marker.segment_size,
        }
    }

    /// Where the file called `name` waits, if it does.
    pub fn path(&self, name: WalFileName) -> PathBuf {
        self.root.join(name.to_string())
    }

    /// Where files are written before they get their name.
    pub fn temporaries(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The receipts of what has left.
    pub fn receipts(&self) -> Receipts {
        Receipts::at(&self.root.join("receipts"))
    }

    /// Opens the file called `name`; `None` where none waits.
    pub fn file(&self, name: WalFileName) -> Result<Option<File>, StagingError> {
        let path = self.path(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StagingError::io("open the staged file", &path)(error)),
        }
    }

    /// Everything that waits: history files first, since a timeline is
    /// nothing without its own, then in the order of the WAL. Names that
    /// PostgreSQL does not give are no staged files.
    pub fn files(&self) -> Result<Vec<Staged>, StagingError> {
        let listed = StagingError::io("list the staging directory", &self.root);
        let mut files = self.read_files().map_err(listed)?;
        files.sort_by_key(|file| file.name);
        Ok(files)
    }

    /// How many files wait, without looking at any of them.
    pub fn count(&self) -> Result<u64, StagingError> {
        let listed = StagingError::io("list the staging directory", &self.root);
        self.count_names().map_err(listed)
    }

    fn count_names(&self) -> io::Result<u64> {
        let mut count = 0;
        for entry in std::fs::read_dir(&self.root)? {
            count += u64::from(wal_name(&entry?).is_some());
        }
        Ok(count)
    }

    fn read_files(&self) -> io::Result<Vec<Staged>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            let Some(name) = wal_name(&entry) else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) => files.push(staged(name, &metadata)?),
                // Shipped by another process since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Puts an invalid file aside, under its name and the time, and says
    /// where it is now.
    pub fn quarantine(&self, name: WalFileName) -> Result<PathBuf, StagingError> {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        let target = self.root.join("quarantine").join(format!("{name}.{time}"));
        fs::rename(&self.path(name), &target).map_err(StagingError::io(
            "put aside into quarantine",
            &self.path(name),
        ))?;
        Ok(target)
    }

    /// SHA-256 of a staged file; `None` where it does not wait any more.
    pub fn digest(&self, name: WalFileName) -> Result<Option<Sha256>, StagingError> {
        let digest = self.file(name)?.map(Sha256::of_reader).transpose();
        digest.map_err(StagingError::io("read the staged file", &self.path(name)))
    }

    /// Removes files that the stores hold, once their receipts are durable.
    /// Fine if another process has removed them. The removal itself is not
    /// fsynced: a file that comes back after a power cut is shipped again.
    pub fn release(&self, files: &[(WalFileName, Sha256)]) -> Result<(), StagingError> {
        let left = self.receipts().leave(files);
        left.map_err(StagingError::io(
            "leave receipts in",
            &self.root.join("receipts"),
        ))?;
        for (name, _) in files {
            let path = self.path(*name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StagingError::io("remove the shipped file", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The name of a listed file, where it is one that PostgreSQL archives.
fn wal_name(entry: &DirEntry) -> Option<WalFileName> {
    entry.file_name().to_str()?.parse().ok()
}

/// Describes an open or listed file.
pub(super) fn staged(name: WalFileName, metadata: &Metadata) -> io::Result<Staged> {
    Ok(Staged {
        name,
        size: metadata.len(),
        allocated: metadata.blocks() * 512,
        modified: Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?,
    })
}
