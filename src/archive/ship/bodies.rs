//! The objects on their way: each file is compressed once and the same bytes
//! go to every store, within a budget of memory.
//!
//! The lanes (one a store) walk the same files in the same order, each at its
//! own pace. A body is kept until every lane that is in step has taken it. A
//! lane that keeps the others waiting for memory falls out of step: nothing is
//! kept for it any more, and it compresses for itself what it gets to later.
//! What it has in its hands is bounded by its share. So one cloud's outage
//! costs the others a moment, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::pack::{PackError, Packed, Packer};
use crate::{archive::staging::Staged, postgres::WalFileName};

/// How long a lane waits for memory before it calls the others out of step.
const PATIENCE: Duration = Duration::from_secs(2);

/// The budget is counted in these; a semaphore's permits are 32 bits.
const UNIT: u64 = 64 << 10;

/// A lane's share is at least this, in bytes: two segments of 16 MiB that
/// cannot be compressed, so that there is one to pack while one is sent.
const LEAST_SHARE: u64 = 33 << 20;

/// A lane's number.
pub(super) type LaneId = usize;

/// The bodies of one pass.
pub(super) struct Bodies {
    packer: Packer,
    /// Memory that bodies may take, in [`UNIT`]s.
    budget: Arc<Semaphore>,
    whole: u32,
    /// Of that, what each lane may have in its hands: a store that hangs with
    /// many files under way must leave memory for the others.
    shares: Vec<Arc<Semaphore>>,
    share: u32,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    bodies: BTreeMap<WalFileName, Body>,
    in_step: BTreeSet<LaneId>,
}

struct Body {
    packed: Arc<OnceCell<Arc<Held>>>,
    /// The lanes in step that have not taken it yet.
    awaited_by: BTreeSet<LaneId>,
}

/// A packed file and its share of the budget, given back with the last user.
struct Held {
    packed: Packed,
    _memory: OwnedSemaphorePermit,
}

/// A body in a lane's hands.
pub(super) struct Taken {
    held: Arc<Held>,
    _share: OwnedSemaphorePermit,
}

impl Taken {
    /// The object.
    pub(super) fn packed(&self) -> &Packed {
        &self.held.packed
    }
}

impl Bodies {
    /// For `lanes` lanes, with `budget` bytes of memory.
    pub(super) fn new(packer: Packer, lanes: usize, budget: u64) -> Self {
        let whole = u32::try_from(budget / UNIT).unwrap_or(u32::MAX).max(1);
        let shelf = Shelf {
            bodies: BTreeMap::new(),
            in_step: (0..lanes).collect(),
        };
        let each = whole / u32::try_from(lanes).unwrap_or(u32::MAX).max(1);
        let share = each.max(units(LEAST_SHARE));
        let shares = (0..lanes).map(|_| Arc::new(Semaphore::new(share as usize)));
        Bodies {
            packer,
            budget: Arc::new(Semaphore::new(whole as usize)),
            whole,
            shares: shares.collect(),
            share,
            shelf: Mutex::new(shelf),
        }
    }

    /// The object of `file`, for the lane `lane`: packed now, or shared.
    /// `wanted_by` are the lanes that this file has still to go to. Waits until
    /// the lane's share has room for it.
    pub(super) async fn take(
        &self,
        file: &Staged,
        lane: LaneId,
        wanted_by: &BTreeSet<LaneId>,
    ) -> Result<Taken, PackError> {
        let wanted = units(self.packer.memory(file)).min(self.share);
        let share = Arc::clone(&self.shares[lane]).acquire_many_owned(wanted);
        // The semaphore is never closed.
        let Ok(mut share) = share.await else {
            return std::future::pending().await;
        };
        let held = self.hold(file, lane, wanted_by).await?;
        keep_only(&mut share, held.packed.memory());
        Ok(Taken {
            held,
            _share: share,
        })
    }

    async fn hold(
        &self,
        file: &Staged,
        lane: LaneId,
        wanted_by: &BTreeSet<LaneId>,
    ) -> Result<Arc<Held>, PackError> {
        let cell = self.reserve(file.name, lane, wanted_by);
        let held = cell
            .get_or_try_init(|| self.pack(file, lane))
            .await
            .cloned();
        self.taken(file.name, lane, held.is_err());
        held
    }

    /// The lane is done, or gives up: nothing is kept for it any more.
    pub(super) fn leave(&self, lane: LaneId) {
        self.shelf().drop_lane(lane);
    }

    fn reserve(
        &self,
        name: WalFileName,
        lane: LaneId,
        wanted_by: &BTreeSet<LaneId>,
    ) -> Arc<OnceCell<Arc<Held>>> {
        let mut shelf = self.shelf();
        let Shelf { bodies, in_step } = &mut *shelf;
        let body = bodies.entry(name).or_insert_with(|| {
            // The others passed a lane that is out of step long ago.
            let others = wanted_by.iter().filter(|_| in_step.contains(&lane));
            let awaited_by = others.filter(|other| in_step.contains(other)).copied();
            Body {
                packed: Arc::default(),
                awaited_by: awaited_by.chain([lane]).collect(),
            }
        });
        Arc::clone(&body.packed)
    }

    /// The lane holds the body itself now, or there is none.
    fn taken(&self, name: WalFileName, lane: LaneId, failed: bool) {
        let mut shelf = self.shelf();
        if let Some(body) = shelf.bodies.get_mut(&name) {
            body.awaited_by.remove(&lane);
            if failed || body.awaited_by.is_empty() {
                shelf.bodies.remove(&name);
            }
        }
    }

    async fn pack(&self, file: &Staged, lane: LaneId) -> Result<Arc<Held>, PackError> {
        let mut memory = self.memory(self.packer.memory(file), lane).await;
        let packed = self.packer.pack(file).await?;
        keep_only(&mut memory, packed.memory());
        Ok(Arc::new(Held {
            packed,
            _memory: memory,
        }))
    }

    async fn memory(&self, bytes: u64, lane: LaneId) -> OwnedSemaphorePermit {
        let wanted = units(bytes).min(self.whole);
        loop {
            let permit = Arc::clone(&self.budget).acquire_many_owned(wanted);
            match tokio::time::timeout(PATIENCE, permit).await {
                Ok(Ok(permit)) => return permit,
                // The semaphore is never closed.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => self.shelf().drop_laggards(lane),
            }
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic elsewhere leaves the shelf as valid as it was.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn drop_lane(&mut self, lane: LaneId) {
        self.in_step.remove(&lane);
        self.bodies.retain(|_, body| {
            body.awaited_by.remove(&lane);
            !body.awaited_by.is_empty()
        });
    }

    /// Whoever bodies that are ready still wait for, other than the lane that
    /// waits for memory, is out of step.
    fn drop_laggards(&mut self, waiting: LaneId) {
        let ready = self
            .bodies
            .values()
            .filter(|body| body.packed.initialized());
        let laggards: BTreeSet<LaneId> = ready
            .flat_map(|body| body.awaited_by.iter().copied())
            .collect();
        for lane in laggards.into_iter().filter(|&lane| lane != waiting) {
            tracing::debug!(lane, "a store lags; the others go on without it");
            self.drop_lane(lane);
        }
    }
}

/// What compression saved goes back.
fn keep_only(permit: &mut OwnedSemaphorePermit, bytes: u64) {
    let spare = permit.num_permits().saturating_sub(units(bytes) as usize);
    drop(permit.split(spare));
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT))
        .unwrap_or(u32::MAX)
        .max(1)
}
