//! Gaps that somebody knows of, and what the catalog has to know to find them:
//! how timelines descend from each other.

use std::{collections::BTreeMap, ops::Bound};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CatalogError, Reader, Writer,
    rows::{self, ACKNOWLEDGED, HISTORIES},
};
use crate::{
    layout::Generation,
    postgres::{SegmentName, TimelineId, WalFileName, history::Ancestor},
};

/// Segments that somebody knows to be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Of which generation of the archive.
    pub generation: Generation,
    /// The first of them.
    pub first: SegmentName,
    /// The last, the same one or a later one of the same timeline.
    pub last: SegmentName,
    /// Who: `USER@HOST`.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The history files of one generation: each timeline's ancestors, the eldest
/// first.
pub type Histories = BTreeMap<TimelineId, Vec<Ancestor>>;

impl Reader {
    /// Everything that was acknowledged, by generation and segment.
    pub fn acknowledged(&self) -> Result<Vec<Acknowledged>, CatalogError> {
        self.rows(ACKNOWLEDGED, Bound::Unbounded, Bound::Unbounded)?
            .map(|row| {
                let (key, value) = row?;
                rows::parse(ACKNOWLEDGED, key.value(), value.value())
            })
            .collect()
    }

    /// The history files that `verify` has read, by generation.
    pub fn histories(&self) -> Result<BTreeMap<Generation, Histories>, CatalogError> {
        let mut histories: BTreeMap<Generation, Histories> = BTreeMap::new();
        for row in self.rows(HISTORIES, Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = row?;
            let (generation, name) = rows::parse_file_key(key.value())
                .ok_or_else(|| rows::damaged(HISTORIES, key.value(), &"it is no file's key"))?;
            let ancestors = rows::parse(HISTORIES, key.value(), value.value())?;
            let known = histories.entry(generation).or_default();
            known.insert(name.timeline(), ancestors);
        }
        Ok(histories)
    }
}

impl Writer<'_> {
    /// Notes that somebody knows of a gap.
    pub fn acknowledge(&mut self, it: &Acknowledged) -> Result<(), CatalogError> {
        let mut table = self.transaction.open_table(ACKNOWLEDGED)?;
        let key = rows::file_key(it.generation, it.first.into());
        rows::put(&mut table, ACKNOWLEDGED, &key, it)
    }

    /// What was acknowledged is no gap any more: should it become one again,
    /// that is news.
    pub fn forget_acknowledged(
        &mut self,
        generation: Generation,
        first: SegmentName,
    ) -> Result<(), CatalogError> {
        let mut table = self.transaction.open_table(ACKNOWLEDGED)?;
        let key = rows::file_key(generation, first.into());
        table.remove(key.as_slice())?;
        Ok(())
    }

    /// Notes what the history file of `timeline` says. It is written once.
    pub fn note_history(
        &mut self,
        generation: Generation,
        timeline: TimelineId,
        ancestors: &[Ancestor],
    ) -> Result<(), CatalogError> {
        let mut table = self.transaction.open_table(HISTORIES)?;
        let key = rows::file_key(generation, WalFileName::History(timeline));
        rows::put(&mut table, HISTORIES, &key, &ancestors)
    }
}
