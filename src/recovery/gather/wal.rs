//! The WAL of one source, as runs of segments.

use std::collections::BTreeSet;

use super::super::plan::{Holder, Source};
use crate::{
    archive::{identity::GenerationFacts, place::Place, plan::SegmentRange},
    layout::Key,
    postgres::{SegmentName, SegmentSize, TimelineId, WalFileName},
    store::StoreError,
};

/// What a source has of the WAL.
pub(super) struct Wal {
    size: SegmentSize,
    runs: Vec<SegmentRange>,
    /// The timelines whose history files it has.
    pub(super) histories: BTreeSet<TimelineId>,
}

impl Wal {
    pub(super) fn new(size: SegmentSize) -> Self {
        Wal {
            size,
            runs: Vec::new(),
            histories: BTreeSet::new(),
        }
    }

    /// Everything that a store lists.
    pub(super) async fn of(place: &Place, facts: &GenerationFacts) -> Result<Self, StoreError> {
        let mut wal = Wal::new(facts.segment_size);
        let prefix = place.layout.wal_prefix(facts.generation);
        let mut listing = place.store.list(&prefix, None);
        loop {
            let page = listing.next_page().await?;
            if page.is_empty() {
                return Ok(wal);
            }
            for object in page {
                if let Some(Key::Wal(_, name, _)) = place.layout.parse(&object.key) {
                    wal.add(name);
                }
            }
        }
    }

    /// Adds a file. Segments that come in order make long runs.
    pub(super) fn add(&mut self, name: WalFileName) {
        match name {
            WalFileName::Segment(segment) => self.add_segment(segment),
            WalFileName::History(timeline) => drop(self.histories.insert(timeline)),
            WalFileName::BackupHistory(..) | WalFileName::Partial(_) => {}
        }
    }

    fn add_segment(&mut self, segment: SegmentName) {
        match self.runs.last_mut() {
            // In two formats.
            Some(run) if run.last == segment => {}
            Some(run) if run.last.next(self.size) == Some(segment) => run.last = segment,
            _ => self.runs.push(SegmentRange {
                first: segment,
                last: segment,
            }),
        }
    }

    pub(super) fn holder(&self, source: Source) -> Holder {
        Holder {
            source,
            segments: self.runs.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_follow_one_another_are_one_run() {
        let mut wal = Wal::new(SegmentSize::DEFAULT);
        for name in [
            "0000000100000000000000FE",
            "0000000100000000000000FF",
            "0000000100000000000000FF",
            "000000010000000100000000",
            "000000010000000100000002",
            "00000002.history",
            "000000020000000100000002.partial",
            "000000020000000100000003",
        ] {
            wal.add(name.parse().unwrap());
        }
        let holder = wal.holder(Source::Staging);
        let runs: Vec<String> = holder
            .segments
            .iter()
            .map(|run| format!("{} {}", run.first, run.last))
            .collect();
        assert_eq!(
            runs,
            [
                "0000000100000000000000FE 000000010000000100000000",
                "000000010000000100000002 000000010000000100000002",
                "000000020000000100000003 000000020000000100000003",
            ]
        );
        assert_eq!(wal.histories, BTreeSet::from([TimelineId(2)]));
    }
}
