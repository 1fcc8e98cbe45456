//! Questions to the catalog, all answered from one moment.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
};

use jiff::Timestamp;
use redb::{OwnedRange, ReadOnlyTable, ReadTransaction, TableDefinition, TableError};

use super::{
    Beginning, CatalogError, ClusterFacts, Event, FileRecord, Select, State, StoreFacts,
    StoreTotals, Totals,
    rows::{
        self, BEGINNING, CLUSTERS, EVENTS, FILES, META, MOMENTS, MomentsRow, REBUILT, STORES,
        TOTALS, UNSETTLED,
    },
};
use crate::{
    layout::Generation,
    postgres::{Lsn, Moments, TimelineId, WalFileName},
};

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Rows = OwnedRange<&'static [u8], &'static [u8]>;

/// The catalog as it was when the transaction began. Other processes wait
/// with their changes until it ends.
pub struct Reader {
    /// `None` where there is no catalog.
    transaction: Option<ReadTransaction>,
}

impl Reader {
    pub(super) fn new(transaction: Option<ReadTransaction>) -> Self {
        Reader { transaction }
    }

    /// One file.
    pub fn file(
        &self,
        generation: Generation,
        name: WalFileName,
    ) -> Result<Option<FileRecord>, CatalogError> {
        self.file_at(&rows::file_key(generation, name))
    }

    /// The files of `select`, by generation, timeline and LSN. Read as they
    /// are asked for; for all files of a large archive, or where what is done
    /// with them takes time, [`Catalog::files`](super::Catalog::files) does
    /// not keep others waiting.
    pub fn files(
        &self,
        select: &Select,
    ) -> Result<impl Iterator<Item = Result<FileRecord, CatalogError>> + use<>, CatalogError> {
        self.files_behind(select, None)
    }

    /// The same from behind the key `last`.
    pub(super) fn files_behind(
        &self,
        select: &Select,
        last: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<FileRecord, CatalogError>> + use<>, CatalogError> {
        let (from, to) = select.keys();
        let from = match last {
            Some(last) => Bound::Excluded(last),
            None => Bound::Included(from.as_slice()),
        };
        let rows = self.rows(FILES, from, Bound::Excluded(to.as_slice()))?;
        let select = select.clone();
        Ok(rows
            .map(|row| {
                let (key, value) = row?;
                rows::parse_file(key.value(), value.value())
            })
            .filter(move |record| record.as_ref().map_or(true, |record| select.holds(record))))
    }

    /// The segments of one timeline that hold any byte of the range, partial
    /// ones included, each with its moments; `None` where they are not known
    /// (see [`Writer::note_moments`](super::Writer::note_moments)). In the
    /// order of the WAL.
    pub fn moments(
        &self,
        generation: Generation,
        timeline: TimelineId,
        range: Range<Lsn>,
    ) -> Result<
        impl Iterator<Item = Result<(FileRecord, Option<Moments>), CatalogError>> + use<'_>,
        CatalogError,
    > {
        let files = self.files(&Select::Lsn(generation, timeline, range))?;
        Ok(files.map(|record| {
            let record = record?;
            let moments = self.moments_of(&record)?;
            Ok((record, moments))
        }))
    }

    /// The moments of one file.
    pub fn moments_of(&self, record: &FileRecord) -> Result<Option<Moments>, CatalogError> {
        let key = rows::file_key(record.generation, record.name);
        let row: Option<MomentsRow> = self.get(MOMENTS, &key)?;
        let row = row.filter(|row| row.raw_sha256 == record.raw_sha256);
        Ok(row.map(|row| row.moments))
    }

    /// The files that are pending, owed, suspect or in conflict in `store`:
    /// what there is to do for it. Costs what it yields, not what the archive
    /// holds.
    pub fn unsettled(
        &self,
        store: &str,
    ) -> Result<impl Iterator<Item = Result<FileRecord, CatalogError>> + use<'_>, CatalogError>
    {
        let (from, store) = (rows::unsettled_key(store, b""), store.to_owned());
        let to = [store.as_bytes(), b"\x01"].concat();
        let rows = self.rows(
            UNSETTLED,
            Bound::Included(from.as_slice()),
            Bound::Excluded(to.as_slice()),
        )?;
        Ok(rows.map(move |row| {
            let (key, _) = row?;
            let damaged = || rows::damaged(UNSETTLED, key.value(), &"no such file is recorded");
            let file = rows::file_of_unsettled(&store, key.value()).ok_or_else(damaged)?;
            self.file_at(file)?.ok_or_else(damaged)
        }))
    }

    /// The files that have no entry at all for `store`: it was configured
    /// after they were archived, or the catalog was rebuilt without it. Costs
    /// nothing when there are none, and a walk over all files when there are.
    pub fn unknown_to(
        &self,
        store: &str,
    ) -> Result<impl Iterator<Item = Result<FileRecord, CatalogError>> + use<>, CatalogError> {
        let any = self.totals()?.files != self.store_totals(store)?.files();
        let files = any.then(|| self.files(&Select::All)).transpose()?;
        let store = store.to_owned();
        Ok(files.into_iter().flatten().filter(move |record| {
            (record.as_ref()).map_or(true, |record| !record.replicas.contains_key(&store))
        }))
    }

    /// The number and the raw size of all files. Kept up to date with each
    /// change, so this reads one row, as do a store's totals for each state.
    /// (`stored_bytes` is 0: it is a store's.)
    pub fn totals(&self) -> Result<Totals, CatalogError> {
        let key = rows::totals_key(None);
        Ok(self.get(TOTALS, &key)?.unwrap_or_default())
    }

    /// What `store` has, and what there is to do for it.
    pub fn store_totals(&self, store: &str) -> Result<StoreTotals, CatalogError> {
        let mut totals = StoreTotals::default();
        for state in State::ALL {
            let key = rows::totals_key(Some((store, state)));
            *totals.of(state) = self.get(TOTALS, &key)?.unwrap_or_default();
        }
        Ok(totals)
    }

    /// How `store` has been doing.
    pub fn store(&self, store: &str) -> Result<StoreFacts, CatalogError> {
        Ok(self.get(STORES, store.as_bytes())?.unwrap_or_default())
    }

    /// Every store that ever succeeded or failed, with how it has been doing.
    pub fn stores(&self) -> Result<BTreeMap<String, StoreFacts>, CatalogError> {
        let mut stores = BTreeMap::new();
        for row in self.rows(STORES, Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = row?;
            let name = (str::from_utf8(key.value()))
                .map_err(|error| rows::damaged(STORES, key.value(), &error))?;
            stores.insert(
                name.to_owned(),
                rows::parse(STORES, key.value(), value.value())?,
            );
        }
        Ok(stores)
    }

    /// The cluster of one generation.
    pub fn cluster(&self, generation: Generation) -> Result<Option<ClusterFacts>, CatalogError> {
        self.get(CLUSTERS, &rows::generation_key(generation))
    }

    /// Every generation's cluster.
    pub fn clusters(&self) -> Result<BTreeMap<Generation, ClusterFacts>, CatalogError> {
        let mut clusters = BTreeMap::new();
        for row in self.rows(CLUSTERS, Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = row?;
            let number = (key.value().try_into())
                .map_err(|_| rows::damaged(CLUSTERS, key.value(), &"it has no 4 bytes"))?;
            let generation = Generation(u32::from_be_bytes(number));
            clusters.insert(
                generation,
                rows::parse(CLUSTERS, key.value(), value.value())?,
            );
        }
        Ok(clusters)
    }

    /// What a person has to look at.
    pub fn events(&self) -> Result<Vec<Event>, CatalogError> {
        self.rows(EVENTS, Bound::Unbounded, Bound::Unbounded)?
            .map(|row| {
                let (key, value) = row?;
                rows::parse(EVENTS, key.value(), value.value())
            })
            .collect()
    }

    /// When and why this catalog was begun, where no rebuild has completed
    /// since: what the stores held by then is not in it. A missing catalog
    /// tells nothing here; the first write begins one.
    pub fn wants_rebuild(&self) -> Result<Option<Beginning>, CatalogError> {
        match self.get::<Timestamp>(META, REBUILT)? {
            Some(_) => Ok(None),
            None => self.get(META, BEGINNING),
        }
    }

    fn file_at(&self, key: &[u8]) -> Result<Option<FileRecord>, CatalogError> {
        let Some(files) = self.table(FILES)? else {
            return Ok(None);
        };
        files
            .get(key)?
            .map(|value| rows::parse_file(key, value.value()))
            .transpose()
    }

    fn get<T: serde::de::DeserializeOwned>(
        &self,
        name: Definition,
        key: &[u8],
    ) -> Result<Option<T>, CatalogError> {
        match self.table(name)? {
            Some(table) => rows::get(&table, name, key),
            None => Ok(None),
        }
    }

    pub(super) fn has(&self, name: Definition, key: &[u8]) -> Result<bool, CatalogError> {
        match self.table(name)? {
            Some(table) => Ok(table.get(key)?.is_some()),
            None => Ok(false),
        }
    }

    pub(super) fn rows(
        &self,
        name: Definition,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<impl DoubleEndedIterator<Item = <Rows as Iterator>::Item> + use<>, CatalogError>
    {
        let range = match self.table(name)? {
            Some(table) if !is_empty(from, to) => Some(table.range_owned::<&[u8]>((from, to))?),
            _ => None,
        };
        Ok(range.into_iter().flatten())
    }

    /// A table that nothing was ever written to does not exist.
    fn table(&self, name: Definition) -> Result<Option<Table>, CatalogError> {
        let Some(transaction) = &self.transaction else {
            return Ok(None);
        };
        match transaction.open_table(name) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether nothing can be between the two bounds.
fn is_empty(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}
