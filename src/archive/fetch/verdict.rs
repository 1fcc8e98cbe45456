//! What the answers of all sources amount to, where none gave the file. Pure:
//! this decides between "the WAL ends here" and "recovery must stop", and a
//! mistake here loses data without a word.

use super::answer::{Not, Source, Testimony};
use crate::postgres::SegmentName;

/// What is true of a file that no source gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It exists nowhere, and nothing says that it should.
    Absent,
    /// The plan needs it, and it is nowhere.
    Hole,
    /// It is nowhere, but the WAL goes on behind it.
    Gap {
        /// A later segment of its timeline.
        later: SegmentName,
        /// Who has that.
        source: Source,
    },
    /// It is damaged wherever it is.
    Damaged,
    /// Somebody who might have it could not be asked.
    Unknown,
}

/// Judges a file. `needed`: whether the plan needs it, where there is a plan.
pub(super) fn judge(needed: Option<bool>, testimony: &[Testimony]) -> Verdict {
    let any = |matches: fn(&Not) -> bool| testimony.iter().any(|one| matches(&one.said));
    if any(|said| matches!(said, Not::Unable(_))) {
        return Verdict::Unknown;
    }
    if any(|said| matches!(said, Not::Damaged { .. })) {
        return Verdict::Damaged;
    }
    match needed {
        Some(true) => Verdict::Hole,
        Some(false) => Verdict::Absent,
        None => match testimony.iter().find_map(later) {
            Some((later, source)) => Verdict::Gap { later, source },
            None => Verdict::Absent,
        },
    }
}

fn later(one: &Testimony) -> Option<(SegmentName, Source)> {
    match one.said {
        Not::Absent { later: Some(later) } => Some((later, one.source.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::answer::Trouble, *};

    fn absent() -> Not {
        Not::Absent { later: None }
    }

    fn before(later: &str) -> Not {
        Not::Absent {
            later: Some(later.parse().unwrap()),
        }
    }

    fn damaged() -> Not {
        Not::Damaged {
            reason: "truncated".to_owned(),
        }
    }

    fn unable() -> Not {
        Not::Unable(Trouble {
            text: "no answer in time".to_owned(),
            passing: true,
        })
    }

    fn verdict(needed: Option<bool>, said: &[Not]) -> Verdict {
        let names = ["r2", "b2", "nas"];
        let testimony: Vec<Testimony> = said
            .iter()
            .zip(names)
            .map(|(said, name)| Testimony {
                source: Source::Store(name.parse().unwrap()),
                said: said.clone(),
            })
            .collect();
        judge(needed, &testimony)
    }

    #[test]
    fn absence_is_proved_by_all_or_not_at_all() {
        for needed in [None, Some(false)] {
            assert_eq!(verdict(needed, &[absent(), absent()]), Verdict::Absent);
            assert_eq!(verdict(needed, &[absent(), unable()]), Verdict::Unknown);
            assert_eq!(verdict(needed, &[absent(), damaged()]), Verdict::Damaged);
        }
        assert_eq!(verdict(Some(true), &[absent(), absent()]), Verdict::Hole);
    }

    #[test]
    fn who_could_not_be_asked_may_have_the_whole_one() {
        for needed in [None, Some(true), Some(false)] {
            assert_eq!(verdict(needed, &[damaged(), unable()]), Verdict::Unknown);
            assert_eq!(verdict(needed, &[damaged(), damaged()]), Verdict::Damaged);
        }
    }

    #[test]
    fn wal_behind_it_makes_it_a_gap() {
        let later = "000000010000000400000027";
        let gap = Verdict::Gap {
            later: later.parse().unwrap(),
            source: Source::Store("b2".parse().unwrap()),
        };
        assert_eq!(verdict(None, &[absent(), before(later)]), gap);
        assert_eq!(
            verdict(None, &[before(later), unable()]),
            Verdict::Unknown,
            "the other store may have it"
        );
        // With a plan its end is known: what others archived since is not
        // this recovery's.
        assert_eq!(
            verdict(Some(false), &[absent(), before(later)]),
            Verdict::Absent
        );
    }
}
