//! What is not as it should be is kept, and said.

use std::fs;

use walkeep::codec::Sha256;

use crate::{
    InClouds, problems,
    support::archive::{Archive, MIB, gzip, put, segment},
};

/// Puts an object under a file's key before walkeep does.
pub fn occupy(archive: &Archive, store: &str, name: &str, object: &[u8]) {
    let path = archive.object(store, name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, object).unwrap();
    crate::support::host::hand_over(&archive.store(store));
}

#[test]
fn other_bytes_in_a_store_are_a_conflict_and_stay() {
    let archive = Archive::new(&["a", "b"]);
    let (name, bytes) = crate::staged_one(&archive, 1);
    let other = segment(&name, MIB, 50_000, 2);
    let object = gzip(&other);
    occupy(&archive, "b", &name, &object);
    for _ in 0..2 {
        let (code, report) = archive.ship();
        assert_eq!((code, &report["conflicts"]), (1, &1.into()), "{report}");
        let problems = problems(&report);
        let (ours, theirs) = (Sha256::of(&bytes), Sha256::of(&other));
        for words in [
            format!("split brain: \"{name}\" has SHA-256 {ours}, but store \"b\" has other bytes"),
            format!("({theirs}); nothing was overwritten, and the staged file stays"),
        ] {
            assert!(problems.contains(&words), "{words:?}: {problems}");
        }
        assert_eq!(fs::read(archive.staged(&name)).unwrap(), bytes);
        assert_eq!(fs::read(archive.object("b", &name)).unwrap(), object);
        assert_eq!(archive.receipt(&name), None);
        let record = &archive.records()[&name];
        assert_eq!(record["replicas"]["a"]["state"], "stored");
        assert_eq!(record["replicas"]["b"]["state"], "conflict");
        assert_eq!(record["replicas"]["b"]["raw_sha256"], theirs.to_string());
    }
    fs::remove_file(archive.object("b", &name)).unwrap();
    archive.ship_well();
    assert_eq!(archive.state(&name, "b"), "stored");
}

#[test]
fn the_same_raw_bytes_in_another_encoding_are_fine() {
    let archive = Archive::new(&["a", "b"]);
    let (name, bytes) = crate::staged_one(&archive, 1);
    let object = gzip(&bytes);
    occupy(&archive, "b", &name, &object);
    archive.ship_well();
    assert_eq!(fs::read(archive.object("b", &name)).unwrap(), object);
    assert!(archive.waiting().is_empty());
    let record = &archive.records()[&name];
    assert_eq!(record["replicas"]["b"]["stored_size"], object.len());
}

#[test]
fn a_damaged_object_in_a_store_is_suspect_and_the_file_stays() {
    let archive = Archive::new(&["a", "b"]);
    let (name, bytes) = crate::staged_one(&archive, 1);
    let mut object = gzip(&bytes);
    object.truncate(object.len() / 2);
    occupy(&archive, "b", &name, &object);
    for _ in 0..2 {
        let (code, report) = archive.ship();
        assert_eq!(code, 1);
        let problems = problems(&report);
        let words = format!("\"{name}\" in store \"b\" is damaged");
        assert!(
            problems.contains(&words) && problems.contains("it stays staged"),
            "{problems}"
        );
        assert_eq!(fs::read(archive.staged(&name)).unwrap(), bytes);
        assert_eq!(fs::read(archive.object("b", &name)).unwrap(), object);
        assert_eq!(archive.state(&name, "b"), "suspect");
        // No room is no reason either.
        let stores = archive.directory_store("a") + &archive.directory_store("b");
        archive.configure("high_water = \"0%\"", &stores);
    }
}

#[test]
fn a_conflict_is_found_in_clouds_as_well() {
    let it = InClouds::new(&["a", "b"]);
    let (name, bytes) = crate::staged_one(&it.archive, 1);
    let other = segment(&name, MIB, 50_000, 2);
    let object = it.object("b", &name);
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    put(&object, &gzip(&other));
    let (code, report) = it.archive.ship();
    assert_eq!((code, &report["conflicts"]), (1, &1.into()), "{report}");
    assert!(problems(&report).contains(&Sha256::of(&other).to_string()));
    assert_eq!(fs::read(it.archive.staged(&name)).unwrap(), bytes);
    assert_eq!(crate::support::archive::gunzip(&object), other);
}
