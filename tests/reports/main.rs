//! What `walkeep status` and `walkeep wal list` say of an archive, to people
//! and to scripts: every word, every field, and the exit code.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod list;
mod status;
#[path = "../support/mod.rs"]
mod support;
mod terminal;

use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use support::archive::{Archive, MIB, Ran, segment, segment_name};

/// An archive as `init` leaves it: its catalog knows that there is nothing in
/// the stores.
fn archive(stores: &[&str]) -> Archive {
    let archive = Archive::new(stores);
    begin_catalog(&archive);
    archive
}

fn begin_catalog(archive: &Archive) {
    let ran = archive.run(&["catalog", "rebuild"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// Stages segments by their numbers, and returns their names.
fn stage(archive: &Archive, numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let stage = |number| {
        let name = segment_name(1, number, MIB);
        archive.stage(&name, &segment(&name, MIB, 5000, number));
        name
    };
    numbers.into_iter().map(stage).collect()
}

/// As if a file had been written so long ago.
fn age(path: &Path, minutes: u64) {
    let file = File::options().write(true).open(path).expect("open");
    let then = SystemTime::now() - Duration::from_secs(minutes * 60);
    file.set_modified(then).expect("set the time");
}

/// `walkeep VERB --json`: the exit code, and the lines or the document.
fn json(archive: &Archive, arguments: &[&str]) -> (i32, Vec<Value>) {
    let ran = archive.run(&[arguments, &["--json"]].concat());
    let values = serde_json::Deserializer::from_str(&ran.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
    (ran.code, values)
}

/// Exactly this on stdout, and nothing on stderr.
#[track_caller]
fn prints(ran: &Ran, code: i32, stdout: &str) {
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (code, stdout, "")
    );
}
