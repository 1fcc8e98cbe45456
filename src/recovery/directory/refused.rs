//! Why a directory is left alone.

use std::{io, path::PathBuf};

use crate::postgres::SystemId;

/// Why a directory is left alone.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A server runs there.
    #[error(
        "a server runs in \"{}\" (process {pid}): stop it, or choose another directory",
        directory.display()
    )]
    Running {
        /// The data directory.
        directory: PathBuf,
        /// The postmaster.
        pid: u32,
    },
    /// Something is there.
    #[error(
        "\"{}\" is not empty: choose another directory, or let --delta keep what is right of the \
         cluster in it", .0.display()
    )]
    NotEmpty(PathBuf),
    /// It is no directory.
    #[error("\"{}\" is not a directory", .0.display())]
    NoDirectory(PathBuf),
    /// What is there is no cluster.
    #[error(
        "\"{}\" is not empty and holds no cluster that --delta could begin with ({why}): empty it, \
         or choose another directory", directory.display()
    )]
    NoCluster {
        /// The directory.
        directory: PathBuf,
        /// Why it is none.
        why: String,
    },
    /// Another cluster is there.
    #[error(
        "\"{}\" holds the cluster {found}, and the backup is of {expected}: choose another directory",
        directory.display()
    )]
    OtherCluster {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        found: SystemId,
        /// Whose the backup is.
        expected: SystemId,
    },
    /// There is a `pg_control` though a restore has not come to its end.
    #[error(
        "a restore to \"{}\" was interrupted at its very end, or a server has been started there \
         since: --delta goes over all of it again", .0.display()
    )]
    Started(PathBuf),
    /// `--tablespace` names none of the backup's.
    #[error("the backup has no tablespace in \"{}\" (it has: {known})", old.display())]
    NoSuchTablespace {
        /// What was named.
        old: PathBuf,
        /// The backup's.
        known: String,
    },
    /// A tablespace cannot go there.
    #[error(
        "the tablespace {oid} would go to \"{}\", which {why}: choose another place with \
         --tablespace {}=NEW", to.display(), from.display()
    )]
    Tablespace {
        /// Its OID.
        oid: u32,
        /// Where it was.
        from: PathBuf,
        /// Where it would go.
        to: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// There is too little room.
    #[error(
        "\"{}\" has {} free, and {} are needed: make room, or choose another place",
        path.display(), bytesize::ByteSize(*free), bytesize::ByteSize(*needed)
    )]
    Full {
        /// Where.
        path: PathBuf,
        /// Bytes that are free, or taken by what is replaced.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// It cannot be looked at.
    #[error("look at \"{}\": {cause}", path.display())]
    Look {
        /// The path.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
}
