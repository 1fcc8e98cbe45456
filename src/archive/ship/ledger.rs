//! What came of each file, written down: object, then catalog, then receipt
//! and unlink. One thread does it for all stores, many files at a time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::sync::mpsc::Receiver;

use super::{
    Job, Report, ShipError, Shipping, bodies::LaneId, deliver::Delivered, pack::PackError,
};
use crate::{
    archive::staging::Staged,
    catalog::{CatalogError, EventKind, FileRecord, Joined, Replica, Writer},
    codec::{Facts, Sha256},
    postgres::WalFileName,
    store::StoreError,
};

/// How many news are written down in one transaction.
const BATCH: usize = 64;

/// What a lane has to say.
pub(super) enum News {
    /// A store answered for a file.
    Delivered {
        name: WalFileName,
        lane: LaneId,
        facts: Facts,
        delivered: Delivered,
    },
    /// A store did not take this file; others it may.
    FileFailed {
        name: WalFileName,
        lane: LaneId,
        facts: Facts,
        error: StoreError,
    },
    /// A store takes nothing for now.
    StoreFailed { lane: LaneId, error: StoreError },
    /// The staged file has become no object.
    Unpacked { name: WalFileName, error: PackError },
    /// The staged file is not the one that was archived under its name.
    OtherBytes {
        name: WalFileName,
        recorded: Sha256,
        staged: Sha256,
    },
    /// The catalog could not be asked.
    CatalogFailed(CatalogError),
}

/// The state of one pass.
pub(super) struct Ledger {
    shipping: Shipping,
    files: BTreeMap<WalFileName, Entry>,
    /// In how many stores each file must be for the pass to end.
    enough: Option<usize>,
    /// What waits in staging, in bytes on its disk.
    waiting: u64,
    report: Report,
}

struct Entry {
    staged: Staged,
    stored_in: BTreeSet<LaneId>,
    digest: Option<Sha256>,
    /// Somebody has to look before it may leave staging.
    held_back: bool,
}

impl Ledger {
    pub(super) fn new(shipping: Shipping, jobs: &[Job], enough: Option<usize>) -> Self {
        let all: BTreeSet<LaneId> = (0..shipping.places.len()).collect();
        let entry = |job: &Job| Entry {
            staged: job.file.clone(),
            stored_in: all.difference(&job.needed_by).copied().collect(),
            digest: job.recorded,
            held_back: false,
        };
        Ledger {
            files: jobs.iter().map(|job| (job.file.name, entry(job))).collect(),
            shipping,
            enough,
            waiting: jobs.iter().map(|job| job.file.allocated).sum(),
            report: Report::default(),
        }
    }

    /// Writes down what comes until every lane has ended, or there is enough.
    pub(super) fn keep(mut self, mut news: Receiver<News>) -> Result<Report, ShipError> {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = news.blocking_recv() {
            batch.push(first);
            while batch.len() < BATCH
                && let Ok(next) = news.try_recv()
            {
                batch.push(next);
            }
            self.settle(std::mem::take(&mut batch))?;
            if self.has_enough() {
                break;
            }
        }
        self.report.waiting = self.files.len() as u64;
        self.report.waiting_bytes = self.waiting;
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

    fn settle(&mut self, batch: Vec<News>) -> Result<(), ShipError> {
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
                self.clash(writer, name, "staging", recorded, staged)?;
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
                writer.merge(&self.record(name, facts))?;
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
        writer.resolve(
            &EventKind::Refused {
                file: name.to_string(),
                reason: String::new(),
            }
            .id(),
        )?;
        let totals = self.report.stores.entry(store).or_default();
        totals.files += 1;
        totals.stored_bytes += object.stored_size;
        if let Some(entry) = self.files.get_mut(&name) {
            entry.stored_in.insert(lane);
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
        let holder = if store == "staging" {
            store.to_owned()
        } else {
            format!("store \"{store}\"")
        };
        self.hold_back(
            name,
            format!(
                "split brain: \"{name}\" has SHA-256 {expected}, but {holder} has other bytes \
                 under that name ({found}); nothing was overwritten, and the staged file stays. \
                 Find out which server should write to this archive"
            ),
        );
        self.report.conflicts += 1;
        Ok(())
    }

    fn hold_back(&mut self, name: WalFileName, problem: String) {
        if let Some(entry) = self.files.get_mut(&name) {
            // Each store's lane may have met the same.
            if std::mem::replace(&mut entry.held_back, true) {
                return;
            }
        }
        tracing::error!("{problem}");
        self.report.problems.push(problem);
    }

    /// Above the high-water mark, what enough stores hold may leave staging:
    /// the others are owed it.
    fn owe(&mut self, writer: &mut Writer<'_>) -> Result<(), CatalogError> {
        let (all, now) = (self.shipping.places.len(), Timestamp::now());
        let generation = self.generation();
        let mut waiting = self.waiting;
        for (name, entry) in &mut self.files {
            let stores = entry.stored_in.len();
            if entry.held_back || entry.digest.is_none() || stores == 0 {
                continue;
            }
            if stores == all {
                waiting = waiting.saturating_sub(entry.staged.allocated);
                continue;
            }
            if waiting <= self.shipping.high_water || stores < self.shipping.min_copies {
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
            self.report.owed += 1;
            let stores = missing.join("\", \"");
            tracing::warn!(
                "staging is above its high-water mark: \"{name}\" leaves it, owed to \"{stores}\""
            );
        }
        Ok(())
    }

    /// Lets go of what every store holds, or is owed by the others.
    fn release(&mut self) -> Result<(), ShipError> {
        let all = self.shipping.places.len();
        let done = |entry: &Entry| !entry.held_back && entry.stored_in.len() == all;
        let done: Vec<(WalFileName, Sha256)> = self
            .files
            .iter()
            .filter(|(_, entry)| done(entry))
            .filter_map(|(name, entry)| Some((*name, entry.digest?)))
            .collect();
        self.shipping.staging.release(&done)?;
        for (name, _) in &done {
            if let Some(entry) = self.files.remove(name) {
                self.waiting = self.waiting.saturating_sub(entry.staged.allocated);
                self.report.files += 1;
                self.report.raw_bytes += entry.staged.size;
            }
        }
        Ok(())
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
