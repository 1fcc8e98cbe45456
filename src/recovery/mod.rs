//! The way back: a base backup becomes a data directory, with settings that
//! make PostgreSQL replay the WAL up to where recovery is to stop.
//!
//! ```text
//! archives   which archives a bucket has
//! plan       what a recovery will do, from values to a value
//! gather     those values, from stores and staging
//! directory  where it goes: may it, is there room; what an interrupted one left
//! sources    the stores, each in another's place
//! data       the lines of the backup, and what their files need
//! tree       directories, files and links, made and swept
//! file       one file: which of its blocks are needed
//! reads      which parts of which packs bring them
//! chunks     reads, checks and writes those
//! streamed   what was streamed of the last segment, put into pg_wal
//! settings   what makes PostgreSQL recover
//! restore    all of it, `pg_control` last
//! scratch    a restored cluster that is looked into and removed
//! drill      which store is next, and what such a cluster has to answer
//! ```

pub mod archives;
mod backup_manifest;
mod chunks;
mod data;
pub mod directory;
pub mod drill;
mod file;
pub mod finish;
pub mod gather;
pub mod plan;
mod reads;
pub mod restore;
pub mod scratch;
pub mod settings;
mod sources;
mod streamed;
mod tree;

use std::{io, path::PathBuf};

pub use chunks::Progress;
pub use directory::{Destination, Refused};
pub use restore::{Restored, Restoring, restore};
pub use settings::Settings;
pub use sources::NoSource;
pub use streamed::Joining;

use crate::{backup::listing::EntryPath, postgres::SegmentName};

/// A restore that did not come to its end. The directory has no `pg_control`
/// then, and the next restore goes on in it.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory is not to be written to, or not any more.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No store gave something that is needed.
    #[error(transparent)]
    NoSource(#[from] NoSource),
    /// A file or directory could not be written.
    #[error("{action} \"{}\": {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// What was streamed is less than was planned with.
    #[error(
        "only {bytes} of the {planned} streamed bytes of segment {segment} can be read ({reasons}); \
         restore to an earlier target"
    )]
    Streamed {
        /// The segment.
        segment: SegmentName,
        /// What can be read of it.
        bytes: u64,
        /// What was planned with.
        planned: u64,
        /// Why it is less.
        reasons: String,
    },
    /// Files could not be made durable.
    #[error("make the restored files durable: {0}")]
    Sync(io::Error),
    /// What the backup says of a file makes no sense.
    #[error("what the backup's manifest says of \"{0}\" contradicts itself; try another backup")]
    Contradiction(EntryPath),
    /// A thread died.
    #[error("a restoring thread died")]
    Thread,
}
