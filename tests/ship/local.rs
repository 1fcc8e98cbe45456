//! `retention.local_window`: what every store has stays in staging for a while.

use std::{
    collections::BTreeMap,
    fs::File,
    time::{Duration, SystemTime},
};

use walkeep::codec::Sha256;

use crate::{
    problems,
    support::archive::{Archive, MIB, segment, segment_name},
};

const DAY: u64 = 24 * 60 * 60;

fn configure(archive: &Archive, settings: &str) {
    let stores = archive.directory_store("a") + &archive.directory_store("b");
    archive.configure(settings, &stores);
}

fn kept(settings: &str) -> (Archive, BTreeMap<String, Vec<u8>>) {
    let archive = Archive::new(&["a", "b"]);
    let window = format!("{settings}\n[retention]\nlocal_window = \"2d\"");
    configure(&archive, &window);
    assert_eq!(archive.run(&["catalog", "rebuild"]).code, 0);
    let files = archive.stage_many(4, 50_000);
    (archive, files)
}

/// As if it had been written so long ago.
fn age(archive: &Archive, name: &str, seconds: u64) {
    let file = File::open(archive.staged(name)).unwrap();
    let then = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(then).unwrap();
}

#[test]
fn it_is_shipped_once_and_leaves_when_the_window_is_over() {
    let (archive, files) = kept("");
    let names: Vec<String> = files.keys().cloned().collect();
    age(&archive, &names[0], 3 * DAY);
    let (code, report) = archive.ship();
    assert_eq!((code, &report["waiting"]), (0, &0.into()), "{report}");
    assert_eq!((&report["files"], &report["kept"]), (&1.into(), &3.into()));
    assert_eq!(archive.waiting(), names[1..]);
    let status = archive.run(&["--json", "status"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["staging"]["files"], 0);
    assert_eq!(status["staging"]["kept_files"], 3);
    assert_eq!(status["staging"]["oldest_seconds"], serde_json::Value::Null);

    // It serves whoever fetches, and is not sent again.
    let (code, report) = archive.ship();
    assert_eq!(code, 0);
    assert_eq!((&report["files"], &report["kept"]), (&0.into(), &3.into()));
    assert_eq!(report["stores"], serde_json::json!({}));

    age(&archive, &names[2], 2 * DAY + 60);
    let (code, report) = archive.ship();
    assert_eq!((code, &report["kept"]), (0, &2.into()), "{report}");
    assert_eq!(archive.waiting(), [names[1].clone(), names[3].clone()]);
    let receipt = archive.receipt(&names[2]);
    assert_eq!(receipt, Some(Sha256::of(&files[&names[2]])));
    // PostgreSQL repeats itself: the copy answers.
    archive.push_well(&archive.incoming(&names[1], &files[&names[1]]));

    // Without a window nothing stays.
    configure(&archive, "");
    archive.ship_well();
    assert_eq!(archive.waiting(), [""; 0]);
}

/// Room for two segments of 1 MiB, and a half.
const NARROW: &str = "max_size = \"10MiB\"\nhigh_water = \"25%\"";

/// Whichever are everywhere first.
#[test]
fn as_many_leave_however_many_are_on_their_way() {
    let (archive, _) = kept(NARROW);
    let (code, report) = archive.ship();
    assert_eq!((code, &report["owed"]), (0, &0.into()), "{report}");
    assert_eq!((&report["files"], &report["kept"]), (&2.into(), &2.into()));
}

#[test]
fn what_waits_outranks_what_is_kept() {
    // One after the other, so that the oldest is everywhere first.
    let (archive, files) = kept(&format!("{NARROW}\n[ship]\nconcurrency = 1"));
    let (code, report) = archive.ship();
    assert_eq!((code, &report["owed"]), (0, &0.into()), "{report}");
    // Four of 1 MiB are more than 2.5: the oldest left.
    assert_eq!((&report["files"], &report["kept"]), (&2.into(), &2.into()));
    let newest: Vec<String> = files.keys().skip(2).cloned().collect();
    assert_eq!(archive.waiting(), newest);
    assert_eq!(archive.run(&["status"]).code, 0);

    // With a store away, copies leave before anything is owed.
    std::fs::rename(archive.store("b"), archive.directory().join("away")).unwrap();
    let stage = |number| {
        let name = segment_name(1, number, MIB);
        archive.stage(&name, &segment(&name, MIB, 50_000, number));
        name
    };
    let first = stage(8);
    let (code, report) = archive.ship();
    assert_eq!((code, &report["owed"]), (1, &0.into()), "{report}");
    assert_eq!(archive.waiting(), [newest[1].clone(), first.clone()]);
    let second = stage(9);
    let (_, report) = archive.ship();
    assert_eq!(report["owed"], 0, "{report}");
    assert_eq!(archive.waiting(), [first.clone(), second.clone()]);
    let third = stage(10);
    let (_, report) = archive.ship();
    assert_eq!(report["owed"], 1, "{report}");
    assert_eq!(archive.waiting(), [second, third]);
}

#[test]
fn a_copy_that_somebody_changed_does_not_leave() {
    let (archive, files) = kept("");
    archive.ship_well();
    let name = files.keys().next().unwrap();
    archive.stage(name, &segment(name, MIB, 50_000, 77));
    age(&archive, name, 3 * DAY);
    let (code, report) = archive.ship();
    assert_eq!(code, 1);
    assert!(problems(&report).contains("split brain"), "{report}");
    assert!(archive.waiting().contains(name));
}
