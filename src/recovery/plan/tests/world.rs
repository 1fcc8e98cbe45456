//! Clusters made up of single records, and PostgreSQL's recovery of them,
//! record by record: what plans are held against.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use jiff::Timestamp;
use proptest::prelude::ProptestConfig;

use super::super::{
    Archive, Backup, Commit, Holder, Known, Moments, Request, RestorePoint, Source, Step, Target,
    plan,
};
use crate::{
    archive::plan::SegmentRange,
    layout::Generation,
    postgres::{
        Lsn, SegmentName, SegmentSize, SystemId, TimelineId, ancestry::Ancestry, history::Ancestor,
    },
};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const NAMES: [&str; 4] = ["before release", "before import", "nightly", "tuesday"];

/// As many pasts, or `PROPTEST_CASES` where those are more.
pub(crate) fn at_least(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(cases),
        ..config
    }
}

pub(crate) fn size() -> SegmentSize {
    SegmentSize::new(MIB).unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_185_000 + second).unwrap()
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Commit(u32),
    Abort,
    Point(&'static str),
    Noise,
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) timeline: TimelineId,
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
    pub(crate) time: Timestamp,
    kind: Kind,
}

/// A cluster's whole past, and what an archive has of it.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) archive: Archive,
    pub(crate) records: BTreeMap<TimelineId, Vec<Record>>,
    pub(crate) ancestors: BTreeMap<TimelineId, Vec<Ancestor>>,
    pub(crate) moments: Known,
    pub(crate) seconds: i64,
}

/// How PostgreSQL's recovery ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It stops at the target, in the state after the record that ends here;
    /// the record that it stopped at is in this segment.
    Stopped((TimelineId, Lsn), SegmentName),
    /// The WAL ends; whether it is consistent by then.
    Ended((TimelineId, Lsn), bool),
    /// It does not start, or stops before it is consistent.
    Fatal,
}

impl World {
    pub(crate) fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = World {
            archive: Archive {
                generation: Generation::FIRST,
                system_identifier: SystemId(7),
                segment_size: size(),
                backups: Vec::new(),
                histories: BTreeMap::new(),
                holders: Vec::new(),
                streamed: Vec::new(),
            },
            records: BTreeMap::new(),
            ancestors: BTreeMap::new(),
            moments: Known::new(),
            seconds: 0,
        };
        for number in 1..=rng.u32(1..=4) {
            world.add_timeline(TimelineId(number), &mut rng);
        }
        world.add_archive(&mut rng);
        world
    }

    fn add_timeline(&mut self, timeline: TimelineId, rng: &mut Rng) {
        let (mut at_lsn, mut second) = (Lsn(MIB), 0);
        if timeline > TimelineId(1) {
            let parent = TimelineId(rng.u32(1..timeline.0));
            let way = self.way_of(parent);
            let fork = rng.usize(0..way.len());
            at_lsn = way[fork].end;
            let forked = way[fork].time.as_second() - at(0).as_second();
            second = rng.i64(forked..=self.seconds);
            let mut ancestors = self.ancestors.get(&parent).cloned().unwrap_or_default();
            ancestors.push(Ancestor {
                timeline: parent,
                left_at: at_lsn,
            });
            self.archive.histories.insert(timeline, ancestors.clone());
            self.ancestors.insert(timeline, ancestors);
        }
        let mut open = Vec::new();
        let mut next_xid = 1000 + 1000 * timeline.0;
        let mut xmax = Vec::new();
        let mut records = Vec::new();
        for _ in 0..rng.usize(1..30) {
            second += rng.i64(1..4);
            for _ in 0..rng.u32(0..3) {
                open.push(next_xid);
                next_xid += 1;
            }
            let kind = match rng.u32(0..10) {
                0..5 if !open.is_empty() => {
                    Kind::Commit(open.swap_remove(rng.usize(0..open.len())))
                }
                5 => Kind::Abort,
                6 => Kind::Point(NAMES[rng.usize(0..NAMES.len())]),
                _ => Kind::Noise,
            };
            let length = match rng.u32(0..12) {
                0 => rng.u64(MIB / 2..MIB * 3),
                1..4 => MIB - at_lsn.0 % MIB,
                _ => rng.u64(64..MIB / 3),
            };
            let end = Lsn(at_lsn.0 + length);
            records.push(Record {
                timeline,
                start: at_lsn,
                end,
                time: at(second),
                kind,
            });
            xmax.push(u64::from(next_xid));
            at_lsn = end;
        }
        for _ in 0..rng.usize(0..4) {
            let first = rng.usize(0..records.len());
            let last = rng.usize(first..records.len().min(first + 4));
            let stopped = records[last].time;
            self.archive.backups.push(Backup {
                id: format!(
                    "{timeline}-{:06}-{}",
                    stopped.as_second() - at(0).as_second(),
                    first
                ),
                system_identifier: SystemId(7),
                postgres_major: 17,
                timeline,
                start: records[first].start,
                stop: records[last].end,
                started: records[first].time,
                stopped,
                xmax: rng.u32(0..20).checked_sub(1).map(|_| xmax[last]),
                raw_bytes: 0,
                stored_bytes: 0,
                holders: vec![Source::Store("one".to_owned())],
            });
        }
        let mut ids = BTreeSet::new();
        self.archive
            .backups
            .retain(|backup| ids.insert(backup.id.clone()));
        self.seconds = self.seconds.max(second);
        self.records.insert(timeline, records);
    }

    fn add_archive(&mut self, rng: &mut Rng) {
        let mut all = Vec::new();
        for (&timeline, records) in &self.records {
            let first = records[0].start.0 / MIB;
            let mut last = (records[records.len() - 1].end.0 - 1) / MIB;
            // The last one is not complete, or not archived yet.
            last -= u64::from(rng.bool());
            all.extend((first..=last).map(|it| SegmentName::numbered(it, timeline, size())));
        }
        for &name in &all {
            let moments = self.moments_of(name);
            let told = rng.u32(0..40) > 0;
            self.moments.insert(name, told.then_some(moments));
        }
        let holes = rng.usize(0..3);
        let missing: Vec<_> = (0..holes)
            .filter_map(|_| rng.choice(all.iter().copied()))
            .collect();
        let sources = [
            Source::Staging,
            Source::Store("one".to_owned()),
            Source::Store("two".to_owned()),
        ];
        for source in sources {
            let held = all
                .iter()
                .filter(|name| !missing.contains(name) && rng.u32(0..8) > 0);
            let segments = held.map(|&name| SegmentRange {
                first: name,
                last: name,
            });
            self.archive.holders.push(Holder {
                source,
                segments: segments.collect(),
            });
        }
        if rng.u32(0..10) == 0 {
            self.archive.histories.remove(&TimelineId(rng.u32(2..5)));
        }
    }

    /// The records on the way to a timeline.
    fn way_of(&self, timeline: TimelineId) -> Vec<Record> {
        let ancestors = self.ancestors.get(&timeline).map_or(&[][..], Vec::as_slice);
        let ancestry = Ancestry::of(timeline, ancestors);
        let mut way = Vec::new();
        for own in ancestry.timelines() {
            let records = self.records.get(&own).into_iter().flatten();
            way.extend(
                records
                    .filter(|record| ancestry.owner(record.start) == own)
                    .cloned(),
            );
        }
        way.sort_by_key(|record| record.start);
        way
    }

    /// The records that begin in a segment.
    fn content(&self, name: SegmentName) -> Vec<Record> {
        let number = name.number(size()).unwrap();
        let mut way = self.way_of(name.timeline);
        way.retain(|record| record.start.0 / MIB == number);
        way
    }

    fn moments_of(&self, name: SegmentName) -> Moments {
        let end = (name.number(size()).unwrap() + 1) * MIB;
        let mut moments = Moments {
            ends: None,
            last_commit: None,
            restore_points: Vec::new(),
            more: false,
            cut: false,
            end: Lsn(end),
        };
        // As `end` is said: also of a record that began in an earlier segment.
        let way = self.way_of(name.timeline).into_iter();
        let mut ended = way.map(|record| record.end.0).filter(|it| *it <= end);
        moments.end = Lsn(ended.next_back().unwrap_or(0).max(end - MIB));
        for Record {
            kind,
            time,
            end: lsn,
            ..
        } in self.content(name)
        {
            if lsn.0 > end {
                moments.cut = !matches!(kind, Kind::Noise);
                break;
            }
            match kind {
                Kind::Commit(xid) => moments.last_commit = Some(Commit { time, xid }),
                Kind::Point(name) => {
                    let name = name.to_owned();
                    moments
                        .restore_points
                        .push(RestorePoint { name, lsn, time });
                }
                Kind::Abort | Kind::Noise => {}
            }
            if matches!(kind, Kind::Commit(_) | Kind::Abort) {
                let earliest = moments.ends.map_or(time, |ends| ends.0);
                moments.ends = Some((earliest, time));
            }
        }
        moments
    }

    /// When the last record that a segment has a part of was written.
    pub(crate) fn written(&self, name: SegmentName) -> Timestamp {
        let number = name.number(size()).unwrap();
        let way = self.way_of(name.timeline).into_iter();
        let within = way.filter(|it| it.start.0 / MIB <= number);
        within.map(|record| record.time).next_back().unwrap()
    }

    pub(crate) fn has(&self, name: SegmentName) -> bool {
        let mut ranges = self.archive.holders.iter().flat_map(|it| &it.segments);
        ranges.any(|range| range.first == name)
    }

    /// Plans, answering every question; also how many segments were asked for.
    pub(crate) fn plan(&self, request: &Request) -> (Step, usize) {
        let mut known = Known::new();
        loop {
            match plan(request, &self.archive, &known) {
                Step::Need(segments) => {
                    assert!(!segments.is_empty());
                    for name in segments {
                        assert!(self.has(name), "asks for {name}, which is not there");
                        let new = known.insert(name, self.moments[&name].clone()).is_none();
                        assert!(new, "asks for {name} again");
                    }
                }
                step => return (step, known.len()),
            }
        }
    }

    /// What PostgreSQL does with this backup, this target timeline, and the
    /// segments that it can get.
    pub(crate) fn replay(
        &self,
        backup: &Backup,
        timeline: TimelineId,
        request: &Request,
        has: &dyn Fn(SegmentName) -> bool,
    ) -> Outcome {
        let ancestry = self.archive.ancestry(timeline);
        if !ancestry.contains(backup.timeline, &(backup.start..backup.stop)) {
            return Outcome::Fatal;
        }
        // XLogFileReadAnyTLI.
        let open = |number: u64, from: TimelineId| {
            let timelines: Vec<_> = ancestry.timelines().collect();
            let begun = timelines
                .into_iter()
                .rev()
                .filter(|&it| it >= from && ancestry.begins_at(it).unwrap().0 / MIB <= number);
            let mut names = begun.map(|it| SegmentName::numbered(number, it, size()));
            names.find(|&name| has(name))
        };
        let mut state = (backup.timeline, backup.start);
        let mut consistent = false;
        let mut file = TimelineId(0);
        'segments: for number in backup.start.0 / MIB.. {
            let Some(name) = open(number, file) else {
                break;
            };
            file = name.timeline;
            for record in self.content(name) {
                if record.start < state.1 {
                    continue;
                }
                let last = (record.end.0 - 1) / MIB;
                if (number + 1..=last).any(|next| open(next, file).is_none()) {
                    break 'segments;
                }
                let (before, after) = stops(&record, request);
                if before {
                    return if consistent {
                        Outcome::Stopped(state, name)
                    } else {
                        Outcome::Fatal
                    };
                }
                state = (record.timeline, record.end);
                consistent |= record.end >= backup.stop;
                if after || (consistent && request.target == Target::Immediate) {
                    return if consistent {
                        Outcome::Stopped(state, name)
                    } else {
                        Outcome::Fatal
                    };
                }
            }
        }
        Outcome::Ended(state, consistent)
    }
}

/// Whether recovery stops before, or after, this record.
fn stops(record: &Record, request: &Request) -> (bool, bool) {
    let exclusive = request.exclusive;
    let hit = match (&request.target, &record.kind) {
        (Target::Time(target), Kind::Commit(_) | Kind::Abort) => {
            let passes = record.time > *target || (exclusive && record.time == *target);
            return (passes, false);
        }
        (Target::Lsn(target), _) => record.start >= *target,
        (Target::Xid(target), Kind::Commit(xid)) => u64::from(*xid) == *target,
        (Target::Name(target), Kind::Point(name)) => return (false, target == name),
        _ => false,
    };
    (hit && exclusive, hit && !exclusive)
}
