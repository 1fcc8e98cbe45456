//! Backups that are running, and what is left of those that died.

use std::{fs, process::Stdio, thread, time::Duration};

use super::{
    age, age_all, keys, listed, restored,
    support::host::wait_until,
    world::{BUCKET, World, contents},
    world_of,
};

/// Puts the marker of a backup into a store, as its process would.
fn mark(world: &World, store: usize, id: &str, based_on: Option<&str>) {
    let key = format!("main/backup/{id}/running.json");
    let marker = serde_json::json!({
        "format": 1, "host": "elsewhere", "pid": 7, "started": "2026-11-20T02:00:00Z",
        "heartbeat": "2026-11-20T02:00:00Z", "based_on": based_on,
    });
    world.stores[store].put_plainly(BUCKET, &key, &marker.to_string());
}

#[test]
fn what_a_running_backup_may_use_stays() {
    let (world, ids) = world_of(3);
    let new = "29990101T000000Z";
    let before = keys(&world, 1);
    mark(&world, 0, new, Some(&ids[0]));
    let refused = world.site.walkeep(&["backup", "delete", &ids[0], "--yes"]);
    refused.expect(1).tells(&format!(
        "backup {} cannot be deleted: backup {new} is running and may need it",
        ids[0]
    ));
    assert_eq!(keys(&world, 1), before);

    let done = world.site.walkeep(&["prune", "--yes"]);
    done.expect(0)
        .says(&format!(
            "backup {} stays: backup {new} is running and may need it",
            ids[0]
        ))
        .says(&format!("backup {} goes: ", ids[1]))
        .says(&format!(") stays: backup {} needs it", ids[0]));
    // Its marker is in one store, and holds in both.
    assert_eq!(listed(&world.site), [ids[0].clone(), ids[2].clone()]);
    let wal = |key: &&String| key.starts_with("wal/");
    let after = keys(&world, 1);
    assert!(before.iter().filter(wal).eq(after.iter().filter(wal)));
    let index = |key: &&String| key.starts_with("backup/index/");
    assert!(before.iter().filter(index).eq(after.iter().filter(index)));

    // It ends. (It never began.)
    fs::remove_file(marker(&world, 0, new)).unwrap();
    world.site.walkeep(&["prune", "--yes"]).expect(0);
    assert_eq!(listed(&world.site), ids[2..]);
    let expected = contents(&world.cluster);
    assert_eq!(restored(&world), expected);
}

fn marker(world: &World, store: usize, id: &str) -> std::path::PathBuf {
    let key = format!("main/backup/{id}/running.json");
    world.stores[store].object_path(BUCKET, &key)
}

#[test]
fn a_marker_that_makes_no_sense_may_refer_to_anything() {
    let (world, ids) = world_of(2);
    // What is nobody's hides no backup, wherever it stands among them.
    for foreign in ["0", "1/notes.txt", "20260101/x", "3/manifest.json.gz", "a"] {
        let key = format!("main/backup/{foreign}");
        world.stores[1].put_plainly(BUCKET, &key, "somebody else's");
    }
    assert_eq!(listed(&world.site), ids);
    let key = "main/backup/29990101T000000Z/running.json";
    world.stores[1].put_plainly(BUCKET, key, "{");
    world
        .site
        .walkeep(&["prune", "--yes"])
        .expect(0)
        .says("nothing goes");
    assert_eq!(listed(&world.site), ids);
}

#[test]
fn what_a_killed_backup_left_goes_after_a_day() {
    let (world, ids) = world_of(1);
    let whole = [keys(&world, 0), keys(&world, 1)];
    world.site.reconfigure(|text| {
        text.replace("[catalog]", "[ship]\nrate_limit = \"2MiB\"\n\n[catalog]")
    });
    let mut command = world.command(&["backup", "create", "--full"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut create = command.spawn().expect("start walkeep");
    let begun =
        || world.packs(0).len() > packs(&whole[0]) && world.packs(1).len() > packs(&whole[1]);
    wait_until("it has stored something", Duration::from_secs(60), begun);
    create.kill().expect("kill");
    create.wait().expect("wait");
    thread::sleep(Duration::from_millis(200));
    let left = |store: usize| -> Vec<std::path::PathBuf> {
        let keys = keys(&world, store).into_iter();
        let left = keys.filter(|key| key.starts_with("backup/") && !whole[store].contains(key));
        left.map(|key| world.stores[store].object_path(BUCKET, &format!("main/{key}")))
            .collect()
    };
    assert!(left(0).len() >= 2, "a marker and a pack");
    let count = left(0).len();
    let list = world.site.walkeep(&["backup", "list"]);
    list.expect(0).tells("has no manifest");
    let prune = || world.site.walkeep(&["prune", "--yes"]);
    // It may be running on another host, for all that prune knows.
    prune().expect(0).says("is running and may need it");
    assert_eq!(left(0).len(), count);

    // Its marker is silent for a day, and its data are younger.
    for store in [0, 1] {
        let markers = left(store).into_iter();
        let markers = markers.filter(|path| path.ends_with("running.json"));
        markers.for_each(|path| age(&path, 25));
    }
    prune()
        .expect(0)
        .says("the marker of ")
        .says(" goes: the backup was last heard of at ");
    assert_eq!(left(0).len(), count - 1);
    assert!(left(1).iter().all(|path| !path.ends_with("running.json")));

    for store in [0, 1] {
        age_all(&left(store), 23);
    }
    prune()
        .expect(0)
        .says_not("a backup that was never finished");
    assert_eq!(left(0).len(), count - 1);
    for store in [0, 1] {
        age_all(&left(store), 25);
    }
    prune()
        .expect(0)
        .says("a backup that was never finished left it");
    assert_eq!((left(0).len(), left(1).len()), (0, 0));
    assert_eq!(listed(&world.site), ids);
    let expected = contents(&world.cluster);
    assert_eq!(restored(&world), expected);
}

fn packs(keys: &std::collections::BTreeSet<String>) -> usize {
    let packs = keys.iter().filter(|key| key.starts_with("backup/2"));
    packs.filter(|key| !key.ends_with(".json.gz")).count()
}

#[test]
fn a_backup_that_begins_while_somebody_thinks_stops_the_deletion() {
    let (world, ids) = world_of(2);
    // The answer comes once there is a newcomer.
    let asked = super::asked::on_terminal(&world.site, &["prune"], || {
        mark(&world, 0, "29990101T000000Z", Some(&ids[0]));
        "y\n"
    });
    assert_eq!(asked.0, 1, "{}", asked.1);
    assert!(
        asked
            .1
            .contains("backup 29990101T000000Z was begun meanwhile"),
        "{}",
        asked.1
    );
    assert_eq!(listed(&world.site), ids);
}
