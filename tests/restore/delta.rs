//! A restore over a failed cluster keeps what is right.

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    path::Path,
};

use super::{
    support::{host::hand_over, site::read},
    world::{World, contents, fill},
};

#[test]
fn what_is_right_stays_and_the_rest_is_brought() {
    let world = World::new();
    fill(&world.cluster);
    let backup = world.backup();
    let raw = backup["totals"]["raw_bytes"].as_u64().unwrap();
    world.ship();
    let expected = contents(&world.cluster);
    let relation: String = world.cluster.value("SELECT pg_relation_filepath('kept')");
    world
        .cluster
        .sql("INSERT INTO kept VALUES (-1, 'never archived')");
    world.cluster.stop_immediate();
    let data = world.cluster.data().to_owned();
    let text = data.to_str().unwrap();

    // One block of a file is damaged, a file is gone, another is not of the
    // backup, and a third is a link that leads out of the directory.
    let base = data.join("base");
    let damaged = data.join(&relation);
    let before = fs::read(&damaged).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
    file.write_all_at(&[0x5A; 100], 8192 * 7 + 50).unwrap();
    fs::remove_file(data.join("PG_VERSION")).unwrap();
    fs::write(base.join("stranger"), "x").unwrap();
    let outside = world.site.path("outside");
    fs::write(&outside, "untouched").unwrap();
    hand_over(&outside);
    fs::remove_file(data.join("pg_hba.conf")).unwrap();
    symlink(&outside, data.join("pg_hba.conf")).unwrap();

    world
        .site
        .walkeep(&["restore", text])
        .expect(1)
        .tells("is not empty");
    let run = world.site.walkeep(&["--json", "restore", text, "--delta"]);
    let answer = run.expect(0).json();
    // Reading a table marks its rows, so that some of it differs.
    assert!(answer["written"].as_u64().unwrap() < raw / 2, "{answer}");
    assert!(answer["removed"].as_u64().unwrap() > 0, "{answer}");
    let old = answer["old_wal"]["directory"].as_str().unwrap();
    assert!(Path::new(old).join("archive_status").is_dir());
    assert!(fs::read_dir(old).unwrap().count() > 2);
    assert!(!base.join("stranger").exists());
    assert_eq!(read(&outside), "untouched");
    assert!(!data.join("pg_hba.conf").is_symlink());
    assert_ne!(
        fs::read(&damaged).unwrap()[8192 * 7 + 50..][..100],
        [0x5A; 100]
    );
    assert_eq!(fs::read(&damaged).unwrap().len(), before.len());

    world.verify(&data);

    // There is nothing to do any more, and no old WAL.
    let run = world.site.walkeep(&["--json", "restore", text, "--delta"]);
    let again = run.expect(0).json();
    assert!(again["written"].as_u64().unwrap() < 64 << 10, "{again}");
    assert!(again["old_wal"].is_null(), "{again}");
    world.verify(&data);
    world.cluster.start();
    world.cluster.wait_promoted();
    assert_eq!(contents(&world.cluster), expected);
    fs::remove_dir_all(old).unwrap();
}

#[test]
fn another_cluster_is_not_restored_over() {
    let (world, other) = (World::new(), World::new());
    world.cluster.sql("CREATE TABLE kept (i int)");
    world.backup();
    other.cluster.stop_fast();
    let data = other.cluster.data().to_str().unwrap();
    let run = world.site.walkeep(&["restore", data, "--delta"]);
    run.expect(1).tells("holds the cluster");
    other.cluster.start();
}
