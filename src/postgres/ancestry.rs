//! Which timeline a position of the WAL is of, seen from a timeline that
//! descends from others (`tliOfPointInHistory`, timeline.c;
//! `XLogFileReadAnyTLI`, xlogrecovery.c).

use std::ops::Range;

use super::{Lsn, SegmentSize, TimelineId, history::Ancestor};

/// The way from the first timeline to one that descends from it, as its
/// history file tells it. A timeline without a history file has only itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestry {
    timeline: TimelineId,
    /// Each timeline and the first position that is of it, the eldest first.
    /// The positions need not rise: a recovery that stopped before its target
    /// timeline had even begun makes a history that goes back.
    begins: Vec<(TimelineId, Lsn)>,
}

/// The numbers of the segments that recovery reads under one timeline's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The timeline.
    pub timeline: TimelineId,
    /// The number of the first.
    pub first: u64,
    /// The number of the last; `u64::MAX` where nothing follows.
    pub last: u64,
}

impl Ancestry {
    /// The way to `timeline`, whose history file names these ancestors.
    pub fn of(timeline: TimelineId, ancestors: &[Ancestor]) -> Self {
        let timelines = ancestors.iter().map(|ancestor| ancestor.timeline);
        let begins = ancestors.iter().map(|ancestor| ancestor.left_at);
        Ancestry {
            timeline,
            begins: timelines
                .chain([timeline])
                .zip([Lsn(0)].into_iter().chain(begins))
                .collect(),
        }
    }

    /// The timeline that the way leads to.
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// The timelines of the way, the eldest first.
    pub fn timelines(&self) -> impl Iterator<Item = TimelineId> {
        self.begins.iter().map(|&(timeline, _)| timeline)
    }

    /// The timeline that the byte at `lsn` is of: the youngest that has begun.
    pub fn owner(&self, lsn: Lsn) -> TimelineId {
        let begun = self.begins.iter().rev().find(|(_, begin)| *begin <= lsn);
        begun.map_or(self.timeline, |&(timeline, _)| timeline)
    }

    /// Where `timeline` begins on this way; `None` where it is not on it.
    pub fn begins_at(&self, timeline: TimelineId) -> Option<Lsn> {
        let mut begins = self.begins.iter();
        begins.find_map(|&(other, begin)| (other == timeline).then_some(begin))
    }

    /// Where this way leaves `timeline` for a younger one; `None` where it
    /// does not, or is never on it.
    pub fn left_at(&self, timeline: TimelineId) -> Option<Lsn> {
        let place = self.begins.iter().position(|it| it.0 == timeline)?;
        let younger = &self.begins[place + 1..];
        younger.iter().map(|&(_, begin)| begin).min()
    }

    /// Whether all of this WAL of `timeline` is on the way, so that a base
    /// backup that spans it can be recovered to this timeline. PostgreSQL fails
    /// otherwise ("requested timeline is not a child of this server's history",
    /// "does not contain minimum recovery point").
    pub fn contains(&self, timeline: TimelineId, wal: &Range<Lsn>) -> bool {
        let last = Lsn(wal.end.0.saturating_sub(1)).max(wal.start);
        self.owner(wal.start) == timeline && self.owner(last) == timeline
    }

    /// The segments of the way, each timeline's. A timeline begins with the
    /// segment that holds its first byte: it has that segment's number too,
    /// and its ancestor's copy is not needed.
    pub fn stretches(&self, size: SegmentSize) -> Vec<Stretch> {
        let mut stretches = Vec::with_capacity(self.begins.len());
        let mut before = None;
        for &(timeline, begin) in self.begins.iter().rev() {
            let first = begin.0 / size.bytes();
            if before.is_none_or(|before| first < before) {
                stretches.push(Stretch {
                    timeline,
                    first,
                    last: before.map_or(u64::MAX, |before: u64| before - 1),
                });
                before = Some(first);
            }
        }
        stretches.reverse();
        stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn ancestry(timeline: u32, ancestors: &[(u32, u64)]) -> Ancestry {
        let ancestors: Vec<_> = ancestors
            .iter()
            .map(|&(timeline, left_at)| Ancestor {
                timeline: TimelineId(timeline),
                left_at: Lsn(left_at),
            })
            .collect();
        Ancestry::of(TimelineId(timeline), &ancestors)
    }

    fn stretches(ancestry: &Ancestry) -> Vec<(u32, u64, u64)> {
        let stretches = ancestry.stretches(SIZE).into_iter();
        stretches
            .map(|stretch| (stretch.timeline.0, stretch.first, stretch.last))
            .collect()
    }

    #[test]
    fn a_timeline_begins_in_the_segment_that_it_was_left_in() {
        let third = ancestry(3, &[(1, 0x0500_0028), (2, 0x0700_0000)]);
        assert_eq!(stretches(&third), [(1, 0, 4), (2, 5, 6), (3, 7, u64::MAX)]);
        assert_eq!(third.owner(Lsn(0x0500_0027)), TimelineId(1));
        assert_eq!(third.owner(Lsn(0x0500_0028)), TimelineId(2));
        assert_eq!(third.left_at(TimelineId(1)), Some(Lsn(0x0500_0028)));
        assert_eq!(third.left_at(TimelineId(3)), None);
        assert_eq!(third.begins_at(TimelineId(2)), Some(Lsn(0x0500_0028)));
        assert_eq!(third.begins_at(TimelineId(4)), None);
        let contains = |start, stop| third.contains(TimelineId(1), &(Lsn(start)..Lsn(stop)));
        assert!(contains(0x0400_0028, 0x0500_0028));
        assert!(!contains(0x0400_0028, 0x0500_0029));
    }

    #[test]
    fn a_timeline_that_lasted_less_than_a_segment_has_none() {
        let third = ancestry(3, &[(1, 0x0500_0028), (2, 0x0500_8000)]);
        assert_eq!(stretches(&third), [(1, 0, 4), (3, 5, u64::MAX)]);
        assert_eq!(third.owner(Lsn(0x0500_0030)), TimelineId(2));
    }

    #[test]
    fn a_history_that_goes_back_is_read_as_postgresql_reads_it() {
        // Recovered with target timeline 2, but stopped before it began.
        let third = ancestry(3, &[(1, 0x0500_0028), (2, 0x0300_0000)]);
        assert_eq!(stretches(&third), [(1, 0, 2), (3, 3, u64::MAX)]);
        assert_eq!(third.owner(Lsn(0x0500_0028)), TimelineId(3));
        assert_eq!(third.left_at(TimelineId(1)), Some(Lsn(0x0300_0000)));
    }
}
