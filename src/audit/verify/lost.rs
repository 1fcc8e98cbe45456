//! What cannot be had any more: gaps in the WAL, and base backups of which
//! something is whole in no store.

use std::collections::{BTreeSet, HashSet};

use super::{
    DamagedBackup, Scene, VerifyError,
    backups::{Backup, Backups},
    objects,
};
use crate::{
    backup::listing::{Entry, StretchAt},
    catalog::{Flaw, KnownGap, Select},
    layout::{Format, Key},
    postgres::WalFileName,
};

/// How many files of a damaged backup are named.
const NAMED: usize = 1000;

/// The gaps that the catalog shows by now. What is settled is let go of there:
/// records of segments that are lost for good, and acknowledgements of what is
/// no gap any more.
pub(super) fn gaps(scene: &Scene<'_>) -> Result<Vec<KnownGap>, VerifyError> {
    let catalog = &scene.verifying.catalog;
    let stores: Vec<&str> = scene.places.iter().map(|it| it.name().as_str()).collect();
    let (gaps, acknowledged) =
        catalog.read(|reader| Ok((reader.gaps(&stores)?, reader.acknowledged()?)))?;
    let is_over = |record: &crate::catalog::FileRecord| {
        let WalFileName::Segment(segment) = record.name else {
            return false;
        };
        let within = |known: &&KnownGap| {
            known.generation == record.generation
                && known.gap.first <= segment
                && segment <= known.gap.last
        };
        record.replicas.is_empty() && gaps.iter().find(within).is_some_and(|it| !it.needs_person)
    };
    let mut over = Vec::new();
    if gaps.iter().any(|known| !known.needs_person) {
        for record in catalog.files(Select::All) {
            let record = record?;
            if is_over(&record) {
                over.push((record.generation, record.name));
            }
        }
    }
    let filled = acknowledged.into_iter().filter(|it| {
        !gaps.iter().any(|known| {
            known.generation == it.generation
                && known.gap.first <= it.last
                && it.first <= known.gap.last
        })
    });
    let filled: Vec<_> = filled.collect();
    if !over.is_empty() || !filled.is_empty() {
        catalog.write(|writer| {
            for (generation, name) in over {
                writer.remove(generation, name)?;
            }
            for it in &filled {
                writer.forget_acknowledged(it.generation, it.first)?;
            }
            Ok(())
        })?;
    }
    Ok(gaps)
}

/// The backups that cannot be restored as a whole from the stores that could
/// be asked, and what of the cluster that concerns.
pub(super) async fn backups(
    scene: &Scene<'_>,
    backups: &Backups,
) -> Result<Vec<DamagedBackup>, VerifyError> {
    let catalog = &scene.verifying.catalog;
    let (flaws, records) = catalog.read(|reader| Ok((reader.flaws()?, reader.backups()?)))?;
    let mut damaged = Vec::new();
    for (&(generation, id), backup) in &backups.all {
        // A store that cannot be asked may have it whole.
        let record = records
            .iter()
            .find(|it| (it.generation, it.id) == (generation, id));
        let mut holders = record.into_iter().flat_map(|record| record.stores.keys());
        let reached = |name: &String| scene.reached().any(|(it, _)| scene.name(it) == name);
        if !holders.all(reached) {
            continue;
        }
        let lost: HashSet<Key> = backup
            .needs
            .iter()
            .copied()
            .filter(|key| !is_anywhere(scene, &flaws, key))
            .collect();
        if lost.is_empty() {
            continue;
        }
        let (files, file_count) = files(scene, backup, &lost).await;
        let layout = &scene.places[0].layout;
        let objects: BTreeSet<String> = lost.iter().map(|key| layout.key(*key)).collect();
        damaged.push(DamagedBackup {
            generation,
            id,
            objects: objects.into_iter().collect(),
            files,
            file_count,
        });
    }
    // Manifests that nobody can read.
    let mut unreadable = BTreeSet::new();
    for (store, _) in scene.reached() {
        let here = flaws.iter().filter(|flaw| flaw.store == scene.name(store));
        for flaw in here {
            if let Some(Key::Manifest(generation, id)) = scene.places[store].layout.parse(&flaw.key)
                && !backups.all.contains_key(&(generation, id))
            {
                unreadable.insert((generation, id, flaw.key.clone()));
            }
        }
    }
    damaged.extend(
        unreadable
            .into_iter()
            .map(|(generation, id, key)| DamagedBackup {
                generation,
                id,
                objects: vec![key],
                files: Vec::new(),
                file_count: 0,
            }),
    );
    Ok(damaged)
}

/// Whether a store that could be asked has the object whole.
fn is_anywhere(scene: &Scene<'_>, flaws: &[Flaw], key: &Key) -> bool {
    scene.reached().any(|(store, seen)| {
        let text = scene.places[store].layout.key(*key);
        let flawed = flaws
            .iter()
            .any(|it| it.store == scene.name(store) && it.key == text);
        seen.data.contains_key(key) && !flawed
    })
}

/// The files of the cluster that need any of the lost objects.
async fn files(scene: &Scene<'_>, backup: &Backup, lost: &HashSet<Key>) -> (Vec<String>, u64) {
    let manifest = &backup.manifest;
    let (generation, formats) = (manifest.generation, manifest.formats());
    let places = scene.reached_places();
    let (mut names, mut count) = (Vec::new(), 0);
    let is_lost = |digest| lost.contains(&Key::Index(generation, digest));
    let mut pages: Vec<Vec<Entry>> = vec![vec![manifest.control.clone()]];
    for page in &manifest.pages {
        if !is_lost(*page) {
            pages.extend(objects::entries(&places, generation, *page).await);
        }
        for entry in pages.drain(..).flatten() {
            let mut concerned = false;
            for at in entry.file.iter().flat_map(|file| &file.stretches) {
                concerned |= match at {
                    StretchAt::Index(digest) if is_lost(*digest) => true,
                    at => match objects::stretch(&places, generation, at.clone()).await {
                        None => true,
                        Some(stretch) => stretch.chunks.iter().any(|chunk| {
                            let format = formats.get(&chunk.backup);
                            let format = format.copied().unwrap_or(Format::Gzip);
                            lost.contains(&Key::Pack(generation, chunk.backup, chunk.pack, format))
                        }),
                    },
                };
            }
            if concerned {
                count += 1;
                if names.len() < NAMED {
                    names.push(entry.path.to_string());
                }
            }
        }
    }
    (names, count)
}
