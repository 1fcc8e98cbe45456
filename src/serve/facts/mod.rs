//! Everything that is known about the archive at one moment, gathered once:
//! from the catalog, from staging and from the server. Status, alerts, report,
//! metrics and the page are all made from it, so that they never disagree.
//!
//! ```text
//! gather   asks; what cannot be asked becomes a fact as well, never an error
//! survey   what takes a walk over all files: runs, gaps, volume by the hour
//! window   pure: which moments can be restored
//! server   PostgreSQL, in one short visit
//! stream   how streaming goes
//! ```

mod gather;
mod server;
mod stream;
mod survey;
mod window;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

pub use gather::Gatherer;
pub use server::Server;
pub use stream::{StreamFacts, StreamedTo};
pub use survey::{Hour, Timeline};
pub use window::Span;

use crate::{
    archive::notes::Note,
    catalog::{
        AlertRecord, BackupRecord, DrillRecord, Event, Flaw, JobRecord, KnownGap, VerifyRecord,
    },
    layout::Generation,
    postgres::{
        SegmentSize,
        session::{Slot, Waiting},
    },
};

/// What is known of the archive. Sizes in bytes, durations in seconds.
#[derive(Debug, Clone)]
pub struct Facts {
    /// When it was gathered.
    pub at: Timestamp,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The generation that staging is bound to; the first one without staging.
    pub generation: Generation,
    /// The staging directory; none where none is configured, and why where it
    /// cannot be used.
    pub staging: Option<Result<StagingFacts, String>>,
    /// Why the catalog tells nothing, where it does not.
    pub no_catalog: Option<String>,
    /// Whether the catalog does not know what the stores held when it was
    /// begun, and wants a rebuild.
    pub wants_rebuild: bool,
    /// Each configured store, in the configuration's order; none without a
    /// catalog.
    pub stores: Vec<StoreView>,
    /// All files of the catalog: how many, and their raw size.
    pub files: u64,
    /// See [`files`](Self::files).
    pub raw_bytes: u64,
    /// What goes on until a person has looked: conflicts, refused files.
    pub events: Vec<Event>,
    /// Every base backup, oldest first.
    pub backups: Vec<BackupRecord>,
    /// Since when there is anything in the archive: the time at which a store
    /// took the oldest thing that is still there.
    pub since: Option<Timestamp>,
    /// The moments that can be restored from all stores together, oldest
    /// first. Between two spans no moment can be.
    pub window: Vec<Span>,
    /// WAL that no store has and that does not wait in staging either, though
    /// there is WAL behind it; which of it still needs a person is said there.
    pub gaps: Vec<KnownGap>,
    /// The timelines that are archived, in order.
    pub timelines: Vec<Timeline>,
    /// What was archived, hour by hour, oldest first; at most the last 31
    /// days. Hours in which nothing was written are not there.
    pub hours: Vec<Hour>,
    /// Every drill that is remembered, oldest first.
    pub drills: Vec<DrillRecord>,
    /// What came of each scheduled job, by its name in `[schedule]`.
    pub jobs: BTreeMap<String, JobRecord>,
    /// The last verify of each store and kind.
    pub verifies: Vec<VerifyRecord>,
    /// The server.
    pub server: Server,
    /// What waits in `pg_wal` for the server's archiver; none where neither
    /// the server nor its directory shows it.
    pub waiting: Option<Waiting>,
    /// The stream's slot; none where nothing is streamed, or the server does
    /// not answer.
    pub slot: Option<SlotFacts>,
    /// How streaming goes; none where nothing is to be streamed.
    pub stream: Option<StreamFacts>,
    /// What `wal push` failed with, where it has not succeeded since.
    pub push_failure: Option<Note>,
    /// What a standby's `wal fetch` could not get, where it goes on asking.
    pub standby: Option<Note>,
    /// The alerts that the daemon keeps as open.
    pub alerts: Vec<AlertRecord>,
    /// Those that are over, the one that was resolved last at the end; some
    /// hundred are remembered.
    pub resolved: Vec<AlertRecord>,
    /// Each configured sink.
    pub sinks: Vec<SinkView>,
    /// The size of the cluster's segments, where staging's marker is there to
    /// tell it.
    pub segment_size: Option<SegmentSize>,
}

/// The staging directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StagingFacts {
    /// Where.
    pub path: String,
    /// Files that a store is still to get; those that none has would be lost
    /// with this host.
    pub files: u64,
    /// What they take of the disk.
    pub bytes: u64,
    /// What all files may take.
    pub max_bytes: u64,
    /// How long ago the oldest of them was written.
    pub oldest_seconds: Option<i64>,
    /// Files that every store has, and that stay for retention.local_window.
    pub kept_files: u64,
    /// What these take of the disk.
    pub kept_bytes: u64,
}

/// One store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreView {
    /// Its name.
    pub name: String,
    /// Files of the WAL that it holds.
    pub files: u64,
    /// Their raw size.
    pub raw_bytes: u64,
    /// Their size there.
    pub stored_bytes: u64,
    /// Staged files that it lacks.
    pub waiting_files: u64,
    /// Their raw size: how far the store is behind.
    pub waiting_bytes: u64,
    /// How far behind it is: the age of the oldest such file.
    pub lag_seconds: Option<i64>,
    /// Files that have left staging, and that it is to get from another store.
    pub owed: u64,
    /// Their raw size.
    pub owed_bytes: u64,
    /// Objects that are not what was stored.
    pub suspect: u64,
    /// Objects under a name of ours that hold other bytes.
    pub conflicts: u64,
    /// Objects of base backups that are missing or damaged.
    pub flaws: Vec<Flaw>,
    /// Base backups, of every generation, oldest first.
    pub backups: Vec<crate::layout::BackupId>,
    /// What they take there, as far as no earlier one has it.
    pub backup_bytes: u64,
    /// When it last did what was asked.
    pub last_success: Option<Timestamp>,
    /// What it failed with, and when, where it has not succeeded since.
    pub failing: Option<(String, Timestamp)>,
    /// By how many seconds this host's clock is ahead of the store's, as the
    /// daemon saw it last; negative where it is behind.
    pub clock_skew_seconds: Option<i64>,
    /// The moments that can be restored from this store alone, oldest first.
    pub window: Vec<Span>,
}

/// One way to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkView {
    /// Its name.
    pub name: String,
    /// When it last took a message.
    pub last_success: Option<Timestamp>,
    /// What it failed with, and when, where it has not taken one since.
    pub failing: Option<(String, Timestamp)>,
}

/// The replication slot that is streamed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFacts {
    /// Its name.
    pub name: String,
    /// How it is; none where the server has no such slot.
    pub state: Option<Slot>,
}

impl Facts {
    /// The newest base backup that any store has.
    pub fn last_backup(&self) -> Option<&BackupRecord> {
        self.backups.iter().max_by_key(|backup| backup.stopped)
    }

    /// The drill that ended last, whatever came of it.
    pub fn last_drill(&self) -> Option<&DrillRecord> {
        self.drills.iter().max_by_key(|drill| drill.ended)
    }

    /// The successful one that ended last.
    pub fn last_good_drill(&self) -> Option<&DrillRecord> {
        let good = self.drills.iter().filter(|drill| drill.ok);
        good.max_by_key(|drill| drill.ended)
    }
}
