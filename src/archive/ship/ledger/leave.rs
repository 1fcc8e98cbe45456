//! What may leave staging: what every store holds, and, above the high-water
//! mark, what enough of them hold.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{Entry, Ledger, News};
use crate::{
    archive::ship::{
        ShipError,
        bodies::LaneId,
        copies::{self, LocalCopy},
        plan::leaves_staging,
    },
    catalog::{CatalogError, Replica, Writer},
    codec::Sha256,
    postgres::WalFileName,
};

/// How long a store that works may be behind the others before what they hold
/// is owed to it. A store that is away is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Entry {
    /// Whether it may leave staging before every store has it, were there too
    /// little room.
    fn may_be_owed(&self, away: &BTreeSet<LaneId>, stores: usize) -> bool {
        let Some(since) = self.enough_since else {
            return false;
        };
        let is_late = |lane| {
            away.contains(&lane) || self.failed_in.contains(&lane) || since.elapsed() >= PATIENCE
        };
        let mut missing = (0..stores).filter(|lane| !self.stored_in.contains(lane));
        !self.held_back && self.disputed_by.is_empty() && missing.all(is_late)
    }
}

impl Ledger {
    /// Notes which stores need not be waited for.
    pub(super) fn note_absence(&mut self, batch: &[News]) {
        for news in batch {
            match news {
                News::StoreFailed { lane, .. } => drop(self.away.insert(*lane)),
                News::FileFailed { name, lane, .. } => {
                    if let Some(entry) = self.files.get_mut(name) {
                        entry.failed_in.insert(*lane);
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads what may have to leave staging early and no lane has read in this
    /// pass: the catalog vouches for the file it knows by that name, which is
    /// not always the one that is staged.
    pub(super) fn read_unread(&mut self) -> Result<Vec<News>, ShipError> {
        let (mut waiting, mut found) = (self.waiting, Vec::new());
        let stores = self.shipping.places.len();
        for (&name, entry) in &mut self.files {
            if waiting <= self.shipping.high_water {
                break;
            }
            if !entry.may_be_owed(&self.away, stores) {
                continue;
            }
            if entry.digest.is_none() {
                let staged = self.shipping.staging.digest(name)?;
                match (staged, entry.recorded) {
                    (None, _) => found.push(News::Gone { name }),
                    (Some(staged), Some(recorded)) if staged != recorded => {
                        found.push(News::OtherBytes {
                            name,
                            recorded,
                            staged,
                        });
                        continue;
                    }
                    (staged, _) => entry.digest = staged,
                }
            }
            waiting = waiting.saturating_sub(entry.staged.allocated);
        }
        Ok(found)
    }

    /// Above the high-water mark, what enough stores hold may leave staging:
    /// the others are owed it.
    pub(super) fn owe(&mut self, writer: &mut Writer<'_>) -> Result<(), CatalogError> {
        let (all, now) = (self.shipping.places.len(), Timestamp::now());
        let generation = self.generation();
        let mut waiting = self.waiting;
        for (name, entry) in &mut self.files {
            if entry.digest.is_none() || !entry.may_be_owed(&self.away, all) {
                continue;
            }
            if entry.stored_in.len() == all {
                waiting = waiting.saturating_sub(entry.staged.allocated);
                continue;
            }
            if waiting <= self.shipping.high_water {
                continue;
            }
            let missing = (0..all).filter(|lane| !entry.stored_in.contains(lane));
            let missing: Vec<String> = missing
                .map(|lane| self.shipping.places[lane].name().to_string())
                .collect();
            writer.update(generation, *name, |replicas| {
                for store in &missing {
                    let replica = replicas.entry(store.clone()).or_insert(Replica::PENDING);
                    if let Replica::Pending { failures } = replica {
                        let failures = failures.take();
                        *replica = Replica::Owed {
                            since: now,
                            failures,
                        };
                    }
                }
            })?;
            waiting = waiting.saturating_sub(entry.staged.allocated);
            // From here on it counts as if they all had it.
            entry.stored_in = (0..all).collect();
            entry.owed = true;
            self.report.owed += 1;
            let stores = missing.join("\", \"");
            tracing::warn!(
                "staging is above its high-water mark: \"{name}\" leaves it, owed to \"{stores}\""
            );
        }
        Ok(())
    }

    /// Lets go of what every store holds, unless that stays for a while, and of
    /// what is owed by the others.
    pub(super) fn release(&mut self) -> Result<(), ShipError> {
        let all = self.shipping.places.len();
        let done = |entry: &Entry| !entry.held_back && entry.stored_in.len() == all;
        let done: Vec<(WalFileName, Sha256)> = self
            .files
            .iter()
            .filter(|(_, entry)| done(entry))
            .filter_map(|(name, entry)| Some((*name, entry.digest?)))
            .collect();
        let mut leaving = Vec::new();
        let read: BTreeSet<WalFileName> = done.iter().map(|(name, _)| *name).collect();
        for (name, raw_sha256) in done {
            let Some(Entry { staged, owed, .. }) = self.files.remove(&name) else {
                continue;
            };
            self.waiting = self.waiting.saturating_sub(staged.allocated);
            let copy = LocalCopy { staged, raw_sha256 };
            match owed {
                true => leaving.push(copy),
                false => drop(self.copies.insert(name, copy)),
            }
        }
        // They are in the way before anything else is.
        let wanted = (self.waiting + self.copied()).saturating_sub(self.shipping.high_water);
        let copies = self.copies.values().map(|copy| &copy.staged);
        let window = self.shipping.local_window;
        for name in leaves_staging(Timestamp::now(), window, wanted, copies) {
            leaving.extend(self.copies.remove(&name));
        }
        let staging = &self.shipping.staging;
        let (read, unread): (Vec<_>, Vec<_>) = leaving
            .iter()
            .partition(|copy| read.contains(&copy.staged.name));
        let receipts = read.iter().map(|copy| (copy.staged.name, copy.raw_sha256));
        staging.release(&receipts.collect::<Vec<_>>())?;
        // Where another file is there by now, the next pass says so.
        let others = copies::release(staging, unread)?;
        for copy in leaving {
            if !others.contains(&copy.staged.name) {
                self.report.files += 1;
                self.report.raw_bytes += copy.staged.size;
            }
        }
        Ok(())
    }

    /// What the copies take, in bytes on the disk.
    pub(super) fn copied(&self) -> u64 {
        let copies = self.copies.values();
        copies.map(|copy| copy.staged.allocated).sum()
    }
}
