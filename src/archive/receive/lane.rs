//! One store's way: what it lacks of what is received goes there, part by part,
//! at its own pace; and parts of segments that it has as a whole go away.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::{sync::watch, time::sleep_until};

use super::{
    News,
    board::Board,
    growth::Grown,
    join,
    parts::{PackError, Packed, Parts},
    stored,
};
use crate::{
    archive::{
        claim,
        object::{ExamineError, examine, metadata},
        pace::Pace,
        place::Place,
        staging::Marker,
    },
    catalog::{Catalog, CatalogError, State},
    layout::{Format, Key, StreamPart},
    postgres::{SegmentName, WalFileName},
    store::{Put, StoreError},
};

/// The most raw bytes in one part: two of them, raw and compressed, are what a
/// store takes of memory.
const LARGEST: u32 = 8 << 20;
/// The first rest of a store that failed, and the longest.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Deletions at a time.
const AT_ONCE: usize = 8;
/// When deleting is tried again that the store refused.
const DELETE_AGAIN: Duration = Duration::from_secs(60 * 60);

/// A store, and what it has.
pub(super) struct Lane {
    pub(super) place: Place,
    pub(super) marker: Marker,
    pub(super) catalog: Catalog,
    pub(super) pace: Arc<Pace>,
    pub(super) parts: Arc<Parts>,
    pub(super) board: Arc<Board>,
    pub(super) state: LaneState,
}

/// What is known of the store since the start.
#[derive(Default)]
pub(super) struct LaneState {
    /// Its parts; `None` until it has been asked.
    held: Option<BTreeMap<SegmentName, Held>>,
    /// The segments that it has as a whole.
    whole: BTreeSet<SegmentName>,
    /// Segments of which it has other bytes under a part's name.
    disputed: BTreeSet<SegmentName>,
    delete_after: Option<Instant>,
}

/// The parts of one segment in the store.
#[derive(Default)]
struct Held {
    parts: Vec<(StreamPart, Format)>,
    /// How far they reach without a hole.
    to: u32,
}

/// Why a pass ended.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("{segment}: {cause}")]
    Pack {
        segment: SegmentName,
        cause: PackError,
    },
    #[error("ask the catalog: {0}")]
    Thread(#[from] tokio::task::JoinError),
    #[error("\"{key}\" is damaged; `walkeep prune` deletes it once the segment is whole")]
    Damaged { key: String },
}

impl Lane {
    /// Goes on until there will be no more news.
    pub(super) async fn run(mut self, mut news: watch::Receiver<News>) {
        let (mut failures, mut rests_until) = (0_u32, None);
        loop {
            tokio::select! {
                changed = news.changed() => match changed {
                    Ok(()) if rests_until.is_none() => {}
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = until(rests_until) => {}
            }
            let now = news.borrow_and_update().clone();
            match self.pass(&now).await {
                Ok(()) => (failures, rests_until) = (0, None),
                Err(error) => {
                    let text = format!("{:#}", anyhow::Error::new(error));
                    let rest = RESTS.0.saturating_mul(1 << failures.min(8)).min(RESTS.1);
                    if failures == 0 {
                        let name = self.place.name();
                        tracing::warn!("what is streamed does not reach store \"{name}\": {text}");
                    }
                    self.board.failed(self.place.name(), text);
                    failures += 1;
                    rests_until = Some(Instant::now() + rest);
                }
            }
        }
    }

    /// Brings it up to what has come.
    async fn pass(&mut self, news: &News) -> Result<(), LaneError> {
        if self.state.held.is_none() {
            let ours = Some(self.marker.system_identifier);
            claim::confirm(&self.place, self.marker.generation, ours, true).await?;
            self.state.held = Some(self.list().await?);
        }
        self.learn_whole(&news.grown).await?;
        let mut covered = BTreeMap::new();
        for grown in &news.grown {
            let segment = grown.received.segment;
            let whole = self.state.whole.contains(&segment);
            if whole || (!self.is_disputed(segment) && self.send(grown).await?) {
                covered.insert(segment, grown.to);
            }
        }
        self.board
            .reached(self.place.name(), news, covered, &self.state.disputed);
        self.delete_needless().await;
        Ok(())
    }

    fn is_disputed(&self, segment: SegmentName) -> bool {
        self.state.disputed.contains(&segment)
    }

    async fn list(&self) -> Result<BTreeMap<SegmentName, Held>, StoreError> {
        let mut held: BTreeMap<SegmentName, Held> = BTreeMap::new();
        for (part, format) in stored::list(&self.place, self.marker.generation).await? {
            let segment = held.entry(part.segment).or_default();
            segment.parts.push((part, format));
        }
        for segment in held.values_mut() {
            segment.to = join::reach(segment.parts.iter().map(|(part, _)| part), 0);
        }
        Ok(held)
    }

    /// Which of the segments it has by now as a whole, from `archive_command`'s
    /// way. The newest one, which still grows, is not asked about.
    async fn learn_whole(&mut self, grown: &[Grown]) -> Result<(), LaneError> {
        let held = self.state.held.iter().flat_map(BTreeMap::keys).copied();
        let received = grown.iter().map(|grown| grown.received.segment);
        let growing = grown.last().filter(|grown| !grown.received.complete);
        let growing = growing.map(|grown| grown.received.segment);
        let open: BTreeSet<SegmentName> = held
            .chain(received)
            .filter(|name| Some(*name) != growing && !self.state.whole.contains(name))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let (catalog, store) = (self.catalog.clone(), self.place.name().clone());
        let generation = self.marker.generation;
        let whole = tokio::task::spawn_blocking(move || {
            catalog.read(|reader| {
                let mut whole = Vec::new();
                for name in open {
                    let record = reader.file(generation, WalFileName::Segment(name))?;
                    let replica = record.and_then(|it| it.replicas.get(store.as_str()).cloned());
                    if replica.is_some_and(|replica| replica.state() == State::Stored) {
                        whole.push(name);
                    }
                }
                Ok(whole)
            })
        });
        self.state.whole.extend(whole.await??);
        Ok(())
    }

    /// Sends what is missing of one segment; false where it is not there any
    /// more, or the store has other bytes.
    async fn send(&mut self, grown: &Grown) -> Result<bool, LaneError> {
        let segment = grown.received.segment;
        loop {
            let held = self.state.held.as_ref().and_then(|held| held.get(&segment));
            let from = held.map_or(0, |held| held.to);
            if from >= grown.to {
                return Ok(true);
            }
            let to = grown.to.min(from.saturating_add(LARGEST));
            let part = StreamPart { segment, from, to };
            let taken = self.parts.take(&grown.received, part).await;
            let taken = taken.map_err(|cause| LaneError::Pack { segment, cause })?;
            let Some(packed) = taken.as_ref().and_then(|cell| cell.get()) else {
                return Ok(false);
            };
            if !self.put(part, packed).await? {
                self.state.disputed.insert(segment);
                return Ok(false);
            }
            let format = self.parts.encoder.format();
            let held = self.state.held.get_or_insert_default();
            let held = held.entry(segment).or_default();
            held.parts.push((part, format));
            held.to = to;
        }
    }

    /// Stores a part; false where the store has other bytes under its name.
    async fn put(&self, part: StreamPart, packed: &Packed) -> Result<bool, LaneError> {
        let format = self.parts.encoder.format();
        let what = Key::Stream(self.marker.generation, part, format);
        let key = self.place.layout.key(what);
        self.pace.wait(packed.body.length).await;
        let beside = metadata(&packed.facts);
        let put = self.place.store.put_new(&key, &packed.body, &beside);
        let there = match put.await? {
            Put::Created => return Ok(true),
            Put::Exists(info) => info,
        };
        if there.size == packed.body.length && there.md5 == Some(packed.body.md5) {
            return Ok(true);
        }
        match examine(&self.place, &key).await {
            Ok(Some(found)) if found.raw_sha256 == packed.facts.raw_sha256 => Ok(true),
            Ok(Some(_)) => {
                tracing::error!(
                    "store \"{}\" has other bytes under \"{key}\" than this server wrote: a split \
                     brain; look for another server that archives to the same place",
                    self.place.name()
                );
                Ok(false)
            }
            // Somebody has deleted it meanwhile.
            Ok(None) => Err(LaneError::Damaged { key }),
            Err(ExamineError::Store(error)) => Err(error.into()),
            Err(ExamineError::Damaged { .. }) => Err(LaneError::Damaged { key }),
        }
    }

    /// Deletes the parts of segments that the store has as a whole. A key that
    /// may not delete leaves them to `prune`.
    async fn delete_needless(&mut self) {
        if self
            .state
            .delete_after
            .is_some_and(|at| at > Instant::now())
        {
            return;
        }
        let held = self.state.held.iter().flat_map(BTreeMap::keys);
        let needless = held.filter(|name| self.state.whole.contains(name));
        for segment in needless.copied().collect::<Vec<_>>() {
            match self.delete_parts(segment).await {
                Ok(()) => self.state.delete_after = None,
                Err(error) => {
                    tracing::warn!(
                        "streamed parts that are not needed any more stay in store \"{}\": {error}",
                        self.place.name()
                    );
                    self.state.delete_after = Some(Instant::now() + DELETE_AGAIN);
                    return;
                }
            }
        }
    }

    async fn delete_parts(&mut self, segment: SegmentName) -> Result<(), StoreError> {
        let generation = self.marker.generation;
        let mut is_there = false;
        for format in Format::ALL {
            let key = self.place.key(generation, segment.into(), format);
            is_there |= self.place.store.head(&key).await?.is_some();
        }
        if !is_there {
            // The catalog is wrong, and will be told by an audit.
            self.state.whole.remove(&segment);
            return Ok(());
        }
        let Some(held) = self
            .state
            .held
            .as_mut()
            .and_then(|held| held.remove(&segment))
        else {
            return Ok(());
        };
        let keys: Vec<String> = held
            .parts
            .iter()
            .map(|(part, format)| Key::Stream(generation, *part, *format))
            .map(|key| self.place.layout.key(key))
            .collect();
        for keys in keys.chunks(AT_ONCE) {
            let deleted = keys.iter().map(|key| self.place.store.delete(key));
            if let Err(error) = try_join_all(deleted).await {
                // Those that have gone are deleted once more, which is fine.
                let all = self.state.held.get_or_insert_default();
                all.insert(segment, held);
                return Err(error);
            }
        }
        Ok(())
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}
