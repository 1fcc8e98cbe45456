//! `catalog rebuild`: the bucket is the truth, and each object says what it
//! is. One store alone gives a catalog that is equal to any other in every
//! fact about that store's objects; the next store adds its own.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use crate::{
    archive::{
        claim::confirm,
        object::{ExamineError, Examined, examine, facts_in},
        place::Place,
    },
    backup::base::{self, BackupError},
    catalog::{Catalog, CatalogError, FileRecord, Joined, Object, Replica},
    codec::{Facts, HEAD_SIZE, Md5, read_facts},
    layout::{BackupId, Generation, Key, Layout},
    postgres::{SegmentSize, WalFileName},
    store::{ObjectInfo, StoreError},
};

/// How many objects are asked at once: each costs a round trip or two.
const AT_ONCE: usize = 16;
/// How many records are written in one transaction.
const BATCH: usize = 256;

/// What a rebuild found in one store.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Rebuilt {
    /// Archived files.
    pub files: u64,
    /// Of those, the ones that said nothing of themselves (an older script's)
    /// and were hashed by download.
    pub adopted: u64,
    /// Base backups.
    pub backups: u64,
    /// Keys below the prefix that are not walkeep's.
    pub foreign: u64,
    /// Replicas and backups that the catalog had and the store has not.
    pub gone: u64,
    /// What somebody should look at, as sentences.
    pub problems: Vec<String>,
}

/// Why a rebuild ended. What was read before is in the catalog.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog could not be written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// An archived file, as its object has it.
pub(super) struct Found {
    generation: Generation,
    name: WalFileName,
    facts: Facts,
    object: Object,
    adopted: bool,
}

/// Reads what `place` holds into the catalog.
pub async fn rebuild(place: &Place, catalog: &Catalog) -> Result<Rebuilt, RebuildError> {
    // An empty place is no archive that has lost all its files.
    confirm(place, Generation::FIRST, None, false).await?;
    let listed = Timestamp::now();
    let mut outcome = Rebuilt::default();
    let mut seen: BTreeSet<(Generation, WalFileName)> = BTreeSet::new();
    let mut backups: BTreeSet<(Generation, BackupId)> = BTreeSet::new();
    let mut generations: BTreeSet<Generation> = BTreeSet::from([Generation::FIRST]);
    let mut listing = place.store.list(place.layout.root(), None);
    loop {
        let page = listing.next_page().await?;
        if page.is_empty() {
            break;
        }
        let (mut wal, mut manifests) = (Vec::new(), Vec::new());
        for info in page {
            match place.layout.parse(&info.key) {
                Some(Key::Wal(generation, name, _)) => {
                    generations.insert(generation);
                    seen.insert((generation, name));
                    wal.push((generation, name, info));
                }
                Some(Key::Cluster(generation)) => {
                    generations.insert(generation);
                }
                Some(Key::Manifest(generation, id)) => {
                    generations.insert(generation);
                    backups.insert((generation, id));
                    manifests.push((generation, id, info));
                }
                // A backup is what its manifest says.
                Some(
                    Key::Stream(..)
                    | Key::Running(..)
                    | Key::Pack(..)
                    | Key::Index(..)
                    | Key::Probe,
                ) => {}
                None => outcome.foreign += 1,
            }
        }
        let reads = wal
            .into_iter()
            .map(|(generation, name, info)| read(place, generation, name, info));
        let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(found) = reads.next().await {
            match found {
                Ok(found) => batch.push(found),
                Err(ExamineError::Store(error)) => return Err(error.into()),
                Err(damaged) => outcome.problems.push(format!(
                    "store \"{}\": {damaged}; `walkeep verify --repair` replaces it",
                    place.name()
                )),
            }
            if batch.len() == BATCH {
                note(place, catalog, std::mem::take(&mut batch), &mut outcome)?;
            }
        }
        note(place, catalog, batch, &mut outcome)?;
        note_backups(place, catalog, manifests, &mut outcome).await?;
    }
    let store = place.name().to_string();
    catalog.write(|writer| {
        for generation in &generations {
            let is_there = |name: WalFileName| seen.contains(&(*generation, name));
            outcome.gone += writer.drop_unseen(*generation, &store, listed, is_there)?;
            let is_there = |id: BackupId| backups.contains(&(*generation, id));
            outcome.gone += writer.drop_unseen_backups(*generation, &store, listed, is_there)?;
        }
        Ok(())
    })?;
    Ok(outcome)
}

/// What one object is: from its metadata, else from its own beginning, else
/// by reading all of it.
pub(super) async fn read(
    place: &Place,
    generation: Generation,
    name: WalFileName,
    listed: ObjectInfo,
) -> Result<Found, ExamineError> {
    let key = &listed.key;
    let info = place
        .store
        .head(key)
        .await?
        .unwrap_or_else(|| listed.clone());
    if let Some(md5) = info.md5
        && let Some(facts) = stated(place, &info, name).await?
    {
        return Ok(found(generation, name, facts, &info, md5, false));
    }
    match examine(place, key).await? {
        Some(Examined {
            raw_sha256,
            raw_size,
            md5,
            moments,
            facts,
            info,
        }) => {
            let adopted = facts.is_none();
            let stated = facts.as_ref().map(|facts| facts.modified);
            let modified = stated.or(info.modified);
            // What the object says counts, as it does where it is not read.
            let told = facts.and_then(|facts| facts.moments);
            let moments = told.or(moments.filter(|_| name.holds_pages()));
            let facts = Facts {
                file_name: name.to_string(),
                raw_sha256,
                raw_size,
                modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
                moments,
            };
            Ok(found(generation, name, facts, &info, md5, adopted))
        }
        // Deleted since it was listed; the next rebuild will not see it.
        None => Err(ExamineError::Store(StoreError {
            store: place.name().clone(),
            operation: crate::store::Operation::Get,
            key: key.clone(),
            kind: crate::store::StoreErrorKind::Unexpected,
            detail: "it was listed, and is gone; run the rebuild again".to_owned(),
            attempts: 1,
        })),
    }
}

/// What an object of ours says of itself.
async fn stated(
    place: &Place,
    info: &ObjectInfo,
    name: WalFileName,
) -> Result<Option<Facts>, StoreError> {
    if let Some(facts) = facts_in(&info.metadata, &name.to_string()) {
        return Ok(Some(facts));
    }
    let head = place
        .store
        .get_range(&info.key, 0..HEAD_SIZE as u64)
        .await?;
    let format = Layout::format(&info.key);
    Ok(head.and_then(|head| read_facts(format, &head).ok().flatten()))
}

fn found(
    generation: Generation,
    name: WalFileName,
    facts: Facts,
    info: &ObjectInfo,
    md5: Md5,
    adopted: bool,
) -> Found {
    let at = info.modified.unwrap_or(Timestamp::UNIX_EPOCH);
    let object = Object {
        stored_size: info.size,
        md5,
        at,
        attempts: 1,
    };
    Found {
        generation,
        name,
        facts,
        object,
        adopted,
    }
}

/// Writes down what was found.
pub(super) fn note(
    place: &Place,
    catalog: &Catalog,
    batch: Vec<Found>,
    outcome: &mut Rebuilt,
) -> Result<(), CatalogError> {
    let store = place.name().to_string();
    catalog.write(|writer| {
        for found in &batch {
            let Found {
                generation,
                name,
                facts,
                object,
                ..
            } = found;
            // A file that holds pages is as long as the cluster's segments.
            let size = SegmentSize::new(facts.raw_size).unwrap_or(SegmentSize::DEFAULT);
            let (raw_size, digest) = (facts.raw_size, facts.raw_sha256);
            let record =
                FileRecord::new(*generation, *name, size, raw_size, digest, facts.modified)
                    .with(store.clone(), Replica::Stored(object.clone()));
            if let Joined::Conflict {
                recorded, offered, ..
            } = writer.merge(&record)?
            {
                outcome.problems.push(format!(
                    "split brain: \"{name}\" has SHA-256 {recorded} elsewhere, but {offered} in \
                     store \"{store}\"; find out which server should write to this archive"
                ));
            }
            if let Some(moments) = &facts.moments {
                writer.note_moments(*generation, *name, digest, moments)?;
            }
        }
        Ok(())
    })?;
    outcome.files += batch.len() as u64;
    outcome.adopted += batch.iter().filter(|found| found.adopted).count() as u64;
    Ok(())
}

/// Reads the manifests of a page, and notes the backups.
async fn note_backups(
    place: &Place,
    catalog: &Catalog,
    manifests: Vec<(Generation, BackupId, ObjectInfo)>,
    outcome: &mut Rebuilt,
) -> Result<(), RebuildError> {
    for (generation, id, info) in manifests {
        let manifest = match base::manifest(place, generation, id).await {
            Ok(manifest) => manifest,
            Err(BackupError::Store(error)) => return Err(error.into()),
            Err(damaged) => {
                outcome.problems.push(damaged.to_string());
                continue;
            }
        };
        let at = info.modified.unwrap_or(Timestamp::UNIX_EPOCH);
        let record = manifest.record(BTreeMap::from([(place.name().to_string(), at)]));
        catalog.write(|writer| writer.merge_backup(&record))?;
        outcome.backups += 1;
    }
    Ok(())
}
