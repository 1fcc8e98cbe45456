//! Base backups: what a person or a plan asks first of each, and which stores
//! have it. The manifest in the store is what counts.

use std::{collections::BTreeMap, ops::Bound};

use jiff::Timestamp;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::{
    CatalogError, Reader, Writer,
    rows::{self, BACKUPS},
};
use crate::{
    layout::{BackupId, Generation},
    postgres::{Lsn, TimelineId},
};

/// A base backup, as its manifest has it. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// Which of the archive's clusters.
    pub generation: Generation,
    /// Its name.
    pub id: BackupId,
    /// The timeline that the cluster was on.
    pub timeline: TimelineId,
    /// Where the WAL begins that it needs.
    pub start_lsn: Lsn,
    /// Where that ends.
    pub stop_lsn: Lsn,
    /// When it was begun, by the server's clock.
    pub started: Timestamp,
    /// The first moment that it can bring back, by the server's clock.
    pub stopped: Timestamp,
    /// The backup whose blocks were compared.
    pub based_on: Option<BackupId>,
    /// What its files hold.
    pub raw_bytes: u64,
    /// What it put into each store.
    pub stored_bytes: u64,
    /// The stores that have its manifest, and since when.
    pub stores: BTreeMap<String, Timestamp>,
}

impl Reader {
    /// Every backup, by generation and time.
    pub fn backups(&self) -> Result<Vec<BackupRecord>, CatalogError> {
        let rows = self.rows(BACKUPS, Bound::Unbounded, Bound::Unbounded)?;
        let records = rows.map(|row| {
            let (key, value) = row?;
            parse(key.value(), value.value())
        });
        records.collect()
    }
}

impl Writer<'_> {
    /// Adds what `record` knows of its backup to what is known: a manifest is
    /// written once, so that only its stores can be new.
    pub fn merge_backup(&mut self, record: &BackupRecord) -> Result<(), CatalogError> {
        let known = self.backup(record.generation, record.id)?;
        let mut next = known.unwrap_or_else(|| record.clone());
        for (store, at) in &record.stores {
            let since = next.stores.entry(store.clone()).or_insert(*at);
            *since = (*since).max(*at);
        }
        self.put_backup(&next)
    }

    /// A store has the backup no more; one that no store has is forgotten.
    /// Returns whether the store was known to have it.
    pub fn drop_backup(
        &mut self,
        generation: Generation,
        id: BackupId,
        store: &str,
    ) -> Result<bool, CatalogError> {
        let Some(mut known) = self.backup(generation, id)? else {
            return Ok(false);
        };
        let had = known.stores.remove(store).is_some();
        if had {
            self.put_backup(&known)?;
        }
        Ok(had)
    }

    /// The end of a rebuild from one store, as
    /// [`drop_unseen`](Self::drop_unseen) is for files. Returns how many
    /// backups the store has no more.
    pub fn drop_unseen_backups(
        &mut self,
        generation: Generation,
        store: &str,
        listed: Timestamp,
        seen: impl Fn(BackupId) -> bool,
    ) -> Result<u64, CatalogError> {
        let mut gone = Vec::new();
        {
            let backups = self.transaction.open_table(BACKUPS)?;
            for row in backups.range(rows::generation_key(generation).as_slice()..)? {
                let (key, value) = row?;
                let record = parse(key.value(), value.value())?;
                if record.generation != generation {
                    break;
                }
                let since = record.stores.get(store);
                if since.is_some_and(|since| *since < listed) && !seen(record.id) {
                    gone.push(record.id);
                }
            }
        }
        for id in &gone {
            self.drop_backup(generation, *id, store)?;
        }
        Ok(gone.len() as u64)
    }

    fn backup(
        &self,
        generation: Generation,
        id: BackupId,
    ) -> Result<Option<BackupRecord>, CatalogError> {
        let key = key(generation, id);
        let backups = self.transaction.open_table(BACKUPS)?;
        let value = backups.get(key.as_slice())?;
        value.map(|value| parse(&key, value.value())).transpose()
    }

    fn put_backup(&self, record: &BackupRecord) -> Result<(), CatalogError> {
        let key = key(record.generation, record.id);
        let mut backups = self.transaction.open_table(BACKUPS)?;
        if record.stores.is_empty() {
            backups.remove(key.as_slice())?;
            return Ok(());
        }
        rows::put(&mut backups, BACKUPS, &key, record)
    }
}

/// Generation and name; both sort by time.
fn key(generation: Generation, id: BackupId) -> Vec<u8> {
    let mut key = rows::generation_key(generation).to_vec();
    key.extend_from_slice(id.to_string().as_bytes());
    key
}

/// A row repeats its key, which shows one in the wrong place.
fn parse(at: &[u8], value: &[u8]) -> Result<BackupRecord, CatalogError> {
    let record: BackupRecord = rows::parse(BACKUPS, at, value)?;
    if key(record.generation, record.id) == at {
        Ok(record)
    } else {
        Err(rows::damaged(BACKUPS, at, &"it is another backup's record"))
    }
}
