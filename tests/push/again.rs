//! The same name once more: after a crash, from a promoted standby, from a
//! second server that should not be.

use std::{fs, path::PathBuf};

use walkeep::codec::Sha256;

use crate::support::archive::{Archive, MIB, files_in, put, segment, segment_name};

struct Pushed {
    archive: Archive,
    name: String,
    path: PathBuf,
    bytes: Vec<u8>,
}

fn pushed() -> Pushed {
    let archive = Archive::new(&["a", "b"]);
    let name = segment_name(1, 1, MIB);
    let bytes = segment(&name, MIB, 5000, 1);
    let path = archive.incoming(&name, &bytes);
    archive.push_well(&path);
    Pushed {
        archive,
        name,
        path,
        bytes,
    }
}

#[test]
fn the_same_bytes_while_staged_are_fine() {
    let it = pushed();
    let before = fs::metadata(it.archive.staged(&it.name)).unwrap();
    it.archive.push_well(&it.path);
    let after = fs::metadata(it.archive.staged(&it.name)).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(fs::read(it.archive.staged(&it.name)).unwrap(), it.bytes);
}

#[test]
fn the_same_bytes_after_they_were_shipped_are_fine_and_not_staged_again() {
    let it = pushed();
    it.archive.ship_well();
    assert!(!it.archive.staged(&it.name).exists());
    it.archive.push_well(&it.path);
    assert!(!it.archive.staged(&it.name).exists());
    // By the receipt alone.
    fs::remove_file(it.archive.catalog()).unwrap();
    for store in ["a", "b"] {
        fs::remove_dir_all(it.archive.store(store)).unwrap();
    }
    it.archive.push_well(&it.path);
}

#[test]
fn the_same_bytes_without_their_receipt_are_staged_and_found_in_the_stores() {
    let it = pushed();
    it.archive.ship_well();
    for file in files_in(&it.archive.staging().join("receipts")) {
        fs::remove_file(it.archive.staging().join("receipts").join(file)).unwrap();
    }
    it.archive.push_well(&it.path);
    assert!(it.archive.staged(&it.name).exists());
    it.archive.ship_well();
    assert!(!it.archive.staged(&it.name).exists());
    assert_eq!(it.archive.receipt(&it.name), Some(Sha256::of(&it.bytes)));
}

#[test]
fn what_a_crashed_push_left_is_no_reason_to_fail() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let bytes = segment(&name, MIB, 5000, 1);
    // Whatever the process id will be, some of these have its neighbours'.
    for pid in 1..200 {
        let stale = archive.staging().join("tmp").join(format!("{name}.{pid}"));
        put(&stale, b"half of it");
    }
    archive.push_well(&archive.incoming(&name, &bytes));
    assert_eq!(fs::read(archive.staged(&name)).unwrap(), bytes);
}

#[test]
fn pushes_of_one_name_at_once_all_succeed() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let path = archive.incoming(&name, &segment(&name, MIB, 900_000, 1));
    let arguments = ["wal", "push", path.to_str().unwrap()];
    let started: Vec<_> = (0..8)
        .map(|_| archive.walkeep(&arguments).spawn().unwrap())
        .collect();
    for mut push in started {
        assert_eq!(push.wait().unwrap().code(), Some(0));
    }
    assert!(archive.staged(&name).exists());
    assert!(files_in(&archive.staging().join("tmp")).is_empty());
}
