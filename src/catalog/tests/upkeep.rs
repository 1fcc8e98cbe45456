//! What is kept twice (totals, the index of the unsettled, conflict events)
//! stays in step with the records, whatever is done to them.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Merge(u64, usize, bool, i64),
    Set(u64, usize, u8),
    Remove(u64),
    DropUnseen(usize, Vec<u64>),
}

const STORES: [&str; 3] = ["r2", "b2", "b"];

fn any_step() -> impl Strategy<Value = Step> {
    let (number, store) = (0..6u64, 0..3usize);
    prop_oneof![
        (number.clone(), store.clone(), any::<bool>(), 0..9i64)
            .prop_map(|(number, store, other, second)| Step::Merge(number, store, other, second)),
        (number.clone(), store.clone(), 0..5u8)
            .prop_map(|(number, store, state)| Step::Set(number, store, state)),
        number.clone().prop_map(Step::Remove),
        (store, prop::collection::vec(number, 0..4))
            .prop_map(|(store, seen)| Step::DropUnseen(store, seen)),
    ]
}

fn replica(state: u8) -> Replica {
    let Replica::Stored(object) = stored(4) else {
        unreachable!()
    };
    match state {
        0 => Replica::PENDING,
        1 => Replica::Owed {
            since: at(4),
            failures: None,
        },
        2 => Replica::Stored(object),
        3 => Replica::Suspect {
            object,
            found: at(5),
            reason: "truncated".into(),
        },
        _ => Replica::Conflict {
            raw_sha256: Sha256::of(b"conflict"),
            found: at(5),
        },
    }
}

fn take(writer: &mut Writer, step: &Step) -> Result<(), CatalogError> {
    match step {
        Step::Merge(number, store, other, second) => {
            let mut offered = record(segment(1, *number)).with(STORES[*store], stored(*second));
            if *other {
                offered.raw_sha256 = Sha256::of(b"other");
            }
            writer.merge(&offered)?;
        }
        Step::Set(number, store, state) => {
            writer.update(FIRST, segment(1, *number), |replicas| {
                replicas.insert(STORES[*store].into(), replica(*state))
            })?;
        }
        Step::Remove(number) => {
            writer.remove(FIRST, segment(1, *number))?;
        }
        Step::DropUnseen(store, seen) => {
            writer.drop_unseen(FIRST, STORES[*store], at(6), |name| {
                seen.iter().any(|number| segment(1, *number) == name)
            })?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_done_to_the_records(
        transactions in prop::collection::vec(prop::collection::vec(any_step(), 1..8), 1..8)
    ) {
        let (_directory, catalog) = catalog();
        for steps in &transactions {
            catalog.write(|w| steps.iter().try_for_each(|step| take(w, step))).unwrap();
        }
        // `prepare` compares totals and index with the records, and begins
        // anew if they differ.
        prop_assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
        let conflicts: usize = catalog
            .files(Select::All)
            .map(|record| {
                let replicas = record.unwrap().replicas;
                replicas.values().filter(|r| r.state() == State::Conflict).count()
            })
            .sum();
        prop_assert_eq!(catalog.read(|r| r.events()).unwrap().len(), conflicts);
    }
}

#[test]
fn a_failed_change_changes_nothing() {
    let (_directory, catalog) = catalog();
    merge(&catalog, [record(segment(1, 1)).with("r2", stored(1))]);
    let error = catalog
        .write(|w| {
            w.remove(FIRST, segment(1, 1))?;
            w.merge(&record(segment(1, 2)))?;
            Err::<(), _>(CatalogError::Io {
                operation: "think again about",
                path: "x".into(),
                source: std::io::ErrorKind::Other.into(),
            })
        })
        .unwrap_err();
    assert_eq!(error.to_string(), "think again about \"x\"");
    let panicked = std::panic::catch_unwind(|| {
        catalog.write(|w| -> Result<(), _> {
            w.remove(FIRST, segment(1, 1))?;
            panic!("in the middle")
        })
    });
    assert!(panicked.is_err());
    assert_eq!(names(&catalog, Select::All), [segment(1, 1).to_string()]);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
}

/// What a store holds, in every fact about its objects.
fn objects_of(catalog: &Catalog, store: &str) -> Vec<String> {
    catalog
        .files(Select::All)
        .map(Result::unwrap)
        .filter(|record| record.held_by(store).is_some())
        .map(|mut record| {
            record.replicas.retain(|name, _| name == store);
            format!("{record:?}")
        })
        .collect()
}

#[test]
fn a_rebuild_from_each_store_knows_what_that_store_holds() {
    let (_directory, shipped) = catalog();
    merge(
        &shipped,
        (0..40).map(|number| {
            let record = record(segment(1, number)).with("r2", stored(number as i64));
            match number % 3 {
                0 => record.with("b2", Replica::PENDING),
                _ => record.with("b2", stored(number as i64 + 1)),
            }
        }),
    );
    let (_other_directory, rebuilt) = catalog();
    for store in ["b2", "r2"] {
        // A listing has the objects, and none of the other store's facts.
        let listed = shipped.files(Select::All).map(Result::unwrap);
        merge(
            &rebuilt,
            listed.filter_map(|mut record| {
                record
                    .replicas
                    .retain(|name, replica| name == store && replica.state() == State::Stored);
                (!record.replicas.is_empty()).then_some(record)
            }),
        );
        assert_eq!(objects_of(&rebuilt, store), objects_of(&shipped, store));
    }
    assert_eq!(rebuilt.read(|r| r.totals()).unwrap().files, 40);
    assert_eq!(names(&rebuilt, Select::All), names(&shipped, Select::All));
}

#[test]
fn a_rebuild_takes_back_what_a_store_lost_and_nothing_else() {
    let (_directory, catalog) = catalog();
    let both = |number| {
        record(segment(1, number))
            .with("r2", stored(1))
            .with("b2", stored(1))
    };
    let other_generation = FileRecord {
        generation: Generation(2),
        ..record(segment(1, 1)).with("r2", stored(1))
    };
    merge(
        &catalog,
        [
            both(1),
            both(2),
            record(segment(1, 3)).with("r2", stored(1)),
            record(segment(1, 4)).with("r2", stored(9)),
            record(segment(1, 5)).with("r2", Replica::PENDING),
            other_generation,
        ],
    );
    let dropped = catalog
        .write(|w| w.drop_unseen(FIRST, "r2", at(5), |name| name == segment(1, 1)))
        .unwrap();
    assert_eq!(dropped, 2, "segments 2 and 3");
    let stores = |number| {
        let file = catalog.read(|r| r.file(FIRST, segment(1, number))).unwrap();
        file.map(|record| record.replicas.into_keys().collect::<Vec<_>>())
    };
    let stores: Vec<_> = (1..=5).map(stores).collect();
    let names = |names: &[&str]| Some(names.iter().map(|name| name.to_string()).collect());
    assert_eq!(
        stores,
        [
            names(&["b2", "r2"]),
            names(&["b2"]),
            None,
            names(&["r2"]),
            names(&["r2"])
        ]
    );
    let kept = catalog
        .read(|r| r.file(Generation(2), segment(1, 1)))
        .unwrap();
    assert!(kept.is_some(), "another generation's file was forgotten");
}

#[test]
fn a_conflict_is_an_event_until_the_store_holds_the_right_bytes() {
    let (_directory, catalog) = catalog();
    merge(&catalog, [record(segment(1, 1)).with("r2", stored(1))]);
    let other = FileRecord {
        raw_sha256: Sha256::of(b"other"),
        ..record(segment(1, 1)).with("b2", stored(2))
    };
    let joined = catalog.write(|w| w.merge(&other)).unwrap();
    assert!(matches!(joined, Joined::Conflict { stores, .. } if stores == ["b2"]));
    merge(&catalog, [other.clone()]);
    let events = catalog.read(|r| r.events()).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].kind,
        EventKind::Conflict {
            generation: FIRST,
            name: segment(1, 1),
            store: "b2".into(),
            expected: record(segment(1, 1)).raw_sha256,
            found: Sha256::of(b"other"),
        }
    );
    assert_eq!((events[0].first, events[0].times), (at(2), 1));

    merge(&catalog, [record(segment(1, 1)).with("b2", stored(8))]);
    assert!(catalog.read(|r| r.events()).unwrap().is_empty());
    assert_eq!(
        catalog
            .read(|r| r.unsettled("b2").map(Iterator::count))
            .unwrap(),
        0
    );
}
