//! What is not as it should be is kept, and said.

use std::fs;

use walkeep::codec::Sha256;

use crate::{
    InClouds, problems,
    support::archive::{Archive, MIB, files_in, gzip, put, segment, segment_name},
};

/// Puts an object under a file's key before walkeep does.
fn occupy(archive: &Archive, store: &str, name: &str, object: &[u8]) {
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

/// Bound to one cluster, valid in form, and not what their names say.
#[test]
fn invalid_staged_files_are_reported_and_neither_shipped_nor_deleted() {
    let archive = Archive::new(&["a", "b"]);
    let name = |number| segment_name(1, number, MIB);
    let whole = |number| segment(&name(number), MIB, 5000, number);
    let mut foreign = whole(5);
    foreign[24..32].copy_from_slice(&42_u64.to_le_bytes());
    for (number, bytes) in [
        (1, whole(1)[..500_000].to_vec()),
        (2, vec![0; MIB as usize]),
        (3, Vec::new()),
        (4, whole(9)),
        (5, foreign),
        (6, whole(6)),
    ] {
        archive.stage(&name(number), &bytes);
    }
    fs::create_dir(archive.staged(&name(7))).unwrap();
    archive.stage("00000002.history", b"nonsense\n");
    archive.stage("notes.txt", b"not walkeep's");
    let before = crate::bytes_in(&archive.staging());

    let (code, report) = archive.ship();
    assert_eq!(
        (code, &report["files"], &report["waiting"]),
        (1, &1.into(), &7.into()),
        "{report}"
    );
    let said = problems(&report);
    for (file, words) in [
        (name(1), "it is 500000 bytes long instead of 1048576"),
        (name(2), "its header is all zero"),
        (name(3), "it is 0 bytes long"),
        (name(4), "its header says that it begins at 0/900000"),
        (name(5), "it belongs to the cluster 42"),
        (name(7), "it is not a regular file"),
        ("00000002.history".to_owned(), "line 1 of the history file"),
    ] {
        let line = said.lines().find(|line| line.contains(&file));
        assert!(
            line.is_some_and(|line| line.contains(words)),
            "{file}: {said}"
        );
    }
    let mut after = crate::bytes_in(&archive.staging());
    after.insert(name(6), whole(6));
    assert_eq!(after, before);
    assert_eq!(
        files_in(&archive.store("a").join("main/wal")),
        [format!("{}.gz", name(6))]
    );
    assert!(files_in(&archive.staging().join("quarantine")).is_empty());

    // The right ones come after all.
    fs::remove_dir(archive.staged(&name(7))).unwrap();
    archive.stage(
        "00000002.history",
        b"1\t0/200000\tno recovery target specified\n",
    );
    for number in 1..=5 {
        archive.stage(&name(number), &whole(number));
    }
    archive.ship_well();
}
