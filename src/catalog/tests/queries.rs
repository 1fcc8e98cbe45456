//! What is asked of a catalog, and what it answers.

use super::*;
use crate::postgres::{Lsn, Moments};

fn name(text: &str) -> WalFileName {
    text.parse().unwrap()
}

/// Two generations, two timelines, every kind of file.
fn filled() -> (TempDir, Catalog) {
    let (directory, catalog) = catalog();
    let mut records: Vec<_> = [
        "0000000100000004000000FE",
        "0000000100000004000000FF",
        "000000010000000500000000",
        "000000010000000500000000.00000028.backup",
        "000000010000000500000001.partial",
        "00000002.history",
        "000000020000000500000001",
        "0000000A0000000500000001",
    ]
    .into_iter()
    .rev()
    .map(|text| record(name(text)))
    .collect();
    records.push(FileRecord {
        generation: Generation(2),
        ..record(name("000000010000000000000001"))
    });
    merge(&catalog, records);
    (directory, catalog)
}

#[test]
fn files_come_in_the_order_of_generation_timeline_and_lsn() {
    let (_directory, catalog) = filled();
    let timeline = [
        "0000000100000004000000FE",
        "0000000100000004000000FF",
        "000000010000000500000000",
        "000000010000000500000000.00000028.backup",
        "000000010000000500000001.partial",
    ];
    assert_eq!(
        names(&catalog, Select::Timeline(FIRST, TimelineId(1))),
        timeline
    );
    assert_eq!(
        names(&catalog, Select::Timeline(FIRST, TimelineId(2))),
        ["00000002.history", "000000020000000500000001"]
    );
    assert_eq!(
        names(&catalog, Select::Generation(Generation(2))),
        ["000000010000000000000001"]
    );
    let all = names(&catalog, Select::All);
    assert_eq!(all[..5], timeline);
    assert_eq!(all[5..8][2], "0000000A0000000500000001");
    assert_eq!(all[8], "000000010000000000000001");
    assert_eq!(names(&catalog, Select::Generation(FIRST)), all[..8]);
}

#[test]
fn the_newest_files_come_first() {
    let (_directory, catalog) = filled();
    let all = names(&catalog, Select::Generation(FIRST));
    let newest_first = |select: Select| {
        let told = catalog.read(|reader| {
            let records = reader.newest_first(&select)?;
            let names = records.map(|record| record.map(|record| record.name.to_string()));
            names.collect::<Result<Vec<_>, _>>()
        });
        told.unwrap()
    };
    let reversed: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(newest_first(Select::Generation(FIRST)), reversed);
    let before = Select::Before(FIRST, TimelineId(2));
    assert_eq!(newest_first(before), reversed[reversed.len() - 5..]);
    let before = Select::Before(FIRST, TimelineId(1));
    assert_eq!(newest_first(before), [""; 0]);
}

#[test]
fn an_lsn_range_selects_what_holds_a_byte_of_it() {
    let (_directory, catalog) = filled();
    let between = |from: &str, to: &str| {
        let range = from.parse::<Lsn>().unwrap()..to.parse().unwrap();
        names(&catalog, Select::Lsn(FIRST, TimelineId(1), range))
    };
    assert_eq!(
        between("4/FF000000", "4/FF000001"),
        ["0000000100000004000000FF"]
    );
    assert_eq!(
        between("4/FFFFFFFF", "5/01000001"),
        [
            "0000000100000004000000FF",
            "000000010000000500000000",
            "000000010000000500000001.partial"
        ]
    );
    assert_eq!(
        between("4/FF000000", "5/00000000"),
        ["0000000100000004000000FF"]
    );
    assert_eq!(between("0/0", "FFFFFFFF/FFFFFFFF").len(), 4);
    assert_eq!(between("5/02000000", "6/0"), [""; 0]);
    assert_eq!(between("5/00000000", "5/00000000"), [""; 0]);
    assert_eq!(between("5/00000001", "5/00000000"), [""; 0]);
    assert_eq!(between("6/0", "4/0"), [""; 0]);
}

#[test]
fn reader_and_pages_agree_beyond_one_page() {
    let (_directory, catalog) = catalog();
    merge(
        &catalog,
        (0..2_500).map(|number| record(segment(1, number))),
    );
    let direct: Vec<String> = catalog
        .read(|r| {
            r.files(&Select::All)?
                .map(|record| Ok(record?.name.to_string()))
                .collect()
        })
        .unwrap();
    assert_eq!(direct.len(), 2_500);
    assert!(direct.is_sorted());
    assert_eq!(names(&catalog, Select::All), direct);

    let exactly_two_pages = Select::Lsn(FIRST, TimelineId(1), Lsn(0)..Lsn(2048 * (16 << 20)));
    assert_eq!(names(&catalog, exactly_two_pages).len(), 2048);
}

#[test]
fn what_is_to_do_for_a_store_is_what_is_not_stored_there() {
    let (_directory, catalog) = catalog();
    let owed = Replica::Owed {
        since: at(3),
        failures: None,
    };
    merge(
        &catalog,
        [
            record(segment(1, 1)).with("r2", stored(1)).with("b2", owed),
            record(segment(1, 2)).with("r2", Replica::PENDING),
            record(segment(1, 3))
                .with("r2", stored(1))
                .with("b2", stored(1)),
        ],
    );
    let ask = |store: &str| {
        catalog
            .read(|r| {
                let numbers = |records: Vec<FileRecord>| -> Vec<_> {
                    records.iter().map(|record| record.name).collect()
                };
                let unsettled: Result<Vec<_>, _> = r.unsettled(store)?.collect();
                let unknown: Result<Vec<_>, _> = r.unknown_to(store)?.collect();
                Ok((numbers(unsettled?), numbers(unknown?)))
            })
            .unwrap()
    };
    assert_eq!(ask("r2"), (vec![segment(1, 2)], vec![]));
    assert_eq!(ask("b2"), (vec![segment(1, 1)], vec![segment(1, 2)]));
    assert_eq!(ask("b").1.len(), 3);

    catalog
        .write(|w| {
            let arrived = w.update(FIRST, segment(1, 2), |replicas| {
                replicas.insert("r2".into(), stored(9))
            })?;
            assert_eq!(arrived, Some(Some(Replica::PENDING)));
            assert_eq!(w.update(FIRST, segment(1, 9), |_| ())?, None);
            Ok(())
        })
        .unwrap();
    assert_eq!(ask("r2"), (vec![], vec![]));
    let (totals, r2, b2) = catalog
        .read(|r| Ok((r.totals()?, r.store_totals("r2")?, r.store_totals("b2")?)))
        .unwrap();
    assert_eq!((totals.files, totals.raw_bytes), (3, 3 * (16 << 20)));
    assert_eq!((r2.stored.files, r2.stored.stored_bytes), (3, 12_000_000));
    assert_eq!(r2.files(), 3);
    assert_eq!((b2.stored.files, b2.owed.files), (1, 1));
    assert_eq!(b2.owed.stored_bytes, 0);
}

#[test]
fn clusters_stores_and_events_are_kept() {
    let (_directory, catalog) = catalog();
    let cluster = ClusterFacts {
        system_id: crate::postgres::SystemId(u64::MAX),
        segment_size: SegmentSize::DEFAULT,
        postgres_major: Some(17),
        seen: at(5),
    };
    let refused = |reason: &str| EventKind::Refused {
        file: "core.1234".into(),
        reason: reason.into(),
    };
    catalog
        .write(|w| {
            w.set_cluster(Generation(2), &cluster)?;
            w.update_store("r2", |store| store.fail(at(1), "timed out"))?;
            w.update_store("r2", |store| store.succeed(at(2)))?;
            assert!(w.raise(refused("no WAL file's name"), at(1))?);
            assert!(!w.raise(refused("no WAL file's name"), at(4))?);
            Ok(())
        })
        .unwrap();
    catalog
        .read(|r| {
            assert_eq!(r.cluster(FIRST)?, None);
            assert_eq!(r.clusters()?, [(Generation(2), cluster)].into());
            let store = r.store("r2")?;
            assert_eq!(store.last_success, Some(at(2)));
            assert_eq!(store.last_failure.as_ref().unwrap().error, "timed out");
            assert_eq!(r.stores()?, [("r2".to_owned(), store)].into());
            assert_eq!(r.store("b2")?, StoreFacts::default());
            let events = r.events()?;
            assert_eq!(events.len(), 1);
            assert_eq!(
                (events[0].first, events[0].last, events[0].times),
                (at(1), at(4), 2)
            );
            Ok(())
        })
        .unwrap();
    let id = refused("").id();
    assert!(catalog.write(|w| w.resolve(&id)).unwrap());
    assert!(!catalog.write(|w| w.resolve(&id)).unwrap());
}

#[test]
fn runs_of_what_a_store_holds() {
    let (_directory, catalog) = catalog();
    const MISSING: u64 = 7;
    let records = (0..20).map(|number| match number {
        MISSING => record(segment(1, number)).with("r2", Replica::PENDING),
        _ => record(segment(1, number)).with("r2", stored(1)),
    });
    merge(&catalog, records);
    let held = catalog.files(Select::All).filter_map(|record| {
        let record = record.unwrap();
        let held = record.stored_in().any(|store| store == "r2");
        record.name.segment().filter(|_| held)
    });
    let runs = Runs::of(SegmentSize::DEFAULT, held);
    assert_eq!(runs.iter().count(), 2);
    let gap = runs.gaps().next().unwrap();
    assert_eq!((gap.first.into(), gap.segments), (segment(1, MISSING), 1));
}

#[test]
fn moments_are_those_of_the_recorded_bytes() {
    let (_directory, catalog) = filled();
    let one = name("0000000100000004000000FF");
    let moments = Moments {
        end: Lsn(0x4_FFFF_0000),
        first_abort: Some(at(1)),
        last_abort: Some(at(2)),
        ..Moments::default()
    };
    let digest = record(one).raw_sha256;
    let note = |digest, moments: &Moments| {
        catalog
            .write(|w| w.note_moments(FIRST, one, digest, moments))
            .unwrap();
    };
    let range = Lsn(0x4_FE00_0001)..Lsn(0x5_0000_0001);
    let all = || -> Vec<(String, Option<Moments>)> {
        let rows = catalog.read(|r| {
            let rows = r.moments(FIRST, TimelineId(1), range.clone())?;
            rows.collect::<Result<Vec<_>, _>>()
        });
        let rows = rows.unwrap().into_iter();
        rows.map(|(record, moments)| (record.name.to_string(), moments))
            .collect()
    };
    let [before, it, after] = [
        "0000000100000004000000FE",
        "0000000100000004000000FF",
        "000000010000000500000000",
    ]
    .map(str::to_owned);
    let expected = |moments| {
        vec![
            (before.clone(), None),
            (it.clone(), moments),
            (after.clone(), None),
        ]
    };
    // Of other bytes than the recorded ones, and of no file at all.
    note(Sha256::of(b"other"), &moments);
    assert_eq!(all(), expected(None));
    note(digest, &moments);
    assert_eq!(all(), expected(Some(moments)));
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
    // What an older walkeep leaves behind when it removes a file and another
    // one comes by that name.
    catalog.write(|w| w.remove(FIRST, one)).unwrap();
    let other = FileRecord {
        raw_sha256: Sha256::of(b"other"),
        ..record(one)
    };
    merge(&catalog, [other]);
    assert_eq!(all(), expected(None));
}
