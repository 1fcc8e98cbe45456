//! Above the high-water mark: what one store has may leave staging, and is
//! owed to the other.

use std::{collections::BTreeMap, fs, time::Duration};

use walkeep::{
    codec::{Md5, Sha256},
    store::{Profile, RetryPolicy, Store},
};

use crate::{
    InClouds, problems,
    support::{
        archive::{MIB, files_in, gunzip, gzip, put, segment},
        host::wait_until,
    },
};

/// Anything that waits is too much.
const NO_ROOM: &str = "high_water = \"0%\"";

#[test]
fn released_early_it_is_owed_and_copied_from_store_to_store_later() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(NO_ROOM);
    let files = it.archive.stage_many(6, 50_000);
    it.server("b").stop();
    let (code, report) = it.archive.ship();
    assert_eq!(code, 1, "{report}");
    assert_eq!(
        (&report["owed"], &report["waiting"]),
        (&6.into(), &0.into()),
        "{report}"
    );
    assert!(it.archive.waiting().is_empty());
    for (name, bytes) in &files {
        assert_eq!(it.archive.state(name, "a"), "stored");
        assert_eq!(it.archive.state(name, "b"), "owed");
        assert_eq!(it.archive.receipt(name), Some(Sha256::of(bytes)));
    }
    // Still away.
    assert_eq!(it.archive.run(&["ship"]).code, 1);
    it.server("b").restart();
    let (code, report) = it.archive.ship();
    assert_eq!(
        (code, &report["stores"]["b"]["files"]),
        (0, &6.into()),
        "{report}"
    );
    it.assert_complete(&files);
    for name in files.keys() {
        let [a, b] = ["a", "b"].map(|store| metadata(&it, store, &format!("{name}.gz")));
        assert!(a.contains_key("walkeep-moments"), "{a:?}");
        assert_eq!(a, b);
    }
}

/// What a store has beside an object.
pub fn metadata(it: &InClouds, store: &str, file: &str) -> BTreeMap<String, String> {
    let location = it.server(store).location(Profile::S3, "wal");
    let runtime = tokio::runtime::Runtime::new().expect("make a runtime");
    runtime.block_on(async {
        let store = store.parse().expect("a store's name");
        let store = Store::open(store, location, RetryPolicy::ONCE).expect("open the store");
        let info = store.head(&format!("main/wal/{file}")).await;
        info.expect("ask the store").expect("an object").metadata
    })
}

/// Above the mark, too: a store that is a moment behind is not away.
#[test]
fn nothing_is_owed_to_a_store_that_works() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(NO_ROOM);
    let files = it.archive.stage_many(20, 300_000);
    let (code, report) = it.archive.ship();
    assert_eq!((code, &report["owed"]), (0, &0.into()), "{report}");
    it.assert_complete(&files);
}

/// It takes connections and answers nothing, which is noticed late.
#[test]
fn a_store_that_hangs_does_not_keep_staging_full() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(NO_ROOM);
    let files = it.archive.stage_many(5, 50_000);
    it.server("b").pause();
    let mut ship = it.archive.start_ship();
    wait_until("staging is empty", Duration::from_secs(25), || {
        it.archive.waiting().is_empty()
    });
    ship.kill();
    it.server("b").resume();
    for name in files.keys() {
        assert_eq!(it.archive.state(name, "b"), "owed");
    }
    it.archive.ship_well();
    it.assert_complete(&files);
}

#[test]
fn what_was_sent_in_an_earlier_pass_is_released_once_there_is_no_room() {
    let it = InClouds::new(&["a", "b"]);
    let files = it.archive.stage_many(4, 50_000);
    it.server("b").stop();
    it.archive.ship();
    assert_eq!(it.archive.waiting().len(), 4, "there is room");
    it.configure(NO_ROOM);
    let (_, report) = it.archive.ship();
    assert_eq!(report["owed"], 4, "{report}");
    assert!(it.archive.waiting().is_empty());
    it.server("b").restart();
    it.archive.ship_well();
    it.assert_complete(&files);
}

#[test]
fn fewer_copies_than_asked_for_release_nothing() {
    let it = InClouds::new(&["a", "b", "c"]);
    it.configure(&format!("{NO_ROOM}\nmin_copies = 2"));
    let files = it.archive.stage_many(3, 50_000);
    it.server("b").stop();
    it.server("c").stop();
    assert_eq!(it.archive.ship().1["owed"], 0);
    assert_eq!(it.archive.waiting().len(), 3);
    it.server("b").restart();
    assert_eq!(it.archive.ship().1["owed"], 3);
    assert!(it.archive.waiting().is_empty());
    it.server("c").restart();
    it.archive.ship_well();
    it.assert_complete(&files);
}

/// The catalog knows a file by that name, and "a" has it; but another one is
/// staged, the only copy of its bytes. No lane has read it when "b" fails.
#[test]
fn a_file_that_no_store_has_is_not_released_for_its_names_sake() {
    let it = InClouds::new(&["a", "b"]);
    let files = it.archive.stage_many(8, 50_000);
    let (name, archived) = files.last_key_value().unwrap();
    it.server("b").stop();
    it.archive.ship();
    let other = segment(name, MIB, 50_000, 99);
    it.archive.stage(name, &other);
    it.configure(NO_ROOM);
    for owed in [7, 0] {
        let (code, report) = it.archive.ship();
        assert_eq!((code, &report["owed"]), (1, &owed.into()), "{report}");
        assert_eq!(report["conflicts"], 1, "{report}");
        for digest in [Sha256::of(archived), Sha256::of(&other)] {
            assert!(problems(&report).contains(&digest.to_string()), "{report}");
        }
        assert!(fs::read(it.archive.staged(name)).unwrap() == other);
        assert_eq!(it.archive.receipt(name), None);
        it.server("b").restart();
    }
    assert!(gunzip(&it.object("a", name)) == *archived);
}

/// Known to clash from an earlier pass, it is kept even before its store is
/// asked again.
#[test]
fn a_file_in_conflict_is_not_released_early() {
    let it = InClouds::new(&["a", "b"]);
    let (name, bytes) = crate::staged_one(&it.archive, 1);
    let other = segment(&name, MIB, 50_000, 2);
    let object = it.object("b", &name);
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    put(&object, &gzip(&other));
    it.configure(NO_ROOM);
    for _ in 0..2 {
        it.archive.ship();
        assert!(it.archive.staged(&name).exists());
        assert_eq!(it.archive.state(&name, "b"), "conflict");
        it.server("b").stop();
    }
    assert!(fs::read(it.archive.staged(&name)).unwrap() == bytes);
    // Somebody looked, and took the other file away.
    it.server("b").restart();
    fs::remove_file(&object).unwrap();
    it.archive.ship_well();
    it.assert_complete(&[(name, bytes)].into());
}

#[test]
fn a_damaged_source_is_not_copied() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(NO_ROOM);
    let files = it.archive.stage_many(2, 50_000);
    it.server("b").stop();
    it.archive.ship();
    it.server("b").restart();
    let name = files.keys().next().unwrap();
    let object = it.object("a", name);
    let whole = fs::read(&object).unwrap();
    let mut damaged = whole.clone();
    damaged[30_000] ^= 1;
    put(&object, &damaged);
    let ran = it.archive.run(&["ship"]);
    assert!(ran.stderr.contains("is owed to \"b\""), "{}", ran.stderr);
    assert_ne!(ran.code, 0, "something is still owed: {}", ran.stderr);
    assert!(!it.holds("b", name));
    assert_eq!(it.archive.state(name, "b"), "owed");
    put(&object, &whole);
    it.archive.ship_well();
    it.assert_complete(&files);
    assert!(files_in(&it.archive.staging().join("tmp")).is_empty());
}

/// By another program, say, or another level: the same raw bytes under another
/// size and MD5 than the catalog has.
#[test]
fn what_was_compressed_anew_in_its_store_is_copied_as_it_is_now() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(NO_ROOM);
    let files = it.archive.stage_many(2, 50_000);
    it.server("b").stop();
    it.archive.ship();
    it.server("b").restart();
    let (name, bytes) = files.first_key_value().unwrap();
    let object = it.object("a", name);
    let anew = gzip(bytes);
    assert_ne!(fs::read(&object).unwrap().len(), anew.len());
    put(&object, &anew);
    it.archive.ship_well();
    it.assert_complete(&files);
    assert!(fs::read(it.object("b", name)).unwrap() == anew);
    let replica = &it.archive.records()[name]["replicas"]["b"];
    assert_eq!(replica["stored_size"], anew.len());
    assert_eq!(replica["md5"], Md5::of(&anew).to_string());
}
