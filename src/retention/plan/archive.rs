//! What a decision is made from: everything an archive holds, as values.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    layout::{Generation, StreamPart},
    postgres::{Lsn, SegmentSize, TimelineId, WalFileName, history::Ancestor},
};

/// What has to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The time.
    pub now: Timestamp,
    /// Any moment of so long before it can be restored.
    pub window: Duration,
    /// And so many backups stay, however old.
    pub min_backups: usize,
}

impl Rules {
    /// The first moment of the window.
    pub fn begin(&self) -> Timestamp {
        self.now.checked_sub(self.window).unwrap_or(Timestamp::MIN)
    }
}

/// What one generation of an archive holds, in all its stores together.
///
/// Whoever lists it lists data first, then markers, then manifests: a backup
/// that ends meanwhile is then seen by its marker or its manifest, and its data
/// are not taken for leftovers.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// Which generation.
    pub generation: Generation,
    /// When it was opened; `None` where nobody knows.
    pub opened: Option<Timestamp>,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// Its history files, by timeline.
    pub histories: BTreeMap<TimelineId, History>,
    /// Its backups: those with a manifest.
    pub backups: Vec<Backup>,
    /// What is stored of backups besides manifests and markers.
    pub data: Vec<Data>,
    /// The backups that are running, or were when they died.
    pub running: Vec<Running>,
    /// Its WAL: segments, partial ones, backup history files. History files
    /// are passed over, since they stay.
    pub wal: Vec<WalFile>,
    /// Parts of segments that were streamed.
    pub streamed: Vec<Streamed>,
}

/// A streamed part of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streamed {
    /// Which part.
    pub part: StreamPart,
    /// When it was stored, by the store's clock.
    pub modified: Timestamp,
    /// Whether every store that has it has the whole segment too.
    pub is_whole: bool,
}

/// A history file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The timeline's ancestors.
    pub ancestors: Vec<Ancestor>,
    /// When the server wrote it: the timeline began.
    pub modified: Timestamp,
}

/// A base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its id.
    pub id: String,
    /// The timeline that it was made on.
    pub timeline: TimelineId,
    /// Where replay begins.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// When it ended, by the server's clock.
    pub stopped: Timestamp,
    /// Every object that restoring it reads, whoever wrote it first.
    pub objects: Vec<ObjectId>,
    /// The stores that have it: numbers that the caller gives them. One that
    /// was away has not, and keeps what it would need alone.
    pub stores: BTreeSet<usize>,
}

/// An object of backup data: a number that the caller gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u32);

/// A stored object of backup data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// Which one.
    pub id: ObjectId,
    /// When it was stored, by the store's clock.
    pub modified: Timestamp,
    /// Whether it is named by its content, so that any backup that is running
    /// may have found it there and use it.
    pub shared: bool,
}

/// What a running backup says of itself in its marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The id of the backup that it will be.
    pub id: String,
    /// Where replay will begin; `None` before PostgreSQL has said so.
    pub start: Option<Lsn>,
    /// When it was last heard of, by the store's clock.
    pub heartbeat: Timestamp,
    /// The backups whose data it may refer to; `None` where it does not say,
    /// and it may be any.
    pub reuses: Option<Vec<String>>,
}

/// A stored file of the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalFile {
    /// Its name.
    pub name: WalFileName,
    /// When the server last wrote it, or later: no transaction in it ended
    /// after that.
    pub modified: Timestamp,
    /// Whether it is staged, and a store still to get it.
    pub waits: bool,
}
