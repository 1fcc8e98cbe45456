//! Stores that are gone, corrupt, or both in parts.

use std::{fs, time::Duration};

use super::world::{World, contents, fill};

/// A world with a backup, and what is in it.
fn filled() -> (World, (i64, String)) {
    let world = World::new();
    fill(&world.cluster);
    world.backup();
    world.ship();
    let expected = contents(&world.cluster);
    (world, expected)
}

/// The fastest store is asked first: let that be the first one.
fn slow_the_second(world: &World) {
    world.stores[1].set_delay(Duration::from_millis(100));
}

#[test]
fn one_store_gone_the_other_serves() {
    let (world, expected) = filled();
    world.stores[0].stop();
    let run = world.restore(&[]);
    run.expect(0).tells("\"one\"").tells("unreachable");
    assert_eq!(contents(&world.start()), expected);
}

#[test]
fn a_store_that_goes_away_meanwhile_is_replaced_by_the_other() {
    let (world, expected) = filled();
    slow_the_second(&world);
    // Its manifest is there, its data are not.
    for path in world.packs(0) {
        fs::remove_file(path).unwrap();
    }
    world
        .restore(&[])
        .expect(0)
        .tells("one has no \"main/backup/");
    assert_eq!(contents(&world.start()), expected);
}

#[test]
fn one_store_corrupt_the_other_serves() {
    let (world, expected) = filled();
    slow_the_second(&world);
    world.spoil(0, 0, usize::MAX);
    world.restore(&[]).expect(0).tells("in one is damaged");
    assert_eq!(contents(&world.start()), expected);
}

#[test]
fn both_corrupt_in_parts_restore_together_and_in_the_same_part_not_at_all() {
    let (world, expected) = filled();
    world.spoil(0, 0, 1 << 20);
    // Not where a chunk may reach over.
    let behind = 3 << 19;
    world.spoil(1, behind, usize::MAX - behind);
    world.restore(&[]).expect(0);
    let target = world.target();
    world.verify(&target);
    fs::remove_dir_all(&target).unwrap();

    world.spoil(0, behind + 5, 10);
    let run = world.restore(&[]);
    run.expect(1)
        .tells("from pack 1 of backup ")
        .tells("in one is damaged")
        .tells("in two is damaged");
    assert!(!target.join("global/pg_control").exists());
    // It is mended, and the restore goes on.
    world.spoil(0, behind + 5, 10);
    world.restore(&[]).expect(0);
    assert_eq!(contents(&world.start()), expected);
}

#[test]
fn one_store_alone_is_asked_where_that_is_wanted() {
    let (world, expected) = filled();
    world.stores[0].stop();
    world.restore(&["--store", "two"]).expect(0);
    assert_eq!(contents(&world.start()), expected);
}
