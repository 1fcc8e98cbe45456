//! What goes, what stays, and what can be restored then.

use super::{
    catalog_is_true, keys, listed, restored,
    world::{World, contents},
    world_of,
};

/// How many of a store's keys are packs of a backup.
fn packs_of(world: &World, store: usize, id: &str) -> usize {
    let keys = keys(world, store).into_iter();
    let prefix = format!("backup/{id}/0");
    keys.filter(|key| key.starts_with(&prefix)).count()
}

#[test]
fn a_backup_restores_without_those_that_it_was_built_on() {
    let (world, ids) = world_of(3);
    let expected = contents(&world.cluster);
    let before = [keys(&world, 0), keys(&world, 1)];

    let shown = world.site.walkeep(&["prune", "--dry-run"]);
    shown
        .expect(0)
        .says(&format!(
            "backup {} goes: no moment of the window needs it",
            ids[0]
        ))
        .says(&format!(
            "backup {} stays: the window begins with it on timeline 1",
            ids[2]
        ))
        .says(&format!(") stays: backup {} needs it", ids[2]))
        .says(") goes: it is older than the window, and no backup that stays needs it")
        .says("index: ")
        .says("two: ");
    let dry = world.site.walkeep(&["--json", "prune", "--dry-run"]);
    let dry = dry.expect(0).json();
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["stores"][1]["deleted"]["objects"], 0);
    assert_eq!([keys(&world, 0), keys(&world, 1)], before, "a dry run");

    let done = world.site.walkeep(&["--json", "prune", "--yes"]);
    let done = done.expect(0).json();
    assert_eq!(done["dry_run"], false);
    let goes = |index: usize| &done["backups"][index]["goes"];
    assert_eq!([goes(0), goes(1), goes(2)], [&true, &true, &false]);
    assert_eq!(done["backups"][2]["id"], ids[2].as_str());
    for store in [0, 1] {
        let told = &done["stores"][store];
        assert_eq!(told["goes"], told["deleted"]);
        assert_eq!(told["goes"], dry["stores"][store]["goes"]);
        assert!(told["failure"].is_null(), "{told}");
        let gone = before[store].difference(&keys(&world, store)).count();
        assert_eq!(told["deleted"]["objects"], gone);
        assert!(told["deleted"]["bytes"].as_u64() > Some(100_000), "{told}");
        // Most of the first one's blocks are the last one's, too.
        assert!(packs_of(&world, store, &ids[0]) > 0);
        let unneeded = format!("backup/{}/manifest.json.gz", ids[0]);
        assert!(!keys(&world, store).contains(&unneeded));
    }
    assert_eq!(listed(&world.site), ids[2..]);
    let list = world.site.walkeep(&["backup", "list"]);
    assert!(!list.stderr.contains("has no manifest"), "{}", list.stderr);
    let first_wal = |keys: &std::collections::BTreeSet<String>| {
        keys.iter().find(|key| key.starts_with("wal/")).cloned()
    };
    assert!(first_wal(&keys(&world, 0)) > first_wal(&before[0]));
    catalog_is_true(&world);

    world
        .site
        .walkeep(&["prune", "--yes"])
        .expect(0)
        .says("nothing goes");
    assert_eq!(restored(&world), expected);

    // And the next one is built on it.
    let next = world.backup();
    assert_eq!(next["based_on"], ids[2].as_str());
}

#[test]
fn a_backup_that_is_deleted_by_name_leaves_the_others_whole() {
    let (world, ids) = world_of(3);
    let expected = contents(&world.cluster);
    let delete = |arguments: &[&str]| {
        let all = [&["backup", "delete"], arguments].concat();
        world.site.walkeep(&all)
    };
    delete(&["20010101T000000Z", &ids[0], "--yes"])
        .expect(1)
        .tells("there is no backup 20010101T000000Z");
    delete(&["yesterday", "--yes"]).expect(2);
    delete(&["--yes"]).expect(2);
    assert_eq!(listed(&world.site), ids);

    let before = keys(&world, 0);
    delete(&[&ids[1], "--dry-run"])
        .expect(0)
        .says(&format!(
            "backup {} goes: its deletion was asked for",
            ids[1]
        ))
        .says(&format!(
            "backup {} stays: its deletion was not asked for",
            ids[0]
        ));
    assert_eq!(keys(&world, 0), before);
    delete(&[&ids[1], "--yes"]).expect(0).says("freed");
    assert_eq!(listed(&world.site), [ids[0].clone(), ids[2].clone()]);
    let wal = |key: &&String| key.starts_with("wal/");
    let after = keys(&world, 0);
    assert!(before.iter().filter(wal).eq(after.iter().filter(wal)));
    assert_eq!(restored(&world), expected);

    delete(&[&ids[0], &ids[2], "--yes"])
        .expect(0)
        .says("no backup is left then");
    assert_eq!(listed(&world.site), [""; 0]);
    let left = keys(&world, 1);
    let data = left.iter().filter(|key| key.starts_with("backup/"));
    assert_eq!(data.collect::<Vec<_>>(), [""; 0], "nobody refers to it");
}

#[test]
fn what_nobody_can_read_stops_everything_but_its_own_deletion() {
    let (world, ids) = world_of(2);
    for store in &world.stores {
        let key = format!("main/backup/{}/manifest.json.gz", ids[0]);
        std::fs::write(store.object_path(super::BUCKET, &key), "no gzip").unwrap();
    }
    let before = keys(&world, 0);
    let refused = world.site.walkeep(&["prune", "--yes"]);
    refused
        .expect(1)
        .tells(&format!("nobody knows what backup {} needs", ids[0]))
        .tells(&format!("`walkeep backup delete {}` removes it", ids[0]));
    world
        .site
        .walkeep(&["backup", "delete", &ids[1], "--yes"])
        .expect(1);
    assert_eq!(keys(&world, 0), before);
    let expected = contents(&world.cluster);
    world
        .site
        .walkeep(&["backup", "delete", &ids[0], "--yes"])
        .expect(0);
    assert_eq!(listed(&world.site), ids[1..]);
    world.site.walkeep(&["prune", "--yes"]).expect(0);
    assert_eq!(restored(&world), expected);
}
