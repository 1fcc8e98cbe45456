//! SIGKILL in the middle: what is listed then is whole, and the next prune does
//! the rest.

use std::{collections::BTreeSet, process::Stdio, thread, time::Duration};

use super::{
    age_all, catalog_is_true, keys, listed, restored,
    world::{BUCKET, World, contents},
    world_of,
};

/// Every backup that a store has a manifest of has all its packs and pages.
fn listed_are_whole(world: &World) {
    for store in [0, 1] {
        let keys = keys(world, store);
        for id in listed(&world.site) {
            if !keys.contains(&format!("backup/{id}/manifest.json.gz")) {
                continue;
            }
            let shown = world.site.walkeep(&["backup", "show", &id]);
            let manifest = shown.expect(0).json();
            for key in named(&manifest) {
                assert!(keys.contains(&key), "{id} lacks {key} in store {store}");
            }
        }
    }
}

/// The packs and pages that a manifest names.
fn named(manifest: &serde_json::Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for set in manifest["packs"].as_array().expect("packs") {
        let backup = set["backup"].as_str().expect("an id");
        for range in set["numbers"].as_array().expect("numbers") {
            let end = |index: usize| range[index].as_u64().expect("a number");
            keys.extend((end(0)..=end(1)).map(|it| format!("backup/{backup}/{it:06}.gz")));
        }
    }
    for page in manifest["pages"].as_array().expect("pages") {
        keys.insert(format!("backup/index/{}.gz", page.as_str().expect("text")));
    }
    keys
}

/// Kills a prune as soon as so many objects have gone; false where it came to
/// its end.
fn kill_after(world: &World, objects: usize) -> bool {
    let count = || world.stores[0].object_files(BUCKET).len();
    let before = count();
    let mut command = world.command(&["prune", "--yes"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut prune = command.spawn().expect("start walkeep");
    loop {
        if let Some(ended) = prune.try_wait().expect("wait") {
            assert!(ended.success());
            return false;
        }
        if before - count() >= objects {
            break;
        }
        thread::sleep(Duration::from_micros(200));
    }
    // What it has asked for by now may or may not come to pass.
    world.stores.iter().for_each(|store| store.pause());
    thread::sleep(Duration::from_millis(20));
    prune.kill().expect("kill");
    prune.wait().expect("wait");
    world.stores.iter().for_each(|store| store.resume());
    true
}

#[test]
fn a_killed_prune_leaves_whole_backups_and_the_next_one_goes_on() {
    let (world, ids) = world_of(4);
    let expected = contents(&world.cluster);
    for store in &world.stores {
        // What a killed one leaves of data is a leftover, and waits a day.
        age_all(&store.object_files(BUCKET), 48);
    }
    let mut killed = 0;
    for objects in [1, 1, 1, 2, 3, 5, 8, 13] {
        if !kill_after(&world, objects) {
            break;
        }
        killed += 1;
        listed_are_whole(&world);
    }
    assert!(killed >= 2, "it was killed {killed} times");
    let last = world.site.walkeep(&["prune", "--yes"]);
    last.expect(0);
    assert_eq!(listed(&world.site), ids[3..]);
    world
        .site
        .walkeep(&["prune", "--yes"])
        .expect(0)
        .says("nothing goes");
    catalog_is_true(&world);
    let manifest = world.site.walkeep(&["backup", "show", &ids[3]]);
    let named = named(&manifest.expect(0).json());
    for store in [0, 1] {
        let left = keys(&world, store).into_iter();
        let packs: BTreeSet<String> = left
            .filter(|key| key.starts_with("backup/2") && !key.ends_with("manifest.json.gz"))
            .collect();
        let needed = named.iter().filter(|key| key.starts_with("backup/2"));
        assert!(packs.iter().eq(needed), "{packs:?}");
    }
    assert_eq!(restored(&world), expected);
}
