//! Base backups: every manifest in every store that is said to have it, and
//! everything that a manifest's tree needs in every store that has the
//! manifest.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{
    Scene, VerifyError,
    manifests::{Judged, absent, agree, manifests},
    objects::{self, Found, Pieces, check},
    report::Problem,
};
use crate::{
    backup::{Manifest, references},
    catalog::{Flaw, FlawKind},
    layout::{BackupId, Generation, Key},
    store::StoreError,
};

/// Questions to stores at a time.
const AT_ONCE: usize = 8;

/// The backups that the stores have, as far as their manifests can be read.
#[derive(Default)]
pub(super) struct Backups {
    pub(super) all: BTreeMap<(Generation, BackupId), Backup>,
    /// Every object that one of them needs.
    pub(super) needed: HashSet<Key>,
    /// The chunks of the packs that were looked at.
    pub(super) pieces: Pieces,
}

/// A backup.
pub(super) struct Backup {
    pub(super) manifest: Manifest,
    /// Everything that restoring it reads, as far as that is known.
    pub(super) needs: HashSet<Key>,
    /// The stores, by their number in the scene, that should have it all: they
    /// have its manifest, or should.
    pub(super) stores: BTreeSet<usize>,
}

impl Backups {
    /// Their manifests.
    pub(super) fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.all.values().map(|backup| &backup.manifest)
    }
}

/// Puts the catalog right, and tells what its flaws will not show.
pub(super) async fn hold(scene: &mut Scene<'_>) -> Result<(Backups, Vec<Problem>), VerifyError> {
    let (mut problems, mut judged) = (Vec::new(), Judged::new());
    let manifests = manifests(scene, &mut judged, &mut problems).await?;
    absent(scene, &manifests, &mut judged, &mut problems).await?;

    let had = had(scene, &judged)?;
    let places = scene.reached_places();
    let read = manifests.values().map(|(manifest, _)| manifest);
    let pages = references::pages(&places, read).await;
    let mut backups = Backups::default();
    for (id, (manifest, holders)) in manifests {
        let needs = references::of(&manifest, &pages).unwrap_or_else(|| {
            // Nobody can read one of its pages, which is missed as well.
            let pages = manifest.pages.iter();
            let pages = pages.map(|page| Key::Index(manifest.generation, *page));
            references::packs(&manifest).chain(pages).collect()
        });
        backups.needed.extend(needs.iter().copied());
        let mut stores = holders;
        stores.extend(had.get(&id).into_iter().flatten());
        let backup = Backup {
            manifest,
            needs,
            stores,
        };
        backups.all.insert(id, backup);
    }
    missing(scene, &backups, &mut judged, &mut problems).await;
    let doubted = doubted(scene, &backups)?;
    let packs: HashSet<Key> = doubted.iter().map(|(_, key)| *key).collect();
    backups.pieces = objects::pieces(&places, backups.manifests(), Some(&packs)).await;
    for (store, key) in doubted {
        let text = scene.places[store].layout.key(key);
        match check(&scene.places[store], key, &backups.pieces).await {
            Ok(Found::Whole(_)) => drop(judged.insert((store, text), None)),
            Ok(Found::Gone) => {}
            Ok(Found::Damaged(reason)) => {
                let flaw = Some((key, FlawKind::Damaged, reason));
                judged.insert((store, text), flaw);
            }
            Err(error) => problems.push(Problem::unread(scene.name(store), None, &error)),
        }
    }
    settle(scene, &backups, judged)?;
    Ok((backups, problems))
}

/// The stores in which a manifest is missing or damaged, by backup.
fn had(
    scene: &Scene<'_>,
    judged: &Judged,
) -> Result<BTreeMap<(Generation, BackupId), BTreeSet<usize>>, VerifyError> {
    let mut had: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for flaw in scene.verifying.catalog.read(|reader| reader.flaws())? {
        let store = scene
            .reached()
            .find(|(it, _)| scene.name(*it) == flaw.store);
        if let Some((store, _)) = store
            && let Some(Key::Manifest(generation, id)) = scene.places[store].layout.parse(&flaw.key)
        {
            had.entry((generation, id)).or_default().insert(store);
        }
    }
    for ((store, _), judged) in judged {
        if let Some((Key::Manifest(generation, id), _, _)) = judged {
            had.entry((*generation, *id)).or_default().insert(*store);
        }
    }
    Ok(had)
}

/// What the backups need and their stores do not list.
async fn missing(
    scene: &Scene<'_>,
    backups: &Backups,
    judged: &mut Judged,
    problems: &mut Vec<Problem>,
) {
    let mut wanted: BTreeMap<(usize, String), (Key, Key)> = BTreeMap::new();
    for (of, backup) in &backups.all {
        for &store in &backup.stores {
            let Some(seen) = &scene.seen[store] else {
                continue;
            };
            let absent = backup
                .needs
                .iter()
                .filter(|key| !seen.data.contains_key(*key));
            for key in absent {
                let text = scene.places[store].layout.key(*key);
                wanted.insert((store, text), (*key, Key::Manifest(of.0, of.1)));
            }
        }
    }
    let asks = wanted
        .into_iter()
        .map(|((store, text), (key, manifest))| async move {
            let place = &scene.places[store];
            let there = match place.store.head(&text).await {
                // Prune takes the manifest away first, and a backup goes whole.
                Ok(None) => is_pruned(scene, manifest).await,
                Ok(Some(_)) => Ok(true),
                Err(error) => Err(error),
            };
            (store, text, key, there)
        });
    let asks: Vec<_> = asks.collect();
    let answers: Vec<_> = stream::iter(asks).buffer_unordered(AT_ONCE).collect().await;
    for (store, text, key, there) in answers {
        match there {
            Ok(true) => {}
            Ok(false) => {
                let reason = "a backup needs it, and the store does not have it".to_owned();
                judged.insert((store, text), Some((key, FlawKind::Missing, reason)));
            }
            Err(error) => problems.push(Problem::unread(scene.name(store), None, &error)),
        }
    }
}

/// Whether a manifest that was listed is in no store any more.
async fn is_pruned(scene: &Scene<'_>, manifest: Key) -> Result<bool, StoreError> {
    for (store, _) in scene.reached() {
        let place = &scene.places[store];
        if place
            .store
            .head(&place.layout.key(manifest))
            .await?
            .is_some()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The objects that have to be read: stores differ on them, or one was damaged
/// when it was last looked at.
fn doubted(scene: &Scene<'_>, backups: &Backups) -> Result<Vec<(usize, Key)>, VerifyError> {
    let mut doubted: BTreeSet<(usize, String)> = BTreeSet::new();
    let mut keys: HashMap<String, Key> = HashMap::new();
    for key in &backups.needed {
        let listing = scene
            .reached()
            .filter(|(_, seen)| seen.data.contains_key(key));
        let listing: Vec<usize> = listing.map(|(store, _)| store).collect();
        if !agree(scene, key, &listing) {
            for store in listing {
                let text = scene.places[store].layout.key(*key);
                keys.insert(text.clone(), *key);
                doubted.insert((store, text));
            }
        }
    }
    for flaw in scene.verifying.catalog.read(|reader| reader.flaws())? {
        let store = scene
            .reached()
            .find(|(it, _)| scene.name(*it) == flaw.store);
        let Some((store, seen)) = store else {
            continue;
        };
        if let Some(key) = scene.places[store].layout.parse(&flaw.key)
            && flaw.kind == FlawKind::Damaged
            && seen.data.contains_key(&key)
        {
            keys.insert(flaw.key.clone(), key);
            doubted.insert((store, flaw.key));
        }
    }
    let doubted = doubted.into_iter();
    Ok(doubted.map(|(store, text)| (store, keys[&text])).collect())
}

/// Writes the flaws down; those that are mended, or that nothing needs any
/// more, go.
fn settle(scene: &Scene<'_>, backups: &Backups, judged: Judged) -> Result<(), VerifyError> {
    let found = Timestamp::now();
    let catalog = &scene.verifying.catalog;
    let known = catalog.read(|reader| reader.flaws())?;
    catalog.write(|writer| {
        for flaw in &known {
            let store = scene
                .reached()
                .find(|(it, _)| scene.name(*it) == flaw.store);
            let Some((store, seen)) = store else {
                continue;
            };
            let stays = match scene.places[store].layout.parse(&flaw.key) {
                Some(Key::Manifest(generation, id)) => {
                    let of = (generation, id);
                    let all_reached = scene.seen.iter().all(Option::is_some);
                    backups.all.contains_key(&of)
                        || seen.manifests.contains_key(&of)
                        || !all_reached
                }
                Some(key) => backups.needed.contains(&key) && needs_it(backups, store, &key),
                None => false,
            };
            let is_back = flaw.kind == FlawKind::Missing
                && scene.places[store]
                    .layout
                    .parse(&flaw.key)
                    .is_some_and(|key| seen.data.contains_key(&key));
            let now = judged.get(&(store, flaw.key.clone()));
            if matches!(now, Some(None)) || (now.is_none() && (!stays || is_back)) {
                writer.mend_flaw(&flaw.store, &flaw.key)?;
            }
        }
        for ((store, text), judged) in judged {
            let Some((key, kind, reason)) = judged else {
                continue;
            };
            writer.note_flaw(&flaw(scene.name(store), text, key, kind, reason, found))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Whether a backup of the store needs the object.
fn needs_it(backups: &Backups, store: usize, key: &Key) -> bool {
    let mut here = backups.all.values().filter(|it| it.stores.contains(&store));
    here.any(|backup| backup.needs.contains(key))
}

pub(super) fn flaw(
    store: &str,
    text: String,
    key: Key,
    kind: FlawKind,
    reason: String,
    found: Timestamp,
) -> Flaw {
    let generation = match key {
        Key::Cluster(generation)
        | Key::Wal(generation, ..)
        | Key::Stream(generation, ..)
        | Key::Manifest(generation, _)
        | Key::Running(generation, _)
        | Key::Pack(generation, ..)
        | Key::Index(generation, _) => generation,
        Key::Probe => Generation::FIRST,
    };
    Flaw {
        store: store.to_owned(),
        key: text,
        generation,
        kind,
        reason,
        found,
    }
}
