//! What stores, staging and the archive are the cause of.

use std::{fs, thread::sleep, time::Duration};

use walkeep::codec::Sha256;

use crate::{
    PATIENCE, Scene,
    support::{
        archive::{MIB, gzip, segment, segment_name},
        host::{hand_over, wait_until},
    },
};

/// An outage: the store fails and falls behind, what it lacks is told, and
/// all of it is over by itself. Meanwhile nobody is told that all is well.
#[test]
fn a_store_that_is_away_is_told_until_it_has_caught_up() {
    let mut scene = Scene::new();
    scene.configure("", "repeat = \"2s\"", "");
    scene.start();
    scene.push(1);
    scene.wait_shipped();
    wait_until("a sign of life", PATIENCE, || scene.web.calls() > 1);

    scene.stores[1].stop();
    scene.push(2);
    wait_until("it is told again", PATIENCE, || {
        scene
            .web
            .told("lag/b")
            .starts_with(&["raised".into(), "repeated".into()])
            && !scene.web.told("store/b").is_empty()
    });
    assert!(scene.web.told("lag/a").is_empty());
    let calls = scene.web.calls();

    // Somebody knows.
    let ran = scene.archive.run(&["alerts", "ack", "lag/b"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    scene
        .archive
        .run(&["alerts", "ack", "no-such"])
        .says(1, &["`walkeep alerts` lists"]);
    let open = scene.alerts();
    let lag = open
        .iter()
        .find(|it| it["id"] == "lag/b")
        .expect("it stays open");
    assert_eq!(lag["state"], "open");
    let by = lag["acknowledged"]["by"].as_str().expect("who");
    assert!(by.contains('@'), "{by}");
    sleep(Duration::from_secs(1));
    let told = scene.web.told("lag/b").len();
    sleep(Duration::from_secs(4));
    assert_eq!(
        scene.web.told("lag/b").len(),
        told,
        "{:?}",
        scene.web.told("lag/b")
    );
    assert_eq!(scene.web.calls(), calls, "nobody is told that all is well");

    scene.stores[1].restart();
    scene.wait_shipped();
    for id in ["lag/b", "store/b"] {
        wait_until(id, PATIENCE, || {
            scene
                .web
                .told(id)
                .last()
                .is_some_and(|last| last == "resolved")
        });
    }
    scene.wait_green();
    wait_until("a sign of life", PATIENCE, || scene.web.calls() > calls);
    let past = scene.alerts();
    assert!(past.iter().all(|it| it["state"] == "resolved"), "{past:?}");
    assert!(past.len() >= 2, "{past:?}");
}

/// One store is away while staging is full: what the other has is owed.
/// With none, staging fills up, and pushes fail.
#[test]
fn full_staging_what_is_owed_and_pushes_that_fail_are_told() {
    let mut scene = Scene::new();
    scene.configure("max_size = \"5MiB\"\nhigh_water = \"0%\"", "", "");
    scene.stores[1].stop();
    scene.start();
    scene.push(1);
    scene.wait_shipped();
    scene.wait_raised("owed/b");
    scene.stores[1].restart();
    scene.wait_resolved("owed/b");

    scene.stores.iter().for_each(|store| store.stop());
    let refused = (2..100).find(|&number| {
        let name = segment_name(1, number, MIB);
        let bytes = segment(&name, MIB, MIB as usize, number);
        let incoming = scene.archive.incoming(&name, &bytes);
        scene.archive.push(&incoming).code != 0
    });
    let refused = segment_name(1, refused.expect("staging is full at some time"), MIB);
    scene.wait_raised("staging-full");
    scene.wait_raised("push");
    let heard = scene.web.heard();
    let push = heard
        .iter()
        .find(|heard| heard.body.contains("`wal push` of"));
    let text = &push.expect("it was told").body;
    assert!(
        text.contains(&refused) && text.contains("is full"),
        "{text}"
    );

    scene.stores.iter().for_each(|store| store.restart());
    scene.wait_resolved("staging-full");
    let number = u64::from_str_radix(&refused[16..], 16).expect("a number");
    scene.push(number);
    scene.wait_resolved("push");
    scene.wait_shipped();
    scene.wait_green();
}

/// A segment that another cluster stored, one that is damaged, one that is
/// gone from both stores, a file that is none.
#[test]
fn what_is_wrong_in_the_archive_is_told() {
    let mut scene = Scene::new();
    scene.configure("", "", "");
    let key = |number: u64| format!("main/wal/{}.gz", segment_name(1, number, MIB));
    let root = scene.stores[1].object_path("wal", "");
    let object = |number: u64| root.join(key(number));
    let put = |number: u64, bytes: &[u8]| {
        let path = object(number);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make it");
        fs::write(&path, bytes).expect("write it");
        hand_over(&path);
    };
    let other = segment(&segment_name(1, 1, MIB), MIB, 5000, 99);
    put(1, &gzip(&other));
    put(2, b"damaged");
    scene.start();
    let names: Vec<String> = (1..=5).map(|number| scene.push(number)).collect();
    let conflict = format!("conflict/{}/b", names[0]);
    scene.wait_raised(&conflict);
    scene.wait_raised("damaged/b");
    let hash = Sha256::of(&other).to_string();
    let heard = scene.web.heard();
    assert!(
        heard.iter().any(|heard| heard.body.contains(&hash)),
        "both are named"
    );
    let refused = segment_name(1, 9, MIB);
    scene.archive.stage(&refused, b"short");
    scene.wait_raised(&format!("refused/{refused}"));

    fs::remove_file(object(1)).expect("remove it");
    fs::remove_file(object(2)).expect("remove it");
    fs::remove_file(scene.archive.staged(&refused)).expect("remove it");
    // Whatever arrives has the stores looked at again.
    scene.push(6);
    scene.wait_resolved(&conflict);
    scene.wait_resolved("damaged/b");
    scene.wait_resolved(&format!("refused/{refused}"));
    scene.wait_shipped();

    // Gone from both stores, and what is left is looked at.
    let aside: Vec<(std::path::PathBuf, Vec<u8>)> = scene
        .stores
        .iter()
        .map(|store| store.object_path("wal", &key(4)))
        .map(|path| (path.clone(), fs::read(&path).expect("read it")))
        .collect();
    for (path, _) in &aside {
        fs::remove_file(path).expect("remove it");
    }
    let rebuilt = || assert_eq!(scene.archive.run(&["catalog", "rebuild"]).code, 0);
    rebuilt();
    let gap = format!("gap/{}", names[3]);
    scene.wait_raised(&gap);
    for (path, bytes) in &aside {
        fs::write(path, bytes).expect("write it");
    }
    rebuilt();
    scene.wait_resolved(&gap);

    // Gone from one of them: the next pass brings it from the other.
    fs::remove_file(object(5)).expect("remove it");
    let verified = scene.archive.run(&["verify"]);
    assert_eq!(verified.code, 1, "{}{}", verified.stdout, verified.stderr);
    scene.wait_raised("owed/b");
    scene.push(7);
    scene.wait_resolved("owed/b");
    assert!(object(5).exists());
    scene.wait_green();
}

#[test]
fn a_clock_that_differs_and_a_standby_in_an_outage_are_told() {
    let mut scene = Scene::new();
    scene.configure("", "backup_age = \"5s\"", "");
    scene.start();
    scene.stores[1].set_clock_behind(Duration::from_secs(120));
    scene.push(1);
    scene.wait_raised("clock/b");
    scene.stores[1].set_clock_behind(Duration::ZERO);
    scene.push(2);
    scene.wait_resolved("clock/b");
    // There is none, in an archive that is older than it may be.
    scene.wait_raised("backup-age");

    // Its `wal fetch` is asked in its data directory.
    let data = scene.archive.directory().join("standby");
    fs::create_dir(&data).expect("make it");
    fs::write(data.join("standby.signal"), "").expect("write it");
    hand_over(&data);
    let fetch = || {
        let name = segment_name(1, 7, MIB);
        let mut command = scene.archive.walkeep(&["wal", "fetch", &name, "fetched"]);
        let ended = command.current_dir(&data).output().expect("run it");
        assert_eq!(ended.status.code(), Some(1), "it asks again");
    };
    fetch();
    assert!(
        scene.web.told("standby").is_empty(),
        "it is only not there yet"
    );
    scene.stores.iter().for_each(|store| store.stop());
    fetch();
    scene.wait_raised("standby");
    scene.stores.iter().for_each(|store| store.restart());
    fetch();
    scene.wait_resolved("standby");
    scene.stop();
}
