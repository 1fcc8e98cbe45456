use proptest::prelude::*;

use super::*;
use crate::{
    catalog::{Acknowledgement, Severity},
    serve::alerts::Kind,
};

const PACE: Pace = Pace {
    grace: Duration::from_secs(60),
    repeat: Duration::from_secs(3600),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_185_000 + second).unwrap()
}

fn owed(severity: Severity) -> Condition {
    Condition::new(Kind::Owed, severity, "3 files are owed").of("b2")
}

/// What the catalog would have after a step.
fn apply(open: &mut Vec<AlertRecord>, step: &Step) {
    open.retain(|alert| !step.forget.contains(&alert.id));
    for alert in &step.note {
        open.retain(|known| known.id != alert.id);
        if alert.resolved.is_none() {
            open.push(alert.clone());
        }
    }
}

/// Steps at these seconds, with these conditions; what was told at each.
fn run(steps: &[(i64, &[Condition])]) -> Vec<Vec<(Turn, String)>> {
    let mut open = Vec::new();
    let told = steps.iter().map(|(second, conditions)| {
        let step = step(&open, conditions, at(*second), PACE);
        apply(&mut open, &step);
        let told = step.tell.into_iter();
        told.map(|(turn, alert)| (turn, alert.id)).collect()
    });
    told.collect()
}

fn one(turn: Turn) -> Vec<(Turn, String)> {
    vec![(turn, "owed/b2".to_owned())]
}

#[test]
fn it_is_raised_once_repeated_and_resolved() {
    let it = [owed(Severity::Warning)];
    let told = run(&[
        (0, &it),
        (60, &it),
        (3599, &it),
        (3600, &it),
        (3660, &it),
        (7200, &it),
        (7260, &[]),
        (7320, &[]),
        (7380, &it),
    ]);
    assert_eq!(
        told,
        [
            one(Turn::Raised),
            vec![],
            vec![],
            one(Turn::Repeated),
            vec![],
            one(Turn::Repeated),
            one(Turn::Resolved),
            vec![],
            one(Turn::Raised),
        ]
    );
}

#[test]
fn what_passes_by_itself_is_told_only_when_it_lasts() {
    let it = [owed(Severity::Warning).passing()];
    let told = run(&[
        (0, &it),
        (59, &it),
        (60, &[]),
        (61, &it),
        (121, &it),
        (122, &[]),
    ]);
    let none = Vec::new;
    assert_eq!(
        told,
        [
            none(),
            none(),
            none(),
            none(),
            one(Turn::Raised),
            one(Turn::Resolved)
        ]
    );
}

#[test]
fn whoever_knows_is_not_told_again_until_it_gets_worse() {
    let mut open = Vec::new();
    let it = owed(Severity::Warning);
    let first = step(&open, std::slice::from_ref(&it), at(0), PACE);
    apply(&mut open, &first);
    open[0].acknowledged = Some(Acknowledgement {
        by: "ann@db1".to_owned(),
        at: at(1),
    });
    let quiet = step(&open, &[it], at(100_000), PACE);
    assert_eq!(quiet, Step::default());
    let worse = step(&open, &[owed(Severity::Critical)], at(100_060), PACE);
    assert_eq!(worse.tell.len(), 1);
    let (turn, alert) = &worse.tell[0];
    assert_eq!((*turn, &alert.acknowledged), (Turn::Raised, &None));
    assert_eq!(alert.raised, Some(at(0)), "it began then");
    // And is over for those who knew as well.
    let over = step(&open, &[], at(100_060), PACE);
    assert_eq!(over.tell[0].0, Turn::Resolved);
    assert_eq!(over.note[0].resolved, Some(at(100_060)));
}

#[test]
fn two_of_one_id_are_one() {
    let both = [owed(Severity::Critical), owed(Severity::Warning)];
    let step = step(&[], &both, at(0), PACE);
    assert_eq!(step.tell.len(), 1);
    assert_eq!(step.tell[0].1.severity, Severity::Critical);
}

proptest! {
    /// However conditions come and go: each alert is raised before anything
    /// else is told of it, resolved at most once for each time it was raised,
    /// and open exactly while its condition holds.
    #[test]
    fn each_story_has_a_beginning_and_an_end(
        story in prop::collection::vec((prop::collection::btree_set(0..4u8, 0..4), 1..5000i64), 1..40),
    ) {
        let condition = |subject: &u8| {
            let it = Condition::new(Kind::Store, Severity::Warning, "it fails");
            let it = it.of(subject.to_string());
            if subject.is_multiple_of(2) { it.passing() } else { it }
        };
        let mut open: Vec<AlertRecord> = Vec::new();
        let mut raised = std::collections::BTreeSet::new();
        let mut second = 0;
        for (subjects, later) in story {
            second += later;
            let conditions: Vec<Condition> = subjects.iter().map(condition).collect();
            let step = step(&open, &conditions, at(second), PACE);
            apply(&mut open, &step);
            for (turn, alert) in &step.tell {
                match turn {
                    Turn::Raised => prop_assert!(raised.insert(alert.id.clone())),
                    Turn::Repeated => prop_assert!(raised.contains(&alert.id)),
                    Turn::Resolved => prop_assert!(raised.remove(&alert.id)),
                }
            }
            let ids: std::collections::BTreeSet<String> = open.iter().map(|it| it.id.clone()).collect();
            let expected = conditions.iter().map(Condition::id).collect();
            prop_assert_eq!(ids, expected);
        }
    }
}
