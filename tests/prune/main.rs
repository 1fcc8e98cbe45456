//! `walkeep prune` and `walkeep backup delete` on real input: what goes is gone
//! from every store, and what stays restores, whenever they are killed.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod asked;
mod killed;
mod running;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod whole;
#[allow(dead_code, reason = "the tests of restore use all of it")]
#[path = "../restore/world.rs"]
mod world;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use support::site::{Run, Site};
use world::{BUCKET, World, fill};

/// A short window, so that what is a second old is out of it.
const SHORT: &str = "[retention]\nwindow = \"1s\"\nmin_backups = 1\n\n[catalog]";

fn short_window(site: &Site) {
    site.reconfigure(|text| text.replace("[catalog]", SHORT));
}

/// A cluster with so many backups, each of which differs from the one before,
/// and WAL behind the last. The window is over. With the backups' ids.
fn world_of(backups: usize) -> (World, Vec<String>) {
    let world = World::new();
    short_window(&world.site);
    fill(&world.cluster);
    let mut ids = Vec::new();
    for turn in 0..backups {
        let first = turn * 20_000;
        world.cluster.sql(&format!(
            "UPDATE kept SET word = 'turn {turn}' WHERE i BETWEEN {first} AND {}; CHECKPOINT",
            first + 3000
        ));
        let made = world.backup();
        assert_eq!(made["based_on"].is_null(), turn == 0);
        ids.push(made["id"].as_str().expect("an id").to_owned());
    }
    world
        .cluster
        .sql("INSERT INTO kept VALUES (-1, 'behind the last backup', '')");
    world.ship();
    thread::sleep(Duration::from_millis(1500));
    (world, ids)
}

/// The keys in a store, without the prefix.
fn keys(world: &World, store: usize) -> BTreeSet<String> {
    let root = world.stores[store].object_path(BUCKET, "main");
    let files = world.stores[store].object_files(BUCKET).into_iter();
    let below = files.filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_owned()));
    below.map(|path| path.display().to_string()).collect()
}

/// The backups that are listed.
fn listed(site: &Site) -> Vec<String> {
    let list = site.walkeep(&["--json", "backup", "list"]);
    lines(list.expect(0))
        .iter()
        .map(|backup| backup["id"].as_str().expect("an id").to_owned())
        .collect()
}

fn lines(run: &Run) -> Vec<Value> {
    let lines = run.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON Lines"))
        .collect()
}

/// As if it had been stored so long ago.
fn age(path: &Path, hours: u64) {
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    file.set_modified(then).expect("set the time");
}

fn age_all(paths: &[PathBuf], hours: u64) {
    paths.iter().for_each(|path| age(path, hours));
}

/// Restores to the end, and what is in it then.
fn restored(world: &World) -> (i64, String) {
    world.restore(&[]).expect(0);
    world::contents(&world.start())
}

/// The catalog has exactly the WAL that both stores have, no gap is told, and
/// nothing comes back.
#[track_caller]
fn catalog_is_true(world: &World) {
    let wal = |store: usize| -> BTreeSet<String> {
        let keys = keys(world, store).into_iter();
        keys.filter(|key| key.starts_with("wal/")).collect()
    };
    let oldest = wal(0).first().cloned();
    // Reading a table writes WAL: the hint bits of its pages.
    world.ship();
    assert_eq!(wal(0).first().cloned(), oldest);
    let list = world.site.walkeep(&["wal", "list"]);
    list.expect(0).says_not("GAP");
    let status = world.site.walkeep(&["--json", "status"]).expect(0).json();
    let backups = listed(&world.site).len();
    for store in status["stores"].as_array().expect("stores") {
        assert_eq!(store["backups"], backups, "{store}");
    }
    let export = world.site.walkeep(&["catalog", "export"]);
    let known: BTreeSet<String> = lines(export.expect(0))
        .iter()
        .map(|record| format!("wal/{}.gz", record["name"].as_str().expect("a name")))
        .collect();
    assert_eq!([&known, &known], [&wal(0), &wal(1)]);
}
