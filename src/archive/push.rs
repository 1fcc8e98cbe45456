//! `archive_command`: one file from PostgreSQL into staging, durable before
//! PostgreSQL is told that it is archived. No runtime, no network, no
//! catalog: this is one process start per segment.

use std::{
    fs::File,
    io::{self, Seek},
    path::{Path, PathBuf},
};

use super::{
    inspect::{Refusal, inspect},
    staging::{Staging, StagingError},
};
use crate::{
    codec::Sha256,
    fs::{self, Temporary},
    postgres::{WalFileName, wal_file::InvalidWalFileName},
};

/// How a push that succeeded did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The file is staged now. A file of that name that was not valid (a
    /// half-finished `cp`) is in quarantine.
    Staged {
        /// Where the invalid one is.
        quarantined: Option<PathBuf>,
    },
    /// The same bytes were staged before, and are durable.
    AlreadyStaged,
    /// The same bytes are in the stores; their receipt says so.
    AlreadyShipped,
}

/// Why a push failed. PostgreSQL keeps the file and asks again, whatever the
/// reason.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The path's last part is not a name that PostgreSQL archives.
    #[error(transparent)]
    Name(#[from] InvalidWalFileName),
    /// The path has no last part, or one that is not text.
    #[error("\"{0}\" names no file; give the path that PostgreSQL puts for %p")]
    NoName(PathBuf),
    /// The file is not what its name says.
    #[error("\"{name}\" is refused: {refusal}; nothing was written")]
    Refused {
        /// The file's name.
        name: WalFileName,
        /// Why.
        refusal: Refusal,
    },
    /// Another file was archived under the name.
    #[error(
        "split brain: \"{name}\" is archived already with other bytes (SHA-256 {archived}, this \
         one has {pushed}); nothing was overwritten. Two servers write to this archive, or one \
         was restored and started without a new timeline: look at which of them should, stop \
         archiving on the other (archive_mode = off), and give it an archive of its own with \
         `walkeep init`"
    )]
    SplitBrain {
        /// The file's name.
        name: WalFileName,
        /// What is archived.
        archived: Sha256,
        /// What PostgreSQL wants to archive.
        pushed: Sha256,
    },
    /// Not enough room, by the disk or by `staging.max_size`.
    #[error(
        "the staging directory \"{path}\" is full ({reason}); PostgreSQL keeps \"{name}\" until \
         files have been shipped: see `walkeep status`"
    )]
    Full {
        /// The directory.
        path: PathBuf,
        /// The file's name.
        name: WalFileName,
        /// Which limit was met.
        reason: String,
    },
    /// The source could not be read.
    #[error("{action} \"{path}\": {cause}")]
    Source {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// PostgreSQL's file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The staging directory could not be used.
    #[error(transparent)]
    Staging(#[from] StagingError),
}

/// The name of the file at `path`: what PostgreSQL puts for `%f`.
pub fn name_of(path: &Path) -> Result<WalFileName, PushError> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name
        .ok_or_else(|| PushError::NoName(path.to_owned()))?
        .parse()?)
}

/// Stages the file at `path` (`%p`, relative to the data directory that
/// PostgreSQL runs the command in). `max_size` bounds what staging may take
/// of its disk, in bytes.
pub fn push(staging: &Staging, path: &Path, max_size: u64) -> Result<Pushed, PushError> {
    let name = name_of(path)?;
    let open = |action| {
        move |cause| PushError::Source {
            action,
            path: path.to_owned(),
            cause,
        }
    };
    let source = File::open(path).map_err(open("open"))?;
    inspect(&source, name, &staging.owner())
        .map_err(|refusal| PushError::Refused { name, refusal })?;

    loop {
        match place(staging, name, &source, path, max_size)? {
            Some(pushed) => return Ok(pushed),
            // It was shipped, or pushed by another, while we looked: look again.
            None => continue,
        }
    }
}

/// One look at what is there under the name. `None`: it changed meanwhile.
fn place(
    staging: &Staging,
    name: WalFileName,
    source: &File,
    path: &Path,
    max_size: u64,
) -> Result<Option<Pushed>, PushError> {
    let open = |action| {
        move |cause| PushError::Source {
            action,
            path: path.to_owned(),
            cause,
        }
    };
    let receipt = staging.receipts().find(name);
    if let Some(archived) = receipt.map_err(StagingError::io("read receipts of", staging.root()))? {
        let pushed = digest(source).map_err(open("read"))?;
        return if pushed == archived {
            Ok(Some(Pushed::AlreadyShipped))
        } else {
            Err(PushError::SplitBrain {
                name,
                archived,
                pushed,
            })
        };
    }

    let mut quarantined = None;
    if let Some(earlier) = staging.file(name)? {
        let same = fs::same_bytes(&earlier, source);
        if same.map_err(open("compare with the staged file"))? {
            return match fs::sync_file(&staging.path(name)) {
                Ok(()) => Ok(Some(Pushed::AlreadyStaged)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(StagingError::io("fsync", &staging.path(name))(error).into()),
            };
        }
        if inspect(&earlier, name, &staging.owner()).is_ok() {
            let archived = digest(&earlier).map_err(open("read the staged copy of"))?;
            let pushed = digest(source).map_err(open("read"))?;
            return Err(PushError::SplitBrain {
                name,
                archived,
                pushed,
            });
        }
        quarantined = Some(staging.quarantine(name)?);
    }
    match stage(staging, name, source, max_size) {
        Ok(()) => Ok(Some(Pushed::Staged { quarantined })),
        // Another push of the same name won the race: look at its file.
        Err(PushError::Staging(StagingError::Io { cause, .. }))
            if cause.kind() == io::ErrorKind::AlreadyExists =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn stage(
    staging: &Staging,
    name: WalFileName,
    mut source: &File,
    max_size: u64,
) -> Result<(), PushError> {
    let full = |reason: String| PushError::Full {
        path: staging.root().to_owned(),
        name,
        reason,
    };
    let length = source
        .metadata()
        .map_err(StagingError::io("look at", &staging.path(name)))?
        .len();
    // No waiting file is larger than a segment, so that counting names mostly
    // settles it: looking at each of them would cost every push as much as
    // there is behind.
    let most = length.max(staging.marker().segment_size.bytes());
    if staging.count()?.saturating_mul(most).saturating_add(length) > max_size {
        let waiting: u64 = staging.files()?.iter().map(|file| file.allocated).sum();
        if waiting + length > max_size {
            return Err(full(format!(
                "{waiting} bytes are waiting, staging.max_size is {max_size}"
            )));
        }
    }

    let path = staging.path(name);
    let written = (|| {
        let mut temporary = Temporary::create(&staging.temporaries(), &name.to_string())?;
        source.rewind()?;
        fs::copy_sparse(&mut source, temporary.file())?;
        temporary.keep_new(&path)
    })();
    written.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(error.to_string()),
        _ => StagingError::io("stage", &path)(error).into(),
    })
}

fn digest(mut file: &File) -> io::Result<Sha256> {
    file.rewind()?;
    Sha256::of_reader(file)
}
