//! Stores that are away, that fail in the middle, that lack a backup, and that
//! keep versions.

use std::{fs, os::unix::fs::PermissionsExt, thread, time::Duration};

use super::{
    listed, restored, short_window,
    support::{
        archive::{Archive, MIB, files_in, segment, segment_name},
        host::skip,
        postgres::{Cluster, default_server},
        s3::{S3Server, Versitygw},
        site::Site,
    },
    world::{BUCKET, contents, fill},
    world_of,
};

const STAGING: &str = "[retention]\nwindow = \"1s\"\nmin_backups = 1\n";

/// Directory stores `a` and `b` with five old segments, and no backup.
fn adopted(settings: &str) -> Archive {
    let archive = Archive::new(&["a", "b"]);
    configure(&archive, settings);
    let begun = archive.run(&["catalog", "rebuild"]);
    assert_eq!(begun.code, 0, "{}", begun.stderr);
    archive.stage_many(5, 10_000);
    archive
}

fn configure(archive: &Archive, settings: &str) {
    let stores = archive.directory_store("a") + &archive.directory_store("b");
    archive.configure(settings, &stores);
}

fn wal(archive: &Archive, store: &str) -> usize {
    files_in(&archive.store(store).join("main/wal")).len()
}

#[test]
fn nothing_goes_anywhere_while_a_store_is_away() {
    let archive = adopted(STAGING);
    archive.ship_well();
    thread::sleep(Duration::from_millis(1200));
    let (place, away) = (archive.store("b"), archive.directory().join("away"));
    fs::rename(&place, &away).unwrap();
    for arguments in [&["prune", "--yes"][..], &["prune", "--dry-run"]] {
        let ran = archive.run(arguments);
        ran.says(
            1,
            &[
                "what stays is decided from what all stores hold, so nothing was deleted in any \
                 of them",
                "store \"b\"",
            ],
        );
    }
    assert_eq!(wal(&archive, "a"), 5);
    // A mount point without its volume is no archive that is empty.
    fs::create_dir(&place).unwrap();
    archive.run(&["prune", "--yes"]).says(1, &["store \"b\""]);
    assert_eq!(wal(&archive, "a"), 5);
    fs::remove_dir(&place).unwrap();
    fs::rename(&away, &place).unwrap();

    let ran = archive.run(&["prune", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let why = "it is older than the window, and there is no backup to replay it on";
    assert!(ran.stdout.contains(why), "{}", ran.stdout);
    assert_eq!((wal(&archive, "a"), wal(&archive, "b")), (0, 0));
    assert!(archive.records().is_empty());
    assert_eq!(archive.run(&["status"]).code, 0);
}

#[test]
fn what_was_owed_is_owed_no_more_once_it_has_gone() {
    let archive = adopted(&format!("high_water = \"0%\"\n{STAGING}"));
    let (place, away) = (archive.store("b"), archive.directory().join("away"));
    fs::rename(&place, &away).unwrap();
    assert_eq!(archive.ship().0, 1);
    assert!(archive.waiting().is_empty());
    fs::rename(&away, &place).unwrap();
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(archive.run(&["status"]).code, 1, "five are owed");
    let ran = archive.run(&["--json", "prune", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let done: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(done["stores"][0]["deleted"]["objects"], 5);
    assert_eq!(done["stores"][1]["deleted"]["objects"], 0);
    // One more, so that the second store is known to be back.
    let name = segment_name(1, 9, MIB);
    archive.stage(&name, &segment(&name, MIB, 10_000, 9));
    let (code, report) = archive.ship();
    assert_eq!((code, &report["owed"]), (0, &0.into()), "{report}");
    assert_eq!((wal(&archive, "a"), wal(&archive, "b")), (1, 1));
    let status = archive.run(&["status"]);
    assert_eq!(status.code, 0, "{}", status.stdout);
}

#[test]
fn what_is_staged_for_a_store_stays_and_what_is_only_kept_goes_along() {
    let window = format!("{STAGING}local_window = \"1d\"\n");
    let archive = adopted(&window);
    archive.ship_well();
    assert_eq!(archive.waiting().len(), 5, "kept for a day");
    // One more, which a store cannot take.
    let name = segment_name(1, 6, MIB);
    archive.stage(&name, &segment(&name, MIB, 10_000, 6));
    let (place, away) = (archive.store("b"), archive.directory().join("away"));
    fs::rename(&place, &away).unwrap();
    assert_eq!(archive.ship().0, 1);
    fs::rename(&away, &place).unwrap();
    thread::sleep(Duration::from_millis(1200));
    let ran = archive.run(&["prune", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let why = "stays: it is staged, and a store is still to get it";
    assert!(ran.stdout.contains(why), "{}", ran.stdout);
    assert_eq!((wal(&archive, "a"), wal(&archive, "b")), (1, 0));
    assert_eq!(archive.waiting(), [name]);
    archive.ship_well();
    assert_eq!((wal(&archive, "a"), wal(&archive, "b")), (1, 1));
    let ran = archive.run(&["prune", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(archive.waiting().is_empty());
    // Nothing of it comes back.
    archive.ship_well();
    assert_eq!((wal(&archive, "a"), wal(&archive, "b")), (0, 0));
}

#[test]
fn a_store_that_fails_in_the_middle_does_not_keep_the_other_from_going_on() {
    let site = Site::empty();
    let cluster = archiving(&site);
    let stores = ["one", "two"].map(|name| {
        site.subdirectory(name);
        site.directory_store(name)
    });
    site.configure(&site.head(&cluster), &stores.join("\n"));
    short_window(&site);
    site.walkeep(&["init"]).expect(0);
    cluster
        .sql("CREATE TABLE kept AS SELECT i, md5(i::text) AS word FROM generate_series(1, 999) i");
    let ids = [(); 2].map(|()| {
        let made = site.walkeep(&["--json", "backup", "create"]);
        made.expect(0).json()["id"].as_str().unwrap().to_owned()
    });
    let expected = contents(&cluster);
    let segment = cluster.switch_wal();
    cluster.wait_archived(&segment);
    site.walkeep(&["ship"]).expect(0);
    thread::sleep(Duration::from_millis(1200));
    let wal = |store: &str| files_in(&site.path(store).join("main/wal"));
    let before = wal("one");

    let of_first = site.path("two/main/backup").join(&ids[0]);
    let allow = |mode| {
        fs::set_permissions(&of_first, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    allow(0o555);
    let ran = site.walkeep(&["prune", "--yes"]);
    allow(0o2770);
    ran.expect(1)
        .tells("store \"two\": delete")
        .tells("what is left there goes with the next `walkeep prune`");
    let manifest = |store: &str| {
        let backup = site.path(store).join("main/backup").join(&ids[0]);
        backup.join("manifest.json.gz").exists()
    };
    assert_eq!([manifest("one"), manifest("two")], [false, true]);
    // It is still listed in the second: its WAL stays in both.
    assert_eq!(listed(&site), ids);
    assert_eq!([wal("one"), wal("two")], [before.clone(), before.clone()]);

    site.walkeep(&["prune", "--yes"]).expect(0);
    assert_eq!(listed(&site), ids[1..]);
    assert_eq!(wal("one"), wal("two"));
    assert!(wal("one").len() < before.len());
    let target = site.path("restored");
    let restore = site.walkeep(&["restore", target.to_str().unwrap()]);
    restore.expect(0);
    let restored = Cluster::over(cluster.server(), &target);
    restored.start();
    restored.wait_promoted();
    assert_eq!(contents(&restored), expected);
}

/// A cluster whose archive is not configured yet.
fn archiving(site: &Site) -> Cluster {
    Cluster::builder()
        .server(&default_server())
        .wal_segsize_mb(1)
        .conf("archive_mode = on")
        .conf("autovacuum = off")
        .conf(format!("archive_command = '{}'", site.archive_command()))
        .build()
}

#[test]
fn a_store_that_lacks_the_newest_backup_keeps_what_it_has() {
    let (world, mut ids) = world_of(2);
    world.stores[1].stop();
    let run = world.site.walkeep(&["--json", "backup", "create"]);
    let made = run.expect(1).json();
    assert_eq!(made["stores"], serde_json::json!(["one"]));
    ids.push(made["id"].as_str().unwrap().to_owned());
    world.stores[1].restart();
    world.ship();
    thread::sleep(Duration::from_millis(1200));
    world.site.walkeep(&["prune", "--yes"]).expect(0);
    assert_eq!(listed(&world.site), ids[1..]);
    let expected = contents(&world.cluster);
    // The second store alone brings it back.
    world.configure(&["two"]);
    assert_eq!(restored(&world), expected);
}

#[test]
fn deleting_frees_the_bytes_where_versions_are_kept() {
    let options = Versitygw {
        versioning: true,
        ..Versitygw::default()
    };
    let Some(server) = S3Server::start_versitygw(options) else {
        return skip("versitygw", "make versitygw");
    };
    server.create_bucket(BUCKET);
    let site = Site::empty();
    let cluster = archiving(&site);
    site.configure(
        &site.head(&cluster),
        &server.toml_store_table("one", "b2", BUCKET),
    );
    short_window(&site);
    site.walkeep(&["init"]).expect(0);
    fill(&cluster);
    for _ in 0..2 {
        site.walkeep(&["backup", "create", "--full"]).expect(0);
    }
    // A version behind the newest one, and one that a hide marker hides.
    let wal = files_in(&server.object_path(BUCKET, "main/wal"));
    server.put_plainly(BUCKET, &format!("main/wal/{}", wal[0]), "another version");
    thread::sleep(Duration::from_millis(1200));
    let size = || {
        let files = server.object_files(BUCKET).into_iter();
        files
            .map(|path| path.metadata().unwrap().len())
            .sum::<u64>()
    };
    let (files, bytes) = (server.object_files(BUCKET).len(), size());
    let done = site.walkeep(&["--json", "prune", "--yes"]);
    let done = done.expect(0).json();
    let data = done["data"].as_array().unwrap();
    assert!(data.iter().any(|it| it["backup"].is_string()), "{data:?}");
    let deleted = &done["stores"][0]["deleted"];
    let freed = bytes - size();
    assert!(freed > 2 << 20, "{freed} of {bytes}");
    assert!(freed >= deleted["bytes"].as_u64().unwrap(), "{deleted}");
    // With the versions that the markers of the two backups left, or not.
    let gone = files - server.object_files(BUCKET).len();
    assert!(gone as u64 > deleted["objects"].as_u64().unwrap(), "{gone}");
    let first = format!("main/wal/{}", wal[0]);
    assert!(!server.object_path(BUCKET, &first).exists());
    let versions = server.object_files(BUCKET).into_iter();
    let of_first = versions.filter(|path| path.to_string_lossy().contains(&wal[0]));
    assert_eq!(of_first.count(), 0);

    let target = site.path("restored");
    let restore = site.walkeep(&["restore", target.to_str().unwrap()]);
    restore.expect(0);
}
