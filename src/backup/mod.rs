//! Base backups: each one restores by itself, and costs what changed since the
//! one before. docs/FORMAT.md, "Base backups", has the format and its reasons.
//!
//! ```text
//! scan     which files of a data directory belong into a backup
//! read     a stretch of a file: its blocks are hashed, compared with those of
//!          the backup before, and the changed ones compressed into packs
//! send     packs and index objects to every store at once
//! base     the backup before, as far as its blocks are used again
//! data     all of the files, by several threads
//! take     all of it, between start and stop
//! import   what pg_basebackup has taken, as such a backup
//! ```

pub mod base;
mod beside;
pub mod data;
pub mod import;
mod lines;
pub mod listing;
pub mod manifest;
pub mod names;
pub mod packs;
pub mod read;
pub mod references;
pub mod running;
pub mod scan;
pub mod send;
pub mod stretch;
pub mod take;

pub use manifest::Manifest;
