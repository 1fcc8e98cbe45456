//! What a plan is made from: one generation of an archive, as values.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use crate::{
    archive::plan::SegmentRange,
    layout::Generation,
    postgres::{
        Lsn, SegmentName, SegmentSize, SystemId, TimelineId, ancestry::Ancestry, history::Ancestor,
    },
};

/// One generation of an archive, as the consulted sources show it.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Which one.
    pub generation: Generation,
    /// Its cluster.
    pub system_identifier: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// Its base backups, in any order.
    pub backups: Vec<Backup>,
    /// The history files that some source has, by their timelines.
    pub histories: BTreeMap<TimelineId, Vec<Ancestor>>,
    /// Who was asked for segments, and answered. One that did not answer is
    /// not here: it is not known what it has.
    pub holders: Vec<Holder>,
    /// What was streamed of segments that no source has as a whole, by name.
    pub streamed: Vec<Streamed>,
}

/// The beginning of a segment, as far as it was streamed without a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streamed {
    /// The segment.
    pub segment: SegmentName,
    /// How many of its bytes there are, at least one; all of them where the
    /// next segment was streamed too.
    pub bytes: u64,
    /// Everything that PostgreSQL had flushed by then is in it; `None` where
    /// nobody has looked.
    pub until: Option<Timestamp>,
}

/// A base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its id; later ones sort behind.
    pub id: String,
    /// Whose it is.
    pub system_identifier: SystemId,
    /// PostgreSQL's major version, such as 17.
    pub postgres_major: u16,
    /// The timeline that it was made on.
    pub timeline: TimelineId,
    /// Where replay begins (`START WAL LOCATION`).
    pub start: Lsn,
    /// Where it is consistent: the first byte behind its last record
    /// (`STOP WAL LOCATION`).
    pub stop: Lsn,
    /// The server's time when it began.
    pub started: Timestamp,
    /// The server's time when it ended. Whoever knows it in whole seconds only
    /// rounds it up.
    pub stopped: Timestamp,
    /// The xmax of a snapshot taken when it ended, with its epoch; `None`
    /// where nobody noted it (an imported backup).
    pub xmax: Option<u64>,
    /// Bytes of the restored cluster.
    pub raw_bytes: u64,
    /// Bytes to fetch for it.
    pub stored_bytes: u64,
    /// Who has all of it, among the consulted sources. Nobody: what is left of
    /// it cannot be restored.
    pub holders: Vec<Source>,
}

/// Where something of an archive is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// This host's staging directory.
    Staging,
    /// A store, by its name in the configuration.
    Store(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Staging => f.write_str("staging"),
            Source::Store(name) => f.write_str(name),
        }
    }
}

/// What one source has of the WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub source: Source,
    /// Its whole segments, in unbroken runs or one by one, in any order.
    /// Partial ones do not count: PostgreSQL does not ask for them.
    pub segments: Vec<SegmentRange>,
}

/// What a recovery can stop at in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments {
    /// The earliest and the latest end of a transaction (commit or abort).
    pub ends: Option<(Timestamp, Timestamp)>,
    /// The latest commit.
    pub last_commit: Option<Commit>,
    /// Restore points, in the order of the WAL.
    pub restore_points: Vec<RestorePoint>,
    /// There are more restore points than those.
    pub more: bool,
    /// It ends inside a record that is in no segment's moments.
    pub cut: bool,
    /// Where its last whole record ends.
    pub end: Lsn,
}

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// When, by the server's clock.
    pub time: Timestamp,
    /// The transaction.
    pub xid: u32,
}

/// What `pg_create_restore_point` wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePoint {
    /// Its name.
    pub name: String,
    /// Where its record ends.
    pub lsn: Lsn,
    /// When it was made.
    pub time: Timestamp,
}

/// What is known of segments' moments so far. A segment that is not in it has
/// not been asked for; `None` says that nobody knows, as of an object without
/// walkeep's facts.
pub type Known = BTreeMap<SegmentName, Option<Moments>>;

impl Archive {
    /// The timelines that a recovery can lead to, in order: the first one,
    /// those with a history file, those that a backup was made on. PostgreSQL
    /// does not know of others, though there be segments of them.
    pub fn timelines(&self) -> Vec<TimelineId> {
        let histories = self.histories.keys().copied();
        let backups = self.backups.iter().map(|backup| backup.timeline);
        let mut all: Vec<_> = histories.chain(backups).chain([TimelineId(1)]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The way to a timeline.
    pub fn ancestry(&self, timeline: TimelineId) -> Ancestry {
        let ancestors = self.histories.get(&timeline).map_or(&[][..], Vec::as_slice);
        Ancestry::of(timeline, ancestors)
    }
}
