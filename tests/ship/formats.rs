//! `compression.format = "zstd"`: what is written from then on, beside what was
//! written before. A name has one object, in whichever format.

use std::{fs, path::Path};

use walkeep::codec::Sha256;

use crate::{
    InClouds,
    adoption::comparable,
    owed::metadata,
    problems,
    support::{
        archive::{Archive, MIB, files_in, gunzip, gzip, put, segment, segment_name, unzstd, zstd},
        host::hand_over,
    },
};

const ZSTD: &str = "[compression]\nformat = \"zstd\"";

/// An archive with directory stores, which writes zstd.
fn in_zstd(stores: &[&str]) -> Archive {
    let archive = Archive::new(stores);
    let tables = stores.iter().map(|name| archive.directory_store(name));
    archive.configure(ZSTD, &tables.collect::<String>());
    archive
}

/// The last part of every key below `wal/`.
fn objects(archive: &Archive, store: &str) -> Vec<String> {
    files_in(&archive.store(store).join("main/wal"))
}

#[test]
fn objects_are_what_zstd_opens_and_say_what_they_are() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(ZSTD);
    let files = it.archive.stage_many(5, 200_000);
    it.archive.stage(
        "00000002.history",
        b"1\t0/600000\tno recovery target specified\n",
    );
    it.archive.ship_well();
    assert!(it.archive.waiting().is_empty());
    for (name, bytes) in &files {
        for store in ["a", "b"] {
            let object = it.object(store, name).with_extension("zst");
            assert!(unzstd(&object) == *bytes, "{name} in {store}");
            assert!(!it.holds(store, name), "{name} in {store} as gzip, too");
            assert_eq!(it.archive.state(name, store), "stored");
            let said = metadata(&it, store, &format!("{name}.zst"));
            assert_eq!(said["walkeep-sha256"], Sha256::of(bytes).to_string());
            assert_eq!(said["walkeep-size"], MIB.to_string());
            assert!(said.contains_key("walkeep-moments"));
        }
        assert_eq!(it.archive.receipt(name), Some(Sha256::of(bytes)));
    }
    let list = it.archive.run(&["--json", "wal", "list"]);
    assert_eq!(list.code, 0, "{}{}", list.stdout, list.stderr);
}

#[test]
fn a_lost_catalog_is_the_same_again_from_both_formats() {
    let archive = Archive::new(&["a", "b"]);
    let tables = archive.directory_store("a") + &archive.directory_store("b");
    let mut files = archive.stage_many(3, 100_000);
    archive.ship_well();
    archive.configure(ZSTD, &tables);
    for number in 4..=6 {
        let name = segment_name(1, number, MIB);
        let bytes = segment(&name, MIB, 100_000, number);
        archive.stage(&name, &bytes);
        files.insert(name, bytes);
    }
    archive.ship_well();
    let names: Vec<&String> = files.keys().collect();
    let formats = [".gz", ".gz", ".gz", ".zst", ".zst", ".zst"];
    let expected = names.iter().zip(formats);
    let expected: Vec<String> = expected.map(|(name, end)| format!("{name}{end}")).collect();
    assert_eq!(objects(&archive, "a"), expected);
    let original = comparable(archive.records(), &["a", "b"]);
    assert_eq!(original.len(), 6);
    for store in ["a", "b"] {
        fs::remove_file(archive.catalog()).unwrap();
        let ran = archive.run(&["catalog", "rebuild", "--store", store]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("6 files\n"), "{}", ran.stdout);
        let expected = comparable(original.clone(), &[store]);
        assert_eq!(comparable(archive.records(), &[store]), expected);
    }
}

/// The format was changed, and what is there already comes once more.
#[test]
fn the_same_bytes_in_the_other_format_are_not_stored_again() {
    let archive = Archive::new(&["a", "b"]);
    let tables = archive.directory_store("a") + &archive.directory_store("b");
    let files = archive.stage_many(3, 100_000);
    archive.ship_well();
    let before = objects(&archive, "a");
    for settings in [ZSTD, ""] {
        archive.configure(settings, &tables);
        // Neither the catalog nor a receipt knows them any more.
        fs::remove_file(archive.catalog()).unwrap();
        let receipts = archive.staging().join("receipts");
        for name in files_in(&receipts) {
            fs::remove_file(receipts.join(name)).unwrap();
        }
        archive.stage_many(3, 100_000);
        archive.ship_well();
        assert!(archive.waiting().is_empty());
        assert_eq!(objects(&archive, "a"), before);
        for (name, bytes) in &files {
            assert!(gunzip(&archive.object("b", name)) == *bytes);
            let record = &archive.records()[name];
            let size = fs::metadata(archive.object("b", name)).unwrap().len();
            assert_eq!(record["replicas"]["b"]["stored_size"], size);
        }
    }
}

/// Puts an object into a store.
fn occupied(archive: &Archive, store: &str, object: &Path, bytes: &[u8]) {
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    put(object, bytes);
    hand_over(&archive.store(store));
}

#[test]
fn other_bytes_in_the_other_format_are_a_conflict() {
    // Whichever of the two is configured.
    for from_zstd in [true, false] {
        let archive = if from_zstd {
            in_zstd(&["a", "b"])
        } else {
            Archive::new(&["a", "b"])
        };
        let (name, bytes) = crate::staged_one(&archive, 1);
        let other = segment(&name, MIB, 50_000, 2);
        let (there, object, ours) = if from_zstd {
            let object = gzip(&other);
            (
                archive.object("b", &name),
                object,
                archive.zstd_object("b", &name),
            )
        } else {
            let object = zstd(&other);
            (
                archive.zstd_object("b", &name),
                object,
                archive.object("b", &name),
            )
        };
        occupied(&archive, "b", &there, &object);
        let (code, report) = archive.ship();
        assert_eq!((code, &report["conflicts"]), (1, &1.into()), "{report}");
        let said = problems(&report);
        assert!(said.contains("split brain"), "{said}");
        assert!(said.contains(&Sha256::of(&other).to_string()), "{said}");
        assert!(!ours.exists(), "a second object of the name was stored");
        assert_eq!(fs::read(&there).unwrap(), object);
        assert_eq!(fs::read(archive.staged(&name)).unwrap(), bytes);
        assert_eq!(archive.state(&name, "a"), "stored");
        assert_eq!(archive.state(&name, "b"), "conflict");
        // Once it is gone, the file goes there.
        fs::remove_file(&there).unwrap();
        archive.ship_well();
        assert!(ours.exists());
        assert_eq!(archive.state(&name, "b"), "stored");
    }
}

#[test]
fn a_damaged_object_in_the_other_format_is_suspect() {
    let archive = Archive::new(&["a", "b"]);
    let (name, bytes) = crate::staged_one(&archive, 1);
    let mut object = zstd(&bytes);
    object.truncate(object.len() / 2);
    occupied(&archive, "b", &archive.zstd_object("b", &name), &object);
    let (code, report) = archive.ship();
    assert_eq!(code, 1);
    let said = problems(&report);
    let words = format!("\"{name}\" in store \"b\" is damaged (the object ends early)");
    assert!(said.contains(&words), "{said}");
    assert!(!archive.object("b", &name).exists());
    assert_eq!(archive.state(&name, "b"), "suspect");
    assert_eq!(fs::read(archive.staged(&name)).unwrap(), bytes);
}

/// What a store is owed comes as the other store has it, whatever is
/// configured by then.
#[test]
fn owed_objects_are_copied_in_the_format_that_they_have() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(&format!("high_water = \"0%\"\n{ZSTD}"));
    let files = it.archive.stage_many(3, 50_000);
    it.server("b").stop();
    assert_eq!(it.archive.run(&["ship"]).code, 1);
    assert!(it.archive.waiting().is_empty());
    it.server("b").restart();
    it.configure("");
    it.archive.ship_well();
    for (name, bytes) in &files {
        let file = format!("{name}.zst");
        assert!(unzstd(&it.object("b", name).with_extension("zst")) == *bytes);
        assert!(!it.holds("b", name));
        assert_eq!(metadata(&it, "a", &file), metadata(&it, "b", &file));
        assert_eq!(it.archive.state(name, "b"), "stored");
    }
}

#[test]
fn a_rebuild_adopts_zstd_and_finds_a_name_that_stands_for_two_files() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let bytes = segment(&name, MIB, 100_000, 1);
    occupied(
        &archive,
        "a",
        &archive.zstd_object("a", &name),
        &zstd(&bytes),
    );
    let ran = archive.run(&["catalog", "rebuild"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("1 file, 1 adopted"), "{}", ran.stdout);
    let record = &archive.records()[&name];
    assert_eq!(record["raw_sha256"], Sha256::of(&bytes).to_string());

    put(&archive.object("a", &name), &gzip(&bytes));
    let ran = archive.run(&["catalog", "rebuild"]);
    assert_eq!(
        ran.code, 0,
        "the same file twice is no conflict: {}",
        ran.stderr
    );
    let other = segment(&name, MIB, 100_000, 2);
    put(&archive.object("a", &name), &gzip(&other));
    let ran = archive.run(&["catalog", "rebuild"]);
    ran.says(1, &["split brain", &name]);
}
