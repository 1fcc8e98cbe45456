//! How streaming goes: what the daemon writes down of it.

use jiff::Timestamp;

use crate::{
    archive::{
        receive::{SlotLoss, StreamState},
        staging::Staging,
    },
    config::Config,
    postgres::Lsn,
};

/// How streaming goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Since when WAL is received; none where it is not.
    pub receiving_since: Option<Timestamp>,
    /// Why it is not.
    pub problem: Option<String>,
    /// How far it has been received, and is final.
    pub received: Option<Lsn>,
    /// That the slot was dropped or lost since the daemon was started.
    pub slot_lost: Option<SlotLoss>,
    /// Each configured store, in the configuration's order; none where no
    /// daemon has streamed yet.
    pub stores: Vec<StreamedTo>,
}

/// How far one store is behind what has been received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedTo {
    /// Its name.
    pub store: String,
    /// All that had been received by then is in it; none where nothing has
    /// been sent since the daemon was started.
    pub until: Option<Timestamp>,
    /// How many seconds ago that was.
    pub behind_seconds: i64,
    /// How much had been received, when the daemon looked last, that it lacks.
    pub behind_bytes: u64,
    /// Why it got no further, the last time.
    pub problem: Option<String>,
}

impl StreamFacts {
    /// None where nothing is to be streamed.
    pub(super) fn of(config: &Config, staging: Option<&Staging>, now: Timestamp) -> Option<Self> {
        if !config.stream.enabled {
            return None;
        }
        let state = staging.and_then(StreamState::read);
        let is_alive = state.as_ref().is_some_and(|state| state.is_alive(now));
        let Some(state) = state else {
            return Some(StreamFacts {
                receiving_since: None,
                problem: Some(NOBODY.to_owned()),
                received: None,
                slot_lost: None,
                stores: Vec::new(),
            });
        };
        let stores = config.stores.iter().map(|store| {
            let name = store.name().to_string();
            let known = state.stores.get(&name).cloned().unwrap_or_default();
            StreamedTo {
                until: known.until,
                behind_seconds: state.behind_seconds(&name, now),
                behind_bytes: known.behind_bytes,
                problem: known.problem,
                store: name,
            }
        });
        Some(StreamFacts {
            stores: stores.collect(),
            receiving_since: state.receiving_since.filter(|_| is_alive),
            problem: match is_alive {
                true => state.problem,
                false => Some(NOBODY.to_owned()),
            },
            received: state.received,
            slot_lost: state.slot_lost,
        })
    }
}

const NOBODY: &str = "`walkeep run` does not run, or has just begun";
