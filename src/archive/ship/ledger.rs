//! What came of each file, written down: object, then catalog, then receipt
//! and unlink. One thread does it for all stores, many files at a time.

mod leave;
mod news;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use jiff::Timestamp;
use tokio::sync::mpsc::Receiver;

pub(super) use news::News;
use news::{Received, receive};

use super::{
    Job, LeftOut, Report, ShipError, Shipping, bodies::LaneId, copies::LocalCopy,
    deliver::Delivered, pack::PackError,
};
use crate::{
    archive::staging::Staged,
    catalog::{CatalogError, EventKind, FileRecord, Joined, Replica, Writer},
    codec::{Facts, Sha256},
    postgres::WalFileName,
    trail::Deed,
};

/// What a conflict names instead of a store where the staged file is the
/// other one.
pub(super) const STAGING: &str = "staging";

/// How many news are written down in one transaction.
const BATCH: usize = 64;

/// The state of one pass.
pub(super) struct Ledger {
    shipping: Shipping,
    files: BTreeMap<WalFileName, Entry>,
    /// Whose stores take nothing for now.
    away: BTreeSet<LaneId>,
    /// In how many stores each file must be for the pass to end.
    enough: Option<usize>,
    /// What waits in staging, in bytes on its disk.
    waiting: u64,
    /// What every store has and stays for a while.
    copies: BTreeMap<WalFileName, LocalCopy>,
    /// What is to be told once it is written down.
    deeds: Vec<Deed>,
    report: Report,
}

struct Entry {
    staged: Staged,
    stored_in: BTreeSet<LaneId>,
    /// Of the staged file, once this pass has read it.
    digest: Option<Sha256>,
    /// Of the file that the catalog has under its name.
    recorded: Option<Sha256>,
    /// Since when so many stores hold it that it may be owed to the others.
    enough_since: Option<Instant>,
    /// Whose stores did not take it in this pass.
    failed_in: BTreeSet<LaneId>,
    /// Whose stores held something else when they were last asked.
    disputed_by: BTreeSet<LaneId>,
    /// Somebody has to look before it may leave staging.
    held_back: bool,
    /// It leaves staging, and a store gets it from another one.
    owed: bool,
}

impl Ledger {
    pub(super) fn new(
        shipping: Shipping,
        jobs: &[Job],
        kept: Vec<LocalCopy>,
        enough: Option<usize>,
    ) -> Self {
        let all: BTreeSet<LaneId> = (0..shipping.places.len()).collect();
        let copies = |stored: usize| stored > 0 && stored >= shipping.min_copies;
        let entry = |job: &Job| Entry {
            staged: job.file.clone(),
            stored_in: all.difference(&job.needed_by).copied().collect(),
            enough_since: copies(all.len() - job.needed_by.len()).then(Instant::now),
            failed_in: BTreeSet::new(),
            digest: None,
            recorded: job.recorded,
            disputed_by: job.disputed_by.clone(),
            held_back: false,
            owed: false,
        };
        let places = shipping.places.iter().enumerate();
        let failed =
            places.filter(|(_, it)| shipping.left_out.get(it.name()) == Some(&LeftOut::Failed));
        Ledger {
            files: jobs.iter().map(|job| (job.file.name, entry(job))).collect(),
            away: failed.map(|(lane, _)| lane).collect(),
            shipping,
            enough,
            waiting: jobs.iter().map(|job| job.file.allocated).sum(),
            copies: kept
                .into_iter()
                .map(|copy| (copy.staged.name, copy))
                .collect(),
            deeds: Vec::new(),
            report: Report::default(),
        }
    }

    /// Writes down what comes until every lane has ended, or there is enough.
    pub(super) fn keep(mut self, mut news: Receiver<News>) -> Result<Report, ShipError> {
        let mut batch = Vec::with_capacity(BATCH);
        // There may be enough before anything is sent: a push that is repeated
        // must not wait for the store that was down the first time.
        while !self.has_enough() {
            match receive(&mut news) {
                Received::News(first) => batch.push(*first),
                Received::Nothing if self.waiting <= self.shipping.high_water => continue,
                Received::Nothing => {}
                Received::End => break,
            }
            while batch.len() < BATCH
                && let Ok(next) = news.try_recv()
            {
                batch.push(next);
            }
            self.settle(std::mem::take(&mut batch))?;
        }
        self.report.waiting = self.files.len() as u64;
        self.report.waiting_bytes = self.waiting;
        self.report.kept = self.copies.len() as u64;
        self.report.kept_bytes = self.copied();
        Ok(self.report)
    }

    fn has_enough(&self) -> bool {
        let held = |copies| {
            self.files
                .values()
                .all(|entry| entry.stored_in.len() >= copies)
        };
        self.enough.is_some_and(held)
    }

    fn settle(&mut self, mut batch: Vec<News>) -> Result<(), ShipError> {
        self.note_absence(&batch);
        // Outside of the transaction: it can take long.
        batch.extend(self.read_unread()?);
        let catalog = self.shipping.catalog.clone();
        let mut refused = None;
        catalog.write(|writer| {
            for news in batch {
                if let Err(error) = self.note(writer, news)? {
                    refused = Some(error);
                }
            }
            self.owe(writer)
        })?;
        self.shipping
            .trail
            .note_all(&std::mem::take(&mut self.deeds));
        if let Some(error) = refused {
            return Err(error);
        }
        self.release()
    }

    /// Notes one thing in the catalog; the inner error ends the pass.
    fn note(
        &mut self,
        writer: &mut Writer<'_>,
        news: News,
    ) -> Result<Result<(), ShipError>, CatalogError> {
        let now = Timestamp::now();
        match news {
            News::Delivered {
                name,
                lane,
                facts,
                delivered,
            } => {
                self.delivered(writer, name, lane, &facts, delivered)?;
            }
            News::FileFailed {
                name,
                lane,
                facts,
                error,
            } => {
                tracing::warn!("{error}");
                let store = self.store(lane);
                writer.merge(&self.record(name, &facts))?;
                let generation = self.generation();
                writer.update(generation, name, |replicas| {
                    let replica = replicas.entry(store).or_insert(Replica::PENDING);
                    replica.fail(now, error.to_string());
                })?;
                self.report.problems.push(error.to_string());
            }
            News::StoreFailed { lane, error } => {
                let store = self.store(lane);
                writer.update_store(&store, |facts| facts.fail(now, error.to_string()))?;
                self.report.problems.push(error.to_string());
            }
            News::Unpaid { name, lane, reason } => {
                let store = self.store(lane);
                let problem = format!("\"{name}\" is owed to \"{store}\": {reason}");
                tracing::warn!("{problem}");
                writer.update(self.generation(), name, |replicas| {
                    if let Some(replica) = replicas.get_mut(&store) {
                        replica.fail(now, reason);
                    }
                })?;
                self.report.problems.push(problem);
            }
            News::Gone { name } => self.forget(name),
            News::Unpacked {
                name,
                error: PackError::Refused(refusal),
            } => {
                let reason = refusal.to_string();
                let event = EventKind::Refused {
                    file: name.to_string(),
                    reason: reason.clone(),
                };
                writer.raise(event, now)?;
                self.hold_back(
                    name,
                    format!("\"{name}\" in staging is not shipped: {reason}"),
                );
            }
            News::Unpacked { name, error } => {
                let error = anyhow::Error::new(error);
                self.hold_back(
                    name,
                    format!("\"{name}\" in staging is not shipped: {error:#}"),
                );
            }
            News::OtherBytes {
                name,
                recorded,
                staged,
            } => {
                self.clash(writer, name, STAGING, recorded, staged)?;
            }
            News::CatalogFailed(error) => return Ok(Err(error.into())),
        }
        Ok(Ok(()))
    }

    fn delivered(
        &mut self,
        writer: &mut Writer<'_>,
        name: WalFileName,
        lane: LaneId,
        facts: &Facts,
        delivered: Delivered,
    ) -> Result<(), CatalogError> {
        let (now, store) = (Timestamp::now(), self.store(lane));
        writer.update_store(&store, |facts| facts.succeed(now))?;
        let object = match delivered {
            Delivered::Stored(object) => object,
            Delivered::Conflict { found } => {
                let mut record = self.record(name, facts);
                // What is owed stays owed, so that it is tried again once
                // somebody has looked; what is staged is tried again anyway.
                if self.files.contains_key(&name) {
                    let conflict = Replica::Conflict {
                        raw_sha256: found,
                        found: now,
                    };
                    record = record.with(store.clone(), conflict);
                }
                writer.merge(&record)?;
                return self.clash(writer, name, &store, facts.raw_sha256, found);
            }
            Delivered::Damaged { reason, object } => {
                let suspect = Replica::Suspect {
                    object,
                    found: now,
                    reason: reason.clone(),
                };
                writer.merge(&self.record(name, facts).with(store.clone(), suspect))?;
                let problem = format!(
                    "\"{name}\" in store \"{store}\" is damaged ({reason}); it stays staged, and \
                     `walkeep verify --repair` replaces it"
                );
                self.hold_back(name, problem);
                return Ok(());
            }
        };
        let stored = self
            .record(name, facts)
            .with(store.clone(), Replica::Stored(object.clone()));
        if let Joined::Conflict {
            recorded, offered, ..
        } = writer.merge(&stored)?
        {
            return self.clash(writer, name, &store, recorded, offered);
        }
        if let Some(moments) = &facts.moments {
            writer.note_moments(self.generation(), name, facts.raw_sha256, moments)?;
        }
        let (expected, found) = (facts.raw_sha256, facts.raw_sha256);
        for ended in [
            EventKind::Refused {
                file: name.to_string(),
                reason: String::new(),
            },
            EventKind::Conflict {
                generation: self.generation(),
                name,
                store: store.clone(),
                expected,
                found,
            },
        ] {
            writer.resolve(&ended.id())?;
        }
        self.deeds.push(Deed::Shipped {
            generation: self.generation(),
            file: name,
            store: store.clone(),
            bytes: object.stored_size,
        });
        let totals = self.report.stores.entry(store).or_default();
        totals.files += 1;
        totals.stored_bytes += object.stored_size;
        if let Some(entry) = self.files.get_mut(&name) {
            entry.stored_in.insert(lane);
            entry.disputed_by.remove(&lane);
            if entry.stored_in.len() >= self.shipping.min_copies {
                entry.enough_since.get_or_insert_with(Instant::now);
            }
            entry.digest = Some(facts.raw_sha256);
        }
        Ok(())
    }

    /// Two files have one name. Nothing is overwritten, nothing deleted.
    fn clash(
        &mut self,
        writer: &mut Writer<'_>,
        name: WalFileName,
        store: &str,
        expected: Sha256,
        found: Sha256,
    ) -> Result<(), CatalogError> {
        let generation = self.generation();
        let event = EventKind::Conflict {
            generation,
            name,
            store: store.to_owned(),
            expected,
            found,
        };
        writer.raise(event, Timestamp::now())?;
        let holder = if store == STAGING {
            store.to_owned()
        } else {
            format!("store \"{store}\"")
        };
        let stays = if self.files.contains_key(&name) {
            ", and the staged file stays"
        } else {
            ""
        };
        let is_new = self.hold_back(
            name,
            format!(
                "split brain: \"{name}\" has SHA-256 {expected}, but {holder} has other bytes \
                 under that name ({found}); nothing was overwritten{stays}. Find out which \
                 server should write to this archive"
            ),
        );
        self.report.conflicts += u64::from(is_new);
        Ok(())
    }

    /// Keeps the file staged and says why, once: each store's lane may meet
    /// the same.
    fn hold_back(&mut self, name: WalFileName, problem: String) -> bool {
        if let Some(entry) = self.files.get_mut(&name)
            && std::mem::replace(&mut entry.held_back, true)
        {
            return false;
        }
        tracing::error!("{problem}");
        self.report.problems.push(problem);
        true
    }

    /// The file is not ours to ship any more.
    fn forget(&mut self, name: WalFileName) {
        if let Some(entry) = self.files.remove(&name) {
            self.waiting = self.waiting.saturating_sub(entry.staged.allocated);
        }
    }

    /// The file's record, in which every store is still to get it.
    fn record(&self, name: WalFileName, facts: &Facts) -> FileRecord {
        let marker = self.shipping.staging.marker();
        let (size, digest) = (facts.raw_size, facts.raw_sha256);
        let generation = marker.generation;
        let record = FileRecord::new(
            generation,
            name,
            marker.segment_size,
            size,
            digest,
            facts.modified,
        );
        let stores = self
            .shipping
            .places
            .iter()
            .map(|place| place.name().to_string());
        stores.fold(record, |record, store| record.with(store, Replica::PENDING))
    }

    fn store(&self, lane: LaneId) -> String {
        self.shipping.places[lane].name().to_string()
    }

    fn generation(&self) -> crate::layout::Generation {
        self.shipping.staging.marker().generation
    }
}
