//! What the catalog keeps besides the files: the cluster, each store's
//! health, what a person has to look at, and how the catalog itself began.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::State;
use crate::{
    codec::Sha256,
    layout::Generation,
    postgres::{SegmentSize, SystemId, WalFileName},
};

/// The cluster of one generation, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Whose WAL it is.
    pub system_id: SystemId,
    /// The size of its segments, in bytes.
    pub segment_size: SegmentSize,
    /// PostgreSQL's major version, such as 17; `None` where only segments
    /// were seen, which do not say it.
    pub postgres_major: Option<u16>,
    /// When it was seen.
    pub seen: Timestamp,
}

/// How a store has been doing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StoreFacts {
    /// When it last did what was asked.
    pub last_success: Option<Timestamp>,
    /// What it last failed with. It stays after the store recovered: compare
    /// the times, or [`failures_in_a_row`](Self::failures_in_a_row).
    pub last_failure: Option<StoreFailure>,
    /// How many requests failed since the last success.
    pub failures_in_a_row: u32,
    /// How long a fetch takes until its first byte, in seconds: a moving
    /// average with weight 1/8 for each new one (as RFC 6298 smooths round
    /// trips). `None` before the first.
    pub fetch_seconds: Option<f64>,
}

/// A store's failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFailure {
    /// When.
    pub at: Timestamp,
    /// What, secrets already hidden.
    pub error: String,
}

impl StoreFacts {
    /// Notes that the store did what was asked.
    pub fn succeed(&mut self, at: Timestamp) {
        self.last_success = Some(at);
        self.failures_in_a_row = 0;
    }

    /// Notes that it failed.
    pub fn fail(&mut self, at: Timestamp, error: impl Into<String>) {
        let error = error.into();
        self.last_failure = Some(StoreFailure { at, error });
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
    }

    /// Notes how long a fetch took until its first byte.
    pub fn measure_fetch(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.fetch_seconds = Some(match self.fetch_seconds {
            Some(average) => average + (took - average) / 8.0,
            None => took,
        });
    }
}

/// Something that goes on until a person has looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// When it was first seen.
    pub first: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// How often it was seen.
    pub times: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum EventKind {
    /// Two files have one name: split brain, or a store that two clusters
    /// write to. Raised and resolved by the catalog itself as replicas become
    /// and cease to be [`Conflict`](super::Replica::Conflict); by `ship` for a
    /// staged file.
    Conflict {
        /// Whose file.
        generation: Generation,
        /// The name that both have.
        name: WalFileName,
        /// The store that holds the other bytes.
        store: String,
        /// SHA-256 of the raw bytes that walkeep knows by this name.
        expected: Sha256,
        /// SHA-256 of the raw bytes that the store holds.
        found: Sha256,
    },
    /// A file in staging that is not shipped, and not deleted either.
    Refused {
        /// Its name in staging, whatever that is.
        file: String,
        /// Why, as an error says it.
        reason: String,
    },
}

impl EventKind {
    /// What makes two events the same one: the file and the store, not what
    /// is said about them.
    pub fn id(&self) -> String {
        match self {
            EventKind::Conflict {
                generation,
                name,
                store,
                ..
            } => format!("conflict/{generation}/{name}/{store}"),
            EventKind::Refused { file, .. } => format!("refused/{file}"),
        }
    }
}

/// A number of files and their sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// How many.
    pub files: u64,
    /// Their raw sizes, in bytes.
    pub raw_bytes: u64,
    /// Their objects' sizes, in bytes; 0 for what has no object there.
    pub stored_bytes: u64,
}

/// A store's totals, state by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreTotals {
    /// See [`Replica::Pending`](super::Replica::Pending).
    pub pending: Totals,
    /// See [`Replica::Owed`](super::Replica::Owed).
    pub owed: Totals,
    /// See [`Replica::Stored`](super::Replica::Stored).
    pub stored: Totals,
    /// See [`Replica::Suspect`](super::Replica::Suspect).
    pub suspect: Totals,
    /// See [`Replica::Conflict`](super::Replica::Conflict).
    pub conflict: Totals,
}

impl StoreTotals {
    /// The totals of one state.
    pub fn of(&mut self, state: State) -> &mut Totals {
        match state {
            State::Pending => &mut self.pending,
            State::Owed => &mut self.owed,
            State::Stored => &mut self.stored,
            State::Suspect => &mut self.suspect,
            State::Conflict => &mut self.conflict,
        }
    }

    /// How many files have an entry for the store, whatever its state.
    pub fn files(&self) -> u64 {
        [
            self.pending,
            self.owed,
            self.stored,
            self.suspect,
            self.conflict,
        ]
        .iter()
        .map(|totals| totals.files)
        .sum()
    }
}

/// When and why a catalog's file was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
}

/// Why a catalog's file was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "lowercase")]
pub enum Cause {
    /// There was none: a new archive, or a catalog that was lost.
    Missing,
    /// A later walkeep had written the one that was there.
    Newer {
        /// Its schema's version.
        version: u32,
        /// Where it is now.
        set_aside: PathBuf,
    },
    /// The one that was there was damaged, or no catalog at all.
    Unreadable {
        /// What was wrong with it.
        reason: String,
        /// Where it is now.
        set_aside: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_recovers() {
        let at = Timestamp::UNIX_EPOCH;
        let mut store = StoreFacts::default();
        store.fail(at, "timed out");
        store.fail(at, "refused");
        assert_eq!(store.failures_in_a_row, 2);
        store.succeed(at);
        assert_eq!(store.failures_in_a_row, 0);
        assert_eq!(store.last_failure.unwrap().error, "refused");
    }

    #[test]
    fn the_average_follows_slowly() {
        let mut store = StoreFacts::default();
        store.measure_fetch(Duration::from_millis(80));
        assert_eq!(store.fetch_seconds, Some(0.08));
        store.measure_fetch(Duration::from_millis(880));
        assert!((store.fetch_seconds.unwrap() - 0.18).abs() < 1e-9);
    }
}
