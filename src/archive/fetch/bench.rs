//! What receiving takes of this host, and what is learnt on the way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use crate::{codec::BufferPool, layout::Format};

/// What is larger than this, packed or unpacked, is unpacked piece by piece
/// into its file as it comes; what is not, at once and faster. In bytes: a
/// segment of the default size.
pub(super) const IN_MEMORY: u64 = 16 << 20;

/// The room in which objects are unpacked: memory, and how many at a time.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    /// Objects as they came: kept apart, since they are a fraction of a raw
    /// segment and a buffer keeps the room that it once grew to.
    pub(super) packed: BufferPool,
    pub(super) raw: BufferPool,
    pub(super) unpacking: Arc<Semaphore>,
    /// The format in which the last file was found, by its place in
    /// [`Format::ALL`]: to look for the other first is a request for nothing.
    likely: Arc<AtomicUsize>,
}

/// How many objects are unpacked at a time: one for each core of a small host.
const UNPACKING: usize = 2;

impl Bench {
    /// For at most `at_once` files being received at a time, which are likely
    /// to be in this format.
    pub(super) fn new(at_once: usize, format: Format) -> Self {
        let largest = IN_MEMORY as usize + (1 << 20);
        Bench {
            packed: BufferPool::new(at_once, largest),
            raw: BufferPool::new(UNPACKING, largest),
            unpacking: Arc::new(Semaphore::new(UNPACKING)),
            likely: Arc::new(AtomicUsize::new(format as usize)),
        }
    }

    /// The formats in which a file may be, the likely one first.
    pub(super) fn formats(&self) -> impl Iterator<Item = Format> + use<> {
        let likely = Format::ALL[self.likely.load(Ordering::Relaxed)];
        std::iter::once(likely).chain(likely.others())
    }

    /// A file was found in this format.
    pub(super) fn found(&self, format: Format) {
        self.likely.store(format as usize, Ordering::Relaxed);
    }

    /// There will be nothing to do for a while.
    pub(super) fn rest(&self) {
        self.packed.release();
        self.raw.release();
    }
}
