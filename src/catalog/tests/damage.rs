//! Catalogs that are missing, too new, cut off, or something else.

use std::fs;

use super::*;
use crate::catalog::rows;

/// The files beside the catalog, but for the lock.
fn beside(catalog: &Catalog) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(catalog.path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock") && name != "catalog.redb")
        .collect();
    names.sort();
    names
}

/// Raises the schema's version, as a later walkeep would have.
fn make_newer(catalog: &Catalog, version: u32) {
    let redb = redb::Database::open(catalog.path()).unwrap();
    let transaction = redb.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(rows::META).unwrap();
        rows::put(&mut meta, rows::META, rows::VERSION, &version).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_missing_catalog_is_empty_and_reading_leaves_nothing_behind() {
    let (directory, catalog) = catalog();
    assert_eq!(names(&catalog, Select::All), [""; 0]);
    catalog
        .read(|r| {
            assert_eq!(r.totals()?, Totals::default());
            assert_eq!(r.file(FIRST, segment(1, 1))?, None);
            assert_eq!(r.unsettled("r2")?.count(), 0);
            assert_eq!(r.unknown_to("r2")?.count(), 0);
            assert!(r.events()?.is_empty() && r.clusters()?.is_empty());
            assert_eq!(r.wants_rebuild()?, None);
            Ok(())
        })
        .unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let nowhere = Catalog::at(directory.path().join("no/such/catalog.redb"));
    assert_eq!(names(&nowhere, Select::All), [""; 0]);
    let error = nowhere.prepare().unwrap_err();
    assert!(matches!(error, CatalogError::Io { .. }), "{error}");
}

#[test]
fn a_new_catalog_wants_a_rebuild_until_one_has_completed() {
    let (_directory, catalog) = catalog();
    let Opened::Begun(beginning) = catalog.prepare().unwrap() else {
        panic!("there was one")
    };
    assert_eq!(beginning.cause, Cause::Missing);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
    let wanted = || catalog.read(|r| r.wants_rebuild()).unwrap();
    assert_eq!(wanted(), Some(beginning));
    catalog.write(|w| w.rebuilt(at(1))).unwrap();
    assert_eq!(wanted(), None);
    assert_eq!(beside(&catalog), [""; 0]);
}

#[test]
fn a_later_schema_is_refused_by_a_read_and_set_aside_by_a_write() {
    let (_directory, catalog) = catalog();
    merge(&catalog, [record(segment(1, 1))]);
    make_newer(&catalog, 2);
    let error = catalog.read(|r| r.totals()).unwrap_err();
    assert!(error.wants_rebuild());
    assert_eq!(
        error.to_string(),
        format!(
            "catalog \"{}\" has schema 2, and this walkeep knows up to 1; upgrade walkeep, or \
             run `walkeep catalog rebuild`, which sets that catalog aside",
            catalog.path().display()
        )
    );
    assert_eq!(beside(&catalog), [""; 0]);

    merge(&catalog, [record(segment(1, 2))]);
    assert_eq!(names(&catalog, Select::All), [segment(1, 2).to_string()]);
    let aside = beside(&catalog);
    assert!(aside[0].starts_with("catalog.redb.v2."), "{aside:?}");
    let wanted = catalog.read(|r| r.wants_rebuild()).unwrap().unwrap();
    let set_aside = catalog.path().with_file_name(&aside[0]);
    assert_eq!(
        wanted.cause,
        Cause::Newer {
            version: 2,
            set_aside: set_aside.clone()
        }
    );

    // It happens again, within the same second, and nothing is replaced.
    make_newer(&catalog, 2);
    assert!(matches!(catalog.prepare().unwrap(), Opened::Begun(_)));
    assert_eq!(beside(&catalog).len(), 2);

    // What was set aside is what it was.
    make_newer(&Catalog::at(&set_aside), 1);
    let before = Catalog::at(set_aside);
    assert_eq!(names(&before, Select::All), [segment(1, 1).to_string()]);
}

#[test]
fn what_is_no_catalog_is_set_aside_with_its_bytes() {
    let other_redb = {
        let (_directory, other) = catalog();
        let redb = redb::Database::create(other.path()).unwrap();
        drop(redb);
        fs::read(other.path()).unwrap()
    };
    for content in [
        b"".to_vec(),
        b"not redb".to_vec(),
        vec![0; 8192],
        other_redb,
    ] {
        let (_directory, catalog) = catalog();
        merge(&catalog, [record(segment(1, 1))]);
        fs::write(catalog.path(), &content).unwrap();
        let error = catalog.read(|r| r.totals()).unwrap_err();
        assert!(
            matches!(error, CatalogError::Unreadable { .. }),
            "{} bytes: {error}",
            content.len()
        );
        let Opened::Begun(beginning) = catalog.prepare().unwrap() else {
            panic!("{} bytes were taken for a catalog", content.len())
        };
        let Cause::Unreadable { set_aside, .. } = beginning.cause else {
            panic!("{:?}", beginning.cause)
        };
        assert_eq!(fs::read(set_aside).unwrap(), content);
        assert_eq!(names(&catalog, Select::All), [""; 0]);
    }
}

#[test]
fn a_damaged_row_is_found_by_prepare_and_by_the_write_that_meets_it() {
    let damage = |catalog: &Catalog| {
        merge(catalog, [record(segment(1, 1)), record(segment(1, 2))]);
        let redb = redb::Database::open(catalog.path()).unwrap();
        let transaction = redb.begin_write().unwrap();
        {
            let mut files = transaction.open_table(rows::FILES).unwrap();
            let key = rows::file_key(FIRST, segment(1, 2));
            files.insert(key.as_slice(), b"{".as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    };
    let (_directory, one) = catalog();
    damage(&one);
    assert!(one.read(|r| r.file(FIRST, segment(1, 1))).is_ok());
    let error = one.read(|r| r.file(FIRST, segment(1, 2))).unwrap_err();
    assert!(matches!(error, CatalogError::Unreadable { .. }), "{error}");
    assert!(matches!(one.prepare().unwrap(), Opened::Begun(_)));

    let (_directory, other) = catalog();
    damage(&other);
    let error = other
        .write(|w| w.merge(&record(segment(1, 2))))
        .unwrap_err();
    assert!(matches!(error, CatalogError::SetAside { .. }), "{error}");
    merge(&other, [record(segment(1, 2))]);
    assert_eq!(beside(&other).len(), 1);
}

#[test]
fn totals_that_are_no_sums_are_damage() {
    let (_directory, catalog) = catalog();
    merge(&catalog, [record(segment(1, 1)).with("r2", stored(1))]);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
    let redb = redb::Database::open(catalog.path()).unwrap();
    let transaction = redb.begin_write().unwrap();
    {
        let mut totals = transaction.open_table(rows::TOTALS).unwrap();
        totals.remove(rows::totals_key(None).as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(redb);
    assert!(matches!(catalog.prepare().unwrap(), Opened::Begun(_)));
}

/// Any byte of the file may be wrong, and the file may end anywhere. Nothing
/// panics, nothing hangs, and one `prepare` later the catalog can be used.
#[test]
fn any_wrong_byte_or_length_is_survived() {
    let (_directory, whole) = catalog();
    let records = (0..60).map(|number| record(segment(1, number)).with("r2", stored(1)));
    merge(&whole, records);
    let good = fs::read(whole.path()).unwrap();
    let used: Vec<usize> = (0..good.len()).filter(|&at| good[at] != 0).collect();
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..60 {
        let (_directory, catalog) = catalog();
        let mut bytes = good.clone();
        if round % 10 == 0 {
            bytes.truncate(random.usize(..good.len()));
        } else {
            for _ in 0..random.usize(1..4) {
                // Half of them in the header and the first pages.
                let at = match random.bool() {
                    true => used[random.usize(..used.len())],
                    false => random.usize(..8192),
                };
                bytes[at] ^= random.u8(1..);
            }
        }
        fs::write(catalog.path(), &bytes).unwrap();
        let told = catalog.read(|r| r.files(&Select::All)?.collect::<Result<Vec<_>, _>>());
        let told = told.map(|records| records.len());
        catalog.prepare().unwrap();
        merge(&catalog, [record(segment(2, 1))]);
        assert!(
            names(&catalog, Select::All).contains(&segment(2, 1).to_string()),
            "round {round}: {told:?}"
        );
    }
}
