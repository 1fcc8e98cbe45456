//! Stores that fail, walkeep killed, and two at once.

use std::{fs, process::Command, thread, time::Duration};

use super::{
    archiving, backup, fill, listed,
    support::{
        host::{as_server_user, wait_until, walkeep_binary},
        site::Site,
    },
};

#[test]
fn a_store_that_is_away_does_not_keep_the_backup_from_the_other() {
    let site = Site::empty();
    let cluster = archiving(&site);
    fill(&cluster);
    fs::rename(site.path("two"), site.path("away")).unwrap();
    let run = site.walkeep(&["--json", "backup", "create"]);
    let made = run.expect(1).tells("two").json();
    assert_eq!(made["stores"], serde_json::json!(["one"]));
    assert!(made["failures"]["two"].is_string());
    fs::rename(site.path("away"), site.path("two")).unwrap();
    // Only what both have is built on.
    let next = backup(&site, &[]);
    assert!(next["based_on"].is_null());
    assert_eq!(next["stores"], serde_json::json!(["one", "two"]));
}

#[test]
fn a_backup_that_was_killed_is_none_and_the_next_one_is() {
    let site = Site::empty();
    let cluster = archiving(&site);
    fill(&cluster);
    site.reconfigure(|text| {
        text.replace("[catalog]", "[ship]\nrate_limit = \"300KiB\"\n[catalog]")
    });
    let mut create = Command::new(walkeep_binary());
    let mut create = as_server_user(&mut create)
        .arg("--config")
        .arg(site.config())
        .args(["backup", "create"])
        .spawn()
        .unwrap();
    let begun = || {
        let backups = fs::read_dir(site.path("one/main/backup"));
        backups.is_ok_and(|mut backups| backups.next().is_some())
    };
    wait_until("the marker is there", Duration::from_secs(20), begun);
    // Another one is refused while it lives.
    site.walkeep(&["backup", "create"])
        .expect(1)
        .tells("being made already");
    thread::sleep(Duration::from_millis(300));
    create.kill().unwrap();
    create.wait().unwrap();
    let list = site.walkeep(&["--json", "backup", "list"]);
    assert!(listed(list.expect(0).tells("has no manifest")).is_empty());

    // Its marker is fresh, but its process is dead.
    site.reconfigure(|text| text.replace("300KiB", "0"));
    let made = backup(&site, &[]);
    assert!(made["based_on"].is_null());
}

#[test]
fn every_backup_has_a_name_of_its_own_behind_all_others() {
    let site = Site::empty();
    let _cluster = archiving(&site);
    let ids = [backup(&site, &[]), backup(&site, &[]), backup(&site, &[])];
    let ids = ids.map(|made| made["id"].as_str().unwrap().to_owned());
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    // What a backup left that was begun by a clock far ahead.
    let ahead = site.path("one/main/backup/29990101T000000Z");
    fs::create_dir(&ahead).unwrap();
    fs::write(ahead.join("000001.gz"), "").unwrap();
    let refused = site.walkeep(&["backup", "create"]);
    refused
        .expect(1)
        .tells("clock is behind")
        .tells("29990101T000000Z");
}
