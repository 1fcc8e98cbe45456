//! Alerts, as they were raised, told, acknowledged and resolved, and what else
//! the daemon's watch knows from one minute to the next. All of it is what this
//! host alone knows: a rebuild begins without it.

use std::{collections::BTreeMap, ops::Bound};

use jiff::Timestamp;
use redb::ReadableTableMetadata;
use serde::{Deserialize, Serialize};

use super::{
    CatalogError, Reader, StoreFailure, Writer,
    rows::{self, ALERTS, CLOCKS, RESOLVED, SINKS},
};

/// How many resolved alerts are kept. The oldest goes when another one comes.
pub const RESOLVED_KEPT: u64 = 500;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It needs somebody, these days.
    Warning,
    /// Data is lost, is about to be, or cannot be seen to be safe.
    Critical,
}

/// Something that is not as it should be, from when it was first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// `KIND` or `KIND/SUBJECT`: the same for as long as it goes on.
    pub id: String,
    /// What kind of thing.
    pub kind: String,
    /// Of what: a store, a file, a sink.
    pub subject: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, with what to do; as it was when it was last told.
    pub message: String,
    /// When it was first seen.
    pub since: Timestamp,
    /// When it was told first; `None` while it may pass by itself.
    pub raised: Option<Timestamp>,
    /// When it was told last.
    pub told: Option<Timestamp>,
    /// Who knows of it, and since when: it is not told again.
    pub acknowledged: Option<Acknowledgement>,
    /// When it was over.
    pub resolved: Option<Timestamp>,
}

/// Somebody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who: `USER@HOST`.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// How a sink has been doing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SinkFacts {
    /// When it last took a message.
    pub last_success: Option<Timestamp>,
    /// What it last failed with; it stays after the sink recovered.
    pub last_failure: Option<StoreFailure>,
    /// How many messages it did not take since the last one that it took.
    pub failures_in_a_row: u32,
}

impl Reader {
    /// The alerts that are open, by their ids.
    pub fn alerts(&self) -> Result<Vec<AlertRecord>, CatalogError> {
        self.rows(ALERTS, Bound::Unbounded, Bound::Unbounded)?
            .map(|row| {
                let (key, value) = row?;
                rows::parse(ALERTS, key.value(), value.value())
            })
            .collect()
    }

    /// Those that are over, the one that was resolved last at the end.
    pub fn resolved_alerts(&self) -> Result<Vec<AlertRecord>, CatalogError> {
        self.rows(RESOLVED, Bound::Unbounded, Bound::Unbounded)?
            .map(|row| {
                let (key, value) = row?;
                rows::parse(RESOLVED, key.value(), value.value())
            })
            .collect()
    }

    /// How the sinks have been doing, by their names.
    pub fn sinks(&self) -> Result<BTreeMap<String, SinkFacts>, CatalogError> {
        self.named(SINKS)
    }

    /// By how many seconds this host's clock was ahead of a store's when that
    /// was last asked; negative where it was behind.
    pub fn clocks(&self) -> Result<BTreeMap<String, i64>, CatalogError> {
        self.named(CLOCKS)
    }

    fn named<T: serde::de::DeserializeOwned>(
        &self,
        table: rows::Definition,
    ) -> Result<BTreeMap<String, T>, CatalogError> {
        let mut all = BTreeMap::new();
        for row in self.rows(table, Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = row?;
            let name = str::from_utf8(key.value());
            let name = name.map_err(|error| rows::damaged(table, key.value(), &error))?;
            all.insert(
                name.to_owned(),
                rows::parse(table, key.value(), value.value())?,
            );
        }
        Ok(all)
    }
}

impl Writer<'_> {
    /// Notes an alert as it is now. One that is resolved is open no more, and
    /// is remembered among the last [`RESOLVED_KEPT`].
    pub fn note_alert(&mut self, alert: &AlertRecord) -> Result<(), CatalogError> {
        let Some(resolved) = alert.resolved else {
            let mut alerts = self.transaction.open_table(ALERTS)?;
            return rows::put(&mut alerts, ALERTS, alert.id.as_bytes(), alert);
        };
        self.forget_alert(&alert.id)?;
        let mut past = self.transaction.open_table(RESOLVED)?;
        // Microseconds fit into 64 bits; before 1970 there were none.
        let micros = u64::try_from(resolved.as_microsecond()).unwrap_or(0);
        let key = [&micros.to_be_bytes(), alert.id.as_bytes()].concat();
        rows::put(&mut past, RESOLVED, &key, alert)?;
        while past.len()? > RESOLVED_KEPT {
            past.pop_first()?;
        }
        Ok(())
    }

    /// It passed before it was told: nothing of it is kept.
    pub fn forget_alert(&mut self, id: &str) -> Result<(), CatalogError> {
        let mut alerts = self.transaction.open_table(ALERTS)?;
        alerts.remove(id.as_bytes())?;
        Ok(())
    }

    /// Notes whether a sink took a message, or why it did not.
    pub fn note_sink(
        &mut self,
        sink: &str,
        at: Timestamp,
        failed: Option<String>,
    ) -> Result<(), CatalogError> {
        let mut sinks = self.transaction.open_table(SINKS)?;
        let known = rows::get(&sinks, SINKS, sink.as_bytes())?;
        let mut facts: SinkFacts = known.unwrap_or_default();
        match failed {
            None => (facts.last_success, facts.failures_in_a_row) = (Some(at), 0),
            Some(error) => {
                facts.last_failure = Some(StoreFailure { at, error });
                facts.failures_in_a_row = facts.failures_in_a_row.saturating_add(1);
            }
        }
        rows::put(&mut sinks, SINKS, sink.as_bytes(), &facts)
    }

    /// Notes by how many seconds this host's clock is ahead of a store's.
    pub fn note_clock(&mut self, store: &str, seconds: i64) -> Result<(), CatalogError> {
        let mut clocks = self.transaction.open_table(CLOCKS)?;
        rows::put(&mut clocks, CLOCKS, store.as_bytes(), &seconds)
    }
}
