//! Which stores are shipped to next: pure, with the time as a parameter.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    archive::ship::{LaneEnd, LeftOut},
    store::StoreName,
};

/// The first rest of a store that failed; each further one is twice as long,
/// until it takes a file again.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A pass, by the order in which they began.
pub(super) type PassId = u64;

/// Every store's state.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<StoreName, Lane>,
    passes: PassId,
    /// Whether passes ran beside each other since the last one that did not.
    overlapped: bool,
}

/// A store's state.
#[derive(Debug, Default)]
struct Lane {
    /// The pass that is sending to it.
    busy: Option<PassId>,
    /// Whether there may be something that it lacks.
    wanting: bool,
    /// How often it has failed since it last took anything.
    failures: u32,
    /// Until when it is left alone.
    rests_until: Option<Instant>,
}

impl Lane {
    fn may_begin(&self, now: Instant) -> bool {
        let rested = self.rests_until.is_none_or(|until| until <= now);
        self.wanting && self.busy.is_none() && rested
    }
}

impl Lanes {
    /// These are the stores from now on; what is known of those that stay, stays.
    pub(super) fn set(&mut self, names: impl Iterator<Item = StoreName>) {
        let mut before = std::mem::take(&mut self.lanes);
        let lane = |name| {
            let lane = before.remove(&name).unwrap_or_default();
            (name, lane)
        };
        self.lanes = names.map(lane).collect();
        // A store of the same name may be another one now.
        for lane in self.lanes.values_mut() {
            (lane.failures, lane.rests_until) = (0, None);
        }
    }

    /// Something has arrived, or may have without being noticed.
    pub(super) fn want(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.wanting = true);
    }

    /// Begins a pass, if one is due: gives its number, and the stores that are
    /// left out of it.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(PassId, BTreeMap<StoreName, LeftOut>)> {
        if !self.lanes.values().any(|lane| lane.may_begin(now)) {
            return None;
        }
        self.passes += 1;
        self.overlapped |= self.lanes.values().any(|lane| lane.busy.is_some());
        let mut left_out = BTreeMap::new();
        for (name, lane) in &mut self.lanes {
            if lane.may_begin(now) {
                (lane.busy, lane.wanting) = (Some(self.passes), false);
            } else {
                let failed = lane.busy.is_none() && lane.failures > 0;
                let why = if failed {
                    LeftOut::Failed
                } else {
                    LeftOut::Busy
                };
                left_out.insert(name.clone(), why);
            }
        }
        Some((self.passes, left_out))
    }

    /// A store's part of a pass is over. Gives how long it rests, if it failed.
    pub(super) fn end(
        &mut self,
        pass: PassId,
        name: &StoreName,
        end: LaneEnd,
        now: Instant,
    ) -> Option<Duration> {
        let lane = self.lanes.get_mut(name)?;
        if lane.busy != Some(pass) {
            return None;
        }
        lane.busy = None;
        match end {
            LaneEnd::Done => {
                (lane.failures, lane.rests_until) = (0, None);
                return None;
            }
            LaneEnd::CutShort => lane.failures = 0,
            LaneEnd::Failed => {}
        }
        let rest = FIRST_REST.saturating_mul(1 << lane.failures.min(16));
        let rest = rest.min(LONGEST_REST);
        lane.failures += 1;
        lane.rests_until = Some(now + rest);
        lane.wanting = true;
        Some(rest)
    }

    /// The whole pass is over; where it did not come to a store, that failed.
    pub(super) fn end_all(&mut self, pass: PassId, now: Instant) {
        let busy = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.busy == Some(pass));
        let busy: Vec<StoreName> = busy.map(|(name, _)| name.clone()).collect();
        for name in busy {
            self.end(pass, &name, LaneEnd::Failed, now);
        }
        // Of two passes beside each other, each may have brought a file to one
        // store and seen it in no other: one more finds that it may go.
        let all_idle = self.lanes.values().all(|lane| lane.busy.is_none());
        if all_idle && std::mem::take(&mut self.overlapped) {
            self.want();
        }
    }

    /// When the next store has rested.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let idle = self.lanes.values().filter(|lane| lane.busy.is_none());
        idle.filter_map(|lane| lane.rests_until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StoreName {
        text.parse().unwrap()
    }

    fn two() -> Lanes {
        let mut lanes = Lanes::default();
        lanes.set([name("a"), name("b")].into_iter());
        lanes.want();
        lanes
    }

    #[test]
    fn a_store_that_is_busy_holds_up_no_other() {
        let (mut lanes, now) = (two(), Instant::now());
        let (first, left_out) = lanes.begin(now).unwrap();
        assert!(left_out.is_empty());
        assert_eq!(lanes.begin(now), None);
        // `a` is through, `b` has a backlog; something arrives.
        lanes.end(first, &name("a"), LaneEnd::Done, now);
        assert_eq!(lanes.begin(now), None, "there is nothing to do");
        lanes.want();
        let (second, left_out) = lanes.begin(now).unwrap();
        assert_eq!(left_out, [(name("b"), LeftOut::Busy)].into());
        lanes.end(second, &name("a"), LaneEnd::Done, now);
        // What arrived is to go to `b` too, once it is free.
        assert_eq!(lanes.begin(now), None);
        lanes.end(first, &name("b"), LaneEnd::Done, now);
        let (_, left_out) = lanes.begin(now).unwrap();
        assert_eq!(left_out, [(name("a"), LeftOut::Busy)].into());
    }

    #[test]
    fn a_store_that_fails_rests_longer_each_time() {
        let (mut lanes, mut now) = (two(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..9 {
            let (pass, _) = lanes.begin(now).unwrap();
            lanes.end(pass, &name("a"), LaneEnd::Done, now);
            rests.push(
                lanes
                    .end(pass, &name("b"), LaneEnd::Failed, now)
                    .unwrap()
                    .as_secs(),
            );
            assert_eq!(lanes.begin(now), None);
            lanes.want();
            let (pass, left_out) = lanes.begin(now).unwrap();
            assert_eq!(left_out, [(name("b"), LeftOut::Failed)].into());
            lanes.end(pass, &name("a"), LaneEnd::Done, now);
            now = lanes.next_due().unwrap();
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let (pass, left_out) = lanes.begin(now).unwrap();
        assert_eq!(left_out, [(name("a"), LeftOut::Busy)].into());
        lanes.end(pass, &name("b"), LaneEnd::Done, now);
        assert_eq!((lanes.next_due(), lanes.begin(now)), (None, None));
        lanes.want();
        let (pass, _) = lanes.begin(now).unwrap();
        assert_eq!(
            lanes.end(pass, &name("b"), LaneEnd::Failed, now),
            Some(FIRST_REST)
        );
    }

    #[test]
    fn a_store_that_comes_and_goes_rests_no_longer_than_one_that_just_failed() {
        let (mut lanes, mut now) = (two(), Instant::now());
        let rests = [LaneEnd::Failed, LaneEnd::Failed, LaneEnd::CutShort].repeat(2);
        let rests = rests.into_iter().map(|end| {
            let (pass, _) = lanes.begin(now).unwrap();
            lanes.end(pass, &name("a"), LaneEnd::Done, now);
            let rest = lanes.end(pass, &name("b"), end, now).unwrap();
            now = lanes.next_due().unwrap();
            rest.as_secs()
        });
        assert_eq!(rests.collect::<Vec<_>>(), [1, 2, 1, 2, 4, 1]);
    }

    #[test]
    fn a_pass_that_fails_as_a_whole_is_repeated() {
        let (mut lanes, now) = (two(), Instant::now());
        let (first, _) = lanes.begin(now).unwrap();
        lanes.end(first, &name("a"), LaneEnd::Done, now);
        lanes.want();
        let (second, _) = lanes.begin(now).unwrap();
        // The first pass's end says nothing about `a`, which is in the second.
        lanes.end_all(first, now);
        assert_eq!(lanes.next_due(), Some(now + FIRST_REST));
        lanes.end_all(second, now);
        let later = now + FIRST_REST;
        let (_, left_out) = lanes.begin(later).unwrap();
        assert!(left_out.is_empty());
    }

    #[test]
    fn after_passes_beside_each_other_there_is_one_more() {
        let (mut lanes, now) = (two(), Instant::now());
        let (first, _) = lanes.begin(now).unwrap();
        lanes.end(first, &name("a"), LaneEnd::Done, now);
        lanes.want();
        let (second, _) = lanes.begin(now).unwrap();
        lanes.end(first, &name("b"), LaneEnd::Done, now);
        lanes.end_all(first, now);
        let (third, _) = lanes.begin(now).unwrap();
        for pass in [second, third] {
            lanes.end(pass, &name("a"), LaneEnd::Done, now);
            lanes.end(pass, &name("b"), LaneEnd::Done, now);
            lanes.end_all(pass, now);
        }
        let (last, left_out) = lanes.begin(now).unwrap();
        assert!(left_out.is_empty(), "{left_out:?}");
        lanes.end(last, &name("a"), LaneEnd::Done, now);
        lanes.end(last, &name("b"), LaneEnd::Done, now);
        lanes.end_all(last, now);
        assert_eq!(lanes.begin(now), None);
    }

    #[test]
    fn stores_come_and_go() {
        let (mut lanes, now) = (two(), Instant::now());
        let (pass, _) = lanes.begin(now).unwrap();
        lanes.end(pass, &name("b"), LaneEnd::Failed, now);
        lanes.set([name("b"), name("c")].into_iter());
        lanes.want();
        let (_, left_out) = lanes.begin(now).unwrap();
        assert!(left_out.is_empty(), "{left_out:?}");
        assert_eq!(lanes.end(pass, &name("a"), LaneEnd::Failed, now), None);
    }
}
