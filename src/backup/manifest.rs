//! What a base backup is: `backup/ID/manifest.json.gz`, written last.
//! docs/FORMAT.md, "The manifest".

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::listing::{Entry, EntryPath};
use crate::{
    catalog::BackupRecord,
    codec::Sha256,
    layout::{BackupId, Format, Generation, PackNumber},
    postgres::{Lsn, SegmentSize, SystemId, TimelineId},
};

/// The format that this walkeep writes.
pub const FORMAT: u32 = 1;

/// A base backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1; a higher one is refused.
    pub format: u32,
    /// Its name.
    pub id: BackupId,
    /// The cluster's name in the configuration, for people.
    pub cluster: String,
    /// The archive's generation that it belongs to.
    pub generation: Generation,
    /// The cluster's identity.
    pub system_identifier: SystemId,
    /// Such as 17.
    pub postgres_major: u32,
    /// Of the WAL, in bytes.
    pub segment_size: SegmentSize,
    /// Whether pages have checksums.
    pub data_checksums: bool,
    /// Whether the server was a standby.
    pub from_standby: bool,
    /// The server's time right after the start call.
    pub started: Timestamp,
    /// The server's time right after the stop call: the first moment that it
    /// can bring back.
    pub stopped: Timestamp,
    /// The timeline of start and stop.
    pub timeline: TimelineId,
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// Where the cluster is consistent.
    pub stop_lsn: Lsn,
    /// `pg_snapshot_xmax` after the stop call, with epoch: every transaction
    /// from it on had not begun. None of an imported backup: nobody asked then.
    pub stop_xmax: Option<u64>,
    /// The backup whose blocks were used again; none where every one was read
    /// and stored anew.
    pub based_on: Option<BackupId>,
    /// `backup_label`, as the stop call gave it.
    pub backup_label: String,
    /// `tablespace_map`, as the stop call gave it; none without tablespaces.
    pub tablespace_map: Option<String>,
    /// The cluster's tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// Configuration files that live outside of the data directory.
    pub configuration: Vec<ConfigurationFile>,
    /// `global/pg_control`, which is read last and restored last.
    pub control: Entry,
    /// The other files: index objects that hold the lines, in order.
    pub pages: Vec<Sha256>,
    /// The packs that hold blocks of it, this backup's and earlier ones'.
    pub packs: Vec<PackSet>,
    /// Pages whose checksum was wrong, and stayed wrong.
    pub damaged: Vec<Damaged>,
    /// Sums.
    pub totals: Totals,
}

/// A tablespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its OID: the link's name in `pg_tblspc`.
    pub oid: u32,
    /// Where the link led.
    pub path: String,
}

/// A configuration file that lives outside of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationFile {
    /// The setting that names it, such as `hba_file`; none for one that
    /// another file includes.
    pub setting: Option<String>,
    /// Where it is on its host.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// One backup's packs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSet {
    /// Whose they are.
    pub backup: BackupId,
    /// Their format.
    pub format: Format,
    /// Their numbers, as ranges of a first and a last one, both included.
    pub numbers: Vec<(PackNumber, PackNumber)>,
}

/// Pages of a file that are damaged in the cluster itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The file.
    pub path: EntryPath,
    /// The pages' numbers in the file, from 0.
    pub blocks: Vec<u64>,
}

/// Sums over a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Files and directories.
    pub files: u64,
    /// What the files hold, in bytes.
    pub raw_bytes: u64,
    /// Of that, what was compressed and stored anew, before compression.
    pub changed_bytes: u64,
    /// What this backup put into each store, in bytes.
    pub stored_bytes: u64,
    /// Of that, what is no data: pages and stretches.
    pub index_bytes: u64,
}

/// A manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// A later walkeep wrote it.
    #[error("format {0}, which a newer walkeep wrote; install that one")]
    Newer(u32),
    /// It is no manifest.
    #[error("it is no manifest of a backup: {0}")]
    NotReadable(#[from] serde_json::Error),
}

impl Manifest {
    /// Reads a manifest. Fields that a later walkeep added are skipped.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(bytes)?;
        if format > FORMAT {
            return Err(InvalidManifest::Newer(format));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The manifest's bytes.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The backup as a catalog has it, in the stores that have had it since
    /// then.
    pub fn record(&self, stores: BTreeMap<String, Timestamp>) -> BackupRecord {
        BackupRecord {
            generation: self.generation,
            id: self.id,
            timeline: self.timeline,
            start_lsn: self.start_lsn,
            stop_lsn: self.stop_lsn,
            started: self.started,
            stopped: self.stopped,
            based_on: self.based_on,
            raw_bytes: self.totals.raw_bytes,
            stored_bytes: self.totals.stored_bytes,
            stores,
        }
    }

    /// The format of each backup's packs.
    pub fn formats(&self) -> BTreeMap<BackupId, Format> {
        let formats = self.packs.iter().map(|set| (set.backup, set.format));
        formats.collect()
    }
}

impl PackSet {
    /// Every number.
    pub fn iter(&self) -> impl Iterator<Item = PackNumber> {
        self.numbers.iter().flat_map(|&(first, last)| first..=last)
    }
}

/// `numbers` as ranges.
pub fn ranges(numbers: &BTreeSet<PackNumber>) -> Vec<(PackNumber, PackNumber)> {
    let mut ranges: Vec<(PackNumber, PackNumber)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}
