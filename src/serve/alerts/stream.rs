//! What streaming and its slot show.

use std::time::Duration;

use bytesize::ByteSize;

use super::{
    Condition,
    Kind::*,
    conditions::{Thresholds, signed, span},
};
use crate::{
    catalog::Severity::{Critical, Warning},
    serve::facts::Facts,
};

pub(super) fn stream(facts: &Facts, thresholds: Thresholds, found: &mut Vec<Condition>) {
    let slot = slot(facts, thresholds);
    let is_lost = slot.as_ref().is_some_and(|slot| slot.kind == SlotLost);
    found.extend(slot);
    if !is_lost {
        found.extend(was_lost(facts, thresholds));
    }
    let Some(stream) = &facts.stream else { return };
    if stream.receiving_since.is_none() {
        let why = stream.problem.as_deref().unwrap_or("it has just begun");
        let message = format!(
            "nothing is streamed: {why}. What PostgreSQL writes is stored once its segment is \
             archived, not before"
        );
        return found.push(Condition::new(Stream, Warning, message).passing());
    }
    for to in &stream.stores {
        let behind = Duration::from_secs(to.behind_seconds.unsigned_abs());
        if behind > thresholds.alerts.lag {
            let (store, long) = (&to.store, span(to.behind_seconds));
            let why = to.problem.as_deref();
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let message = format!(
                "store \"{store}\" has nothing of what was streamed in the last {long}{why}"
            );
            found.push(Condition::new(Stream, Warning, message).of(store));
        }
    }
}

/// The slot holds back WAL, or is gone.
fn slot(facts: &Facts, thresholds: Thresholds) -> Option<Condition> {
    let slot = facts.slot.as_ref()?;
    let name = &slot.name;
    match &slot.state {
        None => {
            let message = format!(
                "the replication slot \"{name}\" does not exist: what was not streamed waits for \
                 its segment to be archived; `walkeep run` makes it anew"
            );
            let lost = Condition::new(SlotLost, Critical, message);
            Some(lost.of(name).passing())
        }
        Some(state) if state.lost => {
            let message = format!(
                "PostgreSQL has dropped WAL that the replication slot \"{name}\" was to bring \
                 (max_slot_wal_keep_size): `walkeep run` makes the slot anew; archive_command \
                 still archives whole segments"
            );
            Some(Condition::new(SlotLost, Critical, message).of(name))
        }
        Some(state) if state.kept > thresholds.alerts.slot_lag => {
            let what = match state.active {
                true => "and is read too slowly",
                false => "and nobody reads from it",
            };
            let message = format!(
                "the replication slot \"{name}\" holds back {} of WAL, {what}: pg_wal fills up; \
                 see whether `walkeep run` streams",
                ByteSize(state.kept)
            );
            Some(Condition::new(SlotLag, Warning, message).of(name))
        }
        Some(_) => None,
    }
}

/// It was gone, and the daemon has made it anew, within a second perhaps: that
/// is told for a while.
fn was_lost(facts: &Facts, thresholds: Thresholds) -> Option<Condition> {
    let loss = facts.stream.as_ref()?.slot_lost.as_ref()?;
    let name = &facts.slot.as_ref()?.name;
    let recent = facts.at.duration_since(loss.at) <= signed(thresholds.alerts.lag);
    let message = format!("at {}: {}", loss.at, loss.why);
    recent.then(|| Condition::new(SlotLost, Critical, message).of(name))
}
