//! What verify, drills and the list of backups are the cause of.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    Scene,
    server::{archive_with_walkeep, tables, watched},
    support::{archive::Ran, postgres::Cluster},
};

/// A cluster that archives with walkeep, and what watches it.
fn archiving() -> (Scene, Cluster) {
    let (scene, cluster) = watched();
    archive_with_walkeep(&scene, &cluster);
    (scene, cluster)
}

fn backup(scene: &Scene) -> String {
    let made = scene.archive.run(&["--json", "backup", "create"]);
    assert_eq!(made.code, 0, "{}{}", made.stdout, made.stderr);
    let made: serde_json::Value = serde_json::from_str(&made.stdout).expect("JSON");
    made["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn run(scene: &Scene, arguments: &[&str], code: i32) -> Ran {
    let ran = scene.archive.run(arguments);
    assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
    ran
}

/// A pack of the backup `id` in a store.
fn pack(scene: &Scene, store: usize, id: &str) -> PathBuf {
    let directory = format!("main/backup/{id}/");
    let root = scene.stores[store].object_path("wal", &directory);
    let entries = fs::read_dir(root).expect("list it").flatten();
    let name = |path: &PathBuf| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let mut packs = entries
        .map(|entry| entry.path())
        .filter(|path| name(path).is_some_and(|name| name.starts_with("000")));
    packs.next().expect("a pack")
}

#[test]
fn what_verify_and_drills_find_is_told() {
    let (mut scene, cluster) = archiving();
    let configure = |scene: &Scene, check: &str, drill_age: &str| {
        let scratch = scene.archive.directory().join("scratch");
        let tables = format!(
            "{}[schedule]\nverify = \"every 2s\"\n[drill]\nscratch = \"{}\"\namcheck = false\n\
             checks = [\"{check}\"]\n",
            tables(&cluster),
            scratch.display()
        );
        scene.configure("", &format!("drill_age = \"{drill_age}\""), &tables);
    };
    configure(&scene, "select false", "15s");
    scene.start();
    let id = backup(&scene);
    run(&scene, &["drill"], 1);
    scene.wait_raised("drill");
    // None has succeeded, for as long as an archive may be without.
    scene.wait_raised("drill-age");
    configure(&scene, "select true", "15s");
    run(&scene, &["drill"], 0);
    scene.wait_resolved("drill-age");
    scene.wait_resolved("drill");
    configure(&scene, "select true", "1h");
    scene.signal(nix::sys::signal::Signal::SIGHUP);

    // The scheduled verify finds it, and is a job that failed.
    fs::remove_file(pack(&scene, 1, &id)).expect("remove it");
    scene.wait_raised("missing/b");
    scene.wait_raised("job/verify");
    run(&scene, &["verify", "--repair"], 0);
    scene.wait_resolved("missing/b");
    scene.wait_resolved("job/verify");

    let damaged = pack(&scene, 0, &id);
    let mut bytes = fs::read(&damaged).expect("read it");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&damaged, &bytes).expect("write it");
    run(&scene, &["verify", "--deep"], 1);
    scene.wait_raised("damaged-backup/a");
    run(&scene, &["verify", "--deep", "--repair"], 0);
    scene.wait_resolved("damaged-backup/a");
    scene.wait_green();
    scene.stop();
}

#[test]
fn a_window_that_is_shorter_than_asked_for_is_told() {
    let (mut scene, cluster) = archiving();
    let window = "[retention]\nwindow = \"20s\"\nmin_backups = 1\n";
    scene.configure("", "", &format!("{}{window}", tables(&cluster)));
    scene.start();
    let first = backup(&scene);
    std::thread::sleep(Duration::from_secs(23));
    // The archive is older than that, and so is what can be restored.
    assert_eq!(scene.status()["conditions"], serde_json::json!([]));
    backup(&scene);
    run(&scene, &["backup", "delete", &first, "--yes"], 0);
    scene.wait_raised("window");
    // Time passes.
    scene.wait_resolved("window");
    scene.stop();
}
