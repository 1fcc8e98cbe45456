//! What is decided, with the reasons in words.

use std::fmt;

use jiff::Timestamp;

use super::archive::ObjectId;
use crate::{
    layout::{Generation, StreamPart},
    postgres::{TimelineId, WalFileName},
};

/// What goes and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// What goes, in the order in which it has to: each manifest before any
    /// data, so that a backup that is listed is whole at every moment, and WAL
    /// from its beginning, so that what is left has no hole.
    pub delete: Vec<Deletion>,
    /// The backups that stay, the oldest first.
    pub backups: Vec<KeptBackup>,
    /// The WAL that stays, in the order of its names, as runs of one reason.
    pub wal: Vec<KeptWal>,
}

/// One object that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The generation that it is in.
    pub generation: Generation,
    /// What it is.
    pub what: Object,
    /// Why it may go.
    pub why: Gone,
}

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The manifest of the backup with this id.
    Manifest(String),
    /// Data of backups.
    Data(ObjectId),
    /// A file of the WAL.
    Wal(WalFileName),
    /// A streamed part of a segment.
    Streamed(StreamPart),
    /// The marker of the backup with this id.
    Marker(String),
}

/// Why something goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// A backup that no moment of the window needs.
    Expired,
    /// A backup that somebody wants gone.
    Asked,
    /// Data of backups that go.
    Unused,
    /// Data that no manifest ever named.
    Leftover,
    /// WAL older than the window, and below all backups that stay.
    BelowBackups,
    /// WAL older than the window, without a backup.
    WithoutBackup,
    /// Streamed parts of a segment that is stored as a whole.
    Whole,
    /// A backup that died.
    Silent(Timestamp),
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Expired => f.write_str("no moment of the window needs it"),
            Gone::Asked => f.write_str("its deletion was asked for"),
            Gone::Unused => f.write_str("no backup that stays refers to it"),
            Gone::Leftover => f.write_str("a backup that was never finished left it"),
            Gone::BelowBackups => {
                f.write_str("it is older than the window, and no backup that stays needs it")
            }
            Gone::WithoutBackup => {
                f.write_str("it is older than the window, and there is no backup to replay it on")
            }
            Gone::Whole => f.write_str("the whole segment is stored"),
            Gone::Silent(heartbeat) => write!(f, "the backup was last heard of at {heartbeat}"),
        }
    }
}

/// A backup that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBackup {
    /// Its generation.
    pub generation: Generation,
    /// Its id.
    pub id: String,
    /// Why it stays: the first reason that holds.
    pub why: Kept,
}

/// WAL that stays: files one after another, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptWal {
    /// Its generation.
    pub generation: Generation,
    /// The first file.
    pub first: WalFileName,
    /// The last file.
    pub last: WalFileName,
    /// How many files that is.
    pub files: u64,
    /// Why they stay.
    pub why: Kept,
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is of the window itself.
    InWindow,
    /// The window begins with it, on this timeline.
    Base(TimelineId),
    /// It is one of the newest backups, as many as always stay.
    Minimum,
    /// This running backup may refer to it, or need it.
    Running(String),
    /// Only another backup's deletion was asked for.
    NotAsked,
    /// The backup with this id needs it.
    Needed(String),
    /// It is staged: a store is still to get it.
    Waits,
    /// Nobody can say which backups need it.
    NoHistory(TimelineId),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::InWindow => f.write_str("it is not older than the window"),
            Kept::Base(timeline) => write!(f, "the window begins with it on timeline {timeline}"),
            Kept::Minimum => f.write_str("it is one of the newest, of which so many always stay"),
            Kept::Running(id) => write!(f, "backup {id} is running and may need it"),
            Kept::NotAsked => f.write_str("its deletion was not asked for"),
            Kept::Needed(id) => write!(f, "backup {id} needs it"),
            Kept::Waits => f.write_str("it is staged, and a store is still to get it"),
            Kept::NoHistory(timeline) => write!(
                f,
                "the history file of timeline {timeline} is not archived, so it is not known \
                 which backups need it"
            ),
        }
    }
}
