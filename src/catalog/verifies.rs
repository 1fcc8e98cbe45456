//! What was verified last: a record for each store and kind, which a deep one
//! that was interrupted goes on from.

use std::ops::Bound;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CatalogError, Reader, Writer,
    rows::{self, VERIFIES},
};

/// How closely was looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyKind {
    /// A listing, held against the catalog.
    Plain,
    /// Every object read.
    Deep,
}

/// The last verify of one store and kind. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRecord {
    /// The store's name.
    pub store: String,
    /// How closely was looked.
    pub kind: VerifyKind,
    /// When it began. A deep one that goes on after an interruption began when
    /// it was begun first.
    pub begun: Timestamp,
    /// When it had looked at everything; `None` while it is under way, and
    /// where it was interrupted or the store did not answer.
    pub finished: Option<Timestamp>,
    /// Objects that were looked at.
    pub objects: u64,
    /// Their stored sizes.
    pub bytes: u64,
    /// How much was found that is not as it should be, what was repaired
    /// included.
    pub problems: u64,
    /// Of that, what was repaired.
    pub repaired: u64,
    /// Why the store could not be verified to its end.
    pub failure: Option<String>,
    /// Of a deep one that is not finished: every object up to this key was
    /// read.
    pub after: Option<String>,
    /// When the last one before this one was finished.
    pub before: Option<Timestamp>,
}

impl VerifyRecord {
    /// One that begins.
    pub fn begin(store: impl Into<String>, kind: VerifyKind, begun: Timestamp) -> Self {
        VerifyRecord {
            store: store.into(),
            kind,
            begun,
            finished: None,
            objects: 0,
            bytes: 0,
            problems: 0,
            repaired: 0,
            failure: None,
            after: None,
            before: None,
        }
    }

    /// When all of the store was last looked at.
    pub fn last_finished(&self) -> Option<Timestamp> {
        self.finished.or(self.before)
    }
}

impl Reader {
    /// The last verify of every store and kind.
    pub fn verifies(&self) -> Result<Vec<VerifyRecord>, CatalogError> {
        self.rows(VERIFIES, Bound::Unbounded, Bound::Unbounded)?
            .map(|row| {
                let (key, value) = row?;
                rows::parse(VERIFIES, key.value(), value.value())
            })
            .collect()
    }
}

impl Writer<'_> {
    /// Notes how far a verify has come. What it is the successor of is found
    /// here.
    pub fn note_verify(&mut self, record: &VerifyRecord) -> Result<(), CatalogError> {
        let mut table = self.transaction.open_table(VERIFIES)?;
        let key = key(&record.store, record.kind);
        let known: Option<VerifyRecord> = rows::get(&table, VERIFIES, &key)?;
        let mut next = record.clone();
        next.before = known.and_then(|known| match known.begun == record.begun {
            true => known.before,
            false => known.last_finished(),
        });
        rows::put(&mut table, VERIFIES, &key, &next)
    }
}

/// Store and kind. A store's name holds no NUL.
fn key(store: &str, kind: VerifyKind) -> Vec<u8> {
    let kind = match kind {
        VerifyKind::Plain => "plain",
        VerifyKind::Deep => "deep",
    };
    format!("{store}\0{kind}").into_bytes()
}
