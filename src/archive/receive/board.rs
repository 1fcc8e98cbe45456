//! How streaming goes, written down beside the received files: for whoever
//! asks, in this process or another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{News, directory, growth::Grown};
use crate::{
    archive::staging::Staging,
    fs,
    postgres::{Lsn, SegmentName, SegmentSize, session::Slot},
    store::StoreName,
};

/// The format that this program writes.
const FORMAT: u32 = 1;

/// How streaming goes, as of [`at`](Self::at).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The format.
    pub format: u32,
    /// When this was written. Older than a few times the interval: nobody
    /// streams.
    pub at: Timestamp,
    /// When the daemon began to stream.
    pub begun: Timestamp,
    /// `stream.interval`, in seconds.
    pub interval_seconds: u64,
    /// `stream.slot`.
    pub slot_name: String,
    /// What the server says of it; `None` where it could not be asked.
    pub slot: Option<SlotState>,
    /// That the slot was found dropped or lost, so that streaming began anew;
    /// `None` where that has not happened since the daemon was started.
    pub slot_lost: Option<SlotLoss>,
    /// Since when `pg_receivewal` has been running; `None` where it is not.
    pub receiving_since: Option<Timestamp>,
    /// Why it is not, or what is wrong otherwise.
    pub problem: Option<String>,
    /// How far the WAL has been received, and is final; `None` before anything
    /// was.
    pub received: Option<Lsn>,
    /// The stores, by name.
    pub stores: BTreeMap<String, StoreState>,
}

/// What one store has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreState {
    /// Everything that had been received by then is in it; `None` where
    /// nothing has been sent since the daemon was started.
    pub until: Option<Timestamp>,
    /// Of what had been received when this was written, bytes that it lacks.
    pub behind_bytes: u64,
    /// Why it got no further, the last time; `None` where it did.
    pub problem: Option<String>,
}

/// The slot did not keep what was still to be received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotLoss {
    /// When that was found.
    pub at: Timestamp,
    /// What became of it, as a sentence.
    pub why: String,
}

/// What the server says of the replication slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum SlotState {
    /// There is none of this name: not yet, or somebody dropped it.
    Absent,
    /// PostgreSQL gave it up, since it held more than `max_slot_wal_keep_size`:
    /// what had not been received is gone from `pg_wal`, or soon will be.
    Lost,
    /// It keeps what has not been received.
    Kept {
        /// Whether somebody receives by it now.
        active: bool,
        /// How many bytes it keeps: so far does the receiver lag.
        lag_bytes: u64,
    },
}

impl From<Option<Slot>> for SlotState {
    fn from(slot: Option<Slot>) -> Self {
        match slot {
            None => SlotState::Absent,
            Some(slot) if slot.lost => SlotState::Lost,
            Some(slot) => SlotState::Kept {
                active: slot.active,
                lag_bytes: slot.kept,
            },
        }
    }
}

impl StreamState {
    /// As it was written last; `None` where nobody has streamed here.
    pub fn read(staging: &Staging) -> Option<Self> {
        let bytes = std::fs::read(path(staging)).ok()?;
        let state: StreamState = serde_json::from_slice(&bytes).ok()?;
        (state.format <= FORMAT).then_some(state)
    }

    /// Whether a daemon is at work: it writes this at each interval.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let patience = Duration::from_secs(self.interval_seconds * 3 + 30);
        now.duration_since(self.at).unsigned_abs() <= patience
    }

    /// For how many seconds the store has not had all that was received: so
    /// much would be lost with this host, were the store all that is left. At
    /// least so much where nothing has been sent since the daemon was started.
    pub fn behind_seconds(&self, store: &str, now: Timestamp) -> i64 {
        let until = self.stores.get(store).and_then(|it| it.until);
        let until = until.unwrap_or(self.begun);
        now.duration_since(until).as_secs().max(0)
    }
}

fn path(staging: &Staging) -> PathBuf {
    directory::root(staging).join("state.json")
}

/// What the tasks of one daemon share.
#[derive(Debug)]
pub(super) struct Board {
    path: PathBuf,
    size: SegmentSize,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: StreamState,
    /// By store: how many bytes it has of received segments.
    covered: BTreeMap<StoreName, BTreeMap<SegmentName, u32>>,
    /// Bytes that became final since the start.
    total: u64,
    /// By store's name: how many of them it has.
    sent: BTreeMap<String, u64>,
    /// Whether there is no room for more.
    full: bool,
}

impl Board {
    pub(super) fn new(
        staging: &Staging,
        interval: Duration,
        slot_name: &str,
        stores: impl Iterator<Item = StoreName>,
    ) -> Self {
        let covered: BTreeMap<StoreName, _> = stores.map(|it| (it, BTreeMap::new())).collect();
        let stores = covered
            .keys()
            .map(|it| (it.to_string(), StoreState::default()));
        let now = Timestamp::now();
        let state = StreamState {
            format: FORMAT,
            at: now,
            begun: now,
            interval_seconds: interval.as_secs(),
            slot_name: slot_name.to_owned(),
            slot: None,
            slot_lost: None,
            receiving_since: None,
            problem: None,
            received: None,
            stores: stores.collect(),
        };
        Board {
            path: path(staging),
            size: staging.marker().segment_size,
            shared: Mutex::new(Shared {
                state,
                covered,
                total: 0,
                sent: BTreeMap::new(),
                full: false,
            }),
        }
    }

    /// A look at what has been received.
    pub(super) fn looked(&self, news: &News) {
        let mut shared = self.shared();
        if let Some(last) = news.grown.last() {
            let start = last.received.number * self.size.bytes();
            shared.state.received = Some(Lsn(start + u64::from(last.to)));
        }
        shared.total = news.total;
        self.save(&mut shared);
    }

    /// A store has all that the news told of, but for what is not `covered`.
    pub(super) fn reached(
        &self,
        store: &StoreName,
        news: &News,
        covered: BTreeMap<SegmentName, u32>,
        disputed: &BTreeSet<SegmentName>,
    ) {
        let mut shared = self.shared();
        let has_all = news
            .grown
            .iter()
            .all(|it| covered.contains_key(&it.received.segment));
        if has_all {
            shared.sent.insert(store.to_string(), news.total);
        }
        let of_store = shared.state.stores.entry(store.to_string()).or_default();
        if has_all {
            of_store.until = Some(news.at);
        }
        let disputed = disputed.first();
        of_store.problem = disputed.map(|name| format!("it has other bytes of {name}"));
        shared.covered.insert(store.clone(), covered);
        self.save(&mut shared);
    }

    pub(super) fn failed(&self, store: &StoreName, problem: String) {
        let mut shared = self.shared();
        let of_store = shared.state.stores.entry(store.to_string()).or_default();
        of_store.problem = Some(problem);
        self.save(&mut shared);
    }

    /// Whether every store has what has been received of a segment by now. What
    /// it had at the last look says nothing of what came since.
    pub(super) fn is_covered(&self, grown: &Grown) -> bool {
        let shared = self.shared();
        let mut stores = shared.covered.values();
        stores.all(|covered| covered.get(&grown.received.segment) >= Some(&grown.to))
    }

    pub(super) fn set_full(&self, full: bool) {
        self.shared().full = full;
    }

    pub(super) fn is_full(&self) -> bool {
        self.shared().full
    }

    pub(super) fn slot(&self, slot: Option<SlotState>) {
        self.shared().state.slot = slot;
    }

    pub(super) fn slot_lost(&self, why: String) {
        let at = Timestamp::now();
        self.shared().state.slot_lost = Some(SlotLoss { at, why });
    }

    pub(super) fn receiving(&self) {
        let mut shared = self.shared();
        shared.state.receiving_since = Some(Timestamp::now());
        shared.state.problem = None;
        self.save(&mut shared);
    }

    pub(super) fn not_receiving(&self, problem: String) {
        let mut shared = self.shared();
        shared.state.receiving_since = None;
        shared.state.problem = Some(problem);
        self.save(&mut shared);
    }

    fn save(&self, shared: &mut Shared) {
        shared.state.at = Timestamp::now();
        let Shared {
            state, total, sent, ..
        } = &mut *shared;
        for (name, store) in &mut state.stores {
            let sent = sent.get(name).copied().unwrap_or_default();
            store.behind_bytes = total.saturating_sub(sent);
        }
        let Ok(bytes) = serde_json::to_vec_pretty(&shared.state) else {
            return;
        };
        if let Err(error) = fs::replace_volatile(&self.path, &bytes) {
            tracing::debug!("write \"{}\": {error}", self.path.display());
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A panic elsewhere leaves it as valid as it was.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
