//! Every object read, several at once, no faster than `ship.rate_limit`. How
//! far it came is in the catalog, so that an interrupted one goes on there.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use futures_util::{StreamExt, future::join_all, stream};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{
    Scene, VerifyError,
    backups::{Backups, flaw},
    files,
    judge::{Verdict, judge},
    objects::{self, Found, Pieces, check},
    report::{Problem, ProblemKind, StoreReport},
};
use crate::{
    catalog::{FileRecord, FlawKind, VerifyKind, VerifyRecord},
    layout::Key,
    store::StoreError,
};

/// After how many objects it is written down what was found: what a killed
/// one reads again.
const BATCH: usize = 16;
/// How much of packs is in memory at a time, in KiB.
const MEMORY: u32 = 48 << 10;

/// An object that is to be read.
#[derive(Clone)]
struct Item {
    text: String,
    key: Key,
    size: u64,
}

/// What was read.
enum Read {
    File(Option<FileRecord>, Result<Verdict, StoreError>),
    Object(Result<Found, StoreError>),
}

/// Reads all stores, each at its own pace.
pub(super) async fn read(
    scene: &Scene<'_>,
    backups: &mut Backups,
    reports: &mut [StoreReport],
) -> Result<Vec<Problem>, VerifyError> {
    let places = scene.reached_places();
    backups.pieces = objects::pieces(&places, backups.manifests(), None).await;
    let pieces = Arc::new(std::mem::take(&mut backups.pieces));
    let memory = Arc::new(Semaphore::new(MEMORY as usize));
    let known = scene.verifying.catalog.read(|reader| reader.verifies())?;
    let runs = scene.reached().map(|(store, _)| {
        let earlier = known
            .iter()
            .find(|it| it.store == scene.name(store) && it.kind == VerifyKind::Deep);
        // One that was interrupted goes on.
        let record = match earlier {
            Some(it) if it.finished.is_none() && it.after.is_some() => VerifyRecord {
                failure: None,
                ..it.clone()
            },
            _ => VerifyRecord::begin(scene.name(store), VerifyKind::Deep, scene.begun),
        };
        let run = Run {
            scene,
            store,
            pieces: Arc::clone(&pieces),
            memory: Arc::clone(&memory),
        };
        async move { (store, record.after.clone(), run.all(record).await) }
    });
    let runs: Vec<_> = runs.collect();
    let mut problems = Vec::new();
    for (store, resumed_after, done) in join_all(runs).await {
        let (record, mut found) = done?;
        let report = &mut reports[store];
        report.read_objects = record.objects;
        report.read_bytes = record.bytes;
        report.resumed_after = resumed_after;
        problems.append(&mut found);
    }
    backups.pieces = Arc::into_inner(pieces).unwrap_or_default();
    Ok(problems)
}

/// One store's reading.
struct Run<'s> {
    scene: &'s Scene<'s>,
    store: usize,
    pieces: Arc<Pieces>,
    memory: Arc<Semaphore>,
}

impl Run<'_> {
    async fn all(
        &self,
        mut record: VerifyRecord,
    ) -> Result<(VerifyRecord, Vec<Problem>), VerifyError> {
        let mut problems = Vec::new();
        let items = self.items(record.after.as_deref());
        let progress = &self.scene.verifying.progress;
        let bytes: u64 = items.iter().map(|item| item.size).sum();
        progress.total.fetch_add(bytes, Ordering::Relaxed);
        self.note(&record)?;
        for batch in items.chunks(BATCH) {
            let records = self.records(batch)?;
            let reads = batch.iter().zip(records);
            let reads = reads.map(|(item, known)| self.start(item.clone(), known));
            let mut reads = stream::iter(reads).buffered(self.scene.verifying.concurrency);
            let (mut verdicts, mut flaws) = (Vec::new(), Vec::new());
            let mut stopped = None;
            for item in batch {
                let Some(read) = reads.next().await else {
                    break;
                };
                let error = match read {
                    Read::File(Some(known), Ok(verdict)) => {
                        verdicts.push((self.store, known, verdict));
                        None
                    }
                    Read::Object(Ok(found)) => {
                        flaws.push((item, found));
                        None
                    }
                    // Pruned, or taken out of the catalog, meanwhile.
                    Read::File(None, _) => None,
                    Read::File(_, Err(error)) | Read::Object(Err(error)) => Some(error),
                };
                if let Some(error) = error {
                    if error.concerns_whole_store() {
                        stopped = Some(error);
                        break;
                    }
                    problems.push(Problem::unread(self.scene.name(self.store), None, &error));
                }
                record.objects += 1;
                record.bytes += item.size;
                record.after = Some(item.text.clone());
                progress.done.fetch_add(item.size, Ordering::Relaxed);
            }
            let damaged = |it: &&(usize, FileRecord, Verdict)| {
                matches!(it.2, Verdict::Damaged { .. } | Verdict::Conflict(_))
            };
            record.problems += verdicts.iter().filter(damaged).count() as u64;
            files::note(self.scene, &verdicts)?;
            record.problems += self.note_flaws(flaws)?;
            record.failure = stopped.as_ref().map(StoreError::to_string);
            self.note(&record)?;
            if let Some(error) = stopped {
                problems.push(Problem {
                    kind: ProblemKind::Unreachable,
                    ..Problem::unread(self.scene.name(self.store), None, &error)
                });
                return Ok((record, problems));
            }
        }
        record.finished = Some(Timestamp::now());
        record.after = None;
        self.note(&record)?;
        Ok((record, problems))
    }

    /// Everything that the store lists, in the order of keys, behind `after`.
    fn items(&self, after: Option<&str>) -> Vec<Item> {
        let layout = &self.scene.places[self.store].layout;
        let mut items = Vec::new();
        let mut add = |key: Key, size: u64| {
            let text = layout.key(key);
            if after.is_none_or(|after| text.as_str() > after) {
                items.push(Item { text, key, size });
            }
        };
        let Some(seen) = &self.scene.seen[self.store] else {
            return items;
        };
        for (&(generation, name), objects) in &seen.wal {
            // One judgement reads both.
            if let Some((format, _)) = objects.first() {
                let size = objects.iter().map(|(_, listed)| listed.size).sum();
                add(Key::Wal(generation, name, *format), size);
            }
        }
        for (key, listed) in &seen.data {
            add(*key, listed.size);
        }
        for (&(generation, id), listed) in &seen.manifests {
            add(Key::Manifest(generation, id), listed.size);
        }
        items.sort_by(|one, other| one.text.cmp(&other.text));
        items
    }

    /// What the catalog knows of these files; none of other objects.
    fn records(&self, batch: &[Item]) -> Result<Vec<Option<FileRecord>>, VerifyError> {
        let records = self.scene.verifying.catalog.read(|reader| {
            let record = |item: &Item| match item.key {
                Key::Wal(generation, name, _) => reader.file(generation, name),
                _ => Ok(None),
            };
            batch.iter().map(record).collect()
        })?;
        Ok(records)
    }

    /// Reads one object, on whichever core is free.
    async fn start(&self, item: Item, known: Option<FileRecord>) -> Read {
        let verifying = self.scene.verifying;
        verifying.pace.wait(item.size).await;
        let place = self.scene.places[self.store].clone();
        let catalog = verifying.catalog.clone();
        let (pieces, memory) = (Arc::clone(&self.pieces), Arc::clone(&self.memory));
        let reading = tokio::spawn(async move {
            match (item.key, known) {
                (Key::Wal(..), None) => Read::File(None, Ok(Verdict::Gone)),
                (Key::Wal(..), Some(known)) => {
                    let verdict = judge(&place, &known, &catalog).await;
                    Read::File(Some(known), verdict)
                }
                (key, _) => {
                    let size = (item.size / 1024 + 1).min(u64::from(MEMORY)) as u32;
                    // It is never closed.
                    let _held = memory.acquire_many_owned(size).await.ok();
                    let found = check(&place, key, &pieces).await;
                    Read::Object(found.map(Found::without_bytes))
                }
            }
        });
        // It can only have panicked.
        let read = reading.await;
        read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn note_flaws(&self, found: Vec<(&Item, Found)>) -> Result<u64, VerifyError> {
        if found.is_empty() {
            return Ok(0);
        }
        let (now, mut damaged) = (Timestamp::now(), 0);
        let store = self.scene.name(self.store);
        self.scene.verifying.catalog.write(|writer| {
            for (item, found) in found {
                match found {
                    Found::Whole(_) => drop(writer.mend_flaw(store, &item.text)?),
                    Found::Gone => {}
                    Found::Damaged(reason) => {
                        damaged += 1;
                        let kind = FlawKind::Damaged;
                        let text = item.text.clone();
                        writer.note_flaw(&flaw(store, text, item.key, kind, reason, now))?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(damaged)
    }

    fn note(&self, record: &VerifyRecord) -> Result<(), VerifyError> {
        let catalog = &self.scene.verifying.catalog;
        Ok(catalog.write(|writer| writer.note_verify(record))?)
    }
}

/// The stores' deep records, by name.
pub(super) fn records(scene: &Scene<'_>) -> Result<BTreeMap<String, VerifyRecord>, VerifyError> {
    let records = scene.verifying.catalog.read(|reader| reader.verifies())?;
    let deep = records.into_iter().filter(|it| it.kind == VerifyKind::Deep);
    Ok(deep.map(|record| (record.store.clone(), record)).collect())
}
