//! Whether a catalog is whole: every row parses, and what is kept twice
//! agrees.

use std::{collections::BTreeMap, ops::Bound};

use super::{
    CatalogError, FileRecord, Reader, Select, State, Totals,
    rows::{self, MOMENTS, MomentsRow, TOTALS, UNSETTLED},
};

impl Reader {
    /// Reads every row, and compares the totals and the index of what is
    /// unsettled with the records.
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let mut totals: BTreeMap<Vec<u8>, Totals> = BTreeMap::new();
        let mut unsettled = 0;
        for record in self.files(&Select::All)? {
            unsettled += self.check_index(&record?, &mut totals)?;
        }
        let indexed = self.rows(UNSETTLED, Bound::Unbounded, Bound::Unbounded)?;
        if indexed.count() != unsettled {
            return Err(rows::damaged(UNSETTLED, b"", &"it has a row too many"));
        }
        for row in self.rows(TOTALS, Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = row?;
            let kept: Totals = rows::parse(TOTALS, key.value(), value.value())?;
            if kept != totals.remove(key.value()).unwrap_or_default() {
                return Err(rows::damaged(TOTALS, key.value(), &"it is not the sum"));
            }
        }
        if let Some((key, _)) = totals.first_key_value() {
            return Err(rows::damaged(TOTALS, key, &"it is missing"));
        }
        for row in self.rows(MOMENTS, Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = row?;
            rows::parse::<MomentsRow>(MOMENTS, key.value(), value.value())?;
        }
        self.backups()?;
        self.drills()?;
        self.jobs()?;
        self.clusters()?;
        self.stores()?;
        self.events()?;
        self.verifies()?;
        self.alerts()?;
        self.resolved_alerts()?;
        self.sinks()?;
        self.clocks()?;
        self.flaws()?;
        self.acknowledged()?;
        self.histories()?;
        self.wants_rebuild()?;
        Ok(())
    }

    /// Adds a record to the totals and returns how many of its replicas are
    /// unsettled.
    fn check_index(
        &self,
        record: &FileRecord,
        totals: &mut BTreeMap<Vec<u8>, Totals>,
    ) -> Result<usize, CatalogError> {
        let mut add = |key: Vec<u8>, stored_size: u64| {
            let sum = totals.entry(key).or_default();
            sum.files += 1;
            sum.raw_bytes = sum.raw_bytes.saturating_add(record.raw_size);
            sum.stored_bytes = sum.stored_bytes.saturating_add(stored_size);
        };
        add(rows::totals_key(None), 0);
        let mut unsettled = 0;
        for (store, replica) in &record.replicas {
            let state = replica.state();
            let stored_size = replica.object().map_or(0, |object| object.stored_size);
            add(rows::totals_key(Some((store, state))), stored_size);
            if state != State::Stored {
                unsettled += 1;
                let file = rows::file_key(record.generation, record.name);
                let key = rows::unsettled_key(store, &file);
                if !self.has(UNSETTLED, &key)? {
                    return Err(rows::damaged(UNSETTLED, &key, &"it is missing"));
                }
            }
        }
        Ok(unsettled)
    }
}
