//! Archives with holes, and what is planned for them.

use super::{
    super::{Reason, Request, Target, TimelineChoice, Unfit},
    case::{FIRST, case, linear, name, on, ranges, summary, to, to_time},
    world::at,
};
use crate::{
    archive::plan::FetchPlan,
    postgres::{Lsn, TimelineId},
};

#[test]
fn a_gap_stops_what_is_behind_it_and_nothing_before() {
    let case = case()
        .held("r2", 1, 2, 5)
        .held("r2", 1, 8, 12)
        .backup("a", 1, 2, 2, 25)
        .backup("b", 1, 9, 9, 95);
    let case = (2..=12).fold(case, |case, number| {
        case.commit(1, number, number as i64 * 10)
    });
    let before = case.done(&to_time(45));
    assert_eq!(summary(&before), "a 1:2-5");
    assert_eq!(before.gaps.len(), 1);
    let gap = before.gaps[0];
    assert_eq!(
        (gap.first, gap.last, gap.segments),
        (name(1, 6), name(1, 7), 2)
    );
    assert_eq!((gap.lost_from, gap.lost_to), (Some(at(50)), Some(at(95))));
    let within = case.refused(&to_time(85));
    assert_eq!(within.reason, Reason::Gap { gap, before: None });
    assert_eq!(within.reachable.len(), 2);
    assert_eq!(within.reachable[0].to_time, Some(at(50)));
    assert_eq!(within.reachable[1].from_time, at(95));
    assert_eq!(summary(&case.done(&to_time(95))), "b 1:9-11");
    assert_eq!(summary(&case.done(&to(Target::Latest))), "b 1:9-12");

    let forced = Request {
        backup: Some("a".to_owned()),
        ..to(Target::Latest)
    };
    let Reason::Gap {
        before: Some(before),
        ..
    } = case.refused(&forced).reason
    else {
        panic!("the end cannot be reached");
    };
    assert_eq!(summary(&before), "a 1:2-5");
}

#[test]
fn a_backup_without_its_own_wal_is_passed_over() {
    let mut case = linear();
    case.archive.holders.clear();
    let case = case
        .held("r2", 1, 2, 6)
        .held("r2", 1, 8, 8)
        .backup("c", 1, 7, 8, 85);
    let plan = case.done(&to(Target::Immediate));
    assert_eq!(summary(&plan), "b 1:6-6");
    assert_eq!(
        plan.passed_over,
        [("c".to_owned(), Unfit::WalMissing(name(1, 7)))]
    );
}

#[test]
fn two_stores_with_different_holes_make_one_archive() {
    let case = case()
        .held("r2", 1, 2, 4)
        .held("r2", 1, 7, 9)
        .held("b2", 1, 4, 7)
        .backup("a", 1, 2, 2, 25)
        .commit(1, 9, 90);
    let plan = case.done(&to(Target::Latest));
    assert_eq!(summary(&plan), "a 1:2-9");
    let held: Vec<_> = plan
        .holders
        .iter()
        .map(|holder| ranges(&holder.segments))
        .collect();
    assert_eq!(held, ["1:2-4 1:7-9", "1:4-7"]);
    assert_eq!(FetchPlan::from(&plan).stores, ["r2", "b2"]);
}

#[test]
fn a_timeline_that_has_no_wal_yet_is_not_mixed_with_the_old_one() {
    // Promoted in segment 10, which only the old primary has archived.
    let case = linear().history(2, "1\t0/A000800\tno recovery target specified\n");
    let reason = case.refused(&to(Target::Latest)).reason;
    let expected = Reason::TimelineWithoutWal {
        timeline: TimelineId(2),
        parent: TimelineId(1),
        left_at: Lsn(0xA00_0800),
    };
    assert_eq!(reason, expected);
    assert_eq!(
        summary(&case.done(&on(FIRST, to(Target::Latest)))),
        "b 1:6-10"
    );
    let unknown = on(TimelineChoice::Number(TimelineId(3)), to(Target::Latest));
    let reason = case.refused(&unknown).reason;
    assert!(
        matches!(reason, Reason::UnknownTimeline { .. }),
        "{reason:?}"
    );
}
