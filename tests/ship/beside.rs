//! More than one walkeep at once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    InClouds,
    support::archive::{MIB, ran, segment, segment_name},
};

#[test]
fn two_ships_at_once_both_succeed() {
    let it = InClouds::new(&["a", "b"]);
    let files = it.archive.stage_many(24, 300_000);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| ran(&mut it.archive.walkeep(&["ship"])).says(0, &[]));
        }
    });
    it.assert_complete(&files);
}

#[test]
fn shipping_beside_pushes_loses_nothing() {
    let it = InClouds::new(&["a", "b"]);
    let mut files = BTreeMap::new();
    let pushing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let shipper = scope.spawn(|| {
            let mut passes = 0;
            while pushing.load(Ordering::SeqCst) {
                // A file that comes after the listing waits for the next pass.
                ran(&mut it.archive.walkeep(&["ship"])).says(0, &[]);
                passes += 1;
            }
            passes
        });
        for number in 1..=25 {
            let name = segment_name(1, number, MIB);
            let bytes = segment(&name, MIB, 200_000, number);
            let path = it.archive.incoming(&name, &bytes);
            it.archive.push_well(&path);
            // Again, as after a crash: while it is being shipped, or just was.
            it.archive.push_well(&path);
            files.insert(name, bytes);
        }
        pushing.store(false, Ordering::SeqCst);
        assert!(shipper.join().unwrap() > 1);
    });
    it.archive.ship_well();
    it.assert_complete(&files);
}
