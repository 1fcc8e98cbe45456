//! `walkeep drill`: what an archive holds comes back, in a scratch cluster
//! beside the living one. Real PostgreSQL, real S3 servers, real signals.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod ends;
mod isolated;
mod scheduled;
#[path = "../support/mod.rs"]
mod support;
mod turns;
#[allow(dead_code, reason = "the tests of `restore` use more of it")]
#[path = "../restore/world.rs"]
mod world;

use std::{fs, path::PathBuf, time::Duration};

use serde_json::Value;
use support::{host::wait_until, site::Run};
use walkeep::catalog::{Catalog, DrillRecord};
use world::World;

/// Sets keys of `[drill]`.
fn configure(world: &World, keys: &str) {
    let table = format!("[drill]\n{keys}\n");
    world
        .site
        .reconfigure(|text| text.replacen("[drill]\n", &table, 1));
}

/// A drill; what it says as JSON.
fn drill(world: &World, arguments: &[&str], code: i32) -> (Value, Run) {
    let run = world
        .site
        .walkeep(&[&["--json", "drill"], arguments].concat());
    run.expect(code);
    (run.json(), run)
}

/// What the catalog has kept.
fn kept(world: &World) -> Vec<DrillRecord> {
    let catalog = Catalog::at(world.site.path("catalog/catalog.redb"));
    catalog.read(|reader| reader.drills()).unwrap()
}

fn scratch(world: &World) -> PathBuf {
    world.site.path("scratch")
}

/// Nothing is left of any drill: no scratch cluster, and soon nothing that was
/// fetched ahead for it either.
#[track_caller]
fn is_clean(world: &World) {
    let in_it = |directory: PathBuf| {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.flatten().collect::<Vec<_>>()
    };
    let left = in_it(scratch(world));
    assert!(left.is_empty(), "{left:?}");
    wait_until("the spool is empty", Duration::from_secs(10), || {
        in_it(world.site.path("spool")).is_empty()
    });
}
