//! The tables: their names, their keys, and values to and from JSON. Keys and
//! values are plain bytes to redb, so that a damaged page becomes an error
//! here and not a panic there (redb unwraps what is no UTF-8).

use redb::{ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{CatalogError, FileRecord, State};
use crate::{
    codec::Sha256,
    layout::Generation,
    postgres::{Moments, WalFileName},
};

pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The catalog's own facts: [`VERSION`], [`BEGINNING`], [`REBUILT`].
pub(super) const META: Definition = TableDefinition::new("meta");
/// [`file_key`] → [`FileRecord`].
pub(super) const FILES: Definition = TableDefinition::new("files");
/// [`unsettled_key`] → nothing: the replicas that are not stored.
pub(super) const UNSETTLED: Definition = TableDefinition::new("unsettled");
/// [`totals_key`] → [`super::Totals`].
pub(super) const TOTALS: Definition = TableDefinition::new("totals");
/// A store's name → [`super::StoreFacts`].
pub(super) const STORES: Definition = TableDefinition::new("stores");
/// [`generation_key`] → [`super::ClusterFacts`].
pub(super) const CLUSTERS: Definition = TableDefinition::new("clusters");
/// [`super::EventKind::id`] → [`super::Event`].
pub(super) const EVENTS: Definition = TableDefinition::new("events");

/// Generation and name → [`super::BackupRecord`].
pub(super) const BACKUPS: Definition = TableDefinition::new("backups");

/// Time and store → [`super::DrillRecord`].
pub(super) const DRILLS: Definition = TableDefinition::new("drills");

/// A name in `[schedule]` → [`super::JobRecord`].
pub(super) const JOBS: Definition = TableDefinition::new("jobs");

/// An alert's id → [`super::AlertRecord`]: those that are open.
pub(super) const ALERTS: Definition = TableDefinition::new("alerts");

/// Time and id → [`super::AlertRecord`]: those that are over.
pub(super) const RESOLVED: Definition = TableDefinition::new("resolved");

/// A sink's name → [`super::SinkFacts`].
pub(super) const SINKS: Definition = TableDefinition::new("sinks");

/// A store's name → seconds.
pub(super) const CLOCKS: Definition = TableDefinition::new("clocks");

/// [`file_key`] → [`MomentsRow`]: of the segments whose moments are known.
pub(super) const MOMENTS: Definition = TableDefinition::new("moments");

/// Store, NUL and kind → [`super::VerifyRecord`].
pub(super) const VERIFIES: Definition = TableDefinition::new("verifies");
/// [`unsettled_key`] of a key in the store → [`super::Flaw`].
pub(super) const FLAWS: Definition = TableDefinition::new("flaws");
/// [`file_key`] of the first segment → [`super::Acknowledged`].
pub(super) const ACKNOWLEDGED: Definition = TableDefinition::new("acknowledged");
/// [`file_key`] of a history file → the ancestors that it names.
pub(super) const HISTORIES: Definition = TableDefinition::new("histories");

/// In [`META`]: the schema's version, a number.
pub(super) const VERSION: &[u8] = b"version";
/// In [`META`]: when and why this file was begun, a [`super::Beginning`].
pub(super) const BEGINNING: &[u8] = b"beginning";
/// In [`META`]: when a rebuild last completed, a time; absent before the first.
pub(super) const REBUILT: &[u8] = b"rebuilt";

/// The moments of the file with these raw bytes. A row of others counts for
/// nothing: an older walkeep, which does not know this table, removes a file
/// and leaves the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MomentsRow {
    pub(super) raw_sha256: Sha256,
    #[serde(flatten)]
    pub(super) moments: Moments,
}

/// Big endian, so that byte order is the order of the numbers.
pub(super) fn generation_key(generation: Generation) -> [u8; 4] {
    generation.0.to_be_bytes()
}

/// Generation and name. The names of one timeline stand together and sort in
/// the order of the WAL, as their digits have a fixed width.
pub(super) fn file_key(generation: Generation, name: WalFileName) -> Vec<u8> {
    let mut key = generation_key(generation).to_vec();
    key.extend_from_slice(name.to_string().as_bytes());
    key
}

/// What a [`file_key`] is the key of.
pub(super) fn parse_file_key(key: &[u8]) -> Option<(Generation, WalFileName)> {
    let (generation, name) = key.split_first_chunk::<4>()?;
    let name = str::from_utf8(name).ok()?.parse().ok()?;
    Some((Generation(u32::from_be_bytes(*generation)), name))
}

/// Store and file. A store's name holds no NUL, which ends it here.
pub(super) fn unsettled_key(store: &str, file: &[u8]) -> Vec<u8> {
    [store.as_bytes(), b"\0", file].concat()
}

/// The file of an [`unsettled_key`].
pub(super) fn file_of_unsettled<'k>(store: &str, key: &'k [u8]) -> Option<&'k [u8]> {
    key.strip_prefix(store.as_bytes())?.strip_prefix(b"\0")
}

/// The totals of a store's replicas in one state, or of all files.
pub(super) fn totals_key(of: Option<(&str, State)>) -> Vec<u8> {
    match of {
        Some((store, state)) => format!("{store}\0{state}").into_bytes(),
        None => Vec::new(),
    }
}

/// The row of `key`, if there is one.
pub(super) fn get<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    name: Definition,
    key: &[u8],
) -> Result<Option<T>, CatalogError> {
    match table.get(key)? {
        Some(value) => parse(name, key, value.value()).map(Some),
        None => Ok(None),
    }
}

/// Writes the row of `key`.
pub(super) fn put<T: Serialize>(
    table: &mut Table<'_, &'static [u8], &'static [u8]>,
    name: Definition,
    key: &[u8],
    value: &T,
) -> Result<(), CatalogError> {
    let text = serde_json::to_vec(value).map_err(|error| damaged(name, key, &error))?;
    table.insert(key, text.as_slice())?;
    Ok(())
}

/// A value's JSON.
pub(super) fn parse<T: DeserializeOwned>(
    table: Definition,
    key: &[u8],
    value: &[u8],
) -> Result<T, CatalogError> {
    serde_json::from_slice(value).map_err(|error| damaged(table, key, &error))
}

/// A file's row. It repeats its key, which shows a row in the wrong place.
pub(super) fn parse_file(key: &[u8], value: &[u8]) -> Result<FileRecord, CatalogError> {
    let record: FileRecord = parse(FILES, key, value)?;
    if file_key(record.generation, record.name) == key {
        Ok(record)
    } else {
        Err(damaged(FILES, key, &"it is another file's record"))
    }
}

/// The error for a row that does not parse.
pub(super) fn damaged(
    table: Definition,
    key: &[u8],
    reason: &dyn std::fmt::Display,
) -> CatalogError {
    CatalogError::Damaged {
        table: redb::TableHandle::name(&table).to_owned(),
        key: key.escape_ascii().to_string(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_stand_in_the_order_of_the_wal() {
        let ordered = [
            (1, "000000010000000400000024"),
            (1, "000000010000000400000024.00000028.backup"),
            (1, "000000010000000400000024.partial"),
            (1, "000000010000000400000025"),
            (1, "00000001000000050000000A"),
            (1, "00000002.history"),
            (1, "000000020000000400000024"),
            (2, "000000010000000000000001"),
            (256, "000000010000000000000001"),
        ];
        let keys: Vec<_> = ordered
            .map(|(generation, name)| file_key(Generation(generation), name.parse().unwrap()))
            .into();
        assert!(keys.is_sorted_by(|one, next| one < next), "{keys:?}");
    }

    proptest! {
        #[test]
        fn an_unsettled_key_gives_its_file_back(store in "[a-z0-9]{1,8}", other in "[a-z0-9]{1,8}", file: Vec<u8>) {
            let key = unsettled_key(&store, &file);
            prop_assert_eq!(file_of_unsettled(&store, &key), Some(file.as_slice()));
            prop_assert_eq!(file_of_unsettled(&other, &key).is_some(), other == store);
        }
    }
}
