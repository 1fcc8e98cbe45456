//! Why the catalog did not answer.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Why the catalog could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file system said no. Nothing is known about the catalog itself.
    #[error("{operation} \"{}\"", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The catalog was written by a later walkeep. It is not touched by a
    /// read; a write sets it aside.
    #[error(
        "catalog \"{}\" has schema {version}, and this walkeep knows up to {known}; \
         upgrade walkeep, or run `walkeep catalog rebuild`, which sets that catalog aside",
        path.display(), known = super::VERSION
    )]
    Newer {
        /// The catalog's file.
        path: PathBuf,
        /// Its schema's version.
        version: u32,
    },
    /// The catalog is damaged, or something else has its name. It is not
    /// touched by a read; a write sets it aside.
    #[error(
        "catalog \"{}\" cannot be read ({reason}); nothing archived is lost: \
         run `walkeep catalog rebuild`, which sets it aside",
        path.display()
    )]
    Unreadable {
        /// The catalog's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The catalog turned out to be damaged in the middle of a change. It has
    /// been set aside and a new one begun; the change was not made.
    #[error(
        "catalog \"{}\" was damaged ({reason}) and is now \"{}\"; a new one is begun: \
         run `walkeep catalog rebuild`",
        path.display(), set_aside.display()
    )]
    SetAside {
        /// The catalog's file, new and empty.
        path: PathBuf,
        /// Where the damaged one is.
        set_aside: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// redb refused for another reason than damage.
    #[error("use catalog \"{}\"", path.display())]
    Refused {
        /// The catalog's file.
        path: PathBuf,
        /// What redb answered.
        source: Box<redb::Error>,
    },
    /// What redb answered inside a transaction; outside, it has become one of
    /// the others.
    #[error(transparent)]
    Redb(Box<redb::Error>),
    /// A row does not parse; outside a transaction this is
    /// [`Unreadable`](Self::Unreadable) or [`SetAside`](Self::SetAside).
    #[error("table \"{table}\" has a damaged row \"{key}\": {reason}")]
    Damaged {
        /// The table's name.
        table: String,
        /// The row's key, what is not ASCII escaped.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl CatalogError {
    /// Whether the catalog itself is of no use to this program, so that a
    /// rebuild helps and a retry does not.
    pub fn wants_rebuild(&self) -> bool {
        matches!(
            self,
            CatalogError::Newer { .. }
                | CatalogError::Unreadable { .. }
                | CatalogError::SetAside { .. }
        )
    }

    /// The same error, told from outside of the transaction.
    pub(super) fn about(self, path: &Path) -> Self {
        let path = path.to_owned();
        match self {
            damaged @ CatalogError::Damaged { .. } => CatalogError::Unreadable {
                path,
                reason: damaged.to_string(),
            },
            CatalogError::Redb(error) => match *error {
                error if is_damage(&error) => CatalogError::Unreadable {
                    path,
                    reason: error.to_string(),
                },
                redb::Error::Io(source) => CatalogError::Io {
                    operation: "use catalog",
                    path,
                    source,
                },
                error => CatalogError::Refused {
                    path,
                    source: Box::new(error),
                },
            },
            CatalogError::Newer { version, .. } => CatalogError::Newer { path, version },
            other => other,
        }
    }
}

/// Whether redb's error is about the file's content. I/O errors are not, but
/// for an end where there should be more: the next attempt may succeed, and a
/// full disk is no damage.
fn is_damage(error: &redb::Error) -> bool {
    use redb::Error::{
        Corrupted, TableIsMultimap, TableTypeMismatch, TypeDefinitionChanged, UpgradeRequired,
    };
    match error {
        Corrupted(_)
        | UpgradeRequired(_)
        | TableTypeMismatch { .. }
        | TableIsMultimap(_)
        | TypeDefinitionChanged { .. } => true,
        redb::Error::Io(error) => {
            matches!(
                error.kind(),
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof
            )
        }
        _ => false,
    }
}

macro_rules! from_redb {
    ($($error:ident)+) => {$(
        impl From<redb::$error> for CatalogError {
            fn from(error: redb::$error) -> Self {
                CatalogError::Redb(Box::new(error.into()))
            }
        }
    )+};
}

from_redb!(DatabaseError TransactionError TableError StorageError CommitError);
