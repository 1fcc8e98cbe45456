//! What older set-ups left, in staging and in buckets; and a catalog that was
//! lost.

use std::{collections::BTreeMap, fs};

use serde_json::Value;
use walkeep::codec::Sha256;

use crate::{
    InClouds,
    support::archive::{Archive, MIB, gunzip, gzip, put, segment, segment_name},
};

/// `archive_command = 'cp %p STAGING/%f'`, and one `cp` that was cut short.
#[test]
fn a_directory_that_cp_filled_is_adopted() {
    let archive = Archive::new(&["a", "b"]);
    let mut files = archive.stage_many(5, 300_000);
    let history = b"1\t0/600000\tno recovery target specified\n".to_vec();
    let partial = format!("{}.partial", segment_name(1, 6, MIB));
    let backup = format!("{}.00000028.backup", segment_name(1, 2, MIB));
    for (name, bytes) in [
        ("00000002.history".to_owned(), history),
        (partial.clone(), segment(&partial, MIB, 1000, 6)),
        (
            backup,
            b"START WAL LOCATION: 0/200028 (file 000000010000000000000002)\n".to_vec(),
        ),
        (
            segment_name(2, 6, MIB),
            segment(&segment_name(2, 6, MIB), MIB, 1000, 7),
        ),
    ] {
        archive.stage(&name, &bytes);
        files.insert(name, bytes);
    }
    let cut = segment_name(2, 7, MIB);
    let whole = segment(&cut, MIB, 900_000, 8);
    archive.stage(&cut, &whole[..700_000]);

    let (code, report) = archive.ship();
    assert_eq!((code, &report["waiting"]), (1, &1.into()), "{report}");
    assert_eq!(archive.waiting(), [cut.as_str()]);
    // PostgreSQL was not told that it is archived, and pushes it again.
    let path = archive.incoming(&cut, &whole);
    archive.push(&path).says(0, &["was not valid; it is in \""]);
    archive.ship_well();
    files.insert(cut, whole);
    crate::assert_stored(&archive, &["a", "b"], &files, |store, name| {
        archive.object(store, name)
    });
}

#[test]
fn history_files_go_first_and_several_timelines_keep_apart() {
    let archive = Archive::new(&["a"]);
    let stores = archive.directory_store("a");
    archive.configure("[ship]\nconcurrency = 1", &stores);
    let mut names = Vec::new();
    for timeline in [1, 2, 3] {
        for number in 1..=3 {
            let name = segment_name(timeline, number, MIB);
            archive.stage(
                &name,
                &segment(&name, MIB, 2000, u64::from(timeline) * 10 + number),
            );
            names.push(name);
        }
    }
    for timeline in [2, 3] {
        let name = format!("{timeline:08X}.history");
        archive.stage(&name, b"1\t0/300000\tno recovery target specified\n");
        names.push(name);
    }
    archive.ship_well();
    let written = |name: &String| {
        fs::metadata(archive.object("a", name))
            .unwrap()
            .modified()
            .unwrap()
    };
    names.sort_by_key(written);
    assert!(
        names[..2].iter().all(|name| name.ends_with(".history")),
        "{names:?}"
    );
    assert!(names[2..].is_sorted(), "{names:?}");
    let list = archive.run(&["wal", "list"]);
    assert_eq!(list.code, 0, "{}", list.stderr);
    assert_eq!(list.stdout.lines().count(), 5, "{}", list.stdout);
}

/// A bucket that an older script filled: plain gzip, nothing said about it.
#[test]
fn a_rebuild_adopts_the_objects_of_an_older_script() {
    let it = InClouds::new(&["a"]);
    let mut files = BTreeMap::new();
    for number in 1..=4 {
        let name = segment_name(1, number, MIB);
        let bytes = segment(&name, MIB, 200_000, number);
        let object = it.object("a", &name);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        put(&object, &gzip(&bytes));
        files.insert(name, bytes);
    }
    let ran = it.archive.run(&["catalog", "rebuild"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("4 files, 4 adopted"), "{}", ran.stdout);
    let records = it.archive.records();
    for (name, bytes) in &files {
        let record = &records[name];
        assert_eq!(record["raw_sha256"], Sha256::of(bytes).to_string());
        assert_eq!(record["raw_size"], MIB);
        assert_eq!(record["replicas"]["a"]["state"], "stored");
    }
    // Staged once more, it is known.
    let (name, bytes) = files.first_key_value().unwrap();
    let object = it.object("a", name);
    let before = fs::read(&object).unwrap();
    it.archive.stage(name, bytes);
    it.archive.ship_well();
    assert!(it.archive.waiting().is_empty());
    assert_eq!(fs::read(&object).unwrap(), before);
}

#[test]
fn a_lost_catalog_is_the_same_again_from_either_store_or_both() {
    let it = InClouds::new(&["a", "b"]);
    let files = it.archive.stage_many(6, 100_000);
    it.archive.stage(
        "00000002.history",
        b"1\t0/600000\tno recovery target specified\n",
    );
    it.archive.ship_well();
    let original = comparable(it.archive.records(), &["a", "b"]);
    assert_eq!(original.len(), files.len() + 1);
    for stores in [&["a"][..], &["b"], &["a", "b"]] {
        fs::remove_file(it.archive.catalog()).unwrap();
        let rebuild = match stores {
            [one] => it.archive.run(&["catalog", "rebuild", "--store", one]),
            _ => it.archive.run(&["catalog", "rebuild"]),
        };
        assert_eq!(rebuild.code, 0, "{}", rebuild.stderr);
        assert!(rebuild.stdout.contains("7 files\n"), "{}", rebuild.stdout);
        let expected = comparable(original.clone(), stores);
        assert_eq!(
            comparable(it.archive.records(), stores),
            expected,
            "from {stores:?}"
        );
    }
    // Whatever it was rebuilt from: what is there is found, nothing is doubled.
    for (name, bytes) in &files {
        assert!(gunzip(&it.object("a", name)) == *bytes);
    }
}

#[test]
fn a_lost_catalog_is_no_reason_to_send_anything_twice() {
    let it = InClouds::new(&["a", "b"]);
    let mut files = it.archive.stage_many(3, 100_000);
    it.server("b").stop();
    it.archive.ship();
    fs::remove_file(it.archive.catalog()).unwrap();
    it.server("b").restart();
    let name = segment_name(1, 4, MIB);
    files.insert(name.clone(), segment(&name, MIB, 100_000, 4));
    it.archive.stage(&name, &files[&name]);
    let modified = |name: &str| {
        fs::metadata(it.object("a", name))
            .unwrap()
            .modified()
            .unwrap()
    };
    let first = segment_name(1, 1, MIB);
    let before = modified(&first);
    it.archive.ship_well();
    assert_eq!(modified(&first), before);
    it.assert_complete(&files);
}

/// The records without what a rebuild cannot know, and of these stores alone.
pub fn comparable(records: BTreeMap<String, Value>, stores: &[&str]) -> BTreeMap<String, Value> {
    let strip = |(name, mut record): (String, Value)| {
        let replicas = record["replicas"].as_object_mut().expect("replicas");
        replicas.retain(|store, _| stores.contains(&store.as_str()));
        for replica in replicas.values_mut() {
            let replica = replica.as_object_mut().expect("a replica");
            replica.remove("at");
            replica.remove("attempts");
        }
        (name, record)
    };
    records.into_iter().map(strip).collect()
}
