//! Changes to the catalog. Every change of a record goes through one place,
//! which keeps the index of what is unsettled, the totals and the conflict
//! events in step with it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};

use super::{
    CatalogError, ClusterFacts, Event, EventKind, FileRecord, Joined, Replica, State, StoreFacts,
    Totals,
    rows::{
        self, CLUSTERS, EVENTS, FILES, META, MOMENTS, MomentsRow, REBUILT, STORES, TOTALS,
        UNSETTLED,
    },
};
use crate::{
    codec::Sha256,
    layout::Generation,
    postgres::{Moments, WalFileName},
};

/// One transaction's changes: all of them become durable, or none.
pub struct Writer<'t> {
    pub(super) transaction: &'t WriteTransaction,
    /// What the totals change by, by their key. Written once, at the end.
    tally: BTreeMap<Vec<u8>, Change>,
}

/// What a row of totals changes by; the parts may be negative.
#[derive(Clone, Copy, Default)]
struct Change {
    files: i64,
    raw_bytes: i64,
    stored_bytes: i64,
}

impl<'t> Writer<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Self {
        Writer {
            transaction,
            tally: BTreeMap::new(),
        }
    }

    /// One file, as it is by now in this transaction.
    pub fn file(
        &self,
        generation: Generation,
        name: WalFileName,
    ) -> Result<Option<FileRecord>, CatalogError> {
        let key = rows::file_key(generation, name);
        let files = self.transaction.open_table(FILES)?;
        let value = files.get(key.as_slice())?;
        value
            .map(|value| rows::parse_file(&key, value.value()))
            .transpose()
    }

    /// Adds what `record` knows of its file to what is known; see
    /// [`FileRecord::join`]. It never takes anything back: this is how a
    /// staged file is first noted, and how a rebuild notes what a store holds.
    pub fn merge(&mut self, record: &FileRecord) -> Result<Joined, CatalogError> {
        let known = self.file(record.generation, record.name)?;
        let (joined, next) = match &known {
            Some(known) => {
                let mut next = known.clone();
                (next.join(record), next)
            }
            None => (Joined::Added, record.clone()),
        };
        if known.as_ref() != Some(&next) {
            self.replace(known.as_ref(), Some(&next))?;
        }
        Ok(joined)
    }

    /// Notes the moments of a file that is recorded with these raw bytes;
    /// without such a record, nothing.
    pub fn note_moments(
        &mut self,
        generation: Generation,
        name: WalFileName,
        raw_sha256: Sha256,
        moments: &Moments,
    ) -> Result<(), CatalogError> {
        let known = self.file(generation, name)?;
        if known.is_none_or(|known| known.raw_sha256 != raw_sha256) {
            return Ok(());
        }
        let row = MomentsRow {
            raw_sha256,
            moments: moments.clone(),
        };
        let key = rows::file_key(generation, name);
        let mut table = self.transaction.open_table(MOMENTS)?;
        // Each store that gets the file says the same.
        if rows::get(&table, MOMENTS, &key)?.as_ref() == Some(&row) {
            return Ok(());
        }
        rows::put(&mut table, MOMENTS, &key, &row)
    }

    /// Changes what is known of a file's replicas: every progress, failure,
    /// suspicion and repair. The raw bytes' facts do not change once they are
    /// known. Returns what `change` returned, or `None` for an unknown file.
    pub fn update<T>(
        &mut self,
        generation: Generation,
        name: WalFileName,
        change: impl FnOnce(&mut BTreeMap<String, Replica>) -> T,
    ) -> Result<Option<T>, CatalogError> {
        let Some(known) = self.file(generation, name)? else {
            return Ok(None);
        };
        let mut next = known.clone();
        let value = change(&mut next.replicas);
        if next != known {
            self.replace(Some(&known), Some(&next))?;
        }
        Ok(Some(value))
    }

    /// Forgets a file. Returns whether it was known.
    pub fn remove(
        &mut self,
        generation: Generation,
        name: WalFileName,
    ) -> Result<bool, CatalogError> {
        let known = self.file(generation, name)?;
        if known.is_some() {
            self.replace(known.as_ref(), None)?;
        }
        Ok(known.is_some())
    }

    /// The end of a rebuild from one store: takes back what the catalog says
    /// `store` holds of `generation` and a complete listing did not show.
    /// `seen` tells what it showed. What was stored since the listing began,
    /// at `listed`, stays, as do intentions (pending and owed); a file that no
    /// store is known to have then is forgotten. Returns how many replicas
    /// were taken back.
    pub fn drop_unseen(
        &mut self,
        generation: Generation,
        store: &str,
        listed: Timestamp,
        seen: impl Fn(WalFileName) -> bool,
    ) -> Result<u64, CatalogError> {
        let gone = self.unseen(generation, store, listed, seen)?;
        for name in &gone {
            let Some(known) = self.file(generation, *name)? else {
                continue;
            };
            let mut next = known.clone();
            next.replicas.remove(store);
            let next = Some(&next).filter(|next| !next.replicas.is_empty());
            self.replace(Some(&known), next)?;
        }
        Ok(gone.len() as u64)
    }

    fn unseen(
        &self,
        generation: Generation,
        store: &str,
        listed: Timestamp,
        seen: impl Fn(WalFileName) -> bool,
    ) -> Result<Vec<WalFileName>, CatalogError> {
        let files = self.transaction.open_table(FILES)?;
        let mut gone = Vec::new();
        for row in files.range(rows::generation_key(generation).as_slice()..)? {
            let (key, value) = row?;
            let record = rows::parse_file(key.value(), value.value())?;
            if record.generation != generation {
                break;
            }
            let claimed = match record.replicas.get(store) {
                Some(Replica::Stored(object) | Replica::Suspect { object, .. }) => object.at,
                Some(Replica::Conflict { found, .. }) => *found,
                Some(Replica::Pending { .. } | Replica::Owed { .. }) | None => continue,
            };
            if claimed < listed && !seen(record.name) {
                gone.push(record.name);
            }
        }
        Ok(gone)
    }

    /// Notes that the catalog knows what every store holds: a rebuild ended,
    /// or the archive is new and there was nothing to rebuild from.
    pub fn rebuilt(&mut self, at: Timestamp) -> Result<(), CatalogError> {
        let mut meta = self.transaction.open_table(META)?;
        rows::put(&mut meta, META, REBUILT, &at)
    }

    /// Notes a generation's cluster, replacing what was known.
    pub fn set_cluster(
        &mut self,
        generation: Generation,
        facts: &ClusterFacts,
    ) -> Result<(), CatalogError> {
        let mut clusters = self.transaction.open_table(CLUSTERS)?;
        let key = rows::generation_key(generation);
        rows::put(&mut clusters, CLUSTERS, &key, facts)
    }

    /// Notes how a store is doing.
    pub fn update_store(
        &mut self,
        store: &str,
        change: impl FnOnce(&mut StoreFacts),
    ) -> Result<(), CatalogError> {
        let mut stores = self.transaction.open_table(STORES)?;
        let mut facts = rows::get(&stores, STORES, store.as_bytes())?.unwrap_or_default();
        change(&mut facts);
        rows::put(&mut stores, STORES, store.as_bytes(), &facts)
    }

    /// Raises an event, or notes that it goes on. Returns whether it is new.
    pub fn raise(&mut self, kind: EventKind, at: Timestamp) -> Result<bool, CatalogError> {
        let mut events = self.transaction.open_table(EVENTS)?;
        let id = kind.id();
        let known: Option<Event> = rows::get(&events, EVENTS, id.as_bytes())?;
        let event = Event {
            kind,
            first: known.as_ref().map_or(at, |known| known.first),
            last: at,
            times: (known.as_ref()).map_or(1, |known| known.times.saturating_add(1)),
        };
        rows::put(&mut events, EVENTS, id.as_bytes(), &event)?;
        Ok(known.is_none())
    }

    /// Ends an event, by its [`EventKind::id`]. Returns whether there was one.
    pub fn resolve(&mut self, id: &str) -> Result<bool, CatalogError> {
        let mut events = self.transaction.open_table(EVENTS)?;
        Ok(events.remove(id.as_bytes())?.is_some())
    }

    /// The one place that writes a record: from `before` to `after`, either of
    /// which may be absent.
    fn replace(
        &mut self,
        before: Option<&FileRecord>,
        after: Option<&FileRecord>,
    ) -> Result<(), CatalogError> {
        let Some(either) = after.or(before) else {
            return Ok(());
        };
        let key = rows::file_key(either.generation, either.name);
        {
            let mut files = self.transaction.open_table(FILES)?;
            match after {
                Some(after) => rows::put(&mut files, FILES, &key, after)?,
                None => {
                    files.remove(key.as_slice())?;
                    let mut moments = self.transaction.open_table(MOMENTS)?;
                    moments.remove(key.as_slice())?;
                }
            }
        }
        self.index(&key, before, after)?;
        self.tell_conflicts(before, after)?;
        for (record, sign) in [(before, -1), (after, 1)] {
            if let Some(record) = record {
                self.count(record, sign);
            }
        }
        Ok(())
    }

    fn index(
        &self,
        key: &[u8],
        before: Option<&FileRecord>,
        after: Option<&FileRecord>,
    ) -> Result<(), CatalogError> {
        let mut unsettled = self.transaction.open_table(UNSETTLED)?;
        for store in stores(before, after) {
            let key = rows::unsettled_key(store, key);
            match (is_unsettled(before, store), is_unsettled(after, store)) {
                (false, true) => drop(unsettled.insert(key.as_slice(), [].as_slice())?),
                (true, false) => drop(unsettled.remove(key.as_slice())?),
                _ => {}
            }
        }
        Ok(())
    }

    fn tell_conflicts(
        &mut self,
        before: Option<&FileRecord>,
        after: Option<&FileRecord>,
    ) -> Result<(), CatalogError> {
        for store in stores(before, after) {
            match (conflict(before, store), conflict(after, store)) {
                (one, other) if one == other => {}
                (_, Some((kind, found))) => drop(self.raise(kind, found)?),
                (Some((kind, _)), None) => drop(self.resolve(&kind.id())?),
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn count(&mut self, record: &FileRecord, sign: i64) {
        let raw_bytes = record.raw_size.cast_signed() * sign;
        let mut add = |of: Option<(&str, State)>, stored_size: u64| {
            let change = self.tally.entry(rows::totals_key(of)).or_default();
            change.files += sign;
            change.raw_bytes += raw_bytes;
            change.stored_bytes += stored_size.cast_signed() * sign;
        };
        add(None, 0);
        for (store, replica) in &record.replicas {
            let stored_size = replica.object().map_or(0, |object| object.stored_size);
            add(Some((store, replica.state())), stored_size);
        }
    }

    /// Writes what was only counted so far.
    pub(super) fn finish(self) -> Result<(), CatalogError> {
        let mut totals = self.transaction.open_table(TOTALS)?;
        for (key, change) in self.tally {
            let mut row: Totals = rows::get(&totals, TOTALS, &key)?.unwrap_or_default();
            row.files = row.files.saturating_add_signed(change.files);
            row.raw_bytes = row.raw_bytes.saturating_add_signed(change.raw_bytes);
            row.stored_bytes = row.stored_bytes.saturating_add_signed(change.stored_bytes);
            rows::put(&mut totals, TOTALS, &key, &row)?;
        }
        Ok(())
    }
}

/// The stores of either record, each once.
fn stores<'r>(
    before: Option<&'r FileRecord>,
    after: Option<&'r FileRecord>,
) -> impl Iterator<Item = &'r str> {
    let stores: std::collections::BTreeSet<&str> = [before, after]
        .into_iter()
        .flatten()
        .flat_map(|record| record.replicas.keys().map(String::as_str))
        .collect();
    stores.into_iter()
}

fn is_unsettled(record: Option<&FileRecord>, store: &str) -> bool {
    record
        .and_then(|record| record.replicas.get(store))
        .is_some_and(|replica| replica.state() != State::Stored)
}

/// The event of a replica in conflict, and when that was found.
fn conflict(record: Option<&FileRecord>, store: &str) -> Option<(EventKind, Timestamp)> {
    let record = record?;
    let (found, at): (Sha256, Timestamp) = match record.replicas.get(store)? {
        Replica::Conflict { raw_sha256, found } => (*raw_sha256, *found),
        _ => return None,
    };
    let kind = EventKind::Conflict {
        generation: record.generation,
        name: record.name,
        store: store.to_owned(),
        expected: record.raw_sha256,
        found,
    };
    Some((kind, at))
}
