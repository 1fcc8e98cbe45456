//! What a verify found, and what became of it. Its JSON is documented in
//! docs/FORMAT.md, "The result of verify".

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    catalog::{FileRecord, KnownGap},
    layout::{BackupId, Generation},
    store::StoreError,
};

/// How far the reading has come, in bytes. For whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// To be read, as far as is known.
    pub total: AtomicU64,
    /// Read.
    pub done: AtomicU64,
}

/// What a verify found. Sizes in bytes.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Whether every object was read.
    pub deep: bool,
    /// Whether what can be repaired was.
    pub repair: bool,
    /// Everything that was not as it should be.
    pub problems: Vec<Problem>,
    /// The gaps in the WAL, acknowledged ones included.
    pub gaps: Vec<KnownGap>,
    /// The base backups that cannot be restored as a whole.
    pub backups: Vec<DamagedBackup>,
    /// What was looked at, store by store.
    pub stores: Vec<StoreReport>,
}

impl Outcome {
    /// Whether all is as it should be by now.
    pub fn is_clean(&self) -> bool {
        self.problems.iter().all(|problem| problem.settled)
            && self.gaps.iter().all(|gap| !gap.needs_person)
            && self.backups.is_empty()
    }
}

/// Something that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What.
    pub kind: ProblemKind,
    /// In which store; `None` where that is in none.
    pub store: Option<String>,
    /// Of which generation of the archive.
    pub generation: Option<Generation>,
    /// A file's name, or the key of an object of a base backup.
    pub object: Option<String>,
    /// The same in words.
    pub detail: String,
    /// It is as it should be now.
    pub settled: bool,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProblemKind {
    /// The store could not be asked, or not to the end.
    Unreachable,
    /// The store has other valid bytes under the name: split brain. Never
    /// overwritten.
    Conflict,
    /// No store has it, nor staging.
    Lost,
    /// The store has something that is not the object.
    Damaged,
    /// The store does not have it, and should.
    Missing,
    /// The object could not be read this time.
    Unread,
    /// The store has it, and the catalog did not know.
    Unknown,
}

/// A base backup that cannot be restored as a whole from the stores that could
/// be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedBackup {
    /// Of which generation of the archive.
    pub generation: Generation,
    /// Its name.
    pub id: BackupId,
    /// The keys that no store has whole.
    pub objects: Vec<String>,
    /// Files of the cluster that cannot be restored, the first 1000; none where
    /// that cannot be told.
    pub files: Vec<String>,
    /// How many there are.
    pub file_count: u64,
}

/// What was looked at in one store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// Its name.
    pub store: String,
    /// Files of the WAL that it lists.
    pub wal_files: u64,
    /// Base backups that it lists.
    pub backups: u64,
    /// Objects of base backups, manifests included.
    pub backup_objects: u64,
    /// Keys below the prefix that are not walkeep's.
    pub foreign: u64,
    /// All objects' sizes together.
    pub bytes: u64,
    /// Objects that were read to their end, by a deep verify that was
    /// interrupted before included.
    pub read_objects: u64,
    /// Their sizes.
    pub read_bytes: u64,
    /// Behind which key a deep verify went on.
    pub resumed_after: Option<String>,
    /// What was not as it should be.
    pub problems: u64,
    /// Of that, what is now.
    pub settled: u64,
    /// Why it could not be verified, or not to the end.
    pub failure: Option<String>,
}

impl Problem {
    /// About a store as a whole.
    pub(super) fn unreachable(store: &str, detail: String) -> Self {
        Problem {
            kind: ProblemKind::Unreachable,
            store: Some(store.to_owned()),
            generation: None,
            object: None,
            detail,
            settled: false,
        }
    }

    /// About an object that could not be read this time, of the file where that
    /// is known.
    pub(super) fn unread(store: &str, record: Option<&FileRecord>, error: &StoreError) -> Self {
        if error.concerns_whole_store() {
            return Problem::unreachable(store, error.to_string());
        }
        Problem {
            kind: ProblemKind::Unread,
            store: Some(store.to_owned()),
            generation: record.map(|record| record.generation),
            object: Some(record.map_or(error.key.clone(), |record| record.name.to_string())),
            detail: error.to_string(),
            settled: false,
        }
    }
}
