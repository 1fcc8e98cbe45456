//! How streaming goes, for `walkeep status`.

use std::io::Write;

use bytesize::ByteSize;
use jiff::Timestamp;
use serde::Serialize;

use crate::serve::{
    alerts::span,
    facts::{Facts, StreamedTo},
};

/// Sizes in bytes, durations in seconds.
#[derive(Debug, Serialize)]
pub(super) struct StreamStatus {
    receiving: bool,
    receiving_since: Option<Timestamp>,
    /// Why nothing is received.
    problem: Option<String>,
    /// The position up to which WAL has been received.
    received: Option<String>,
    slot: SlotStatus,
    stores: Vec<StreamedStore>,
}

#[derive(Debug, Serialize)]
struct SlotStatus {
    /// `stream.slot`, where the server answers.
    name: Option<String>,
    /// `absent`, `lost` or `kept`; null where the server does not answer.
    state: Option<&'static str>,
    /// Whether somebody receives by it.
    active: Option<bool>,
    /// The WAL that the server keeps for it.
    held_bytes: Option<u64>,
    /// When the daemon found it dropped or lost, and made it anew.
    lost_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct StreamedStore {
    store: String,
    /// All that had been received by then is in it.
    until: Option<Timestamp>,
    behind_seconds: i64,
    behind_bytes: u64,
    problem: Option<String>,
}

impl StreamStatus {
    /// `None` where nothing is to be streamed.
    pub(super) fn of(facts: &Facts) -> Option<Self> {
        let stream = facts.stream.as_ref()?;
        let slot = facts.slot.as_ref();
        let kept = slot.and_then(|slot| slot.state.as_ref().filter(|slot| !slot.lost));
        Some(StreamStatus {
            receiving: stream.receiving_since.is_some(),
            receiving_since: stream.receiving_since,
            problem: stream.problem.clone(),
            received: stream.received.map(|lsn| lsn.to_string()),
            slot: SlotStatus {
                name: slot.map(|slot| slot.name.clone()),
                state: slot.map(|slot| match (&slot.state, kept) {
                    (None, _) => "absent",
                    (_, None) => "lost",
                    (_, Some(_)) => "kept",
                }),
                active: kept.map(|slot| slot.active),
                held_bytes: kept.map(|slot| slot.kept),
                lost_at: stream.slot_lost.as_ref().map(|loss| loss.at),
            },
            stores: stream.stores.iter().map(StreamedStore::from).collect(),
        })
    }

    pub(super) fn print(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut line = match (self.receiving, &self.received) {
            (true, Some(lsn)) => format!("received until {lsn}"),
            (true, None) => "receives".to_owned(),
            (false, _) => "receives nothing".to_owned(),
        };
        if let Some(held) = self.slot.held_bytes {
            line += &format!(", the slot holds back {}", ByteSize(held));
        }
        for to in &self.stores {
            let (store, behind) = (&to.store, span(to.behind_seconds));
            line += &format!(", \"{store}\" is {behind} behind");
            if to.behind_bytes > 0 {
                line += &format!(" ({})", ByteSize(to.behind_bytes));
            }
        }
        writeln!(out, "stream   {line}")?;
        Ok(())
    }
}

impl From<&StreamedTo> for StreamedStore {
    fn from(to: &StreamedTo) -> Self {
        StreamedStore {
            store: to.store.clone(),
            until: to.until,
            behind_seconds: to.behind_seconds,
            behind_bytes: to.behind_bytes,
            problem: to.problem.clone(),
        }
    }
}
