//! From staging to every store: one pass over what waits.
//!
//! Each store has a lane of its own ([`lane`]); they share the compressed
//! objects ([`bodies`]) and one thread writes down what came of each
//! ([`ledger`]). A pass can be killed at any point: what it had not written
//! down it does again, and finds the objects already there.

mod bodies;
mod confirm;
pub mod copies;
pub mod copy;
pub mod deliver;
mod lane;
mod ledger;
mod owed;
pub mod pack;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;

pub use self::confirm::{Held, confirm};
use self::{
    bodies::{Bodies, LaneId},
    copies::LocalCopy,
    lane::Lane,
    ledger::Ledger,
    pack::Packer,
};
use super::{
    pace::Pace,
    place::Place,
    staging::{Staged, Staging, StagingError},
};
use crate::{
    catalog::{Catalog, CatalogError, EventKind, Replica, State},
    codec::{BufferPool, Encoder, Sha256},
    postgres::WalFileName,
    store::StoreName,
    trail::Trail,
};

/// Memory for objects on their way, in bytes.
const MEMORY: u64 = 64 << 20;
/// Idle buffers that are kept, and how large they may be, in bytes.
const BUFFERS: (usize, usize) = (4, 18 << 20);

/// Everything that a pass needs.
#[derive(Debug, Clone)]
pub struct Shipping {
    /// Where the files wait.
    pub staging: Staging,
    /// Where they go.
    pub places: Vec<Place>,
    /// Where it is noted.
    pub catalog: Catalog,
    /// How they are compressed.
    pub encoder: Encoder,
    /// How many files at once, for each store.
    pub concurrency: usize,
    /// How fast, over all stores and all passes that share this.
    pub pace: Arc<Pace>,
    /// Above how many bytes in staging files leave that not all stores have.
    pub high_water: u64,
    /// In how many stores those must be.
    pub min_copies: usize,
    /// How long files stay in staging that every store has.
    pub local_window: Duration,
    /// Stores that nothing is sent to in this pass, though nothing leaves
    /// staging before they have it either: the daemon leaves them out.
    pub left_out: Arc<BTreeMap<StoreName, LeftOut>>,
    /// Where it is told.
    pub trail: Trail,
}

/// Why a store is left out of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// It lacks nothing, or another pass sends to it.
    Busy,
    /// It failed just now: what there is no room for is owed to it.
    Failed,
}

/// What a pass did, and what it left.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Report {
    /// Files that left staging.
    pub files: u64,
    /// Their raw size in bytes.
    pub raw_bytes: u64,
    /// By store: what it took.
    pub stores: BTreeMap<String, StoreReport>,
    /// Files that left staging although not every store has them.
    pub owed: u64,
    /// Files that still wait.
    pub waiting: u64,
    /// What they take of the staging volume, in bytes.
    pub waiting_bytes: u64,
    /// Files that every store has, and that stay for `retention.local_window`.
    pub kept: u64,
    /// What they take, in bytes.
    pub kept_bytes: u64,
    /// Names that stand for two different files.
    pub conflicts: u64,
    /// Everything that somebody should know, as sentences.
    pub problems: Vec<String>,
}

/// What one store took.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct StoreReport {
    /// Objects, those included that were there already.
    pub files: u64,
    /// Their size in bytes.
    pub stored_bytes: u64,
}

impl Report {
    /// Whether everything is where it should be.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.waiting == 0
    }
}

/// How far a pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Everything that is staged, to every store.
    Everything,
    /// One file, until so many stores hold it: for a push that waits for them.
    File {
        /// Its name.
        name: WalFileName,
        /// How many stores.
        copies: usize,
    },
}

/// Why a pass ended before its time. What it had done stands.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The staging directory failed.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The catalog failed: nothing leaves staging before it is noted.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A thread died.
    #[error("ship: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// A staged file, and which lanes it still has to take.
struct Job {
    file: Staged,
    needed_by: BTreeSet<LaneId>,
    /// Of these, the ones whose store was found to hold something else.
    disputed_by: BTreeSet<LaneId>,
    /// The raw SHA-256 that the catalog has under its name.
    recorded: Option<Sha256>,
}

/// What the lanes of one pass share.
struct Pass {
    goal: Goal,
    shipping: Shipping,
    bodies: Bodies,
}

/// What whoever watches a pass is shown, as it happens.
#[derive(Debug)]
pub enum Seen<'a> {
    /// There is so much to do.
    Begun {
        /// The raw size, in bytes, of the files that a store is to get, once
        /// for each store.
        raw_bytes: u64,
    },
    /// A store was sent a file.
    Sent {
        /// The store.
        store: &'a StoreName,
        /// The file's raw size in bytes.
        raw_bytes: u64,
        /// The object's size in bytes, where the store has it now; else why
        /// not, in a word of [`StoreErrorKind::word`], or `conflict`.
        ///
        /// [`StoreErrorKind::word`]: crate::store::StoreErrorKind::word
        outcome: Result<u64, &'static str>,
        /// How long that took, from the packed object on.
        took: Duration,
    },
    /// A store's part of the pass is over.
    LaneEnded {
        /// The store.
        store: &'a StoreName,
        /// How.
        end: LaneEnd,
        /// With what, in a word, where it did not even take a file.
        error: Option<&'static str>,
    },
}

/// How a store's part of a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneEnd {
    /// It took what there was for it.
    Done,
    /// It failed, having taken files before.
    CutShort,
    /// It failed, and took nothing.
    Failed,
}

/// Is shown what happens in a pass.
pub type Observer<'a> = dyn Fn(Seen<'_>) + Send + Sync + 'a;

/// Ships what is staged, as far as `goal` says.
pub async fn ship(shipping: &Shipping, goal: Goal) -> Result<Report, ShipError> {
    ship_observed(shipping, goal, &|_| ()).await
}

/// As [`ship`], observed store by store: each goes on at its own pace.
pub async fn ship_observed(
    shipping: &Shipping,
    goal: Goal,
    observer: &Observer<'_>,
) -> Result<Report, ShipError> {
    let (only, enough) = match goal {
        Goal::Everything => (None, None),
        Goal::File { name, copies } => (Some(name), Some(copies)),
    };
    let prepared = shipping.clone();
    let looked = tokio::task::spawn_blocking(move || jobs(&prepared, only)).await?;
    let (jobs, copies) = looked?;
    let to_send = jobs.iter().flat_map(|job| {
        let lanes = job.needed_by.iter();
        let left_out = |lane: &&LaneId| {
            let place = &shipping.places[**lane];
            !shipping.left_out.contains_key(place.name())
        };
        lanes.filter(left_out).map(|_| job.file.size)
    });
    let raw_bytes = to_send.sum();
    observer(Seen::Begun { raw_bytes });
    let lanes = shipping.places.len();
    let packer = Packer {
        staging: shipping.staging.clone(),
        encoder: shipping.encoder.clone(),
        buffers: BufferPool::new(BUFFERS.0, BUFFERS.1),
        // With many files each core has one of its own; a single one is done
        // sooner when another core hashes it.
        threads: if jobs.len() > 1 { 1 } else { 2 },
    };
    let pass = Pass {
        goal,
        shipping: shipping.clone(),
        bodies: Bodies::new(packer, lanes, MEMORY),
    };
    let (news, from_lanes) = tokio::sync::mpsc::channel(256);
    let ledger = Ledger::new(shipping.clone(), &jobs, copies, enough);
    let mut ledger = tokio::task::spawn_blocking(move || ledger.keep(from_lanes));
    let places = shipping.places.iter().enumerate();
    let (left_out, active): (Vec<_>, Vec<_>) =
        places.partition(|(_, place)| shipping.left_out.contains_key(place.name()));
    left_out.iter().for_each(|(id, _)| pass.bodies.leave(*id));
    let lanes: Vec<Lane<'_>> = active
        .into_iter()
        .map(|(id, place)| Lane {
            id,
            place,
            pass: &pass,
            observer,
            news: news.clone(),
            took: AtomicBool::new(false),
        })
        .collect();
    drop(news);
    let jobs = &jobs;
    let all = join_all(lanes.into_iter().map(async |lane| lane.run(jobs).await));
    tokio::select! {
        // The ledger has failed, or the goal is reached: a store that does
        // not answer is not waited for.
        report = &mut ledger => report?,
        // It ends when the last lane has dropped its end of the channel.
        _ = all => ledger.await?,
    }
}

/// What is to be done, from staging and the catalog; and what stays as a copy.
/// What was only to be let go of, because the last pass was killed right there
/// or it has been kept for long enough, is gone then.
fn jobs(
    shipping: &Shipping,
    only: Option<WalFileName>,
) -> Result<(Vec<Job>, Vec<LocalCopy>), ShipError> {
    let staging = &shipping.staging;
    let swept = crate::fs::sweep_temporaries(&staging.temporaries());
    swept.map_err(StagingError::io("sweep", &staging.temporaries()))?;
    let files = staging.files()?.into_iter();
    let files: Vec<Staged> = files
        .filter(|file| only.is_none_or(|name| file.name == name))
        .collect();
    if only.is_none() {
        forget_removed(shipping, &files)?;
    }
    let generation = staging.marker().generation;
    let jobs = shipping.catalog.read(|reader| {
        let mut jobs = Vec::with_capacity(files.len());
        for file in files {
            let record = reader.file(generation, file.name)?;
            let state = |place: &Place| {
                let replicas = &record.as_ref()?.replicas;
                replicas.get(place.name().as_str()).map(Replica::state)
            };
            let lanes = |chosen: fn(Option<State>) -> bool| {
                let places = shipping.places.iter().enumerate();
                let chosen = places.filter(|(_, place)| chosen(state(place)));
                chosen.map(|(lane, _)| lane).collect()
            };
            jobs.push(Job {
                needed_by: lanes(|state| state != Some(State::Stored)),
                disputed_by: lanes(|state| matches!(state, Some(State::Conflict | State::Suspect))),
                recorded: record.as_ref().map(|record| record.raw_sha256),
                file,
            });
        }
        Ok(jobs)
    })?;
    let taken: u64 = jobs.iter().map(|job| job.file.allocated).sum();
    let (done, mut open): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.needed_by.is_empty());
    let leaving: BTreeSet<WalFileName> = plan::leaves_staging(
        Timestamp::now(),
        shipping.local_window,
        taken.saturating_sub(shipping.high_water),
        done.iter().map(|job| &job.file),
    )
    .into_iter()
    .collect();
    let mut copies = Vec::new();
    for mut job in done {
        if let Some(raw_sha256) = job.recorded.filter(|_| !leaving.contains(&job.file.name)) {
            let staged = job.file;
            copies.push(LocalCopy { staged, raw_sha256 });
            continue;
        }
        let staged = staging.digest(job.file.name)?;
        match (staged, job.recorded) {
            (Some(staged), Some(recorded)) if staged == recorded => {
                staging.release(&[(job.file.name, staged)])?;
            }
            // Gone meanwhile, or another file: a lane will find out which.
            _ => {
                job.needed_by = (0..shipping.places.len()).collect();
                open.push(job);
            }
        }
    }
    Ok((open, copies))
}

/// What was said about a staged file ends when somebody has taken the file
/// away. (Were it another process's ship, that one would have said so too.)
fn forget_removed(shipping: &Shipping, files: &[Staged]) -> Result<(), CatalogError> {
    let is_staged = |file: &str| files.iter().any(|staged| staged.name.to_string() == file);
    let ended: Vec<String> = shipping.catalog.read(|reader| {
        let events = reader.events()?.into_iter();
        let ended = events.filter(|event| match &event.kind {
            EventKind::Refused { file, .. } => !is_staged(file),
            EventKind::Conflict { name, store, .. } => {
                store == ledger::STAGING && !is_staged(&name.to_string())
            }
        });
        Ok(ended.map(|event| event.kind.id()).collect())
    })?;
    if ended.is_empty() {
        return Ok(());
    }
    shipping.catalog.write(|writer| {
        for id in &ended {
            writer.resolve(id)?;
        }
        Ok(())
    })
}
