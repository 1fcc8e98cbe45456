//! Base backups: each by its manifest, with the stores that have it.

use std::collections::BTreeMap;

use super::*;
use crate::{layout::BackupId, postgres::Lsn};

fn id(second: i64) -> BackupId {
    BackupId::at(at(second))
}

fn backup(generation: Generation, second: i64, stores: &[(&str, i64)]) -> BackupRecord {
    let stores = stores
        .iter()
        .map(|(store, since)| ((*store).to_owned(), at(*since)));
    BackupRecord {
        generation,
        id: id(second),
        timeline: TimelineId(1),
        start_lsn: Lsn(0x200_0028),
        stop_lsn: Lsn(0x200_0100),
        started: at(second),
        stopped: at(second + 5),
        based_on: (second > 0).then(|| id(0)),
        raw_bytes: 30_000_000,
        stored_bytes: 4_000_000,
        stores: stores.collect(),
    }
}

fn note(catalog: &Catalog, records: &[BackupRecord]) {
    let noted = catalog.write(|w| records.iter().try_for_each(|record| w.merge_backup(record)));
    noted.unwrap();
}

fn known(catalog: &Catalog, generation: u32) -> Vec<BackupRecord> {
    let mut backups = catalog.read(|r| r.backups()).unwrap();
    backups.retain(|backup| backup.generation == Generation(generation));
    backups
}

#[test]
fn stores_are_joined_whatever_their_order() {
    let parts = [
        backup(FIRST, 0, &[("r2", 10)]),
        backup(FIRST, 60, &[("r2", 70), ("b2", 71)]),
        backup(FIRST, 0, &[("b2", 11)]),
        backup(Generation(2), 30, &[("r2", 40)]),
        backup(FIRST, 0, &[("r2", 9)]),
    ];
    let expected = [
        backup(FIRST, 0, &[("r2", 10), ("b2", 11)]),
        backup(FIRST, 60, &[("r2", 70), ("b2", 71)]),
    ];
    let (_directory, forwards) = catalog();
    assert_eq!(known(&forwards, 1), []);
    note(&forwards, &parts);
    let (_directory, backwards) = catalog();
    let mut reversed = parts.clone();
    reversed.reverse();
    note(&backwards, &reversed);
    note(&backwards, &parts);
    for catalog in [&forwards, &backwards] {
        assert_eq!(known(catalog, 1), expected);
        assert_eq!(known(catalog, 2), [parts[3].clone()]);
        assert_eq!(known(catalog, 3), []);
        assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
    }
}

#[test]
fn a_backup_that_no_store_has_is_forgotten() {
    let (_directory, catalog) = catalog();
    note(&catalog, &[backup(FIRST, 0, &[("r2", 10), ("b2", 11)])]);
    let drop = |store: &str| {
        catalog
            .write(|w| w.drop_backup(FIRST, id(0), store))
            .unwrap()
    };
    assert!(drop("r2") && !drop("r2") && !drop("other"));
    assert_eq!(known(&catalog, 1), [backup(FIRST, 0, &[("b2", 11)])]);
    assert!(drop("b2") && !drop("b2"));
    assert_eq!(known(&catalog, 1), []);
}

#[test]
fn a_listing_takes_back_what_it_does_not_show() {
    let (_directory, catalog) = catalog();
    let records = [
        backup(FIRST, 0, &[("r2", 10), ("b2", 10)]),
        backup(FIRST, 60, &[("r2", 70)]),
        // Written while the listing was under way.
        backup(FIRST, 120, &[("r2", 130)]),
        backup(Generation(2), 0, &[("r2", 10)]),
    ];
    note(&catalog, &records);
    let dropped =
        catalog.write(|w| w.drop_unseen_backups(FIRST, "r2", at(100), |seen| seen == id(60)));
    assert_eq!(dropped.unwrap(), 1);
    let stores = |record: &BackupRecord| record.stores.keys().cloned().collect::<Vec<_>>();
    let left: BTreeMap<_, _> = known(&catalog, 1)
        .iter()
        .map(|r| (r.id, stores(r)))
        .collect();
    let expected = [(0, "b2"), (60, "r2"), (120, "r2")];
    let expected = expected.map(|(second, store)| (id(second), vec![store.to_owned()]));
    assert_eq!(left, BTreeMap::from(expected));
    assert_eq!(known(&catalog, 2).len(), 1);
}
