//! Gaps from values, and from a catalog.

use proptest::prelude::*;

use super::*;
use crate::{
    catalog::{Catalog, Object},
    codec::{Md5, Sha256},
    layout::BackupId,
    postgres::{Commit, history::Ancestor},
};

const FIRST: Generation = Generation::FIRST;
const MIB: u64 = 1 << 20;

fn name(timeline: u32, number: u64, size: SegmentSize) -> SegmentName {
    SegmentName::numbered(number, TimelineId(timeline), size)
}

/// Runs of (timeline, first, last).
fn runs(size: SegmentSize, spans: &[(u32, u64, u64)]) -> Runs {
    let names = spans.iter().flat_map(|&(timeline, first, last)| {
        (first..=last).map(move |number| name(timeline, number, size))
    });
    Runs::of(size, names)
}

/// Histories of (timeline, [(ancestor, left in the segment of this number)]).
fn histories(size: SegmentSize, of: &[(u32, &[(u32, u64)])]) -> Histories {
    let ancestors = |list: &[(u32, u64)]| {
        let ancestor = |&(timeline, number): &(u32, u64)| Ancestor {
            timeline: TimelineId(timeline),
            left_at: Lsn(number * size.bytes() + 0x28),
        };
        list.iter().map(ancestor).collect::<Vec<_>>()
    };
    of.iter()
        .map(|&(timeline, list)| (TimelineId(timeline), ancestors(list)))
        .collect()
}

/// (timeline, first, last) of each gap.
fn told(gaps: &[Gap], size: SegmentSize) -> Vec<(u32, u64, u64)> {
    let told = gaps.iter().map(|gap| {
        let (first, last) = (gap.first.number(size), gap.last.number(size));
        assert_eq!(gap.segments, last.unwrap() - first.unwrap() + 1);
        (gap.first.timeline.0, first.unwrap(), last.unwrap())
    });
    told.collect()
}

#[test]
fn a_switch_of_timelines_is_no_gap_whatever_the_segment_size() {
    for size in [1, 16, 1024].map(|mib| SegmentSize::new(mib * MIB).unwrap()) {
        let none = runs(size, &[]);
        let gaps = |held: &[(u32, u64, u64)], of: &[(u32, &[(u32, u64)])]| {
            told(&gaps(&runs(size, held), &none, &histories(size, of)), size)
        };
        // The old timeline's last segment was never finished.
        let switch: &[(u32, &[(u32, u64)])] = &[(2, &[(1, 9)])];
        assert_eq!(gaps(&[(1, 3, 8), (2, 9, 12)], switch), []);
        // Or it was, and the old server went on for a while.
        assert_eq!(gaps(&[(1, 3, 11), (2, 9, 12)], switch), []);
        // Two switches in one segment; one timeline that archived nothing.
        let twice: &[(u32, &[(u32, u64)])] = &[(2, &[(1, 9)]), (3, &[(1, 9), (2, 9)])];
        assert_eq!(gaps(&[(1, 3, 8), (3, 9, 12)], twice), []);
        // A branch that begins far below the end of the other one.
        let branch: &[(u32, &[(u32, u64)])] = &[(2, &[(1, 40)]), (3, &[(1, 5)])];
        assert_eq!(gaps(&[(1, 3, 39), (2, 40, 44), (3, 5, 6)], branch), []);
        // Names go on over 4 GiB.
        let over = (1 << 32) / size.bytes();
        assert_eq!(gaps(&[(1, over - 2, over + 2)], &[]), []);
        // Pruned up to somewhere behind the switch.
        assert_eq!(gaps(&[(2, 11, 12)], switch), []);
    }
}

#[test]
fn what_is_missing_at_a_switch_is_a_gap() {
    let size = SegmentSize::DEFAULT;
    let switch = histories(size, &[(2, &[(1, 9)])]);
    let none = runs(size, &[]);
    let gaps = |held: &[(u32, u64, u64)], lost: &Runs, histories: &Histories| {
        told(&gaps(&runs(size, held), lost, histories), size)
    };
    let held = [(1, 3, 6), (2, 11, 12)];
    assert_eq!(gaps(&held, &none, &switch), [(1, 7, 8), (2, 9, 10)]);
    // Without the history file nobody knows that one follows the other.
    assert_eq!(gaps(&held, &none, &Histories::new()), []);
    // Missed on two ways, told once.
    let two = histories(size, &[(2, &[(1, 9)]), (3, &[(1, 9), (2, 13)])]);
    let held = [(1, 3, 5), (1, 7, 8), (2, 9, 12), (3, 13, 13)];
    assert_eq!(gaps(&held, &none, &two), [(1, 6, 6)]);
    // What is recorded and nowhere is a gap at the end as well, and joins.
    let lost = runs(size, &[(1, 6, 6), (2, 13, 14)]);
    let held = [(1, 3, 5), (1, 8, 8), (2, 9, 12)];
    assert_eq!(gaps(&held, &lost, &switch), [(1, 6, 7), (2, 13, 14)]);
}

proptest! {
    /// Against a plain walk, number by number.
    #[test]
    fn gaps_are_what_a_walk_misses(
        held in prop::collection::btree_set((1..4u32, 0..24u64), 0..40),
        second in 0..24u64,
        third in (1..3u32, 0..24u64),
    ) {
        let size = SegmentSize::DEFAULT;
        let of_third: Vec<(u32, u64)> = match third.0 {
            1 => vec![(1, third.1)],
            _ => vec![(1, second), (2, third.1.max(second))],
        };
        let of_second = [(1, second)];
        let histories = histories(size, &[(2, &of_second), (3, &of_third)]);
        let held_runs = Runs::of(size, held.iter().map(|&(t, n)| name(t, n, size)));
        let mut expected = BTreeSet::new();
        for timeline in 1..4u32 {
            let ancestors = histories.get(&TimelineId(timeline)).cloned().unwrap_or_default();
            let ancestry = Ancestry::of(TimelineId(timeline), &ancestors);
            let way: Vec<(u32, u64)> = (0..24u64)
                .map(|n| (ancestry.owner(Lsn((n + 1) * size.bytes() - 1)).0, n))
                .collect();
            let there = |it: &(u32, u64)| held.contains(it);
            let (Some(from), Some(to)) = (way.iter().position(there), way.iter().rposition(there))
            else { continue };
            expected.extend(way[from..=to].iter().filter(|it| !there(it)).copied());
        }
        let found = gaps(&held_runs, &runs(size, &[]), &histories);
        let found: BTreeSet<(u32, u64)> = told(&found, size)
            .into_iter()
            .flat_map(|(t, first, last)| (first..=last).map(move |n| (t, n)))
            .collect();
        prop_assert_eq!(found, expected);
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_185_000 + second).unwrap()
}

fn backup(timeline: u32, number: u64, stores: &[&str]) -> BackupRecord {
    let second = number as i64 * 60;
    BackupRecord {
        generation: FIRST,
        id: BackupId::at(at(second)),
        timeline: TimelineId(timeline),
        start_lsn: Lsn(number * SegmentSize::DEFAULT.bytes() + 0x28),
        stop_lsn: Lsn(number * SegmentSize::DEFAULT.bytes() + 0x100),
        started: at(second),
        stopped: at(second + 5),
        based_on: None,
        raw_bytes: 1,
        stored_bytes: 1,
        stores: stores
            .iter()
            .map(|it| ((*it).to_owned(), at(second)))
            .collect(),
    }
}

fn acknowledged(first: u64, last: u64) -> Acknowledged {
    Acknowledged {
        generation: FIRST,
        first: name(1, first, SegmentSize::DEFAULT),
        last: name(1, last, SegmentSize::DEFAULT),
        by: "ann@db1".to_owned(),
        at: at(last as i64),
    }
}

#[test]
fn a_gap_needs_a_person_until_it_is_known_and_every_store_is_behind_it() {
    let size = SegmentSize::DEFAULT;
    let gap = gaps(
        &runs(size, &[(1, 3, 5), (1, 8, 9)]),
        &runs(size, &[]),
        &Histories::new(),
    )[0];
    let needs = |known: &[Acknowledged], backups: &[BackupRecord]| {
        needs_person(FIRST, &gap, size, known, backups, &["a", "b"])
    };
    let known = [acknowledged(6, 7)];
    let behind = [backup(1, 8, &["a"]), backup(1, 9, &["b"])];
    assert!(!needs(&known, &behind));
    assert!(needs(&[], &behind));
    assert!(needs(&known, &[]));
    assert!(
        needs(&known, &behind[..1]),
        "b cannot bring the present back"
    );
    // It began in the gap; it is of a younger timeline.
    assert!(needs(&known, &[backup(1, 7, &["a", "b"])]));
    assert!(!needs(&known, &[backup(2, 6, &["a", "b"])]));
    // A gap that has grown is news; one that was acknowledged in parts is not.
    assert!(needs(&[acknowledged(6, 6)], &behind));
    assert!(needs(&[acknowledged(5, 6)], &behind));
    assert!(!needs(&[acknowledged(6, 6), acknowledged(7, 9)], &behind));
    let elsewhere = Acknowledged {
        generation: Generation(2),
        ..acknowledged(6, 7)
    };
    assert!(needs(&[elsewhere], &behind));
}

fn record(number: u64, replica: Option<Replica>) -> FileRecord {
    let name = name(1, number, SegmentSize::DEFAULT);
    let digest = Sha256::of(name.to_string().as_bytes());
    let size = SegmentSize::DEFAULT;
    let mut record = FileRecord::new(FIRST, name.into(), size, size.bytes(), digest, at(0));
    record
        .replicas
        .extend(replica.map(|it| ("a".to_owned(), it)));
    record
}

#[test]
fn the_catalog_tells_what_a_gap_costs() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    let object = Object {
        stored_size: 9,
        md5: Md5::of(b"stored"),
        at: at(0),
        attempts: 1,
    };
    let stored = || Some(Replica::Stored(object.clone()));
    let suspect = Replica::Suspect {
        object: object.clone(),
        found: at(5),
        reason: "truncated".to_owned(),
    };
    catalog
        .write(|writer| {
            for (number, replica) in [
                (3, stored()),
                (4, stored()),
                (5, Some(suspect)),
                // 6 was never recorded; 7 is lost.
                (7, None),
                (8, Some(Replica::PENDING)),
                (9, stored()),
            ] {
                let record = record(number, replica);
                writer.merge(&record)?;
                let commit = |second| {
                    Some(Commit {
                        time: at(second),
                        xid: 7,
                    })
                };
                let moments = Moments {
                    first_commit: commit(number as i64 * 100),
                    last_commit: commit(number as i64 * 100 + 50),
                    ..Moments::default()
                };
                // One without any commit is passed over.
                if number != 4 {
                    writer.note_moments(FIRST, record.name, record.raw_sha256, &moments)?;
                }
            }
            writer.merge_backup(&backup(1, 9, &["a"]))?;
            writer.acknowledge(&acknowledged(5, 7))
        })
        .unwrap();
    let known = catalog.read(|reader| reader.gaps(&["a"])).unwrap();
    let expected = KnownGap {
        generation: FIRST,
        gap: Gap {
            first: name(1, 5, SegmentSize::DEFAULT),
            last: name(1, 7, SegmentSize::DEFAULT),
            segments: 3,
        },
        last_commit_before: Some(at(350)),
        first_commit_after: Some(at(800)),
        restorable_from: Some(at(545)),
        acknowledged: Some(acknowledged(5, 7)),
        needs_person: false,
    };
    assert_eq!(known, [expected]);
    assert!(catalog.read(|reader| reader.gaps(&["a", "b"])).unwrap()[0].needs_person);
}
