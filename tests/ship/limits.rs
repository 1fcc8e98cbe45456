//! Memory, the rate, and segments that do not fit into a buffer.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    InClouds,
    support::archive::{Archive, MIB, files_in, gunzip, segment, segment_name},
};

/// Bytes of memory that are a process's own: not the mapped segments.
fn own_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[test]
fn memory_does_not_grow_with_the_backlog() {
    let it = InClouds::new(&["a", "b"]);
    crate::outages::rebind(&it, 16 * MIB);
    let first = segment_name(1, 1, 16 * MIB);
    let mut bytes = segment(&first, 16 * MIB, 16 << 20, 1);
    let count = 60;
    for number in 1..=count {
        // The same noise under each name: the header alone is another one.
        let name = segment_name(1, number, 16 * MIB);
        bytes[..40].copy_from_slice(&segment(&name, 16 * MIB, 0, 0)[..40]);
        it.archive.stage(&name, &bytes);
    }
    let mut ship = it.archive.start_ship();
    let mut most = 0;
    while ship.0.try_wait().expect("wait").is_none() {
        most = most.max(own_memory(ship.0.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ship.wait().success());
    assert!(it.archive.waiting().is_empty());
    assert!(most > 16 << 20, "nothing was measured: {most}");
    assert!(most <= 96 << 20, "{} MiB", most >> 20);
}

/// Larger than 32 MiB: compressed into a spool file on the staging volume.
#[test]
fn large_segments_go_by_a_spool_file() {
    let size = 64 * MIB;
    let it = InClouds::new(&["a", "b"]);
    crate::outages::rebind(&it, size);
    let files = (1..=2)
        .map(|number| {
            let name = segment_name(1, number, size);
            let bytes = segment(&name, size, 6 << 20, number);
            it.archive.stage(&name, &bytes);
            (name, bytes)
        })
        .collect();
    it.archive.ship_well();
    it.assert_complete(&files);
    let (name, bytes) = files.first_key_value().unwrap();
    assert!(gunzip(&it.object("b", name)) == *bytes);
}

#[test]
fn the_rate_limit_is_obeyed_roughly() {
    let archive = Archive::new(&["a", "b"]);
    let stores = archive.directory_store("a") + &archive.directory_store("b");
    archive.configure("[ship]\nrate_limit = \"1MiB\"", &stores);
    // About 250 kB each, to two stores: 3 MB in all.
    archive.stage_many(6, 250_000);
    let begun = Instant::now();
    archive.ship_well();
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(2000), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(files_in(&archive.store("a").join("main/wal")).len(), 6);
}
