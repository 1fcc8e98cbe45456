//! A store that is down, or hangs, and the others.

use std::{fs, time::Duration};

use crate::{
    InClouds, problems,
    support::{
        archive::{MIB, files_in, segment, segment_name},
        host::wait_until,
    },
};

#[test]
fn one_store_down_keeps_the_files_and_the_other_gets_them() {
    let it = InClouds::new(&["a", "b"]);
    let files = it.archive.stage_many(10, 50_000);
    it.server("b").stop();
    let (code, report) = it.archive.ship();
    assert_eq!(code, 1);
    assert_eq!(
        (&report["waiting"], &report["files"]),
        (&10.into(), &0.into())
    );
    assert_eq!(report["stores"]["a"]["files"], 10);
    assert!(problems(&report).contains("store \"b\""), "{report}");
    assert_eq!(it.archive.waiting().len(), 10);
    for name in files.keys() {
        assert!(it.holds("a", name));
        assert_eq!(it.archive.state(name, "a"), "stored");
        assert_eq!(it.archive.state(name, "b"), "pending");
        assert_eq!(it.archive.receipt(name), None);
    }
    it.server("b").restart();
    let (code, report) = it.archive.ship();
    assert_eq!((code, &report["files"]), (0, &10.into()), "{report}");
    assert!(
        report["stores"].get("a").is_none(),
        "sent to \"a\" again: {report}"
    );
    it.assert_complete(&files);
}

#[test]
fn every_store_down_changes_nothing() {
    let it = InClouds::new(&["a", "b"]);
    it.configure("high_water = \"0%\"");
    it.archive.stage_many(3, 50_000);
    let before = crate::bytes_in(&it.archive.staging());
    it.server("a").stop();
    it.server("b").stop();
    let (code, report) = it.archive.ship();
    assert_eq!((code, &report["waiting"]), (1, &3.into()), "{report}");
    assert_eq!(crate::bytes_in(&it.archive.staging()), before);
}

/// With many incompressible files under way at once: what the one that hangs
/// has in its hands must not take all the memory there is for objects.
#[test]
fn a_store_that_hangs_does_not_hold_the_other_up() {
    let it = InClouds::new(&["a", "b"]);
    it.configure("[ship]\nconcurrency = 16");
    for number in 1..=8 {
        // 16 MiB of noise each: 128 MiB in all.
        let name = segment_name(1, number, 16 * MIB);
        it.archive
            .stage(&name, &segment(&name, 16 * MIB, 16 << 20, number));
    }
    rebind(&it, 16 * MIB);
    it.server("b").pause();
    let mut ship = it.archive.start_ship();
    let others = it.server("a").object_path("wal", "main/wal");
    wait_until(
        "the other store has everything",
        Duration::from_secs(25),
        || {
            files_in(&others)
                .iter()
                .filter(|name| name.ends_with(".gz"))
                .count()
                == 8
        },
    );
    assert!(ship.0.try_wait().expect("wait").is_none(), "nothing hung");
    ship.kill();
    assert_eq!(it.archive.waiting().len(), 8);
    it.server("b").resume();
}

/// The staging directory of a cluster with other segments.
pub fn rebind(it: &InClouds, segment_size: u64) {
    let marker = it.archive.staged("walkeep.json");
    let text = fs::read_to_string(&marker).expect("read the marker");
    let size = format!("\"segment_size\": {segment_size}");
    let text = text.replace(&format!("\"segment_size\": {MIB}"), &size);
    crate::support::archive::put(&marker, text.as_bytes());
}
