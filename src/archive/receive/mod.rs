//! What is streamed beside `archive_command`: PostgreSQL's `pg_receivewal`
//! brings the segment that is still being written, and at each interval what is
//! new of it goes to every store, as an object of its own.
//!
//! ```text
//! receiver   pg_receivewal, its slot, its orphans
//! directory  what it writes
//! growth     how far that is final
//! parts      new bytes, as objects
//! lane       one store: what it lacks, and what it needs no more
//! board      how it goes, for whoever asks
//! join       parts, joined again
//! stored     the same, from the stores
//! ```
//!
//! The bucket is the truth here too: each lane lists its store's parts when it
//! begins, and nothing else is remembered.

mod board;
mod directory;
mod growth;
pub mod join;
mod lane;
mod orphans;
mod parts;
mod receiver;
pub mod stored;

use std::{collections::BTreeSet, future::pending, io, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

pub use self::board::{SlotLoss, SlotState, StoreState, StreamState};
use self::{
    board::Board,
    directory::Directory,
    growth::{Grown, Growth},
    lane::{Lane, LaneState},
    parts::Parts,
    receiver::Receiver,
};
use super::{
    ship::Shipping,
    staging::{Staging, StagingError},
};
use crate::{
    catalog::Catalog,
    config::Config,
    postgres::{SegmentName, WalFileName},
};

/// How much the directory may hold that is in staging as well, in bytes (and
/// four segments in any case); twice as much, and nothing more is received.
const MOST: u64 = 1 << 30;

/// From whom is streamed.
#[derive(Debug, Clone)]
pub struct Source {
    /// How to connect, by a libpq connection string.
    pub connection: String,
    /// The replication slot.
    pub slot: String,
    /// Where PostgreSQL's programs are, if that is configured.
    pub bin_directory: Option<PathBuf>,
    /// PGDATA, if that is.
    pub data_directory: Option<PathBuf>,
    /// How often what is new goes to the stores.
    pub interval: Duration,
}

impl Source {
    /// What the configuration says; `None` where nothing is to be streamed.
    pub fn of(config: &Config) -> Option<Self> {
        let Config {
            cluster, stream, ..
        } = config;
        stream.enabled.then(|| Source {
            connection: cluster.connection.clone(),
            slot: stream.slot.clone(),
            bin_directory: cluster.bin_directory.clone(),
            data_directory: cluster.data_directory.clone(),
            interval: stream.interval,
        })
    }
}

/// What there was at one look.
#[derive(Debug, Clone, Default)]
struct News {
    at: Timestamp,
    /// In the order of the WAL.
    grown: Vec<Grown>,
    /// Bytes that have become final since the start.
    total: u64,
}

/// Streaming could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Its directory could not be made.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The thread could not be started.
    #[error("start the thread that receives")]
    Thread(#[from] io::Error),
}

/// Streaming, under way.
#[derive(Debug)]
pub struct Streaming {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Streaming {
    /// Begins to stream from `source` to the places of `shipping`. Inside a
    /// runtime; one process to a staging directory.
    pub fn begin(source: Source, shipping: &Shipping) -> Result<Self, StreamError> {
        let Shipping {
            staging, places, ..
        } = shipping;
        let directory = Directory::open(staging)?;
        let names = places.iter().map(|place| place.name().clone());
        let board = Arc::new(Board::new(staging, source.interval, &source.slot, names));
        let parts = Arc::new(Parts::new(directory.clone(), shipping.encoder.clone()));
        let (news, _) = watch::channel(News::default());
        let mut tasks = JoinSet::new();
        for place in places {
            let lane = Lane {
                place: place.clone(),
                marker: staging.marker().clone(),
                catalog: shipping.catalog.clone(),
                pace: Arc::clone(&shipping.pace),
                parts: Arc::clone(&parts),
                board: Arc::clone(&board),
                state: LaneState::default(),
            };
            tasks.spawn(lane.run(news.subscribe()));
        }
        let look = Look {
            growth: Growth::new(directory.clone(), staging.owner()),
            staging: staging.clone(),
            catalog: shipping.catalog.clone(),
            directory: directory.clone(),
            board: Arc::clone(&board),
            complained: BTreeSet::new(),
            end: 0,
            total: 0,
        };
        let every = source.interval;
        let marker = staging.marker().clone();
        let receiver = Receiver::start(source, marker, directory, board)?;
        let (stop, stopped) = watch::channel(false);
        tasks.spawn(keep_looking(look, receiver, news, every, stopped));
        Ok(Streaming { stop, tasks })
    }

    /// Ends `pg_receivewal`, sends what it has received, and returns when every
    /// store has it, or has failed.
    pub async fn end(mut self) {
        // Fails only where the task has died.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Looks at each interval, and once more at the end.
async fn keep_looking(
    mut look: Look,
    receiver: Receiver,
    news: watch::Sender<News>,
    every: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut receiver = Some(receiver);
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            _ = stopped.changed() => true,
        };
        let ending = receiver.take_if(|_| is_last);
        let looked = tokio::task::spawn_blocking(move || {
            if let Some(receiver) = ending {
                receiver.end();
            }
            let found = look.look();
            (look, found)
        });
        let Ok((same, found)) = looked.await else {
            // It has panicked, and said so.
            return pending().await;
        };
        look = same;
        match found {
            // The last ones are seen though the sender is dropped.
            Ok(found) => drop(news.send(found)),
            Err(error) => tracing::warn!("look at what was received: {error}"),
        }
        if is_last {
            return;
        }
    }
}

/// What a look needs, and remembers.
struct Look {
    growth: Growth,
    staging: Staging,
    catalog: Catalog,
    directory: Directory,
    board: Arc<Board>,
    complained: BTreeSet<SegmentName>,
    /// The position that was final at the last look.
    end: u64,
    total: u64,
}

impl Look {
    fn look(&mut self) -> io::Result<News> {
        let at = Timestamp::now();
        let (mut grown, unfit) = self.growth.look()?;
        for (segment, why) in unfit {
            if self.complained.insert(segment) {
                let why = anyhow::Error::new(why);
                tracing::error!("what was received of {segment} cannot be shipped: {why:#}");
            }
        }
        self.trim(&mut grown)?;
        if let Some(last) = grown.last() {
            let size = self.staging.marker().segment_size.bytes();
            let end = last.received.number * size + u64::from(last.to);
            // What is there at the start may have been sent long ago.
            if self.end > 0 {
                self.total += end.saturating_sub(self.end);
            }
            self.end = end;
        }
        let news = News {
            at,
            grown,
            total: self.total,
        };
        self.board.looked(&news);
        Ok(news)
    }

    /// Takes away what every store has, but for the newest complete segment:
    /// in an empty directory `pg_receivewal` would begin behind what it has
    /// not got yet. Beyond a bound also what `archive_command` has brought
    /// into staging, and so will bring to the stores.
    fn trim(&self, grown: &mut Vec<Grown>) -> io::Result<()> {
        let newest = grown.last().map(|it| it.received.segment);
        let complete = grown.iter().filter(|it| it.received.complete);
        let newest_complete = complete.clone().map(|it| it.received.segment).next_back();
        let size = self.staging.marker().segment_size.bytes();
        let bound = MOST.max(4 * size);
        let mut held = grown.len() as u64 * size;
        let mut kept = Vec::new();
        for it in grown.drain(..) {
            let segment = it.received.segment;
            let is_open = Some(segment) == newest || Some(segment) == newest_complete;
            let goes = !is_open
                && (self.board.is_covered(&it)
                    || (held > bound && it.received.complete && self.is_archived(segment)));
            if goes {
                self.directory.remove(it.received.file_name())?;
                held -= size;
            } else {
                kept.push(it);
            }
        }
        *grown = kept;
        self.board.set_full(held > 2 * bound);
        Ok(())
    }

    /// Whether `archive_command` has brought it.
    fn is_archived(&self, segment: SegmentName) -> bool {
        let name = WalFileName::Segment(segment);
        let generation = self.staging.marker().generation;
        let known = || {
            let read = self.catalog.read(|reader| reader.file(generation, name));
            read.is_ok_and(|record| record.is_some())
        };
        self.staging.path(name).exists() || known()
    }
}
