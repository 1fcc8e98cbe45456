//! What a plan says: how the target is reached, or why it is not.

use std::fmt;

use jiff::Timestamp;

use super::archive::{Backup, Commit, Holder, Source, Streamed};
use crate::{
    archive::plan::{FetchPlan, SegmentRange},
    layout::Generation,
    postgres::{Lsn, SegmentName, SegmentSize, SystemId, TimelineId},
};

/// How a target is reached. Whatever it needs of the WAL is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The archive's generation.
    pub generation: Generation,
    /// The cluster.
    pub system_identifier: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// The base backup.
    pub backup: Backup,
    /// Why this one, in words.
    pub because: &'static str,
    /// The backups that ended later, and why it is none of them.
    pub passed_over: Vec<(String, Unfit)>,
    /// The target timeline.
    pub timeline: TimelineId,
    /// What `recovery_target_timeline` has to be set to: the number, or
    /// `current` where PostgreSQL would look for a history file in vain.
    pub timeline_setting: String,
    /// The timelines that it replays, in order.
    pub way: Vec<Leg>,
    /// The archived segments that it needs, in recovery's order, from the
    /// backup's start to where it stops. One more is in it where the last
    /// record may reach over.
    pub segments: Vec<SegmentRange>,
    /// How many those are.
    pub count: u64,
    /// What it needs behind those, and was streamed only.
    pub streamed: Vec<Streamed>,
    /// The timelines of the way whose history files are archived.
    pub histories: Vec<TimelineId>,
    /// What each consulted source has of these segments, as runs.
    pub holders: Vec<Holder>,
    /// The first position that the WAL does not reach without a gap.
    pub end: Lsn,
    /// The last commit before it; `None` where there is none, or it is not
    /// known, or did not matter.
    pub last_commit: Option<Commit>,
    /// What is missing on the way behind the target.
    pub gaps: Vec<Gap>,
    /// What only the replay will show.
    pub doubts: Vec<Doubt>,
}

/// One timeline's part of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where its part begins: the backup's start, or where it left the one
    /// before.
    pub from: Lsn,
    /// Where it is left for the next one; `None` for the last.
    pub left_at: Option<Lsn>,
}

/// Segments that are missing on the way to a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first missing one.
    pub first: SegmentName,
    /// The last one: it can be of a younger timeline.
    pub last: SegmentName,
    /// How many are missing.
    pub segments: u64,
    /// The moments that are lost with them begin with this commit, the last
    /// one before the gap that can be reached; `None` where there is none or
    /// it is not known.
    pub lost_from: Option<Timestamp>,
    /// They end where the first backup behind the gap ended; `None` where
    /// there is no such backup, and all that follows is lost.
    pub lost_to: Option<Timestamp>,
}

/// Why a backup does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is of another cluster.
    #[error("it is of the cluster with system identifier {0}")]
    OtherCluster(SystemId),
    /// Parts of it are lost, or in stores that were not consulted.
    #[error("none of the consulted stores has all of it")]
    Nowhere,
    /// The target's history does not contain it.
    #[error("the way to timeline {timeline} leaves timeline {own} before it ended, at {stop}")]
    OffTheWay {
        /// The target timeline.
        timeline: TimelineId,
        /// The backup's.
        own: TimelineId,
        /// Where it ended.
        stop: Lsn,
    },
    /// `current` asks for a backup of the timeline itself.
    #[error("it is of timeline {0}")]
    OtherTimeline(TimelineId),
    /// It never becomes consistent.
    #[error("it needs segment {0}, which is missing")]
    WalMissing(SegmentName),
    /// It ended behind the target.
    #[error("it ended at {stop}, {stopped}, behind the target")]
    TooLate {
        /// Its end.
        stop: Lsn,
        /// When that was.
        stopped: Timestamp,
    },
    /// The transaction may have ended before it did.
    #[error("transaction {0} may have ended before it did")]
    XidTooOld(u64),
    /// It does not say which transactions it contains.
    #[error("it does not say which transactions had ended when it did")]
    NoXmax,
    /// Recovery would stop sooner.
    #[error("recovery from it would stop at another restore point of this name, at {0}")]
    NameBefore(Lsn),
    /// Another one was asked for.
    #[error("another one was asked for")]
    NotAskedFor,
}

/// What cannot be told beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Transactions are looked up by replaying alone.
    Xid(u64),
    /// The position is near the end, in this last segment: a record has to begin
    /// there or behind it.
    EndOfWal(SegmentName),
    /// Some segments do not say all the times and names that they contain.
    Unsaid,
    /// Restore points of the same name elsewhere on the way.
    SameName(Vec<Lsn>),
    /// Behind the gap there is more WAL, and the target may be in it.
    BehindGap,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Xid(xid) => write!(
                f,
                "whether transaction {xid} is in the WAL is seen when it is replayed"
            ),
            Doubt::EndOfWal(segment) => write!(
                f,
                "the WAL ends with segment {segment}, near the target: PostgreSQL fails unless a record \
                 begins there or behind it"
            ),
            Doubt::Unsaid => f.write_str(
                "some segments do not say which commits and restore points they contain: \
                 PostgreSQL may stop sooner, or fail because it does not find the target",
            ),
            Doubt::SameName(others) => {
                let others: Vec<_> = others.iter().map(Lsn::to_string).collect();
                let others = others.join(", ");
                write!(f, "there are restore points of this name at {others} too")
            }
            Doubt::BehindGap => {
                f.write_str("the target may be behind the gap, where recovery does not come")
            }
        }
    }
}

/// The target cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What can be.
    pub reachable: Vec<Reach>,
}

/// Moments that can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// On the way to this timeline.
    pub timeline: TimelineId,
    /// From the end of this backup.
    pub backup: String,
    /// Its position.
    pub from: Lsn,
    /// Its time.
    pub from_time: Timestamp,
    /// To this position, the first that is missing.
    pub to: Lsn,
    /// And before this end of a transaction, the last one; `None` where there
    /// is none or it is not known.
    pub to_time: Option<Timestamp>,
}

/// Why a target cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is nothing to begin with.
    #[error("there is no base backup: make one with `walkeep backup create`")]
    NoBackups,
    /// No such backup.
    #[error("there is no backup \"{id}\"")]
    UnknownBackup {
        /// What was asked for.
        id: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The backup that was asked for does not lead there.
    #[error("backup \"{id}\" does not serve: {why}")]
    UnfitBackup {
        /// What was asked for.
        id: String,
        /// Why not.
        why: Unfit,
    },
    /// None of the backups leads to the timeline.
    #[error("no backup leads to timeline {timeline}")]
    NoFitBackup {
        /// The target timeline.
        timeline: TimelineId,
        /// Each one, and why not.
        why: Vec<(String, Unfit)>,
    },
    /// No such timeline.
    #[error("timeline {timeline} does not exist: its history file is not archived")]
    UnknownTimeline {
        /// What was asked for.
        timeline: TimelineId,
        /// What there is.
        known: Vec<TimelineId>,
    },
    /// The state lies on more than one timeline.
    #[error(
        "the target exists on several timelines ({}): choose one with --timeline", list(.timelines)
    )]
    AmbiguousTimeline {
        /// Those on which it is reached.
        timelines: Vec<TimelineId>,
    },
    /// The target is before everything.
    #[error("the target is before the earliest backup, \"{id}\", ended (at {stop}, {stopped})")]
    BeforeEarliest {
        /// The earliest backup.
        id: String,
        /// Where it ended.
        stop: Lsn,
        /// When.
        stopped: Timestamp,
    },
    /// No backup is known to be older than the transaction.
    #[error("transaction {xid} may have ended before the earliest backup did")]
    XidTooOld {
        /// The transaction.
        xid: u64,
    },
    /// Nothing ended after the target.
    #[error(
        "no transaction in the archive ended after the target, so PostgreSQL would not find it; \
         {}: restore without a target to get everything", last_end(.last)
    )]
    BeyondLastCommit {
        /// The last end of a transaction; `None` where there is none.
        last: Option<Timestamp>,
    },
    /// The WAL ends before the target.
    #[error("the WAL ends at {end}: restore without a target to get everything")]
    BeyondEnd {
        /// Its end.
        end: Lsn,
    },
    /// The target is in a gap or behind it.
    #[error(
        "the target is in or behind a gap of {} segments: {} to {} are missing",
        .gap.segments, .gap.first, .gap.last
    )]
    Gap {
        /// The first one on the way.
        gap: Gap,
        /// Where no target was given: what there is up to the gap.
        before: Option<Box<Plan>>,
    },
    /// There is no restore point of this name.
    #[error("there is no restore point \"{name}\"")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The names that are most like it, the nearest first.
        nearest: Vec<String>,
        /// How many segments do not say which restore points they contain.
        unsure: u64,
    },
    /// PostgreSQL would go on with the old timeline's WAL, behind the point
    /// where the new one left it.
    #[error(
        "timeline {timeline} left timeline {parent} at {left_at} and has no WAL in the archive \
         yet, while timeline {parent} goes on: restore with --timeline {parent}"
    )]
    TimelineWithoutWal {
        /// The target timeline.
        timeline: TimelineId,
        /// The one whose WAL would be replayed instead.
        parent: TimelineId,
        /// Where it was left.
        left_at: Lsn,
    },
}

fn list(timelines: &[TimelineId]) -> String {
    let timelines: Vec<_> = timelines.iter().map(TimelineId::to_string).collect();
    timelines.join(", ")
}

fn last_end(last: &Option<Timestamp>) -> String {
    match last {
        Some(last) => format!("the last one ended at {last}"),
        None => "none is known".to_owned(),
    }
}

impl Reason {
    /// Which of several timelines' reasons to give: the lowest says most.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Reason::UnfitBackup {
                why: Unfit::OffTheWay { .. } | Unfit::OtherTimeline(_),
                ..
            }
            | Reason::NoFitBackup { .. } => 3,
            Reason::UnknownName { unsure: 0, .. } => 2,
            reason if reason.is_about_backups() => 1,
            _ => 0,
        }
    }

    /// Whether it is about the choice of a backup, so that another timeline's
    /// may serve.
    pub(super) fn is_about_backups(&self) -> bool {
        matches!(
            self,
            Reason::UnfitBackup { .. }
                | Reason::NoFitBackup { .. }
                | Reason::BeforeEarliest { .. }
                | Reason::XidTooOld { .. }
                | Reason::UnknownName { .. }
        )
    }
}

impl Plan {
    /// The first segment that it needs.
    pub fn first(&self) -> Option<SegmentName> {
        self.segments.first().map(|range| range.first)
    }

    /// The last one.
    pub fn last(&self) -> Option<SegmentName> {
        self.segments.last().map(|range| range.last)
    }
}

impl From<&Plan> for FetchPlan {
    fn from(plan: &Plan) -> Self {
        let sources = plan.holders.iter().map(|holder| &holder.source);
        let stores = sources.clone().filter_map(|source| match source {
            Source::Staging => None,
            Source::Store(name) => Some(name.clone()),
        });
        let mut fetch = FetchPlan::new(
            plan.system_identifier,
            plan.segment_size,
            plan.generation,
            stores.collect(),
            sources.clone().any(|source| *source == Source::Staging),
        );
        fetch.segments = plan.segments.clone();
        fetch.histories = plan.histories.clone();
        fetch.placed = plan.streamed.iter().map(|it| it.segment).collect();
        fetch
    }
}
