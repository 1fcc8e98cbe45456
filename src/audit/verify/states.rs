//! What is not as it should be, as the catalog has it by now.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Scene, VerifyError,
    report::{Problem, ProblemKind},
};
use crate::{
    catalog::{Flaw, FlawKind, Replica, Select, State},
    postgres::WalFileName,
};

/// Everything that is wrong by the records of the WAL and the flaws of base
/// backups.
pub(super) fn of(scene: &Scene<'_>) -> Result<Vec<Problem>, VerifyError> {
    let mut problems = files(scene)?;
    problems.extend(flaws(scene)?);
    Ok(problems)
}

/// The problems from before a repair, those that are not there any more as
/// settled, and those that it came upon.
pub(super) fn after_repair(
    before: Vec<Problem>,
    after: Vec<Problem>,
    failures: &BTreeMap<(String, String), String>,
) -> Vec<Problem> {
    let about = |it: &Problem| (it.store.clone(), it.generation, it.object.clone());
    let left: BTreeSet<_> = after.iter().map(about).collect();
    let known: BTreeSet<_> = before.iter().map(about).collect();
    let mut problems = before;
    for problem in &mut problems {
        problem.settled = !left.contains(&about(problem));
    }
    problems.extend(after.into_iter().filter(|it| !known.contains(&about(it))));
    for problem in problems.iter_mut().filter(|it| !it.settled) {
        let of = problem.store.clone().zip(problem.object.clone());
        if let Some(reason) = of.and_then(|of| failures.get(&of)) {
            problem.detail = format!("{}; not repaired: {reason}", problem.detail);
        }
    }
    problems
}

fn files(scene: &Scene<'_>) -> Result<Vec<Problem>, VerifyError> {
    let mut problems = Vec::new();
    for record in scene.verifying.catalog.files(Select::All) {
        let record = record?;
        let problem = |kind, store: Option<&str>, detail: String| Problem {
            kind,
            store: store.map(str::to_owned),
            generation: Some(record.generation),
            object: Some(record.name.to_string()),
            detail,
            settled: false,
        };
        let mut held = record.replicas.values();
        let is_held = held.any(|it| matches!(it.state(), State::Stored | State::Pending));
        // Of lost segments, the gaps tell.
        if !is_held && !matches!(record.name, WalFileName::Segment(_)) {
            let detail = "no store has it any more".to_owned();
            problems.push(problem(ProblemKind::Lost, None, detail));
        }
        for place in scene.places {
            let store = place.name().as_str();
            let (kind, detail) = match record.replicas.get(store) {
                Some(Replica::Owed { since, .. }) => {
                    let detail = format!("another store has it; owed since {since:.0}");
                    (ProblemKind::Missing, detail)
                }
                Some(Replica::Suspect { reason, .. }) => (ProblemKind::Damaged, reason.clone()),
                Some(Replica::Conflict { raw_sha256, .. }) => {
                    let detail = format!(
                        "split brain: SHA-256 {} is known by this name, but the store has other \
                         bytes ({raw_sha256}), which nothing overwrites; find out which server \
                         should write to this archive",
                        record.raw_sha256
                    );
                    (ProblemKind::Conflict, detail)
                }
                _ => continue,
            };
            problems.push(problem(kind, Some(store), detail));
        }
    }
    Ok(problems)
}

fn flaws(scene: &Scene<'_>) -> Result<Vec<Problem>, VerifyError> {
    let flaws = scene.verifying.catalog.read(|reader| reader.flaws())?;
    let configured = |flaw: &Flaw| {
        scene
            .places
            .iter()
            .any(|it| it.name().as_str() == flaw.store)
    };
    let flaws = flaws.into_iter().filter(configured);
    let problems = flaws.map(|flaw| Problem {
        kind: match flaw.kind {
            FlawKind::Missing => ProblemKind::Missing,
            FlawKind::Damaged => ProblemKind::Damaged,
        },
        store: Some(flaw.store),
        generation: Some(flaw.generation),
        object: Some(flaw.key),
        detail: flaw.reason,
        settled: false,
    });
    Ok(problems.collect())
}
