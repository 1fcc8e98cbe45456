//! Plans of random requests over random pasts, against the replay of every
//! backup on every timeline.

use std::collections::BTreeSet;

use fastrand::Rng;
use proptest::prelude::*;

use super::{
    super::{Backup, Doubt, Plan, Reason, Refusal, Request, Step, Target, TimelineChoice},
    world::{MIB, NAMES, Outcome, World, at, at_least, size},
};
use crate::{
    archive::plan::FetchPlan,
    postgres::{Lsn, SegmentName, TimelineId, WalFileName},
};

fn request(world: &World, rng: &mut Rng) -> Request {
    let ends: Vec<_> = world
        .records
        .values()
        .flatten()
        .map(|record| record.end)
        .collect();
    let lsn = match rng.bool() {
        true => rng.choice(ends.iter().copied()).unwrap(),
        false => Lsn(rng.u64(0..ends.iter().max().unwrap().0 + MIB)),
    };
    let target = match rng.u32(0..10) {
        0 => Target::Latest,
        1 => Target::Immediate,
        2..6 => Target::Time(at(rng.i64(0..world.seconds + 4))),
        6 | 7 => Target::Lsn(lsn),
        8 => Target::Xid(u64::from(rng.u32(1990..4050))),
        _ => Target::Name(NAMES[rng.usize(0..NAMES.len())].to_owned()),
    };
    let pointed = matches!(target, Target::Time(_) | Target::Lsn(_) | Target::Xid(_));
    let backups = world.archive.backups.iter().map(|backup| backup.id.clone());
    Request {
        target,
        exclusive: pointed && rng.bool(),
        timeline: match rng.u32(0..4) {
            0 => None,
            1 => Some(TimelineChoice::Latest),
            2 => Some(TimelineChoice::Current),
            _ => Some(TimelineChoice::Number(TimelineId(rng.u32(1..6)))),
        },
        backup: rng.choice(backups).filter(|_| rng.u32(0..6) == 0),
    }
}

/// The segments that are there, and on the way to a timeline. PostgreSQL takes
/// others as well: where a timeline's first segment is missing, it goes on with
/// its ancestor's copy, and leaves the way.
fn on_the_way(world: &World, timeline: TimelineId) -> impl Fn(SegmentName) -> bool {
    let stretches = world.archive.ancestry(timeline).stretches(size());
    move |name| {
        let number = name.number(size()).unwrap();
        let mut begun = stretches.iter().rev();
        let owner = begun.find(|stretch| stretch.first <= number).unwrap();
        owner.timeline == name.timeline && world.has(name)
    }
}

/// Every backup and target timeline that the request allows, with what comes
/// of it when everything archived can be had.
fn outcomes(world: &World, request: &Request) -> Vec<(String, TimelineId, Outcome)> {
    let timelines = world.archive.timelines();
    let mut outcomes = Vec::new();
    for backup in &world.archive.backups {
        if request
            .backup
            .as_ref()
            .is_some_and(|asked| *asked != backup.id)
            || !is_early(backup, request)
        {
            continue;
        }
        for &timeline in &timelines {
            let allowed = match request.timeline {
                None => {
                    !matches!(request.target, Target::Latest | Target::Xid(_))
                        || timeline == *timelines.last().unwrap()
                }
                Some(TimelineChoice::Latest) => timeline == *timelines.last().unwrap(),
                Some(TimelineChoice::Current) => timeline == backup.timeline,
                Some(TimelineChoice::Number(number)) => timeline == number,
            };
            if allowed {
                let outcome = world.replay(backup, timeline, request, &on_the_way(world, timeline));
                outcomes.push((backup.id.clone(), timeline, outcome));
            }
        }
    }
    outcomes
}

/// Whether a backup is early enough by the rule, which is stricter than the
/// replay: nothing may have happened between the target and the backup's end.
fn is_early(backup: &Backup, request: &Request) -> bool {
    match &request.target {
        Target::Time(target) if request.exclusive => backup.stopped < *target,
        Target::Time(target) => backup.stopped <= *target,
        Target::Lsn(target) => backup.stop <= *target,
        _ => true,
    }
}

/// Whether some segments do not say all that they contain.
fn is_unsure(world: &World) -> bool {
    let mut moments = world.moments.values();
    moments.any(|moments| moments.as_ref().is_none_or(|it| it.cut || it.more))
}

fn check_plan(world: &World, request: &Request, plan: &Plan) {
    let fetch =
        FetchPlan::parse(&FetchPlan::from(plan).to_json()).expect("a plan that fetch reads");
    let needs = |name: SegmentName| fetch.needs(WalFileName::Segment(name));
    // Whatever it needs is somewhere, and named where it is.
    let mut count = 0;
    let ancestry = world.archive.ancestry(plan.timeline);
    let mut number = plan.backup.start.0 / MIB;
    for range in &plan.segments {
        let mut next = Some(range.first);
        while let Some(name) = next.filter(|name| *name <= range.last) {
            assert!(world.has(name), "{name} is not there");
            let held = plan.holders.iter().filter(|holder| {
                holder.segments.iter().any(|it| {
                    it.first.timeline == name.timeline && (it.first..=it.last).contains(&name)
                })
            });
            for holder in held.clone() {
                let real = world
                    .archive
                    .holders
                    .iter()
                    .find(|it| it.source == holder.source);
                assert!(real.unwrap().segments.iter().any(|it| it.first == name));
            }
            assert!(held.count() > 0, "{name} is nobody's");
            assert_eq!(
                name.number(plan.segment_size),
                Some(number),
                "without a break"
            );
            let end = Lsn((number + 1) * MIB - 1);
            assert_eq!(name.timeline, ancestry.owner(end), "along the way");
            (number, count) = (number + 1, count + 1);
            next = name.next(plan.segment_size);
        }
    }
    assert_eq!(count, plan.count);
    let has = |name: SegmentName| world.has(name) && needs(name);
    let planned = world.replay(&plan.backup, plan.timeline, request, &has);
    let whole = on_the_way(world, plan.timeline);
    let whole = world.replay(&plan.backup, plan.timeline, request, &whole);
    match (&planned, &request.target) {
        (Outcome::Stopped(..), _) => {
            // The segment that is asked for can be another timeline's, where
            // more than the plan is there: the state is the same.
            assert_eq!(planned, whole);
        }
        (Outcome::Ended(_, true), Target::Latest) => assert_eq!(planned, whole),
        _ => assert!(
            plan.doubts
                .iter()
                .any(|doubt| !matches!(doubt, Doubt::SameName(_))),
            "{planned:?}"
        ),
    }
    let Outcome::Stopped(state, _) = planned else {
        return;
    };
    // No later backup would have done. Which transactions a backup contains
    // cannot be told by numbers alone.
    for backup in &world.archive.backups {
        let way = on_the_way(world, plan.timeline);
        let other = world.replay(backup, plan.timeline, request, &way);
        let same = matches!(other, Outcome::Stopped(it, _) if it == state);
        let asked = request.backup.is_some() || request.timeline == Some(TimelineChoice::Current);
        let early = is_early(backup, request);
        if same && early && !asked && !matches!(request.target, Target::Xid(_)) {
            assert!(
                backup.stop <= plan.backup.stop,
                "{} would do: {request:?}\n{plan:?}",
                backup.id
            );
        }
        if backup.stopped > plan.backup.stopped && request.backup.is_none() && !same {
            let told = plan.passed_over.iter().any(|(id, _)| *id == backup.id);
            assert!(
                told || backup.stop <= plan.backup.stop,
                "{} is not told of",
                backup.id
            );
        }
    }
}

fn check_refusal(world: &World, request: &Request, refusal: &Refusal) {
    let outcomes = outcomes(world, request);
    let stops = outcomes
        .iter()
        .filter_map(|(_, timeline, outcome)| match outcome {
            Outcome::Stopped(state, segment) => Some((*timeline, *state, *segment)),
            _ => None,
        });
    match &refusal.reason {
        Reason::AmbiguousTimeline { timelines } => {
            assert!(timelines.len() > 1);
            let segments: BTreeSet<_> = stops.map(|(_, state, segment)| (state, segment)).collect();
            // A position in the last segment counts, though no record may begin
            // behind it.
            let within = refusal
                .reachable
                .iter()
                .filter(|reach| match request.target {
                    Target::Lsn(target) => reach.from <= target && target < reach.to,
                    _ => false,
                });
            let found = segments.len().max(within.count());
            assert!(found > 1 || is_unsure(world), "{segments:?}");
        }
        Reason::XidTooOld { xid } => {
            for (id, _, outcome) in &outcomes {
                let backup = world.archive.backups.iter().find(|it| it.id == *id);
                let old = backup.unwrap().xmax.is_none_or(|xmax| xmax > *xid);
                assert!(
                    old || !matches!(outcome, Outcome::Stopped(..)),
                    "{id} would do"
                );
            }
        }
        Reason::UnfitBackup { .. } | Reason::NoFitBackup { .. }
            if matches!(request.target, Target::Xid(_)) => {}
        Reason::TimelineWithoutWal {
            timeline,
            parent,
            left_at,
        } => {
            let number = left_at.0 / MIB;
            let copy = SegmentName::numbered(number, *parent, world.archive.segment_size);
            assert_ne!(timeline, parent);
            assert!(world.has(copy));
        }
        Reason::Gap {
            before: Some(before),
            gap,
        } => {
            assert_eq!(request.target, Target::Latest);
            assert!(!world.has(gap.first) && !world.has(gap.last));
            check_plan(world, request, before);
            // It is the most that there is.
            let state = |outcome: &Outcome| match outcome {
                Outcome::Ended((_, end), true) => Some(*end),
                _ => None,
            };
            let most = outcomes.iter().filter(|it| it.1 == before.timeline);
            let most = most.filter_map(|(_, _, outcome)| state(outcome)).max();
            let same = |it: &&(String, TimelineId, Outcome)| {
                it.0 == before.backup.id && it.1 == before.timeline
            };
            let planned = outcomes.iter().find(same).unwrap();
            assert_eq!(state(&planned.2), most);
        }
        reason => {
            if let Reason::Gap { gap, .. } = reason {
                assert!(!world.has(gap.first) && !world.has(gap.last));
            }
            let current = request.timeline == Some(TimelineChoice::Current);
            if current && !reason.is_about_backups() {
                return;
            }
            // A record that reaches over into the next segment is in neither's
            // moments.
            let named = matches!(request.target, Target::Name(_));
            let over = named && world.moments.values().flatten().any(|moments| moments.cut);
            // A segment may have the name and not say so: then it is unknown, or
            // another timeline's, which has it too early.
            let says = |segment| {
                let moments = world.moments[segment].as_ref();
                moments.is_some_and(|moments| !moments.more)
            };
            let mut reached = outcomes.iter().filter(|(_, _, outcome)| match outcome {
                Outcome::Stopped(_, segment) => !named || says(segment),
                Outcome::Ended(_, consistent) => *consistent && request.target == Target::Latest,
                Outcome::Fatal => false,
            });
            assert!(
                over || reached.next().is_none(),
                "{request:?}\n{refusal:?}\n{outcomes:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(at_least(4000))]
    #[test]
    fn a_plan_is_what_postgresql_does(seed: u64) {
        let world = World::random(seed);
        let mut rng = Rng::with_seed(seed ^ 1);
        for _ in 0..4 {
            let request = request(&world, &mut rng);
            let step = world.plan(&request).0;
            match step {
                Step::Done(plan) => check_plan(&world, &request, &plan),
                Step::Refused(refusal) => check_refusal(&world, &request, &refusal),
                Step::Need(_) => unreachable!("answered until it is settled"),
            }
        }
    }
}
