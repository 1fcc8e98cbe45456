//! The room as a whole, through its public functions. What takes several
//! processes is in `tests/catalog.rs`.
#![allow(
    clippy::disallowed_methods,
    reason = "damages catalogs, which `fs` has no function for"
)]

mod alerts;
mod backups;
mod damage;
mod drills;
mod queries;
mod upkeep;
mod verifies;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::{
    codec::{Md5, Sha256},
    layout::Generation,
    postgres::{SegmentName, SegmentSize, TimelineId, WalFileName},
};

const FIRST: Generation = Generation::FIRST;

fn catalog() -> (TempDir, Catalog) {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    (directory, catalog)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_185_000 + second).unwrap()
}

fn segment(timeline: u32, number: u64) -> WalFileName {
    SegmentName::numbered(number, TimelineId(timeline), SegmentSize::DEFAULT).into()
}

fn record(name: WalFileName) -> FileRecord {
    let bytes = name.to_string();
    FileRecord::new(
        FIRST,
        name,
        SegmentSize::DEFAULT,
        16 << 20,
        Sha256::of(bytes.as_bytes()),
        at(0),
    )
}

fn stored(second: i64) -> Replica {
    Replica::Stored(Object {
        stored_size: 4_000_000,
        md5: Md5::of(b"stored"),
        at: at(second),
        attempts: 1,
    })
}

fn merge(catalog: &Catalog, records: impl IntoIterator<Item = FileRecord>) {
    catalog
        .write(|w| {
            for record in records {
                w.merge(&record)?;
            }
            Ok(())
        })
        .unwrap();
}

fn names(catalog: &Catalog, select: Select) -> Vec<String> {
    catalog
        .files(select)
        .map(|record| record.unwrap().name.to_string())
        .collect()
}
