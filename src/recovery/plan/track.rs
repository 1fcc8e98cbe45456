//! The WAL along one way through the timelines: which numbers are there, and
//! which are missing.

use super::archive::{Archive, Streamed};
use crate::{
    archive::plan::SegmentRange,
    postgres::{
        Lsn, SegmentName, SegmentSize, TimelineId,
        ancestry::{Ancestry, Stretch},
    },
};

/// The segments along the way to one timeline. A number stands for one name
/// here: the youngest timeline's that has begun by then.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) ancestry: Ancestry,
    size: SegmentSize,
    stretches: Vec<Stretch>,
    /// First and last number of what is there without a break, in order.
    runs: Vec<(u64, u64)>,
    /// What was streamed behind the last archived segment, by number. It is
    /// part of the last run.
    streamed: Vec<(u64, Streamed)>,
}

impl Track {
    /// What all holders together have on the way to `timeline`.
    pub(super) fn to(timeline: TimelineId, archive: &Archive) -> Self {
        let ancestry = archive.ancestry(timeline);
        let size = archive.segment_size;
        let stretches = ancestry.stretches(size);
        let held = archive.holders.iter().flat_map(|holder| &holder.segments);
        let runs = merged(clipped(held, &stretches, size));
        let mut track = Track {
            ancestry,
            size,
            stretches,
            runs,
            streamed: Vec::new(),
        };
        track.go_on_with(&archive.streamed);
        track
    }

    /// Only what follows on the last archived segment leads anywhere, and
    /// nothing leads on from a segment that is not whole.
    fn go_on_with(&mut self, streamed: &[Streamed]) {
        let on_the_way = streamed.iter().filter_map(|it| {
            let number = it.segment.number(self.size)?;
            (self.name(number) == it.segment).then_some((number, *it))
        });
        let mut on_the_way: Vec<(u64, Streamed)> = on_the_way.collect();
        on_the_way.sort_unstable_by_key(|(number, _)| *number);
        for (number, it) in on_the_way {
            let is_whole = |(_, it): &(u64, Streamed)| it.bytes >= self.size.bytes();
            if !self.streamed.last().is_none_or(is_whole) {
                return;
            }
            match self.runs.last_mut() {
                Some(run) if run.1 + 1 == number => run.1 = number,
                None => self.runs.push((number, number)),
                Some(_) => continue,
            }
            self.streamed.push((number, it));
        }
    }

    /// What was streamed of the numbers from `first` to `last`.
    pub(super) fn streamed(&self, first: u64, last: u64) -> Vec<Streamed> {
        let within = self.streamed.iter();
        let within = within.filter(|(number, _)| (first..=last).contains(number));
        within.map(|(_, it)| *it).collect()
    }

    pub(super) fn timeline(&self) -> TimelineId {
        self.ancestry.timeline()
    }

    /// The number of the segment that holds `lsn`.
    pub(super) fn number(&self, lsn: Lsn) -> u64 {
        lsn.0 / self.size.bytes()
    }

    /// The first position of segment `number`.
    pub(super) fn start_of(&self, number: u64) -> Lsn {
        Lsn(number.saturating_mul(self.size.bytes()))
    }

    /// The first position behind it, or behind what was streamed of it.
    pub(super) fn end_of(&self, number: u64) -> Lsn {
        let mut streamed = self.streamed.iter();
        let bytes = streamed.find_map(|(it, streamed)| (*it == number).then_some(streamed.bytes));
        let start = number.saturating_mul(self.size.bytes());
        Lsn(start.saturating_add(bytes.unwrap_or(self.size.bytes())))
    }

    /// The name of segment `number` on this way.
    pub(super) fn name(&self, number: u64) -> SegmentName {
        let mut stretches = self.stretches.iter();
        let stretch = stretches.rfind(|stretch| stretch.first <= number);
        let timeline = stretch.map_or(self.timeline(), |stretch| stretch.timeline);
        SegmentName::numbered(number, timeline, self.size)
    }

    /// Everything that is there, in order.
    pub(super) fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// How far one comes from segment `number` without a break; `None` where
    /// it is missing itself.
    pub(super) fn reach(&self, number: u64) -> Option<u64> {
        let mut runs = self.runs.iter();
        runs.find_map(|&(first, last)| (first..=last).contains(&number).then_some(last))
    }

    /// The first number behind `number` that is there.
    pub(super) fn next(&self, number: u64) -> Option<u64> {
        let mut runs = self.runs.iter();
        runs.find_map(|&(first, last)| (last > number).then_some(first.max(number + 1)))
    }

    /// Where the youngest timeline's first segment would be, if none of its
    /// own is there at all.
    pub(super) fn without_own(&self) -> Option<u64> {
        let own = self.stretches.last()?;
        let last = self.runs.last().map(|run| run.1);
        last.is_none_or(|last| last < own.first)
            .then_some(own.first)
    }

    /// The names of the numbers from `first` to `last`, in recovery's order.
    pub(super) fn ranges(&self, first: u64, last: u64) -> Vec<SegmentRange> {
        let mut ranges = Vec::new();
        for stretch in &self.stretches {
            let (first, last) = (first.max(stretch.first), last.min(stretch.last));
            if first <= last {
                ranges.push(SegmentRange {
                    first: SegmentName::numbered(first, stretch.timeline, self.size),
                    last: SegmentName::numbered(last, stretch.timeline, self.size),
                });
            }
        }
        ranges
    }

    /// What a holder of these segments has of the numbers from `first` to
    /// `last`.
    pub(super) fn part(&self, held: &[SegmentRange], first: u64, last: u64) -> Vec<SegmentRange> {
        let held = merged(clipped(held, &self.stretches, self.size));
        let within = held.iter().map(|run| (run.0.max(first), run.1.min(last)));
        within
            .filter(|(first, last)| first <= last)
            .flat_map(|(first, last)| self.ranges(first, last))
            .collect()
    }
}

/// The numbers of those segments that are on the way.
fn clipped<'a>(
    held: impl IntoIterator<Item = &'a SegmentRange>,
    stretches: &[Stretch],
    size: SegmentSize,
) -> Vec<(u64, u64)> {
    let mut numbers = Vec::new();
    for range in held {
        let (Some(first), Some(last)) = (range.first.number(size), range.last.number(size)) else {
            continue;
        };
        for stretch in stretches {
            let (first, last) = (first.max(stretch.first), last.min(stretch.last));
            if stretch.timeline == range.first.timeline && first <= last {
                numbers.push((first, last));
            }
        }
    }
    numbers
}

fn merged(mut numbers: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    numbers.sort_unstable();
    numbers.dedup_by(|next, before| {
        let joins = next.0 <= before.1.saturating_add(1);
        if joins {
            before.1 = before.1.max(next.1);
        }
        joins
    });
    numbers
}
