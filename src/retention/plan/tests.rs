//! What is decided for archives as they come about, and for random pasts:
//! whatever a recovery could reach of the window, it still can.

mod scenarios;

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::{
    layout::{Generation, StreamPart},
    postgres::{Lsn, SegmentName, SegmentSize, history},
    recovery::plan::{
        Request, Step, Target, TimelineChoice,
        tests::world::{Outcome, World, at, at_least, size},
    },
};

const DAY: i64 = 24 * 60 * 60;

/// A day's number, from an arbitrary one.
fn day(day: i64) -> Timestamp {
    at(day * DAY)
}

fn rules(today: i64, window: u64, min_backups: usize) -> Rules {
    Rules {
        now: day(today),
        window: Duration::from_secs(window * DAY as u64),
        min_backups,
    }
}

fn holdings(generation: u32) -> Holdings {
    Holdings {
        generation: Generation(generation),
        opened: None,
        segment_size: size(),
        histories: BTreeMap::new(),
        backups: Vec::new(),
        data: Vec::new(),
        running: Vec::new(),
        wal: Vec::new(),
        streamed: Vec::new(),
    }
}

impl Holdings {
    /// A segment a day, with the day's number.
    fn days(mut self, timeline: u32, days: std::ops::RangeInclusive<i64>) -> Self {
        self.wal.extend(days.map(|it| WalFile {
            name: SegmentName::numbered(it as u64, TimelineId(timeline), size()).into(),
            modified: day(it),
            waits: false,
        }));
        self
    }

    /// A backup within a day's segment, that refers to these objects.
    fn backup(mut self, timeline: u32, made: i64, objects: &[u32]) -> Self {
        let start = made as u64 * size().bytes();
        self.backups.push(Backup {
            id: format!("day{made}"),
            timeline: TimelineId(timeline),
            start: Lsn(start + 0x28),
            stop: Lsn(start + 0x100),
            stopped: day(made),
            objects: objects.iter().copied().map(ObjectId).collect(),
            stores: BTreeSet::new(),
        });
        for &id in objects {
            if !self.data.iter().any(|data| data.id == ObjectId(id)) {
                self.data.push(Data {
                    id: ObjectId(id),
                    modified: day(made),
                    shared: false,
                });
            }
        }
        self
    }

    /// The day a timeline left its ancestor, in the middle of the day's segment.
    fn history(mut self, timeline: u32, ancestor: u32, left: i64) -> Self {
        let left_at = Lsn(left as u64 * size().bytes() + 0x8000);
        let ancestors = history::parse(&format!("{ancestor}\t{left_at}\tgone\n")).unwrap();
        self.histories.insert(
            TimelineId(timeline),
            History {
                ancestors,
                modified: day(left),
            },
        );
        self
    }

    fn running(mut self, start: Option<Lsn>, heartbeat: i64, reuses: Option<&[&str]>) -> Self {
        let reuses = reuses.map(|ids| ids.iter().map(|id| id.to_string()).collect());
        self.running.push(Running {
            id: "new".to_owned(),
            start,
            heartbeat: day(heartbeat),
            reuses,
        });
        self
    }
}

fn number(name: WalFileName, size: SegmentSize) -> u64 {
    name.segment()
        .and_then(|segment| segment.number(size))
        .unwrap()
}

/// "day2 #4 1:7 !new": the manifest of day2, object 4, segment 7 of timeline 1,
/// the marker of the new backup.
fn told(decision: &Decision) -> String {
    let told = decision.delete.iter().map(|deletion| match &deletion.what {
        Object::Manifest(id) => id.clone(),
        Object::Data(id) => format!("#{}", id.0),
        Object::Wal(name) => format!("{}:{}", name.timeline(), number(*name, size())),
        Object::Streamed(part) => format!("{}:{part}", part.segment),
        Object::Marker(id) => format!("!{id}"),
    });
    told.collect::<Vec<_>>().join(" ")
}

fn kept(decision: &Decision) -> Vec<(&str, Kept)> {
    let kept = decision.backups.iter();
    kept.map(|backup| (backup.id.as_str(), backup.why.clone()))
        .collect()
}

/// A random past as what an archive of it holds.
fn random(world: &World, rng: &mut Rng) -> Holdings {
    let mut holdings = holdings(1);
    let archive = &world.archive;
    let first = |timeline| world.records[&timeline][0].time;
    for (&timeline, ancestors) in &archive.histories {
        let history = History {
            ancestors: ancestors.clone(),
            modified: first(timeline),
        };
        holdings.histories.insert(timeline, history);
    }
    for name in world.moments.keys().filter(|name| world.has(**name)) {
        // When the last record in it was written; a little later by the file.
        let modified = world.written(*name);
        holdings.wal.push(WalFile {
            name: (*name).into(),
            modified,
            waits: rng.u32(0..10) == 0,
        });
    }
    for backup in &archive.backups {
        holdings.backups.push(Backup {
            id: backup.id.clone(),
            timeline: backup.timeline,
            start: backup.start,
            stop: backup.stop,
            stopped: backup.stopped,
            objects: (0..rng.u32(1..6))
                .map(|_| ObjectId(rng.u32(0..20)))
                .collect(),
            stores: (0..3).filter(|_| rng.bool()).collect(),
        });
    }
    for id in 0..24 {
        holdings.data.push(Data {
            id: ObjectId(id),
            modified: at(-2 * DAY),
            shared: rng.bool(),
        });
    }
    if rng.u32(0..3) == 0 {
        let reuses = rng.bool().then(|| {
            let ids = holdings.backups.iter().map(|backup| backup.id.clone());
            rng.choice(ids).into_iter().collect()
        });
        holdings.running.push(Running {
            id: "new".to_owned(),
            start: Some(Lsn(rng.u64(0..20 * size().bytes()))),
            heartbeat: at(rng.i64(-2 * DAY..0)),
            reuses,
        });
    }
    holdings
}

fn apply(holdings: &mut Holdings, gone: &[Deletion]) {
    let gone: BTreeSet<_> = gone.iter().map(|it| &it.what).collect();
    holdings
        .backups
        .retain(|it| !gone.contains(&Object::Manifest(it.id.clone())));
    holdings
        .data
        .retain(|it| !gone.contains(&Object::Data(it.id)));
    holdings
        .wal
        .retain(|it| !gone.contains(&Object::Wal(it.name)));
    holdings
        .running
        .retain(|it| !gone.contains(&Object::Marker(it.id.clone())));
}

/// The world whose archive has only what is held.
fn left(world: &World, holdings: &Holdings) -> World {
    let mut left = world.clone();
    let ids: BTreeSet<_> = holdings.backups.iter().map(|backup| &backup.id).collect();
    left.archive
        .backups
        .retain(|backup| ids.contains(&backup.id));
    let names: BTreeSet<_> = holdings.wal.iter().map(|file| file.name).collect();
    for holder in &mut left.archive.holders {
        holder
            .segments
            .retain(|range| names.contains(&range.first.into()));
    }
    left
}

/// Which state a recovery to this target restores, if any, surely.
fn restored(world: &World, target: Target, timeline: TimelineId) -> Option<(TimelineId, Lsn)> {
    let request = Request {
        target,
        exclusive: false,
        timeline: Some(TimelineChoice::Number(timeline)),
        backup: None,
    };
    let Step::Done(plan) = world.plan(&request).0 else {
        return None;
    };
    match world.replay(&plan.backup, timeline, &request, &|name| world.has(name)) {
        Outcome::Stopped(state, _) | Outcome::Ended(state, true) if plan.doubts.is_empty() => {
            Some(state)
        }
        _ => None,
    }
}

fn is_whole(backup: &Backup, holdings: &Holdings) -> bool {
    let mut objects = backup.objects.iter();
    objects.all(|id| holdings.data.iter().any(|data| data.id == *id))
}

proptest! {
    #![proptest_config(at_least(400))]
    #[test]
    fn what_could_be_restored_of_the_window_still_can(seed: u64) {
        let world = World::random(seed);
        let mut rng = Rng::with_seed(seed ^ 2);
        let before = random(&world, &mut rng);
        let seconds = world.seconds + rng.i64(0..10);
        let rules = Rules {
            now: at(seconds),
            window: Duration::from_secs(rng.u64(0..seconds as u64 + 2)),
            min_backups: rng.usize(0..3),
        };
        let decision = prune(&rules, std::slice::from_ref(&before));
        let mut after = before.clone();
        apply(&mut after, &decision.delete);
        let pruned = left(&world, &after);

        for second in 0..seconds {
            let moment = at(second);
            if moment < rules.begin() {
                continue;
            }
            for timeline in world.archive.timelines() {
                let state = restored(&world, Target::Time(moment), timeline);
                if state.is_some() {
                    let still = restored(&pruned, Target::Time(moment), timeline);
                    prop_assert_eq!(still, state, "second {} on {}", second, timeline);
                }
            }
        }
        let latest = world.archive.timelines().pop().unwrap();
        let end = restored(&world, Target::Latest, latest);
        let still = restored(&pruned, Target::Latest, latest);
        prop_assert!(end.is_none() || still == end, "{:?} is now {:?}", end, still);

        prop_assert!(after.backups.len() >= rules.min_backups.min(before.backups.len()));
        let again = prune(&rules, std::slice::from_ref(&after));
        prop_assert_eq!(&again.delete, &[], "a second time");

        for done in 0..=decision.delete.len() {
            let mut interrupted = before.clone();
            apply(&mut interrupted, &decision.delete[..done]);
            for backup in &interrupted.backups {
                prop_assert!(is_whole(backup, &interrupted), "{} after {}", backup.id, done);
            }
            let ids: Vec<_> = interrupted.backups.iter().map(|backup| &backup.id).collect();
            prop_assert!(after.backups.iter().all(|backup| ids.contains(&&backup.id)));
            let rest = prune(&rules, std::slice::from_ref(&interrupted));
            apply(&mut interrupted, &rest.delete);
            prop_assert_eq!(&interrupted.backups, &after.backups);
            // What lost its manifest is a leftover then, and waits for the
            // end of a backup that is running.
            let left = |data| interrupted.data.contains(data);
            prop_assert!(after.data.iter().all(left));
            if !before.running.iter().any(|it| is_alive(it, rules.now)) {
                prop_assert_eq!(&interrupted.data, &after.data);
            }
        }
        // What a running backup may refer to is all there.
        for running in before.running.iter().filter(|it| is_alive(it, rules.now)) {
            for backup in &before.backups {
                if running.reuses.as_ref().is_none_or(|ids| ids.contains(&backup.id)) {
                    prop_assert!(after.backups.contains(backup));
                }
            }
            let first = running.start.unwrap().0 / size().bytes();
            let fenced = before.wal.iter().filter(|file| number(file.name, size()) >= first);
            prop_assert!(fenced.clone().all(|file| after.wal.contains(file)));
        }
    }
    #[test]
    fn what_a_store_alone_would_keep_stays(seed: u64) {
        let world = World::random(seed);
        let mut rng = Rng::with_seed(seed ^ 3);
        let together = random(&world, &mut rng);
        let rules = Rules {
            now: at(world.seconds),
            window: Duration::from_secs(rng.u64(0..world.seconds as u64 + 2)),
            min_backups: rng.usize(0..3),
        };
        let stays = prune(&rules, std::slice::from_ref(&together));
        let stays: BTreeSet<_> = kept(&stays).into_iter().map(|(id, _)| id.to_owned()).collect();
        for store in 0..3 {
            let mut alone = together.clone();
            alone.backups.retain(|backup| backup.stores.contains(&store));
            alone.backups.iter_mut().for_each(|backup| backup.stores.clear());
            for (id, why) in kept(&prune(&rules, &[alone])) {
                prop_assert!(stays.contains(id), "{} in store {}: {}", id, store, why);
            }
        }
    }
}

#[test]
fn streamed_parts_go_with_the_whole_segment_and_with_its_time() {
    let segment = |it: i64| SegmentName::numbered(it as u64, TimelineId(1), size());
    let streamed = |made: i64, is_whole| Streamed {
        part: StreamPart {
            segment: segment(made),
            from: 0,
            to: 8,
        },
        modified: day(made),
        is_whole,
    };
    let mut holdings = holdings(1).days(1, 1..=50).backup(1, 10, &[]);
    let holdings_streamed = [(5, false), (20, false), (49, true), (51, false)];
    holdings.streamed = holdings_streamed.map(|it| streamed(it.0, it.1)).to_vec();
    let decision = prune(&rules(51, 30, 1), &[holdings]);
    let gone = decision.delete.iter().filter_map(|it| match it.what {
        Object::Streamed(part) => Some((part.segment, it.why.clone())),
        _ => None,
    });
    let gone: Vec<_> = gone.collect();
    let expected = [(segment(5), Gone::BelowBackups), (segment(49), Gone::Whole)];
    assert_eq!(gone, expected);
}
