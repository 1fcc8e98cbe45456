//! Format 1 of the catalog, as it was first written: `tests/golden/catalog-v1`
//! opens, and exports exactly what it did then. These files are never made
//! again for this version; a change that needs that is a new version.
#![allow(
    clippy::disallowed_methods,
    reason = "copies the golden catalog, whose durability is nobody's concern"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use walkeep::{
    catalog::{
        Catalog, CatalogError, Cause, ClusterFacts, EventKind, Failures, FileRecord, Object,
        Opened, Replica, StoreTotals, Totals, Writer,
    },
    codec::{Md5, Sha256},
    layout::Generation,
    postgres::{SegmentSize, SystemId},
};

const FIRST: Generation = Generation::FIRST;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/catalog-v1")
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-20T{text}Z").parse().unwrap()
}

fn record(generation: Generation, name: &str) -> FileRecord {
    let size = SegmentSize::new(16 << 20).unwrap();
    let name: walkeep::postgres::WalFileName = name.parse().unwrap();
    let raw_size = if name.holds_pages() { size.bytes() } else { 42 };
    let digest = Sha256::of(name.to_string().as_bytes());
    let modified = at("02:00:00.123456789");
    FileRecord::new(generation, name, size, raw_size, digest, modified)
}

fn object(attempts: u32) -> Object {
    Object {
        stored_size: 4_321_987,
        md5: Md5::of(b"stored"),
        at: at("02:00:01"),
        attempts,
    }
}

fn failures() -> Option<Failures> {
    Some(Failures {
        attempts: 3,
        last_error: "store \"b2\": put: timed out after 30 s".into(),
        at: at("02:05:00"),
    })
}

/// Every kind of file, every state of a replica, every kind of fact.
fn fill(w: &mut Writer) -> Result<(), CatalogError> {
    let owed = Replica::Owed {
        since: at("02:04:00"),
        failures: failures(),
    };
    let suspect = Replica::Suspect {
        object: object(1),
        found: at("03:00:00"),
        reason: "unexpected end of gzip stream".into(),
    };
    let conflict = Replica::Conflict {
        raw_sha256: Sha256::of(b"other"),
        found: at("02:06:00"),
    };
    let pending = Replica::Pending {
        failures: failures(),
    };
    let stored = || Replica::Stored(object(1));
    let records = [
        record(FIRST, "000000010000000400000024")
            .with("r2", stored())
            .with("b2", stored()),
        record(FIRST, "000000010000000400000024.00000028.backup").with("r2", stored()),
        record(FIRST, "000000010000000400000025")
            .with("r2", Replica::Stored(object(4)))
            .with("b2", owed),
        record(FIRST, "000000010000000400000026")
            .with("r2", suspect)
            .with("b2", stored()),
        record(FIRST, "000000010000000400000027")
            .with("r2", stored())
            .with("b2", conflict),
        record(FIRST, "000000010000000400000028")
            .with("r2", Replica::PENDING)
            .with("b2", pending),
        record(FIRST, "000000010000000400000029.partial").with("r2", stored()),
        record(FIRST, "00000002.history")
            .with("r2", stored())
            .with("b2", stored()),
        record(FIRST, "000000020000000400000029"),
        record(Generation(2), "000000010000000000000001").with("r2", stored()),
    ];
    for record in records {
        w.merge(&record)?;
    }
    for (generation, system_id, major) in [
        (FIRST, 7_442_198_400_123_456_789, Some(16)),
        (Generation(2), u64::MAX, None),
    ] {
        let facts = ClusterFacts {
            system_id: SystemId(system_id),
            segment_size: SegmentSize::DEFAULT,
            postgres_major: major,
            seen: at("02:10:00"),
        };
        w.set_cluster(generation, &facts)?;
    }
    w.update_store("b2", |store| {
        store.succeed(at("02:00:01"));
        store.fail(at("02:05:00"), "put: timed out after 30 s");
        store.measure_fetch(Duration::from_millis(125));
    })?;
    let refused = EventKind::Refused {
        file: "00000001000000040000002A".into(),
        reason: "page header is all zero".into(),
    };
    w.raise(refused, at("02:07:00"))?;
    w.rebuilt(at("02:08:00"))
}

#[test]
fn the_catalog_of_format_1_opens_and_exports_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    fs::copy(golden().join("catalog.redb"), catalog.path()).unwrap();

    let mut exported = Vec::new();
    assert_eq!(catalog.export(&mut exported).unwrap(), 10);
    let exported = String::from_utf8(exported).unwrap();
    let expected = fs::read_to_string(golden().join("export.jsonl")).unwrap();
    for (line, expected) in exported.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(exported.len(), expected.len());

    catalog
        .read(|r| {
            assert_eq!(r.clusters()?[&Generation(2)].system_id, SystemId(u64::MAX));
            assert_eq!(r.clusters()?[&FIRST].postgres_major, Some(16));
            let store = r.store("b2")?;
            assert_eq!(store.last_success, Some(at("02:00:01")));
            assert_eq!(
                (store.failures_in_a_row, store.fetch_seconds),
                (1, Some(0.125))
            );
            let events: Vec<_> = r.events()?.iter().map(|event| event.kind.id()).collect();
            let conflict = "conflict/1/000000010000000400000027/b2";
            assert_eq!(events, [conflict, "refused/00000001000000040000002A"]);
            let one = Totals {
                files: 1,
                raw_bytes: 16 << 20,
                stored_bytes: 0,
            };
            let expected = StoreTotals {
                pending: one,
                owed: one,
                conflict: one,
                stored: Totals {
                    files: 3,
                    raw_bytes: 2 * (16 << 20) + 42,
                    stored_bytes: 3 * 4_321_987,
                },
                ..StoreTotals::default()
            };
            assert_eq!(r.store_totals("b2")?, expected);
            assert_eq!(r.unsettled("b2")?.count(), 3);
            assert_eq!(r.wants_rebuild()?, None);
            Ok(())
        })
        .unwrap();

    // Whole by today's rules, and still written to.
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
    let next = record(FIRST, "000000020000000400000030");
    catalog.write(|w| w.merge(&next)).unwrap();
    assert_eq!(catalog.read(|r| r.totals()).unwrap().files, 11);
}

/// What is written today is what was written then, so that the golden copy
/// stands for what users have.
#[test]
fn todays_catalog_exports_what_format_1_did() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    catalog.write(fill).unwrap();
    let mut exported = Vec::new();
    catalog.export(&mut exported).unwrap();
    let expected = fs::read(golden().join("export.jsonl")).unwrap();
    assert_eq!(String::from_utf8(exported), String::from_utf8(expected));
}

#[test]
#[ignore = "makes the golden copy of a new version; refuses to replace one"]
fn make_golden() {
    fs::create_dir(golden()).expect("make a directory for a new version");
    let catalog = Catalog::at(golden().join("catalog.redb"));
    let Opened::Begun(beginning) = catalog.prepare().unwrap() else {
        panic!("there was one")
    };
    assert_eq!(beginning.cause, Cause::Missing);
    catalog.write(fill).unwrap();
    let mut exported = Vec::new();
    catalog.export(&mut exported).unwrap();
    fs::write(golden().join("export.jsonl"), exported).unwrap();
    fs::remove_file(golden().join("catalog.redb.lock")).unwrap();
}
