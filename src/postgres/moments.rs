//! What a recovery can stop at in a segment: its *moments*.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Lsn;

/// How many restore points are kept of one segment. A name has up to 63 bytes:
/// as many fit into the first 4 KiB of an object, whatever they are called.
pub const MOST_RESTORE_POINTS: usize = 40;

/// The moments of one segment: what `recovery_target_time` and
/// `recovery_target_name` are compared with (`recoveryStopsBefore` and
/// `recoveryStopsAfter`, xlogrecovery.c). For a time those are commits and
/// aborts, prepared transactions' included; for a name, restore points.
///
/// First and last are by the clock. Transactions take the time before they
/// write their record, so that the order in the WAL can differ by a little.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// The earliest commit.
    pub first_commit: Option<Commit>,
    /// The latest commit.
    pub last_commit: Option<Commit>,
    /// The earliest abort.
    pub first_abort: Option<Timestamp>,
    /// The latest abort.
    pub last_abort: Option<Timestamp>,
    /// In the order of the WAL; the first [`MOST_RESTORE_POINTS`].
    pub restore_points: Vec<RestorePoint>,
    /// There are more restore points than those.
    pub more: bool,
    /// The segment ends inside a record that may be a moment. It is complete
    /// only with the next segment, and in neither one's moments:
    /// [`decode`](super::record::decode) with what the first carries over
    /// finds it.
    pub cut: bool,
    /// Where the last record that is whole ends; the segment's end after a
    /// switch. The segment's beginning where none ends in it. A record that
    /// began in an earlier segment counts.
    pub end: Lsn,
}

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// When, by the server's clock, to the microsecond.
    pub time: Timestamp,
    /// The transaction; 0 where its record does not say (a prepared one's of
    /// more than a mebibyte).
    pub xid: u32,
}

/// What `pg_create_restore_point` wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Its name; what is no UTF-8 in it is `?` here.
    pub name: String,
    /// Where its record ends: what `pg_create_restore_point` returned.
    pub lsn: Lsn,
    /// When it was made, by the server's clock.
    pub time: Timestamp,
}

impl Moments {
    pub(super) fn add_commit(&mut self, commit: Commit) {
        if self.first_commit.is_none_or(|at| commit.time < at.time) {
            self.first_commit = Some(commit);
        }
        if self.last_commit.is_none_or(|at| commit.time >= at.time) {
            self.last_commit = Some(commit);
        }
    }

    pub(super) fn add_abort(&mut self, time: Timestamp) {
        self.first_abort = Some(self.first_abort.map_or(time, |at| at.min(time)));
        self.last_abort = Some(self.last_abort.map_or(time, |at| at.max(time)));
    }

    pub(super) fn add_restore_point(&mut self, point: RestorePoint) {
        if self.restore_points.len() < MOST_RESTORE_POINTS {
            self.restore_points.push(point);
        } else {
            self.more = true;
        }
    }
}
