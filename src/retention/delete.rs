//! Obeys a decision, in its order: manifests before anything that they name,
//! so that a deletion that is killed leaves no backup that looks whole and is
//! not; then data, WAL, and the markers of the dead.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, future::join_all, stream};

use super::{
    gather::Gathered,
    plan::{Decision, Object},
};
use crate::{
    archive::{
        place::Place,
        ship::copies::{self, LocalCopy},
        staging::{Staging, StagingError},
    },
    backup::base,
    catalog::{Catalog, CatalogError},
    layout::{BackupId, Generation},
    postgres::WalFileName,
    store::{StoreError, StoreName},
};

/// Deletions at a time, in each store.
const AT_ONCE: usize = 8;
/// How many objects are deleted before it is looked again whether a backup was
/// begun, and how many files are taken from the catalog in one transaction.
const BATCH: usize = 256;

/// What one store holds, as far as it could go.
pub struct Held {
    place: Place,
    objects: BTreeMap<(Generation, Object), Vec<Stored>>,
    /// Every backup that anything was stored of.
    pub(super) known: BTreeMap<Generation, BTreeSet<BackupId>>,
}

/// An object in one store.
pub(super) struct Stored {
    pub(super) key: String,
    /// Its size.
    pub(super) bytes: u64,
}

/// What goes from a store, or has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Sum {
    /// Objects.
    pub objects: u64,
    /// What they take, as the store lists them.
    pub bytes: u64,
}

/// What came of it in one store.
#[derive(Debug)]
pub struct Outcome {
    /// The store.
    pub store: StoreName,
    /// What has gone.
    pub deleted: Sum,
    /// Why the rest has not.
    pub failure: Option<StoreError>,
}

/// Everything that stopped before its end on this host, or everywhere. What has
/// gone by then is gone, and the next `prune` does the rest.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// What is decided does not hold any more.
    #[error(
        "backup {0} was begun meanwhile, and may use what was to go: the rest stays; run it again"
    )]
    Begun(BackupId),
    /// The catalog could not be written. Nothing goes that it still has.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Staging could not let go of a copy.
    #[error(transparent)]
    Staging(#[from] StagingError),
}

impl Held {
    pub(super) fn new(place: Place) -> Self {
        Held {
            place,
            objects: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, generation: Generation, what: Object, stored: Stored) {
        let stored_as = self.objects.entry((generation, what)).or_default();
        stored_as.push(stored);
    }

    /// The store's name.
    pub fn store(&self) -> &StoreName {
        self.place.name()
    }

    /// What would go from this store.
    pub fn sum(&self, decision: &Decision) -> Sum {
        let mut sum = Sum::default();
        for deletion in &decision.delete {
            sum.add(self.stored(deletion.generation, &deletion.what));
        }
        sum
    }

    fn stored(&self, generation: Generation, what: &Object) -> &[Stored] {
        let stored = self.objects.get(&(generation, what.clone()));
        stored.map_or(&[], Vec::as_slice)
    }

    /// A backup that was not there when the store was looked at.
    async fn newcomer(&self) -> Result<Option<BackupId>, StoreError> {
        for (&generation, known) in &self.known {
            let now = base::ids(&self.place, generation).await?;
            if let Some(id) = now.into_iter().find(|id| !known.contains(id)) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

impl Sum {
    fn add(&mut self, stored: &[Stored]) {
        self.objects += stored.len() as u64;
        self.bytes += stored.iter().map(|stored| stored.bytes).sum::<u64>();
    }
}

/// Where the files of the WAL are known besides the stores.
pub struct Beside<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// Staging.
    pub staging: &'a Staging,
    /// What it holds of what every store has.
    pub copies: &'a [LocalCopy],
}

/// Deletes what `decision` says in every store that was gathered. A store that
/// fails is left alone from there on; the others go on.
pub async fn delete(
    gathered: &Gathered,
    decision: &Decision,
    beside: &Beside<'_>,
) -> Result<Vec<Outcome>, DeleteError> {
    let mut hands: Vec<Hand> = gathered.held.iter().map(Hand::of).collect();
    let of = |kind: fn(&Object) -> bool| -> Vec<(Generation, &Object)> {
        let deletions = decision.delete.iter();
        let deletions = deletions.map(|it| (it.generation, &it.what));
        deletions.filter(|(_, what)| kind(what)).collect()
    };
    let manifests = of(|what| matches!(what, Object::Manifest(_)));
    let data = of(|what| matches!(what, Object::Data(_)));
    let wal = of(|what| matches!(what, Object::Wal(_)));
    let streamed = of(|what| matches!(what, Object::Streamed(_)));
    let markers = of(|what| matches!(what, Object::Marker(_)));

    look_again(&mut hands).await?;
    forget_backups(&manifests, gathered, beside.catalog)?;
    each(&mut hands, &manifests, 1).await;
    // A backup that is still listed somewhere needs its WAL.
    let unlisted = hands.iter().all(|hand| hand.failure.is_none());
    for batch in data.chunks(BATCH) {
        look_again(&mut hands).await?;
        each(&mut hands, batch, AT_ONCE).await;
    }
    if unlisted {
        for batch in wal.chunks(BATCH) {
            forget(batch, beside)?;
            each(&mut hands, batch, AT_ONCE).await;
        }
    }
    each(&mut hands, &streamed, AT_ONCE).await;
    each(&mut hands, &markers, 1).await;
    let outcomes = hands.into_iter().map(|hand| Outcome {
        store: hand.held.store().clone(),
        deleted: hand.deleted,
        failure: hand.failure,
    });
    Ok(outcomes.collect())
}

/// A store, and what was deleted there.
struct Hand<'a> {
    held: &'a Held,
    deleted: Sum,
    failure: Option<StoreError>,
}

impl<'a> Hand<'a> {
    fn of(held: &'a Held) -> Self {
        Hand {
            held,
            deleted: Sum::default(),
            failure: None,
        }
    }

    async fn delete(&mut self, what: &[(Generation, &Object)], at_once: usize) {
        if self.failure.is_some() {
            return;
        }
        let store = &self.held.place.store;
        let stored = what
            .iter()
            .flat_map(|(generation, what)| self.held.stored(*generation, what));
        let mut deletions = stream::iter(stored)
            .map(|stored| async move { (stored, store.delete(&stored.key).await) })
            .buffer_unordered(at_once);
        while let Some((stored, deleted)) = deletions.next().await {
            match deleted {
                Ok(()) => {
                    tracing::debug!("{}: deleted \"{}\"", self.held.store(), stored.key);
                    self.deleted.add(std::slice::from_ref(stored));
                }
                Err(error) => {
                    self.failure = Some(error);
                    return;
                }
            }
        }
    }
}

async fn each(hands: &mut [Hand<'_>], what: &[(Generation, &Object)], at_once: usize) {
    let deletions = hands.iter_mut().map(|hand| hand.delete(what, at_once));
    join_all(deletions).await;
}

/// Somebody may have read the plan for an hour before he agreed.
async fn look_again(hands: &mut [Hand<'_>]) -> Result<(), DeleteError> {
    for hand in hands.iter_mut().filter(|hand| hand.failure.is_none()) {
        match hand.held.newcomer().await {
            Ok(None) => {}
            Ok(Some(id)) => return Err(DeleteError::Begun(id)),
            Err(error) => hand.failure = Some(error),
        }
    }
    Ok(())
}

/// The catalog has nothing that is not there, whenever this is killed: what
/// goes is taken from it first.
fn forget_backups(
    manifests: &[(Generation, &Object)],
    gathered: &Gathered,
    catalog: &Catalog,
) -> Result<(), CatalogError> {
    catalog.write(|writer| {
        for (generation, what) in manifests {
            let Object::Manifest(id) = what else { continue };
            let Ok(id) = id.parse() else { continue };
            for held in &gathered.held {
                writer.drop_backup(*generation, id, held.store().as_str())?;
            }
        }
        Ok(())
    })
}

/// As [`forget_backups`], of files. So is a copy in staging, which the next `ship`
/// would take for a file that the stores have not got yet.
fn forget(wal: &[(Generation, &Object)], beside: &Beside<'_>) -> Result<(), DeleteError> {
    let names: BTreeSet<(Generation, WalFileName)> = wal
        .iter()
        .filter_map(|(generation, what)| match what {
            Object::Wal(name) => Some((*generation, *name)),
            _ => None,
        })
        .collect();
    let generation = beside.staging.marker().generation;
    let goes = |copy: &&LocalCopy| names.contains(&(generation, copy.staged.name));
    copies::release(beside.staging, beside.copies.iter().filter(goes))?;
    beside.catalog.write(|writer| {
        for (generation, name) in &names {
            writer.remove(*generation, *name)?;
        }
        Ok(())
    })?;
    Ok(())
}
