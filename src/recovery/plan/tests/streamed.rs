//! What was streamed behind the last archived segment.

use super::{
    super::{Plan, Reason, Target, Unfit},
    case::{FIRST, MIB16, case, linear, name, on, promoted, ranges, summary, to, to_time},
    world::at,
};
use crate::{archive::plan::FetchPlan, postgres::Lsn};

/// The numbers of the segments that are streamed, with their timelines.
fn streamed(plan: &Plan) -> Vec<String> {
    let names = plan.streamed.iter().map(|it| it.segment.to_string());
    names.collect()
}

#[test]
fn a_streamed_beginning_is_the_end_of_the_wal() {
    let case = linear().streamed(1, 11, 0x2000).commit(1, 11, 115);
    let plan = case.done(&to(Target::Latest));
    assert_eq!((summary(&plan), plan.count), ("b 1:6-10".to_owned(), 5));
    assert_eq!(streamed(&plan), [name(1, 11).to_string()]);
    assert_eq!(plan.end, Lsn(11 * MIB16 + 0x2000));
    assert_eq!(plan.last_commit.map(|it| it.time), Some(at(115)));
    // Recovery is told so: the archive is not asked for it.
    let fetch = FetchPlan::from(&plan);
    assert_eq!(fetch.placed, [name(1, 11)]);
    assert!(fetch.has_placed(name(1, 11).into()) && !fetch.needs(name(1, 11).into()));
    assert_eq!(FetchPlan::parse(&fetch.to_json()), Ok(fetch));

    // A target in it, and one before it.
    let plan = case.done(&to_time(112));
    assert_eq!(streamed(&plan), [name(1, 11).to_string()]);
    let plan = case.done(&to_time(75));
    assert_eq!(ranges(&plan.segments), "1:6-9");
    assert!(streamed(&plan).is_empty());
    let beyond = case.refused(&to_time(120)).reason;
    assert_eq!(
        beyond,
        Reason::BeyondLastCommit {
            last: Some(at(115))
        }
    );
}

#[test]
fn whole_streamed_segments_lead_on_and_others_do_not() {
    let case = linear()
        .streamed(1, 11, MIB16)
        .streamed(1, 12, 0x2000)
        .streamed(1, 13, 0x2000);
    let plan = case.done(&to(Target::Latest));
    let expected = [11, 12].map(|number| name(1, number).to_string());
    assert_eq!(streamed(&plan), expected);
    assert_eq!(plan.end, Lsn(12 * MIB16 + 0x2000));
}

#[test]
fn what_does_not_follow_on_the_archive_counts_for_nothing() {
    // Behind a hole, and before what is archived.
    for number in [9, 12] {
        let case = linear().streamed(1, number, 0x2000);
        let plan = case.done(&to(Target::Latest));
        assert_eq!(
            (summary(&plan), streamed(&plan).len()),
            ("b 1:6-10".to_owned(), 0)
        );
    }
    let within_the_gap = case()
        .held("r2", 1, 2, 5)
        .held("r2", 1, 8, 9)
        .streamed(1, 6, 0x2000)
        .backup("a", 1, 2, 2, 25);
    let refused = within_the_gap.refused(&to(Target::Latest));
    assert!(matches!(refused.reason, Reason::Gap { .. }));
}

#[test]
fn a_backup_that_ends_behind_what_was_streamed_does_not_serve() {
    // It ends at byte 0x100 of segment 11.
    let plan = |bytes| {
        let case = linear().backup("c", 1, 10, 11, 112);
        case.streamed(1, 11, bytes).done(&to(Target::Latest))
    };
    assert_eq!(plan(0x200).backup.id, "c");
    let plan = plan(0x80);
    assert_eq!(plan.backup.id, "b");
    let why = Unfit::WalMissing(name(1, 11));
    assert_eq!(plan.passed_over, [("c".to_owned(), why)]);
}

#[test]
fn each_timeline_has_an_end_of_its_own() {
    // Of timeline 1, what nobody archived before timeline 2 left it.
    let two = promoted()
        .streamed(1, 7, 0x1800)
        .streamed(2, 10, 0x2000)
        .commit(1, 7, 71)
        .commit(2, 10, 105);
    let plan = two.done(&to(Target::Latest));
    assert_eq!(streamed(&plan), [name(2, 10).to_string()]);
    let plan = two.done(&on(FIRST, to(Target::Latest)));
    assert_eq!(streamed(&plan), [name(1, 7).to_string()]);
    assert_eq!(plan.last_commit.map(|it| it.time), Some(at(71)));

    // A new timeline that has nothing archived yet.
    let young = case()
        .held("r2", 1, 2, 7)
        .history(2, "1\t0/7000800\tno recovery target specified\n")
        .backup("a", 1, 2, 2, 25)
        .streamed(2, 7, 0x2000)
        .commit(2, 7, 75);
    let plan = young.done(&to(Target::Latest));
    let found = (summary(&plan), streamed(&plan).len());
    assert_eq!(found, ("a 1:2-6".to_owned(), 1));
}
