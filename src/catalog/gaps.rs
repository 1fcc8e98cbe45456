//! Gaps in the WAL: where they are, what they cost, and which of them still
//! need a person. Decided from values, so that `verify`, `wal list`, `status`
//! and the alerts all say the same.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Acknowledged, BackupRecord, CatalogError, FileRecord, Gap, Histories, Reader, Replica, Runs,
    Select,
};
use crate::{
    layout::Generation,
    postgres::{
        Lsn, Moments, SegmentName, SegmentSize, TimelineId, WalFileName,
        ancestry::{Ancestry, Stretch},
    },
};

/// How far from a gap a commit is looked for, in segments.
const NEIGHBOURS: u64 = 64;

/// A gap, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownGap {
    /// Of which generation of the archive.
    pub generation: Generation,
    /// The segments that are missing.
    #[serde(flatten)]
    pub gap: Gap,
    /// The last commit before it that is known: everything up to here can be
    /// restored by the backups before the gap.
    pub last_commit_before: Option<Timestamp>,
    /// The first commit behind it that is known. What was committed in between
    /// is lost.
    pub first_commit_after: Option<Timestamp>,
    /// The first moment behind it that can be restored: the end of the next
    /// base backup; `None` as long as there is none.
    pub restorable_from: Option<Timestamp>,
    /// Who knows of it, and since when.
    pub acknowledged: Option<Acknowledged>,
    /// See [`needs_person`].
    pub needs_person: bool,
}

/// The gaps of one cluster's WAL, by timeline and number. `held` are the
/// segments that some store has or is about to get, `lost` those that are
/// recorded and nowhere any more; those are gaps at the end of a run as well.
///
/// Every timeline is looked at on its way from the eldest ancestor: it begins
/// with the segment that holds its first byte, and its ancestor's unfinished
/// copy of that one is not missed.
pub fn gaps(held: &Runs, lost: &Runs, histories: &Histories) -> Vec<Gap> {
    let holes = holes(held, lost, histories);
    holes.iter().map(|hole| hole.gap(held)).collect()
}

/// Whether a gap still needs a person: nobody has acknowledged it, or not every
/// one of `stores` has a base backup that is behind it, so that there is a
/// store by which the present could not be restored.
pub fn needs_person(
    generation: Generation,
    gap: &Gap,
    size: SegmentSize,
    acknowledged: &[Acknowledged],
    backups: &[BackupRecord],
    stores: &[&str],
) -> bool {
    let behind: Vec<&BackupRecord> = backups
        .iter()
        .filter(|backup| is_behind(backup, generation, gap, size))
        .collect();
    let is_over = |store: &&str| behind.iter().any(|it| it.stores.contains_key(*store));
    acknowledgement(generation, gap, size, acknowledged).is_none() || !stores.iter().all(is_over)
}

impl Reader {
    /// The gaps as far as the catalog knows. `stores` are the configured ones.
    pub fn gaps(&self, stores: &[&str]) -> Result<Vec<KnownGap>, CatalogError> {
        let mut parts: BTreeMap<Generation, (Runs, Runs)> = BTreeMap::new();
        for record in self.files(&Select::All)? {
            let record = record?;
            let WalFileName::Segment(segment) = record.name else {
                continue;
            };
            let (held, lost) = parts.entry(record.generation).or_insert_with(|| {
                let size = SegmentSize::new(record.raw_size).unwrap_or(SegmentSize::DEFAULT);
                (Runs::new(size), Runs::new(size))
            });
            match is_held(&record) {
                true => held.add(segment),
                false => lost.add(segment),
            }
        }
        let (histories, none) = (self.histories()?, Histories::new());
        let (acknowledged, backups) = (self.acknowledged()?, self.backups()?);
        let mut known = Vec::new();
        for (generation, (mut held, mut lost)) in parts {
            held.settle();
            lost.settle();
            let histories = histories.get(&generation).unwrap_or(&none);
            let size = held.segment_size();
            for hole in holes(&held, &lost, histories) {
                let gap = hole.gap(&held);
                let ancestors = histories.get(&hole.way).map_or(&[][..], Vec::as_slice);
                let stretches = Ancestry::of(hole.way, ancestors).stretches(size);
                let (before, after) = self.commits_around(generation, size, &hole, &stretches)?;
                let behind = backups
                    .iter()
                    .filter(|backup| is_behind(backup, generation, &gap, size));
                known.push(KnownGap {
                    generation,
                    gap,
                    last_commit_before: before,
                    first_commit_after: after,
                    restorable_from: behind.map(|backup| backup.stopped).min(),
                    acknowledged: acknowledgement(generation, &gap, size, &acknowledged).cloned(),
                    needs_person: needs_person(
                        generation,
                        &gap,
                        size,
                        &acknowledged,
                        &backups,
                        stores,
                    ),
                });
            }
        }
        Ok(known)
    }

    /// The nearest commits before and behind a hole. Of a lost segment the
    /// catalog may know them still: those are lost with it.
    fn commits_around(
        &self,
        generation: Generation,
        size: SegmentSize,
        hole: &Hole,
        way: &[Stretch],
    ) -> Result<(Option<Timestamp>, Option<Timestamp>), CatalogError> {
        let moments = |number: u64| -> Result<Option<Moments>, CatalogError> {
            let on = |stretch: &&Stretch| (stretch.first..=stretch.last).contains(&number);
            let timeline = way.iter().find(on).map_or(hole.timeline, |it| it.timeline);
            let name = SegmentName::numbered(number, timeline, size);
            match self.file(generation, name.into())? {
                Some(record) if is_held(&record) => self.moments_of(&record),
                _ => Ok(None),
            }
        };
        let (mut before, mut after) = (None, None);
        for number in (hole.first.saturating_sub(NEIGHBOURS)..hole.first).rev() {
            before = moments(number)?.and_then(|it| it.last_commit);
            if before.is_some() {
                break;
            }
        }
        for number in hole.last.saturating_add(1)..hole.last.saturating_add(1 + NEIGHBOURS) {
            after = moments(number)?.and_then(|it| it.first_commit);
            if after.is_some() {
                break;
            }
        }
        Ok((before.map(|it| it.time), after.map(|it| it.time)))
    }
}

/// Whether there is something to recover from: a store has it, or staging does
/// and a store is to get it.
fn is_held(record: &FileRecord) -> bool {
    let mut replicas = record.replicas.values();
    replicas.any(|it| matches!(it, Replica::Stored(_) | Replica::Pending { .. }))
}

/// Missing numbers of one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hole {
    timeline: TimelineId,
    first: u64,
    last: u64,
    /// On the way to which timeline they are missed.
    way: TimelineId,
}

impl Hole {
    fn gap(&self, runs: &Runs) -> Gap {
        let name = |number| SegmentName::numbered(number, self.timeline, runs.segment_size());
        Gap {
            first: name(self.first),
            last: name(self.last),
            segments: self.last - self.first + 1,
        }
    }
}

fn holes(held: &Runs, lost: &Runs, histories: &Histories) -> Vec<Hole> {
    let lost = lost.spans().iter().map(|&(timeline, first, last)| Hole {
        timeline,
        first,
        last,
        way: timeline,
    });
    let mut holes: Vec<Hole> = lost.collect();
    let mut timelines: BTreeSet<TimelineId> = held.spans().iter().map(|span| span.0).collect();
    timelines.extend(histories.keys());
    for timeline in timelines {
        let ancestors = histories.get(&timeline).map_or(&[][..], Vec::as_slice);
        let way = Ancestry::of(timeline, ancestors).stretches(held.segment_size());
        holes.extend(holes_on(timeline, &way, held));
    }
    holes.sort_unstable();
    // What several ways have in common is missed on each of them.
    holes.dedup_by(|next, before| {
        let joins = next.timeline == before.timeline && next.first <= before.last.saturating_add(1);
        if joins {
            before.last = before.last.max(next.last);
            before.way = before.way.max(next.way);
        }
        joins
    });
    holes
}

/// What is missing between the first and the last held segment of a way.
fn holes_on(timeline: TimelineId, way: &[Stretch], held: &Runs) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut end: Option<u64> = None;
    for stretch in way {
        for &(of, first, last) in held.spans() {
            let (first, last) = (first.max(stretch.first), last.min(stretch.last));
            if of != stretch.timeline || first > last {
                continue;
            }
            if let Some(end) = end
                && end + 1 < first
            {
                let pieces = way.iter().filter_map(|stretch| {
                    let (first, last) =
                        ((end + 1).max(stretch.first), (first - 1).min(stretch.last));
                    (first <= last).then_some(Hole {
                        timeline: stretch.timeline,
                        first,
                        last,
                        way: timeline,
                    })
                });
                holes.extend(pieces);
            }
            end = Some(last);
        }
    }
    holes
}

/// The latest acknowledgement of a gap all of whose segments are known to be
/// lost.
fn acknowledgement<'a>(
    generation: Generation,
    gap: &Gap,
    size: SegmentSize,
    acknowledged: &'a [Acknowledged],
) -> Option<&'a Acknowledged> {
    let about = acknowledged.iter().filter(|it| {
        it.generation == generation
            && it.first.timeline == gap.first.timeline
            && it.first <= gap.last
            && gap.first <= it.last
    });
    let mut about: Vec<&Acknowledged> = about.collect();
    about.sort_by_key(|it| it.first);
    let last = gap.last.number(size)?;
    let mut next = gap.first.number(size)?;
    for it in &about {
        if it.first.number(size)? <= next {
            next = next.max(it.last.number(size)?.saturating_add(1));
        }
    }
    about.retain(|_| next > last);
    about.into_iter().max_by_key(|it| it.at)
}

/// Whether no recovery that begins with the backup reads anything of the gap.
fn is_behind(backup: &BackupRecord, generation: Generation, gap: &Gap, size: SegmentSize) -> bool {
    let end = gap.last.next(size).and_then(|next| next.start(size));
    let place = (backup.generation, backup.timeline, backup.start_lsn);
    place >= (generation, gap.last.timeline, end.unwrap_or(Lsn(u64::MAX)))
}

#[cfg(test)]
mod tests;
