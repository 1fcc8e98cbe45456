//! What one store lacks, is owed or has corrupted, brought from another one:
//! copied, and checked on the way. Overwritten is only what is provably no
//! object of its name, and only by one that provably is.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{
    Scene, VerifyError,
    backups::Backups,
    files,
    judge::{Verdict, judge},
    objects::{self, Found, check},
};
use crate::{
    archive::{
        object::metadata,
        place::Place,
        ship::{
            copy::{Brought, CopyError, bring},
            deliver::{Delivered, Object, deliver},
            pack::{Packed, Packer},
        },
    },
    catalog::{FileRecord, Flaw, Replica, State},
    codec::{BufferPool, Facts},
    layout::{BackupId, Format, Generation, Key},
    store::{Body, Put, StoreError},
};

/// Repairs the WAL, then base backups. What could not be repaired is in the
/// catalog as it was; why, in the answer, by store and object.
pub(super) async fn repair(
    scene: &Scene<'_>,
    backups: &mut Backups,
) -> Result<BTreeMap<(String, String), String>, VerifyError> {
    let mut failures = BTreeMap::new();
    for (store, _) in scene.reached() {
        let place = &scene.places[store];
        let name = scene.name(store);
        let ailing: Vec<FileRecord> = scene.verifying.catalog.read(|reader| {
            let unsettled = reader.unsettled(name)?.filter(|record| {
                record.as_ref().map_or(true, |record| {
                    let replica = record.replicas.get(name);
                    let state = replica.map(Replica::state);
                    matches!(state, Some(State::Owed | State::Suspect))
                })
            });
            unsettled.collect()
        })?;
        let mends = ailing.into_iter().map(|record| async move {
            let mended = mend(scene, place, &record).await;
            (record, mended)
        });
        let mut mends = stream::iter(mends).buffer_unordered(scene.verifying.concurrency);
        while let Some((record, mended)) = mends.next().await {
            match mended {
                Ok(verdict) => files::note(scene, &[(store, record, verdict)])?,
                Err(reason) => {
                    failures.insert((name.to_owned(), record.name.to_string()), reason);
                }
            }
        }
    }
    mend_backups(scene, backups, &mut failures).await?;
    Ok(failures)
}

/// Brings one file into `place`: what the store has of it then, or why nobody
/// could help.
async fn mend(scene: &Scene<'_>, place: &Place, record: &FileRecord) -> Result<Verdict, String> {
    let told = |error: StoreError| error.to_string();
    // As it is now, whatever was seen before.
    let catalog = &scene.verifying.catalog;
    let now = judge(place, record, catalog).await.map_err(told)?;
    if matches!(now, Verdict::Whole(_) | Verdict::Conflict(_)) {
        return Ok(now);
    }
    let source = source(scene, place, record).await?;
    let (facts, body, source_format) = source.object();
    scene.verifying.pace.wait(body.length).await;
    let object = Object {
        generation: record.generation,
        name: record.name,
        format: source_format,
    };
    let Verdict::Damaged { format, .. } = now else {
        let delivered = deliver(place, object, facts, body).await;
        return Ok(match delivered.map_err(told)? {
            Delivered::Stored(object) => Verdict::Whole(object),
            Delivered::Conflict { found } => Verdict::Conflict(found),
            Delivered::Damaged { reason, .. } => return Err(reason),
        });
    };
    let key = place.key(record.generation, record.name, source_format);
    let replaced = place.store.replace(&key, body, &metadata(facts)).await;
    replaced.map_err(told)?;
    if format != source_format {
        // The damaged one would be found first.
        let damaged = place.key(record.generation, record.name, format);
        place.store.delete(&damaged).await.map_err(told)?;
    }
    // What the store has now, read back.
    match judge(place, record, catalog).await.map_err(told)? {
        Verdict::Damaged { reason, .. } => {
            Err(format!("it was replaced, and is still not whole: {reason}"))
        }
        verdict => Ok(verdict),
    }
}

/// A file that is whole, and made into an object.
enum Source {
    /// As another store has it.
    Store(Brought),
    /// As it still stands in staging.
    Staging(Packed, Format),
}

impl Source {
    fn object(&self) -> (&Facts, &Body, Format) {
        match self {
            Source::Store(brought) => (&brought.facts, &brought.body, brought.format),
            Source::Staging(packed, format) => (&packed.facts, &packed.body, *format),
        }
    }
}

/// The file from the first other store that has it whole, or from staging.
async fn source(scene: &Scene<'_>, target: &Place, record: &FileRecord) -> Result<Source, String> {
    let mut reasons = vec!["no other store can give it".to_owned()];
    for (store, _) in scene.reached() {
        let source = &scene.places[store];
        let replica = record.replicas.get(scene.name(store));
        let holds = replica.is_some_and(|replica| replica.state() == State::Stored);
        if source.name() == target.name() || !holds {
            continue;
        }
        let size = replica
            .and_then(Replica::object)
            .map_or(0, |it| it.stored_size);
        scene.verifying.pace.wait(size).await;
        match bring(source, record, &scene.verifying.spools).await {
            Ok(brought) => return Ok(Source::Store(brought)),
            Err(CopyError::Damaged { store: of, reason }) => {
                let note = note_suspect(scene, store, record, &reason).await;
                note.map_err(|error| error.to_string())?;
                reasons.push(format!("its object in store \"{of}\" is damaged: {reason}"));
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if let Some(packed) = staged(scene, record).await {
        return Ok(packed);
    }
    Err(reasons.join("; "))
}

/// The file from staging, where it waits for another store or stays for a
/// while.
async fn staged(scene: &Scene<'_>, record: &FileRecord) -> Option<Source> {
    let staging = scene.verifying.staging.clone()?;
    if staging.marker().generation != record.generation {
        return None;
    }
    let files = staging.files().ok()?.into_iter();
    let file = files.into_iter().find(|file| file.name == record.name)?;
    let encoder = scene.verifying.encoder.clone();
    let format = encoder.format();
    let packer = Packer {
        staging,
        encoder,
        buffers: BufferPool::new(1, 0),
        threads: 1,
    };
    match packer.pack(&file).await {
        Ok(packed) if packed.facts.raw_sha256 == record.raw_sha256 => {
            Some(Source::Staging(packed, format))
        }
        Ok(_) => None,
        Err(error) => {
            tracing::debug!("\"{}\" in staging: {error}", record.name);
            None
        }
    }
}

/// A source turned out to be damaged, or another file's.
async fn note_suspect(
    scene: &Scene<'_>,
    store: usize,
    record: &FileRecord,
    reason: &str,
) -> Result<(), VerifyError> {
    let place = &scene.places[store];
    let verdict = match judge(place, record, &scene.verifying.catalog).await {
        Ok(verdict) => verdict,
        Err(error) => {
            tracing::debug!("look at a damaged source ({reason}): {error}");
            return Ok(());
        }
    };
    files::note(scene, &[(store, record.clone(), verdict)])
}

/// Base backups: data first, manifests last and only where all that they need
/// is there, so that a backup that is listed is whole.
async fn mend_backups(
    scene: &Scene<'_>,
    backups: &mut Backups,
    failures: &mut BTreeMap<(String, String), String>,
) -> Result<(), VerifyError> {
    let flaws = scene.verifying.catalog.read(|reader| reader.flaws())?;
    let mut ailing: Vec<(usize, Key, Flaw)> = Vec::new();
    for flaw in flaws {
        let store = scene
            .reached()
            .find(|(it, _)| scene.name(*it) == flaw.store);
        let store = store.map(|(store, _)| store);
        if let Some(store) = store
            && let Some(key) = scene.places[store].layout.parse(&flaw.key)
        {
            ailing.push((store, key, flaw));
        }
    }
    let packs = ailing.iter().map(|(_, key, _)| *key);
    let packs = packs
        .filter(|key| !backups.pieces.contains_key(key))
        .collect();
    let places = scene.reached_places();
    let new = objects::pieces(&places, backups.manifests(), Some(&packs)).await;
    backups.pieces.extend(new);
    // A page of a manifest before what it names: `false` comes first.
    ailing.sort_by_key(|(_, key, _)| matches!(key, Key::Manifest(..)));
    for (store, key, flaw) in ailing {
        let mended = mend_object(scene, backups, store, key, &flaw).await;
        match mended {
            Ok(()) => {
                let catalog = &scene.verifying.catalog;
                catalog.write(|writer| writer.mend_flaw(&flaw.store, &flaw.key))?;
                if let Key::Manifest(generation, id) = key {
                    note_backup(scene, backups, store, (generation, id))?;
                }
            }
            Err(reason) => drop(failures.insert((flaw.store, flaw.key), reason)),
        }
    }
    Ok(())
}

async fn mend_object(
    scene: &Scene<'_>,
    backups: &Backups,
    store: usize,
    key: Key,
    flaw: &Flaw,
) -> Result<(), String> {
    let told = |error: StoreError| error.to_string();
    let place = &scene.places[store];
    if let Key::Manifest(generation, id) = key {
        let lacking = lacking(scene, backups, store, (generation, id))?;
        if !lacking.is_empty() {
            return Err(format!(
                "the store lacks what it needs, such as \"{}\"",
                lacking[0]
            ));
        }
    }
    // As it is now, whatever was seen before.
    let there = check(place, key, &backups.pieces).await.map_err(told)?;
    if matches!(there, Found::Whole(_)) {
        return Ok(());
    }
    let bytes = object_source(scene, backups, store, key).await?;
    let length = bytes.len() as u64;
    let body = Body::of(bytes);
    scene.verifying.pace.wait(length).await;
    match there {
        Found::Damaged(_) => place
            .store
            .replace(&flaw.key, &body, &[])
            .await
            .map_err(told)?,
        _ => match place
            .store
            .put_new(&flaw.key, &body, &[])
            .await
            .map_err(told)?
        {
            Put::Created => {}
            Put::Exists(_) => return Err("somebody else has just stored it".to_owned()),
        },
    }
    match check(place, key, &backups.pieces).await.map_err(told)? {
        Found::Whole(_) => Ok(()),
        Found::Damaged(reason) => Err(format!("it was stored, and is still not whole: {reason}")),
        Found::Gone => Err("it was stored, and is gone again".to_owned()),
    }
}

/// The object from the first other store that has it whole.
async fn object_source(
    scene: &Scene<'_>,
    backups: &Backups,
    target: usize,
    key: Key,
) -> Result<Bytes, String> {
    let mut reasons = vec!["no other store can give it".to_owned()];
    for (store, seen) in scene.reached().filter(|(store, _)| *store != target) {
        let size = seen.data.get(&key).map_or(0, |listed| listed.size);
        scene.verifying.pace.wait(size).await;
        match check(&scene.places[store], key, &backups.pieces).await {
            Ok(Found::Whole(bytes)) => return Ok(bytes),
            Ok(Found::Gone) => {}
            Ok(Found::Damaged(reason)) => {
                reasons.push(format!("store \"{}\": {reason}", scene.name(store)));
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join("; "))
}

/// The keys that a backup needs and the store still lacks or has damaged.
fn lacking(
    scene: &Scene<'_>,
    backups: &Backups,
    store: usize,
    of: (Generation, BackupId),
) -> Result<Vec<String>, String> {
    let Some(backup) = backups.all.get(&of) else {
        return Err("no other store can give it".to_owned());
    };
    let flaws = scene.verifying.catalog.read(|reader| reader.flaws());
    let flaws = flaws.map_err(|error| error.to_string())?;
    let here: Vec<&Flaw> = flaws
        .iter()
        .filter(|it| it.store == scene.name(store))
        .collect();
    let needs = backup
        .needs
        .iter()
        .map(|key| scene.places[store].layout.key(*key));
    let lacking = needs.filter(|text| here.iter().any(|flaw| flaw.key == *text));
    Ok(lacking.collect())
}

/// The store has the backup again.
fn note_backup(
    scene: &Scene<'_>,
    backups: &Backups,
    store: usize,
    of: (Generation, BackupId),
) -> Result<(), VerifyError> {
    let Some(backup) = backups.all.get(&of) else {
        return Ok(());
    };
    let stores = BTreeMap::from([(scene.name(store).to_owned(), Timestamp::now())]);
    let record = backup.manifest.record(stores);
    let catalog = &scene.verifying.catalog;
    Ok(catalog.write(|writer| writer.merge_backup(&record))?)
}
