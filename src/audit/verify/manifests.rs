//! The manifests of base backups: in every store that is said to have them,
//! and the same in all.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{
    Scene, VerifyError,
    objects::{self, LARGEST},
    report::{Problem, ProblemKind},
};
use crate::{
    archive::place::Place,
    backup::{Manifest, running},
    catalog::{BackupRecord, FlawKind},
    codec::Sha256,
    layout::{BackupId, Generation, Key},
    store::StoreError,
};

/// How many backups' manifests are read at a time.
const AT_ONCE: usize = 8;

/// What is wrong with objects, by store and key; none where it is whole.
pub(super) type Judged = BTreeMap<(usize, String), Option<(Key, FlawKind, String)>>;

/// The backups, each with the stores that have its manifest.
pub(super) type Manifests = BTreeMap<(Generation, BackupId), (Manifest, BTreeSet<usize>)>;

/// Reads the manifests, each once where the stores' listings agree on it, and
/// adopts those that the catalog does not know.
pub(super) async fn manifests(
    scene: &Scene<'_>,
    judged: &mut Judged,
    problems: &mut Vec<Problem>,
) -> Result<Manifests, VerifyError> {
    let mut listed: BTreeMap<(Generation, BackupId), Vec<usize>> = BTreeMap::new();
    for (store, seen) in scene.reached() {
        for id in seen.manifests.keys() {
            listed.entry(*id).or_default().push(store);
        }
    }
    let reads = listed
        .into_iter()
        .map(|((generation, id), stores)| async move {
            let agree = agree(scene, &Key::Manifest(generation, id), &stores);
            let read = if agree { &stores[..1] } else { &stores[..] };
            let mut answers = Vec::new();
            for &store in read {
                answers.push((
                    store,
                    read_manifest(&scene.places[store], generation, id).await,
                ));
            }
            ((generation, id), stores, answers)
        });
    let reads: Vec<_> = reads.collect();
    let mut reads = stream::iter(reads).buffered(AT_ONCE);
    let mut manifests = Manifests::new();
    let mut known: BTreeMap<_, BackupRecord> = scene
        .verifying
        .catalog
        .read(|reader| reader.backups())?
        .into_iter()
        .map(|record| ((record.generation, record.id), record))
        .collect();
    while let Some((of, stores, answers)) = reads.next().await {
        let key = Key::Manifest(of.0, of.1);
        let mut whole: Vec<(Sha256, Manifest, BTreeSet<usize>)> = Vec::new();
        let one_for_all = answers.len() < stores.len();
        for (store, answer) in answers {
            let about: Vec<usize> = if one_for_all {
                stores.clone()
            } else {
                vec![store]
            };
            match answer {
                Ok(Some(Ok((manifest, digest)))) => {
                    for store in &about {
                        let text = scene.places[*store].layout.key(key);
                        judged.insert((*store, text), None);
                    }
                    match whole.iter_mut().find(|it| it.0 == digest) {
                        Some((_, _, holders)) => holders.extend(about),
                        None => whole.push((digest, manifest, about.into_iter().collect())),
                    }
                }
                // Pruned since it was listed.
                Ok(None) => {}
                Ok(Some(Err(reason))) => {
                    for store in about {
                        let text = scene.places[store].layout.key(key);
                        let flaw = (key, FlawKind::Damaged, reason.clone());
                        judged.insert((store, text), Some(flaw));
                    }
                }
                Err(error) => problems.push(Problem::unread(scene.name(store), None, &error)),
            }
        }
        if let [(_, _, one), (_, _, other), ..] = &whole[..] {
            let names = |stores: &BTreeSet<usize>| {
                let names: Vec<&str> = stores.iter().map(|store| scene.name(*store)).collect();
                names.join("\", \"")
            };
            problems.push(Problem {
                kind: ProblemKind::Conflict,
                store: None,
                generation: Some(of.0),
                object: Some(of.1.to_string()),
                detail: format!(
                    "split brain: \"{}\" and \"{}\" have different manifests of this backup, and \
                     nothing overwrites either; find out which is right",
                    names(one),
                    names(other)
                ),
                settled: false,
            });
        }
        let Some((_, manifest, holders)) = whole.into_iter().next() else {
            continue;
        };
        let record = known.remove(&of);
        adopt(scene, &manifest, &holders, record.as_ref(), problems)?;
        manifests.insert(of, (manifest, holders));
    }
    Ok(manifests)
}

/// Whether the stores list the same object, as far as that can be seen.
pub(super) fn agree(scene: &Scene<'_>, key: &Key, stores: &[usize]) -> bool {
    let listed: Vec<_> = stores
        .iter()
        .filter_map(|store| {
            let seen = scene.seen[*store].as_ref()?;
            match key {
                Key::Manifest(generation, id) => seen.manifests.get(&(*generation, *id)),
                key => seen.data.get(key),
            }
        })
        .collect();
    listed.windows(2).all(|pair| {
        let digests = pair[0].md5.zip(pair[1].md5);
        // A manifest is small enough to be read where a directory does not tell.
        let unknown = !matches!(key, Key::Manifest(..));
        pair[0].size == pair[1].size && digests.map_or(unknown, |(one, other)| one == other)
    })
}

/// A manifest as one store has it; why it is none, where it is damaged.
async fn read_manifest(
    place: &Place,
    generation: Generation,
    id: BackupId,
) -> Result<Option<Result<(Manifest, Sha256), String>>, StoreError> {
    let key = Key::Manifest(generation, id);
    let text = place.layout.key(key);
    let stored = place.store.get_range(&text, 0..LARGEST).await?;
    Ok(stored.map(|stored| objects::manifest(key, &stored)))
}

fn adopt(
    scene: &Scene<'_>,
    manifest: &Manifest,
    holders: &BTreeSet<usize>,
    known: Option<&BackupRecord>,
    problems: &mut Vec<Problem>,
) -> Result<(), VerifyError> {
    let of = (manifest.generation, manifest.id);
    let is_known =
        |store: usize| known.is_some_and(|record| record.stores.contains_key(scene.name(store)));
    let new: Vec<usize> = holders
        .iter()
        .copied()
        .filter(|it| !is_known(*it))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let stores = new.iter().map(|&store| {
        let seen = scene.seen[store].as_ref();
        let at = seen.and_then(|seen| seen.manifests.get(&of)?.modified);
        let name = scene.name(store).to_owned();
        (name, at.unwrap_or_else(Timestamp::now))
    });
    let record = manifest.record(stores.collect());
    scene
        .verifying
        .catalog
        .write(|writer| writer.merge_backup(&record))?;
    for store in new {
        // A backup that ends just now is noted by whoever made it.
        let running = |seen: &super::look::Seen| seen.running.contains(&of);
        if scene.seen[store].as_ref().is_some_and(running) {
            continue;
        }
        problems.push(Problem {
            kind: ProblemKind::Unknown,
            store: Some(scene.name(store).to_owned()),
            generation: Some(of.0),
            object: Some(of.1.to_string()),
            detail: "the catalog did not know this backup, and does now".to_owned(),
            settled: true,
        });
    }
    Ok(())
}

/// Manifests that stores do not list, though they had them, or another store
/// has them.
pub(super) async fn absent(
    scene: &Scene<'_>,
    manifests: &Manifests,
    judged: &mut Judged,
    problems: &mut Vec<Problem>,
) -> Result<(), VerifyError> {
    let catalog = &scene.verifying.catalog;
    for record in catalog.read(|reader| reader.backups())? {
        let of = (record.generation, record.id);
        let key = Key::Manifest(of.0, of.1);
        let (mut had, mut never) = (Vec::new(), Vec::new());
        for (store, seen) in scene.reached() {
            if seen.manifests.contains_key(&of) {
                continue;
            }
            match record.stores.get(scene.name(store)) {
                Some(since) if *since >= scene.begun => {}
                Some(_) => had.push(store),
                None if manifests.contains_key(&of) => never.push(store),
                None => {}
            }
        }
        let unfinished = !never.is_empty() && is_unfinished(scene, of, problems).await;
        if unfinished {
            never.clear();
        }
        let had = proved(scene, key, had, problems).await;
        for &store in &proved(scene, key, never, problems).await {
            let reason = "another store has this backup, and this one does not".to_owned();
            let text = scene.places[store].layout.key(key);
            judged.insert((store, text), Some((key, FlawKind::Missing, reason)));
        }
        let unreached = |name: &String| !scene.reached().any(|(it, _)| scene.name(it) == name);
        let is_anywhere = manifests.contains_key(&of) || record.stores.keys().any(unreached);
        for &store in &had {
            if is_anywhere {
                let text = scene.places[store].layout.key(key);
                let reason = "the store had it, and does not have it any more".to_owned();
                judged.insert((store, text), Some((key, FlawKind::Missing, reason)));
                continue;
            }
            problems.push(Problem {
                kind: ProblemKind::Lost,
                store: None,
                generation: Some(of.0),
                object: Some(of.1.to_string()),
                detail: "no store has this backup any more: it cannot be restored".to_owned(),
                settled: false,
            });
        }
        problems.dedup();
        catalog.write(|writer| {
            for &store in &had {
                writer.drop_backup(of.0, of.1, scene.name(store))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Whether the backup is on its way to the stores, or has just been pruned from
/// all of them. Asked before a store is asked for its manifest: a marker goes
/// after the last manifest has come.
async fn is_unfinished(
    scene: &Scene<'_>,
    (generation, id): (Generation, BackupId),
    problems: &mut Vec<Problem>,
) -> bool {
    let mut is_somewhere = false;
    for (store, _) in scene.reached() {
        let place = &scene.places[store];
        let asked = async {
            let marker = running::read(place, generation, id).await?;
            let key = place.layout.key(Key::Manifest(generation, id));
            is_somewhere |= place.store.head(&key).await?.is_some();
            Ok(marker.is_some_and(|marker| marker.is_alive(Timestamp::now())))
        };
        match asked.await {
            Ok(false) => {}
            Ok(true) => return true,
            Err(error) => {
                problems.push(Problem::unread(scene.name(store), None, &error));
                return true;
            }
        }
    }
    !is_somewhere
}

/// Those of the stores that really do not have it: a listing does not show what
/// is behind a hide marker.
async fn proved(
    scene: &Scene<'_>,
    key: Key,
    stores: Vec<usize>,
    problems: &mut Vec<Problem>,
) -> Vec<usize> {
    let mut proved = Vec::new();
    for store in stores {
        let place = &scene.places[store];
        match place.store.head(&place.layout.key(key)).await {
            Ok(None) => proved.push(store),
            Ok(Some(_)) => {}
            Err(error) => problems.push(Problem::unread(scene.name(store), None, &error)),
        }
    }
    proved
}
