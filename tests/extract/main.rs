//! `walkeep extract` on real input: a command on a scratch cluster beside the
//! living one, which takes no harm.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod ends;
mod isolated;
mod looked_into;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the tests of `restore` use more of it")]
#[path = "../restore/world.rs"]
mod world;

use std::{fs, path::PathBuf};

use support::{postgres::default_server, site::Run};
use world::World;

/// A client program of this host.
fn program(name: &str) -> String {
    default_server().bin.join(name).display().to_string()
}

/// Runs one statement on a scratch cluster.
fn ask(world: &World, target: &[&str], statement: &str) -> Run {
    let psql = program("psql");
    let command = ["--", &psql, "--no-psqlrc", "-At", "-c", statement];
    world
        .site
        .walkeep(&[&["extract"], target, &command].concat())
}

fn scratch(world: &World) -> PathBuf {
    world.site.path("scratch")
}

/// Nothing is left of any scratch cluster.
#[track_caller]
fn is_clean(world: &World) {
    let left: Vec<_> = fs::read_dir(scratch(world)).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The live cluster's clock, with its zone.
fn now(world: &World) -> String {
    let time =
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    world.cluster.value(time)
}
