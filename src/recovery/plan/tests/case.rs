//! Archives to plan for, in a few words.

use std::collections::BTreeMap;

use super::{
    super::{
        Archive, Backup, Commit, Holder, Known, Moments, Plan, Refusal, Request, RestorePoint,
        Source, Step, Streamed, Target, TimelineChoice, plan,
    },
    world::at,
};
use crate::{
    archive::plan::SegmentRange,
    layout::Generation,
    postgres::{Lsn, SegmentName, SegmentSize, SystemId, TimelineId, history},
};

pub(super) const MIB16: u64 = 16 << 20;

/// An archive with segments of 16 MiB. A segment has at most one commit and
/// one restore point.
pub(super) struct Case {
    pub(super) archive: Archive,
    pub(super) commits: BTreeMap<(u32, u64), i64>,
    points: BTreeMap<(u32, u64), &'static str>,
}

pub(super) fn case() -> Case {
    Case {
        archive: Archive {
            generation: Generation::FIRST,
            system_identifier: SystemId(7),
            segment_size: SegmentSize::DEFAULT,
            backups: Vec::new(),
            histories: BTreeMap::new(),
            holders: Vec::new(),
            streamed: Vec::new(),
        },
        commits: BTreeMap::new(),
        points: BTreeMap::new(),
    }
}

pub(super) fn name(timeline: u32, number: u64) -> SegmentName {
    SegmentName::numbered(number, TimelineId(timeline), SegmentSize::DEFAULT)
}

pub(super) fn in_segment(number: u64) -> Lsn {
    Lsn(number * MIB16 + 0x28)
}

impl Case {
    pub(super) fn held(mut self, store: &str, timeline: u32, first: u64, last: u64) -> Self {
        let range = SegmentRange {
            first: name(timeline, first),
            last: name(timeline, last),
        };
        let source = Source::Store(store.to_owned());
        let mut holders = self.archive.holders.iter_mut();
        match holders.find(|holder| holder.source == source) {
            Some(holder) => holder.segments.push(range),
            None => self.archive.holders.push(Holder {
                source,
                segments: vec![range],
            }),
        }
        self
    }

    /// So many bytes of segment `number` were streamed.
    pub(super) fn streamed(mut self, timeline: u32, number: u64, bytes: u64) -> Self {
        self.archive.streamed.push(Streamed {
            segment: name(timeline, number),
            bytes,
            until: None,
        });
        self
    }

    /// It starts in segment `first` and ends in segment `last`.
    pub(super) fn backup(
        mut self,
        id: &str,
        timeline: u32,
        first: u64,
        last: u64,
        second: i64,
    ) -> Self {
        self.archive.backups.push(Backup {
            id: id.to_owned(),
            system_identifier: SystemId(7),
            postgres_major: 17,
            timeline: TimelineId(timeline),
            start: in_segment(first),
            stop: Lsn(last * MIB16 + 0x100),
            started: at(second - 1),
            stopped: at(second),
            xmax: Some(second as u64 * 10),
            raw_bytes: 0,
            stored_bytes: 0,
            holders: vec![Source::Store("r2".to_owned())],
        });
        self
    }

    pub(super) fn history(mut self, timeline: u32, text: &str) -> Self {
        let ancestors = history::parse(text).unwrap();
        self.archive
            .histories
            .insert(TimelineId(timeline), ancestors);
        self
    }

    /// Segment `number` has a commit at this second.
    pub(super) fn commit(mut self, timeline: u32, number: u64, second: i64) -> Self {
        self.commits.insert((timeline, number), second);
        self
    }

    pub(super) fn point(mut self, timeline: u32, number: u64, name: &'static str) -> Self {
        self.points.insert((timeline, number), name);
        self
    }

    /// What is planned, and how many segments were asked for.
    pub(super) fn plan(&self, request: &Request) -> (Step, usize) {
        let mut known = Known::new();
        loop {
            match plan(request, &self.archive, &known) {
                Step::Need(names) => {
                    known.extend(
                        names
                            .into_iter()
                            .map(|name| (name, Some(self.moments(name)))),
                    );
                }
                step => return (step, known.len()),
            }
        }
    }

    fn moments(&self, name: SegmentName) -> Moments {
        let number = name.number(SegmentSize::DEFAULT).unwrap();
        let key = (name.timeline.0, number);
        let commit = self.commits.get(&key).map(|&second| at(second));
        let point = self.points.get(&key).map(|&name| RestorePoint {
            name: name.to_owned(),
            lsn: Lsn(number * MIB16 + 0x800),
            time: at(0),
        });
        Moments {
            ends: commit.map(|time| (time, time)),
            last_commit: commit.map(|time| Commit { time, xid: 1 }),
            restore_points: point.into_iter().collect(),
            more: false,
            cut: false,
            end: Lsn(number * MIB16 + 0x1000),
        }
    }

    pub(super) fn done(&self, request: &Request) -> Plan {
        match self.plan(request).0 {
            Step::Done(plan) => *plan,
            step => panic!("{step:?}"),
        }
    }

    pub(super) fn refused(&self, request: &Request) -> Refusal {
        match self.plan(request).0 {
            Step::Refused(refusal) => refusal,
            step => panic!("{step:?}"),
        }
    }
}

pub(super) fn to(target: Target) -> Request {
    Request {
        target,
        exclusive: false,
        timeline: None,
        backup: None,
    }
}

pub(super) fn to_time(second: i64) -> Request {
    to(Target::Time(at(second)))
}

pub(super) fn on(timeline: TimelineChoice, request: Request) -> Request {
    Request {
        timeline: Some(timeline),
        ..request
    }
}

pub(super) const FIRST: TimelineChoice = TimelineChoice::Number(TimelineId(1));

/// "1:2-5 2:5-6" for segments 2 to 5 of timeline 1, and 5 to 6 of timeline 2.
pub(super) fn ranges(ranges: &[SegmentRange]) -> String {
    let number = |name: SegmentName| name.number(SegmentSize::DEFAULT).unwrap();
    let told = ranges.iter().map(|range| {
        format!(
            "{}:{}-{}",
            range.first.timeline,
            number(range.first),
            number(range.last)
        )
    });
    told.collect::<Vec<_>>().join(" ")
}

pub(super) fn summary(plan: &Plan) -> String {
    format!("{} {}", plan.backup.id, ranges(&plan.segments))
}

/// Ten segments, a commit in each at ten times its number, two backups.
pub(super) fn linear() -> Case {
    let case = case()
        .held("r2", 1, 2, 10)
        .backup("a", 1, 2, 3, 35)
        .backup("b", 1, 6, 6, 65);
    (2..=10).fold(case, |case, number| {
        case.commit(1, number, number as i64 * 10)
    })
}

/// Timeline 2 left timeline 1 in segment 7.
pub(super) fn promoted() -> Case {
    let case = case()
        .held("r2", 1, 2, 6)
        .held("r2", 2, 7, 9)
        .history(2, "1\t0/7000800\tno recovery target specified\n")
        .backup("a", 1, 2, 2, 25);
    let case = (2..=6).fold(case, |case, number| {
        case.commit(1, number, number as i64 * 10)
    });
    (7..=9).fold(case, |case, number| {
        case.commit(2, number, number as i64 * 10)
    })
}

/// Somebody went back to second 50 when timeline 1 had come to second 90.
pub(super) fn went_back() -> Case {
    let case = linear().held("r2", 2, 6, 12);
    let case = case.history(2, "1\t0/6000020\tbefore 2026-11-20 14:30:00+00\n");
    (6..=12).fold(case, |case, number| {
        case.commit(2, number, 100 + number as i64 * 10)
    })
}
