//! What is wrong with the objects of base backups, store by store: the catalog
//! has no record of each of them, only of those that are not as they should be.

use std::ops::Bound;

use jiff::Timestamp;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::{
    CatalogError, Reader, Writer,
    rows::{self, FLAWS},
};
use crate::layout::Generation;

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlawKind {
    /// A manifest needs it, or it is a manifest that the store had, and the
    /// store does not have it.
    Missing,
    /// The store has something else in its place.
    Damaged,
}

/// An object of a base backup that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flaw {
    /// The store.
    pub store: String,
    /// Its key in that store, the prefix included.
    pub key: String,
    /// Of which generation of the archive it is.
    pub generation: Generation,
    /// What is wrong.
    pub kind: FlawKind,
    /// The same in words, as an error says it.
    pub reason: String,
    /// When it was found first.
    pub found: Timestamp,
}

impl Reader {
    /// Every flaw, by store and key.
    pub fn flaws(&self) -> Result<Vec<Flaw>, CatalogError> {
        self.rows(FLAWS, Bound::Unbounded, Bound::Unbounded)?
            .map(|row| {
                let (key, value) = row?;
                rows::parse(FLAWS, key.value(), value.value())
            })
            .collect()
    }
}

impl Writer<'_> {
    /// Notes a flaw. One that is known stays found when it was.
    pub fn note_flaw(&mut self, flaw: &Flaw) -> Result<(), CatalogError> {
        let mut table = self.transaction.open_table(FLAWS)?;
        let key = rows::unsettled_key(&flaw.store, flaw.key.as_bytes());
        let known: Option<Flaw> = rows::get(&table, FLAWS, &key)?;
        let found = known.map_or(flaw.found, |known| known.found);
        let flaw = Flaw {
            found,
            ..flaw.clone()
        };
        rows::put(&mut table, FLAWS, &key, &flaw)
    }

    /// The object is as it should be, or nothing needs it any more. Returns
    /// whether it was not.
    pub fn mend_flaw(&mut self, store: &str, key: &str) -> Result<bool, CatalogError> {
        let mut table = self.transaction.open_table(FLAWS)?;
        let key = rows::unsettled_key(store, key.as_bytes());
        if table.get(key.as_slice())?.is_none() {
            return Ok(false);
        }
        Ok(table.remove(key.as_slice())?.is_some())
    }
}
