//! Base backups on real input: a running cluster that is written to, and
//! stores that check signatures. What comes back is checked by the commands of
//! docs/BREAK-GLASS.md, which share no code with walkeep.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

#[path = "../support/mod.rs"]
mod support;

mod break_glass;
mod catalog;
mod content;
mod outages;

use serde_json::Value;
use support::{
    postgres::{Cluster, default_server},
    site::{Run, Site},
};

/// A cluster that archives through walkeep into two directories.
fn archiving(site: &Site) -> Cluster {
    archiving_with(site, &[])
}

fn archiving_with(site: &Site, settings: &[&str]) -> Cluster {
    let mut builder = Cluster::builder()
        .server(&default_server())
        .checksums(true)
        .conf("archive_mode = on")
        .conf("autovacuum = off")
        .conf(format!("archive_command = '{}'", site.archive_command()));
    for setting in settings {
        builder = builder.conf(*setting);
    }
    let cluster = builder.build();
    for store in ["one", "two"] {
        site.subdirectory(store);
    }
    let stores = format!(
        "{}\n{}",
        site.directory_store("one"),
        site.directory_store("two")
    );
    site.configure(&site.head(&cluster), &stores);
    site.walkeep(&["init"]).expect(0);
    cluster
}

/// About 30 MB in a table, and its index.
fn fill(cluster: &Cluster) {
    cluster.sql(
        "CREATE TABLE kept (i int PRIMARY KEY, word text, filler char(200)); \
         INSERT INTO kept SELECT i, md5(i::text), '' FROM generate_series(1, 100000) i; \
         CHECKPOINT",
    );
}

/// Takes a backup that must succeed, and gives what `--json` says.
fn backup(site: &Site, more: &[&str]) -> Value {
    let arguments = [&["--json", "backup", "create"], more].concat();
    site.walkeep(&arguments).expect(0).json()
}

fn number(value: &Value, field: &str) -> u64 {
    let number = value["totals"][field].as_u64();
    number.unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn listed(run: &Run) -> Vec<Value> {
    let lines = run.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON Lines"))
        .collect()
}
