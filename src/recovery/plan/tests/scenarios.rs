//! Archives as they come about, and what is planned for them.

use super::{
    super::{Doubt, Reason, Request, Step, Target, TimelineChoice, Unfit},
    case::{
        FIRST, MIB16, case, in_segment, linear, name, on, promoted, summary, to, to_time, went_back,
    },
    world::at,
};
use crate::{
    archive::plan::FetchPlan,
    postgres::{Lsn, TimelineId},
};

#[test]
fn the_newest_backup_before_the_target() {
    let case = linear();
    assert_eq!(summary(&case.done(&to(Target::Latest))), "b 1:6-10");
    assert_eq!(summary(&case.done(&to(Target::Immediate))), "b 1:6-6");
    assert_eq!(summary(&case.done(&to_time(64))), "a 1:2-8");
    assert_eq!(summary(&case.done(&to_time(65))), "b 1:6-8");
    assert_eq!(
        summary(&case.done(&to(Target::Lsn(in_segment(6))))),
        "a 1:2-7"
    );
    assert_eq!(
        summary(&case.done(&to(Target::Lsn(in_segment(7))))),
        "b 1:6-8"
    );
    assert_eq!(summary(&case.done(&to(Target::Xid(649)))), "a 1:2-10");
    assert_eq!(summary(&case.done(&to(Target::Xid(650)))), "b 1:6-10");
    let exclusive = Request {
        exclusive: true,
        ..to_time(65)
    };
    assert_eq!(summary(&case.done(&exclusive)), "a 1:2-8");

    let plan = case.done(&to_time(64));
    let late = Unfit::TooLate {
        stop: Lsn(6 * MIB16 + 0x100),
        stopped: at(65),
    };
    assert_eq!(plan.passed_over, [("b".to_owned(), late)]);
    assert_eq!(plan.last_commit.map(|commit| commit.time), Some(at(100)));
    assert_eq!(plan.end, Lsn(11 * MIB16));
    assert_eq!(
        (plan.timeline_setting.as_str(), plan.histories.len()),
        ("1", 0)
    );
}

#[test]
fn a_target_behind_everything_is_refused_with_what_there_is() {
    let case = linear();
    let refusal = case.refused(&to_time(100));
    assert_eq!(
        refusal.reason,
        Reason::BeyondLastCommit {
            last: Some(at(100))
        }
    );
    assert!(
        refusal
            .reason
            .to_string()
            .contains("restore without a target")
    );
    let reach = &refusal.reachable[0];
    assert_eq!((reach.backup.as_str(), reach.from_time), ("a", at(35)));
    assert_eq!((reach.to, reach.to_time), (Lsn(11 * MIB16), Some(at(100))));
    // PostgreSQL stops before the last one.
    assert_eq!(summary(&case.done(&to_time(99))), "b 1:6-10");
    let exclusive = Request {
        exclusive: true,
        ..to_time(100)
    };
    assert_eq!(summary(&case.done(&exclusive)), "b 1:6-10");

    let behind = |lsn| case.refused(&to(Target::Lsn(Lsn(lsn)))).reason;
    let end = Lsn(10 * MIB16 + 0x1000);
    assert_eq!(behind(end.0), Reason::BeyondEnd { end });
    assert_eq!(behind(50 * MIB16), Reason::BeyondEnd { end });
    let last = case.done(&to(Target::Lsn(in_segment(10))));
    assert_eq!(last.doubts, [Doubt::EndOfWal(name(1, 10))]);
}

#[test]
fn a_target_before_everything_is_refused() {
    let early = |target| linear().refused(&to(target)).reason;
    let earliest = Reason::BeforeEarliest {
        id: "a".to_owned(),
        stop: Lsn(3 * MIB16 + 0x100),
        stopped: at(35),
    };
    assert_eq!(early(Target::Time(at(34))), earliest);
    assert_eq!(early(Target::Lsn(in_segment(3))), earliest);
    assert_eq!(early(Target::Xid(349)), Reason::XidTooOld { xid: 349 });
    let nothing = case().held("r2", 1, 1, 9).refused(&to(Target::Latest));
    assert_eq!(nothing.reason, Reason::NoBackups);
}

#[test]
fn a_promotion_is_followed_into_the_segment_that_it_left_in() {
    let case = promoted();
    let plan = case.done(&to(Target::Latest));
    assert_eq!(summary(&plan), "a 1:2-6 2:7-9");
    let way: Vec<_> = plan
        .way
        .iter()
        .map(|leg| (leg.timeline.0, leg.from, leg.left_at))
        .collect();
    let left = Lsn(0x700_0800);
    assert_eq!(way, [(1, in_segment(2), Some(left)), (2, left, None)]);
    let fetch = FetchPlan::from(&plan);
    assert_eq!(
        (fetch.stores, fetch.staging),
        (vec!["r2".to_owned()], false)
    );
    assert_eq!(fetch.histories, [TimelineId(2)]);
    // Timeline 1's copy of segment 7 is a partial one, and nobody misses it.
    assert!(plan.gaps.is_empty());

    // Before the switch: the timeline that it is on, and none further.
    let before = case.done(&to_time(45));
    assert_eq!(
        (summary(&before).as_str(), before.timeline.0),
        ("a 1:2-6", 1)
    );
    let latest = case.done(&on(TimelineChoice::Latest, to_time(45)));
    assert_eq!(
        (summary(&latest).as_str(), latest.timeline.0),
        ("a 1:2-6", 2)
    );
    assert_eq!(summary(&case.done(&to_time(65))), "a 1:2-6 2:7-8");
    let current = on(TimelineChoice::Current, to(Target::Latest));
    assert_eq!(summary(&case.done(&current)), "a 1:2-6");
    // Timeline 1 ends with second 60.
    let reason = case.refused(&on(FIRST, to_time(65))).reason;
    assert_eq!(reason, Reason::BeyondLastCommit { last: Some(at(60)) });
}

#[test]
fn a_moment_of_two_timelines_has_to_be_told_apart() {
    let case = went_back();
    let reason = case.refused(&to_time(75)).reason;
    let timelines = vec![TimelineId(1), TimelineId(2)];
    assert_eq!(
        reason,
        Reason::AmbiguousTimeline {
            timelines: timelines.clone()
        }
    );
    assert!(
        reason
            .to_string()
            .contains("(1, 2): choose one with --timeline"),
        "{reason}"
    );
    assert_eq!(summary(&case.done(&on(FIRST, to_time(75)))), "b 1:6-9");
    let second = on(TimelineChoice::Latest, to_time(75));
    let plan = case.done(&second);
    assert_eq!(summary(&plan), "a 1:2-5 2:6-7");
    let unfit = Unfit::OffTheWay {
        timeline: TimelineId(2),
        own: TimelineId(1),
        stop: Lsn(6 * MIB16 + 0x100),
    };
    assert_eq!(plan.passed_over, [("b".to_owned(), unfit)]);
    // Before they part there is one state, and after timeline 1 has ended.
    assert_eq!(summary(&case.done(&to_time(45))), "a 1:2-6");
    assert_eq!(summary(&case.done(&to_time(165))), "a 1:2-5 2:6-8");
    let lsn = case.refused(&to(Target::Lsn(in_segment(8)))).reason;
    assert_eq!(lsn, Reason::AmbiguousTimeline { timelines });
    // And back to the old one for all that it has.
    assert_eq!(
        summary(&case.done(&on(FIRST, to(Target::Latest)))),
        "b 1:6-10"
    );
    assert_eq!(summary(&case.done(&to(Target::Latest))), "a 1:2-5 2:6-12");
}

#[test]
fn a_restore_point_is_found_on_whichever_timeline_it_is() {
    let case = went_back()
        .point(1, 8, "before import")
        .point(2, 10, "before release");
    let named = |name: &str| to(Target::Name(name.to_owned()));
    let dead = case.done(&named("before import"));
    assert_eq!((summary(&dead).as_str(), dead.timeline.0), ("b 1:6-8", 1));
    assert_eq!(
        summary(&case.done(&named("before release"))),
        "a 1:2-5 2:6-10"
    );
    let latest = case.refused(&on(TimelineChoice::Latest, named("before imports")));
    let Reason::UnknownName {
        nearest, unsure, ..
    } = latest.reason
    else {
        panic!("{:?}", latest.reason);
    };
    assert_eq!((nearest, unsure), (vec!["before release".to_owned()], 0));

    // Two of one name: the backup decides which one comes first.
    let twice = linear().point(1, 4, "nightly").point(1, 8, "nightly");
    let plan = twice.done(&named("nightly"));
    assert_eq!(summary(&plan), "b 1:6-8");
    assert_eq!(plan.doubts, [Doubt::SameName(vec![Lsn(4 * MIB16 + 0x800)])]);
    let first = Request {
        backup: Some("a".to_owned()),
        ..named("nightly")
    };
    assert_eq!(summary(&twice.done(&first)), "a 1:2-4");
}

#[test]
fn a_backup_that_was_asked_for_has_to_serve() {
    let case = went_back();
    let from = |id: &str, request| Request {
        backup: Some(id.to_owned()),
        ..request
    };
    let plan = case.done(&from("a", on(FIRST, to(Target::Latest))));
    assert_eq!(summary(&plan), "a 1:2-10");
    assert_eq!(plan.passed_over, [("b".to_owned(), Unfit::NotAskedFor)]);
    let off = case.refused(&from("b", to(Target::Latest))).reason;
    assert!(
        matches!(
            off,
            Reason::UnfitBackup {
                why: Unfit::OffTheWay { .. },
                ..
            }
        ),
        "{off:?}"
    );
    let late = case.refused(&from("b", to_time(45))).reason;
    assert!(
        matches!(
            late,
            Reason::UnfitBackup {
                why: Unfit::TooLate { .. },
                ..
            }
        ),
        "{late:?}"
    );
    let unknown = case.refused(&from("c", to(Target::Immediate))).reason;
    assert!(
        matches!(unknown, Reason::UnknownBackup { .. }),
        "{unknown:?}"
    );
}

#[test]
fn from_a_bare_bucket_little_is_asked() {
    let case = case().held("r2", 1, 2, 10_001).backup("a", 1, 2, 2, 5);
    let case = (2..=10_001).fold(case, |case, number| case.commit(1, number, number as i64));
    assert_eq!(case.plan(&to(Target::Latest)).1, 1);
    assert_eq!(case.plan(&to(Target::Immediate)).1, 0);
    let (step, asked) = case.plan(&to_time(7_000));
    assert!(matches!(step, Step::Done(plan) if summary(&plan) == "a 1:2-7002"));
    assert!(asked <= 15, "{asked} segments were asked for");
    // Nothing happened for the last thousand.
    let mut quiet = case;
    quiet.commits.retain(|key, _| key.1 < 9_000);
    let (_, asked) = quiet.plan(&to(Target::Latest));
    assert!(asked <= 2_048, "{asked} segments were asked for");
}
