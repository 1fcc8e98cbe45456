//! Unbroken runs of segments, and the gaps between them. Pure.

use serde::Serialize;

use crate::postgres::{SegmentName, SegmentSize, TimelineId};

/// Segments of one timeline, each following the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first one.
    pub first: SegmentName,
    /// The last one; the first again in a run of one.
    pub last: SegmentName,
    /// How many there are.
    pub segments: u64,
}

/// Segments that are missing between two runs of one timeline. What is
/// missing where one timeline leaves another is not seen here: that takes the
/// history files, and [`gaps`](super::gaps).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The first missing one.
    pub first: SegmentName,
    /// The last missing one.
    pub last: SegmentName,
    /// How many are missing.
    pub segments: u64,
}

/// Every run of a cluster with segments of one size, in the order of
/// timelines and WAL. Takes segments in any order, and keeps as much as there
/// are runs when they come sorted.
#[derive(Debug, Clone)]
pub struct Runs {
    size: SegmentSize,
    /// Timeline, first number, last number.
    spans: Vec<(TimelineId, u64, u64)>,
    misfits: Vec<SegmentName>,
}

impl Runs {
    /// The runs that `segments` form.
    pub fn of(size: SegmentSize, segments: impl IntoIterator<Item = SegmentName>) -> Self {
        let mut runs = Runs::new(size);
        for segment in segments {
            runs.add(segment);
        }
        runs.settle();
        runs
    }

    /// None yet.
    pub fn new(size: SegmentSize) -> Self {
        Runs {
            size,
            spans: Vec::new(),
            misfits: Vec::new(),
        }
    }

    /// Adds a segment. What does not come in order is joined by
    /// [`settle`](Self::settle) alone.
    pub fn add(&mut self, segment: SegmentName) {
        let Some(number) = segment.number(self.size) else {
            return self.misfits.push(segment);
        };
        match self.spans.last_mut() {
            Some((timeline, _, last))
                if *timeline == segment.timeline && number.checked_sub(1) == Some(*last) =>
            {
                *last = number;
            }
            _ => self.spans.push((segment.timeline, number, number)),
        }
    }

    /// Joins what came out of order.
    pub fn settle(&mut self) {
        self.spans.sort_unstable();
        self.spans.dedup_by(|next, before| {
            let joins = next.0 == before.0 && next.1 <= before.2.saturating_add(1);
            if joins {
                before.2 = before.2.max(next.2);
            }
            joins
        });
    }

    /// The runs.
    pub fn iter(&self) -> impl Iterator<Item = Run> {
        self.spans.iter().map(|&(timeline, first, last)| Run {
            first: self.name(timeline, first),
            last: self.name(timeline, last),
            segments: last - first + 1,
        })
    }

    /// The runs by timeline, first and last number.
    pub(super) fn spans(&self) -> &[(TimelineId, u64, u64)] {
        &self.spans
    }

    /// The size of the segments.
    pub fn segment_size(&self) -> SegmentSize {
        self.size
    }

    /// The gaps between runs of the same timeline.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.spans
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0)
            .map(|pair| {
                let (timeline, first, last) = (pair[0].0, pair[0].2 + 1, pair[1].1 - 1);
                Gap {
                    first: self.name(timeline, first),
                    last: self.name(timeline, last),
                    segments: last - first + 1,
                }
            })
    }

    /// Names that a cluster with segments of this size has not: they are of
    /// another cluster, or the size is wrong.
    pub fn misfits(&self) -> &[SegmentName] {
        &self.misfits
    }

    fn name(&self, timeline: TimelineId, number: u64) -> SegmentName {
        SegmentName::numbered(number, timeline, self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn runs(size: SegmentSize, names: &[&str]) -> Runs {
        Runs::of(size, names.iter().map(|name| name.parse().unwrap()))
    }

    #[test]
    fn a_run_goes_on_over_4_gib_and_ends_with_its_timeline() {
        let found = runs(
            SegmentSize::DEFAULT,
            &[
                "0000000100000004000000FE",
                "0000000100000004000000FF",
                "000000010000000500000000",
                "000000010000000500000003",
                "000000020000000500000004",
            ],
        );
        let told: Vec<_> = found
            .iter()
            .map(|run| (run.first.to_string(), run.last.to_string(), run.segments))
            .collect();
        let run = |first: &str, last: &str, segments| (first.to_owned(), last.to_owned(), segments);
        assert_eq!(
            told,
            [
                run("0000000100000004000000FE", "000000010000000500000000", 3),
                run("000000010000000500000003", "000000010000000500000003", 1),
                run("000000020000000500000004", "000000020000000500000004", 1),
            ]
        );
        let gaps: Vec<_> = found.gaps().collect();
        assert_eq!(gaps.len(), 1);
        assert_eq!(gaps[0].first.to_string(), "000000010000000500000001");
        assert_eq!(gaps[0].last.to_string(), "000000010000000500000002");
        assert_eq!(gaps[0].segments, 2);
    }

    #[test]
    fn where_a_run_goes_on_depends_on_the_segment_size() {
        let names = ["00000001000000040000003F", "000000010000000500000000"];
        let of = |mebibytes: u64| runs(SegmentSize::new(mebibytes << 20).unwrap(), &names);
        assert_eq!(of(64).iter().count(), 1);
        assert_eq!(of(16).gaps().next().unwrap().segments, 0xC0);
        assert_eq!(of(128).misfits().len(), 1);
    }

    proptest! {
        #[test]
        fn runs_and_gaps_cover_what_is_there_and_what_is_not(
            (numbers, order) in prop::collection::btree_set((1..3u32, 250..270u64), 0..40)
                .prop_flat_map(|set| {
                    let order: Vec<_> = set.iter().chain(set.iter().take(3)).copied().collect();
                    (Just(set), Just(order).prop_shuffle())
                })
        ) {
            let size = SegmentSize::DEFAULT;
            let name = |&(timeline, number): &(u32, u64)| {
                SegmentName::numbered(number, TimelineId(timeline), size)
            };
            let found = Runs::of(size, order.iter().map(name));
            let spread = |first: SegmentName, last: SegmentName| {
                (first.number(size).unwrap()..=last.number(size).unwrap())
                    .map(move |number| (first.timeline.0, number))
            };
            let present: Vec<_> = found.iter().flat_map(|run| spread(run.first, run.last)).collect();
            prop_assert_eq!(&present, &numbers.iter().copied().collect::<Vec<_>>());
            let missing: BTreeSet<_> = found.gaps().flat_map(|gap| spread(gap.first, gap.last)).collect();
            for timeline in 1..3 {
                let own: BTreeSet<_> = numbers.iter().filter(|own| own.0 == timeline).copied().collect();
                if let (Some(first), Some(last)) = (own.first(), own.last()) {
                    let expected: BTreeSet<_> = (first.1..=last.1)
                        .map(|number| (timeline, number))
                        .filter(|number| !own.contains(number))
                        .collect();
                    let told: BTreeSet<_> = missing.iter().filter(|gap| gap.0 == timeline).copied().collect();
                    prop_assert_eq!(told, expected);
                }
            }
        }
    }
}
