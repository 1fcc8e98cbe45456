//! Bad input, and what it gets: one table for each kind, a situation a row.
//! Each is met by the commands that can meet it, which end with the right code
//! and say what it is, where, and what to do; and nothing is lost.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod stores;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeMap, fs, path::Path};

use support::{
    archive::{Archive, MIB, Ran, files_in, gunzip, gzip, put, segment, segment_name},
    host::hand_over,
};
use walkeep::codec::Sha256;

fn name(number: u64) -> String {
    segment_name(1, number, MIB)
}

fn bytes(number: u64) -> Vec<u8> {
    segment(&name(number), MIB, 50_000, number)
}

/// A file and its bytes for each name in staging; those of walkeep's own too.
fn staged(archive: &Archive) -> BTreeMap<String, Vec<u8>> {
    let staging = archive.staging();
    let files = files_in(&staging).into_iter();
    // A push that failed leaves a note for whoever watches.
    let files = files.filter(|name| name != "push.failed" && staging.join(name).is_file());
    files
        .map(|name| (name.clone(), fs::read(staging.join(name)).unwrap()))
        .collect()
}

/// Asserts how a row ended.
#[track_caller]
fn ends(situation: &str, command: &str, ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{situation}, {command}: {}", ran.stderr);
    for word in words {
        assert!(
            ran.stderr.contains(word),
            "{situation}, {command}: {word:?} is not said: {}",
            ran.stderr
        );
    }
}

/// What is in staging under a segment's name, and why it is not shipped.
fn invalid_files() -> Vec<(u64, &'static str, Vec<u8>, &'static str)> {
    let mut foreign = bytes(5);
    foreign[24..32].copy_from_slice(&42_u64.to_le_bytes());
    let short = bytes(1)[..500_000].to_vec();
    vec![
        (
            1,
            "short",
            short,
            "it is 500000 bytes long instead of 1048576",
        ),
        (
            2,
            "zero header",
            vec![0; MIB as usize],
            "its header is all zero",
        ),
        (3, "empty", Vec::new(), "it is 0 bytes long"),
        (
            4,
            "another segment",
            bytes(9),
            "its header says that it begins at 0/900000",
        ),
        (
            5,
            "another cluster's",
            foreign,
            "it belongs to the cluster 42",
        ),
    ]
}

#[test]
fn a_staged_file_that_is_not_valid() {
    let archive = Archive::new(&["a", "b"]);
    for (number, _, bytes, _) in invalid_files() {
        archive.stage(&name(number), &bytes);
    }
    // Beside them a valid one, what is no file, what is no segment, and what
    // is somebody else's.
    archive.stage(&name(6), &bytes(6));
    fs::create_dir(archive.staged(&name(7))).unwrap();
    archive.stage("00000002.history", b"nonsense\n");
    archive.stage("notes.txt", b"not walkeep's");
    let mut before = staged(&archive);

    let ran = archive.run(&["ship"]);
    let rows = invalid_files().into_iter();
    let rows = rows.map(|(number, situation, _, words)| (situation, name(number), words));
    let others = [
        ("a directory", name(7), "it is not a regular file"),
        (
            "no history",
            "00000002.history".to_owned(),
            "line 1 of the history file",
        ),
    ];
    for (situation, file, words) in rows.chain(others) {
        let line = format!("\"{file}\" in staging is not shipped: {words}");
        ends(situation, "ship", &ran, 1, &[&line]);
        let status = archive.run(&["status"]);
        assert!(
            status.stdout.contains(&line),
            "{situation}: {}",
            status.stdout
        );
        assert_eq!(status.code, 1);
    }
    before.remove(&name(6));
    assert_eq!(staged(&archive), before, "deleted, or changed");
    for store in ["a", "b"] {
        let objects = files_in(&archive.store(store).join("main/wal"));
        assert_eq!(objects, [format!("{}.gz", name(6))]);
    }
    let quarantine = archive.staging().join("quarantine");
    assert!(files_in(&quarantine).is_empty());

    // PostgreSQL was not told that they are archived, and pushes the valid ones.
    for (number, situation, invalid, _) in invalid_files() {
        let ran = archive.push(&archive.incoming(&name(number), &bytes(number)));
        let words = "a staged file of that name was not valid; it is in \"";
        ends(situation, "wal push", &ran, 0, &[words]);
        let aside = files_in(&quarantine).into_iter();
        let aside: Vec<String> = aside.filter(|it| it.starts_with(&name(number))).collect();
        assert_eq!(aside.len(), 1, "{situation}");
        assert!(ran.stderr.contains(&aside[0]), "{}", ran.stderr);
        assert_eq!(fs::read(quarantine.join(&aside[0])).unwrap(), invalid);
        assert_eq!(
            fs::read(archive.staged(&name(number))).unwrap(),
            bytes(number)
        );
    }
    fs::remove_dir(archive.staged(&name(7))).unwrap();
    let history = b"1\t0/200000\tno recovery target specified\n";
    archive.stage("00000002.history", history);
    archive.ship_well();
    for number in 1..=6 {
        assert!(gunzip(&archive.object("b", &name(number))) == bytes(number));
    }
}

#[test]
fn the_same_name_with_other_bytes() {
    let archive = Archive::new(&["a", "b"]);
    let other = segment(&name(1), MIB, 50_000, 99);
    let hashes = [Sha256::of(&bytes(1)), Sha256::of(&other)].map(|it| it.to_string());
    let [ours, theirs] = [hashes[0].as_str(), hashes[1].as_str()];
    let brain = format!("split brain: \"{}\" ", name(1));
    let words = [brain.as_str(), ours, theirs, "nothing was overwritten"];
    let push = |bytes: &[u8]| archive.push(&archive.incoming(&name(1), bytes));

    ends("the first", "wal push", &push(&bytes(1)), 0, &[]);
    ends("in staging", "wal push", &push(&other), 1, &words);
    ends(
        "in staging",
        "wal push",
        &push(&other),
        1,
        &["archive_mode = off"],
    );
    assert_eq!(fs::read(archive.staged(&name(1))).unwrap(), bytes(1));
    assert!(files_in(&archive.staging().join("quarantine")).is_empty());

    let object = archive.object("b", &name(1));
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    put(&object, &gzip(&other));
    hand_over(&archive.store("b"));
    let which = "Find out which server should write to this archive";
    let holder = format!("but store \"b\" has other bytes under that name ({theirs})");
    for _ in 0..2 {
        let ran = archive.run(&["ship"]);
        ends("in a store", "ship", &ran, 1, &words);
        ends("in a store", "ship", &ran, 1, &[&holder, which]);
        assert_eq!(gunzip(&object), other);
        assert_eq!(fs::read(archive.staged(&name(1))).unwrap(), bytes(1));
    }
    fs::remove_file(&object).unwrap();
    archive.ship_well();

    // It has left staging; its receipt tells.
    ends("shipped", "wal push", &push(&other), 1, &words);
    assert!(!archive.staged(&name(1)).exists());
    ends("shipped", "wal push", &push(&bytes(1)), 0, &[]);
    for store in ["a", "b"] {
        assert_eq!(gunzip(&archive.object(store, &name(1))), bytes(1));
    }
}

/// Situation, and what becomes of an object's bytes.
type Damage = (&'static str, fn(&[u8]) -> Vec<u8>);

const DAMAGES: [Damage; 4] = [
    ("corrupt", |whole| {
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 3] ^= 0x10;
        flipped
    }),
    ("truncated", |whole| whole[..whole.len() / 2].to_vec()),
    ("empty", |_| Vec::new()),
    ("another thing", |_| b"<html>not found</html>".to_vec()),
];

#[test]
fn a_damaged_object_on_fetch() {
    let archive = Archive::new(&["a", "b"]);
    let settings = format!(
        "[fetch]\nspool = \"{}\"\ntimeout = \"1s\"\nprefetch = 0\n",
        archive.directory().join("spool").display()
    );
    let tables = ["a", "b"].map(|store| archive.directory_store(store));
    archive.configure(&settings, &tables.concat());
    let to = archive.directory().join("fetched");
    for ((situation, damage), number) in DAMAGES.iter().zip(1..) {
        let segment = name(number);
        archive.stage(&segment, &bytes(number));
        archive.ship_well();
        let fetch = || {
            let _ = fs::remove_file(&to);
            archive.run(&["wal", "fetch", &segment, to.to_str().unwrap()])
        };
        let object = |store| archive.object(store, &segment);
        let whole = fs::read(object("a")).unwrap();
        put(&object("a"), &damage(&whole));
        let said = format!("store \"a\": \"main/wal/{segment}.gz\" is damaged");
        let from = format!("\"{segment}\" was fetched from store \"b\"");
        ends(situation, "wal fetch", &fetch(), 0, &[&said, &from]);
        assert!(fs::read(&to).unwrap() == bytes(number), "{situation}");
        let states = || ["a", "b"].map(|store| archive.state(&segment, store));
        assert_eq!(states(), ["suspect", "stored"], "{situation}");

        put(&object("b"), &damage(&whole));
        let words = ["is damaged wherever it is", "store \"a\"", "store \"b\""];
        ends(situation, "wal fetch", &fetch(), 200, &words);
        assert!(!to.exists(), "{situation}: served");
        assert_eq!(states(), ["suspect", "suspect"], "{situation}");
        for store in ["a", "b"] {
            assert_eq!(fs::read(object(store)).unwrap(), damage(&whole));
        }
    }
}

/// The file, where it is wrong, what is, and what was meant.
const CONFIGURATIONS: [(&str, &str, &str, Option<&str>); 14] = [
    (
        "[stagin]\npath = \"/s\"\n",
        "1:2",
        "unknown field `stagin`",
        Some("staging"),
    ),
    (
        "[staging]\n\nmax-size = \"1GB\"\n",
        "3:1",
        "unknown field `max-size`",
        Some("max_size"),
    ),
    (
        "[fetch]\n  prefech = 3\n",
        "2:3",
        "unknown field `prefech`",
        Some("prefetch"),
    ),
    (
        "[[store]]\nname = \"a\"\ntype = \"r3\"\n",
        "3:8",
        "unknown variant `r3`",
        Some("r2"),
    ),
    (
        "[[store]]\nname = \"a\"\ntype = \"r2\"\nacount_id = \"1\"\n",
        "4:1",
        "unknown field `acount_id`",
        Some("account_id"),
    ),
    (
        "[staging]\nacknowledge = \"all-store\"\n",
        "2:15",
        "unknown variant `all-store`",
        Some("all-stores"),
    ),
    // Nothing is near, nothing is guessed.
    (
        "[staging]\nwhatever_this_is = 1\n",
        "2:1",
        "unknown field `whatever_this_is`",
        None,
    ),
    (
        "[staging]\nmax_size = \"20 GoB\"\n",
        "2:12",
        "\"20 GoB\" is not a size",
        Some("20GiB"),
    ),
    (
        "[staging]\nmax_size = \"-1\"\n",
        "2:12",
        "\"-1\" is not a size, such as \"20GiB\"",
        None,
    ),
    (
        "[staging]\nhigh_water = \"180%\"\n",
        "2:14",
        "\"180%\" is not a share",
        Some("100%"),
    ),
    (
        "[staging]\nhigh_water = \"0.8\"\n",
        "2:14",
        "\"0.8\" is not a share",
        Some("80%"),
    ),
    (
        "[fetch]\ntimeout = \"300\"\n",
        "2:11",
        "\"300\" is not a duration",
        Some("300s"),
    ),
    (
        "[fetch]\ntimeout = \"5 minuts\"\n",
        "2:11",
        "\"5 minuts\" is not a duration",
        Some("5minutes"),
    ),
    (
        "[fetch]\ntimeout = \"soon\"\n",
        "2:11",
        "\"soon\" is not a duration, such as \"30s\"",
        None,
    ),
];

#[test]
fn a_configuration_that_cannot_be_understood() {
    let archive = Archive::new(&["a"]);
    archive.stage(&name(1), &bytes(1));
    let before = staged(&archive);
    let pushed = archive.incoming(&name(2), &bytes(2));
    let to = archive.directory().join("fetched");
    let (pushed, to) = (pushed.to_str().unwrap(), to.to_str().unwrap());
    for (text, at, wrong, meant) in CONFIGURATIONS {
        put(&archive.config(), text.as_bytes());
        let start = format!("{}:{at}: {wrong}", archive.config().display());
        let end = meant.map(|meant| format!("; did you mean `{meant}`?\n"));
        for (command, code) in [
            (&["wal", "push", pushed][..], 2),
            (&["wal", "fetch", &name(1), to], 200),
            (&["ship"], 2),
            (&["check", "--config-only"], 2),
        ] {
            let ran = archive.run(command);
            ends(text, &command.join(" "), &ran, code, &[&start]);
            let said = ran.stderr.contains("did you mean");
            assert_eq!(said, end.is_some(), "{}", ran.stderr);
            let end = end.as_deref().unwrap_or("\n");
            assert!(ran.stderr.ends_with(end), "{}", ran.stderr);
        }
        assert_eq!(staged(&archive), before, "{text}");
        assert!(!Path::new(to).exists());
    }
}
