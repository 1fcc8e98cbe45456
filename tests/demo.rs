//! `walkeep demo`, as somebody runs it who tries walkeep for the first time.
#![cfg(feature = "demo")]
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod support;

use std::{path::Path, process::Command};

use serde_json::Value;
use support::{
    archive::{Ran, files_in, ran},
    host::{TempDir, as_server_user, skip, walkeep_binary},
    postgres::{default_server, process::working_in},
};

/// `walkeep demo` with temporary files in a directory of the test's, and
/// PostgreSQL's programs from `bin`.
fn demo(temporary: &Path, bin: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(walkeep_binary());
    command
        .env_clear()
        .env("TMPDIR", temporary)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .args(["demo", "--load", "1"])
        .args(arguments);
    command
}

#[track_caller]
fn nothing_is_left(temporary: &TempDir) {
    assert_eq!(files_in(temporary), Vec::<String>::new());
}

fn tells_the_story(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for step in [
        "an S3 server stands in for r2: http://127.0.0.1:",
        "an S3 server stands in for b2: http://127.0.0.1:",
        "archive_command = 'walkeep wal push %p'",
        "a full backup: ",
        "a second one, of what changed: ",
        "then somebody deletes them all; the moment before is ",
        " is in both stores",
        "disaster: SIGKILL; data directory, staging and catalog are gone",
        "walkeep restore: the second backup is in place again",
        "recovered to ",
    ] {
        assert!(ran.stderr.contains(step), "{step:?} in\n{}", ran.stderr);
    }
}

#[test]
fn every_row_comes_back_and_nothing_is_left_behind() {
    let temporary = TempDir::new();
    let bin = default_server().bin;
    let mut command = demo(&temporary, &bin, &["--json"]);
    let ran = ran(as_server_user(&mut command));
    tells_the_story(&ran);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["rows_are_right"], true);
    // 100 before the base backup, 1000 after it, and the one that is marked.
    assert_eq!(summary["rows"], serde_json::json!([1101, 1101]));
    assert!(summary["segments"].as_u64().unwrap() >= 2, "{summary}");
    let (full, delta) = (&summary["backup_bytes"][0], &summary["backup_bytes"][1]);
    assert!(
        delta.as_u64().unwrap() * 3 < full.as_u64().unwrap(),
        "{summary}"
    );
    for number in ["stored_bytes", "rpo_seconds", "rto_seconds"] {
        assert!(summary[number].as_f64().unwrap() > 0.0, "{summary}");
    }
    nothing_is_left(&temporary);
}

/// As whoever runs the tests, root perhaps; for people, and kept.
#[test]
fn it_keeps_everything_where_it_is_asked_to() {
    let temporary = TempDir::new();
    let bin = default_server().bin;
    let kept = temporary.join("kept");
    let ran = ran(&mut demo(
        &temporary,
        &bin,
        &["--keep", kept.to_str().unwrap()],
    ));
    tells_the_story(&ran);
    let line = "recovered 1101 rows (expected 1101): exactly the rows of ";
    assert!(ran.stdout.starts_with(line), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nRPO "), "{}", ran.stdout);
    assert_eq!(files_in(&temporary), ["kept"]);
    assert!(kept.join("data/PG_VERSION").is_file());
    assert!(kept.join("r2/backups/demo/wal").is_dir());
    assert_eq!(working_in(&kept.join("data")), [], "a server still runs");
    // What is there already is somebody's.
    let again = crate::ran(&mut demo(
        &temporary,
        &bin,
        &["--keep", kept.to_str().unwrap()],
    ));
    again.says(1, &["make the directory", "File exists"]);
    assert!(kept.join("data/PG_VERSION").is_file());
}

#[test]
fn without_postgresqls_programs_it_says_what_to_install() {
    let temporary = TempDir::new();
    let walkeep = walkeep_binary().to_str().unwrap();
    // Debian's are found wherever PATH leads: here, where nobody else sees
    // it, there is an empty directory over them.
    let hidden = "mount -t tmpfs none /usr/lib/postgresql && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", hidden, "sh"])
        .args(["env", "-i", "PATH=/nowhere"])
        .arg(format!("TMPDIR={}", temporary.display()))
        .args([walkeep, "demo"]);
    if !Path::new("/usr/lib/postgresql").exists() {
        command = demo(&temporary, Path::new("/nowhere"), &[]);
        command.env("PATH", "/nowhere");
    } else if ran(Command::new("unshare").args(["--mount", "true"])).code != 0 {
        return skip(
            "a hidden PostgreSQL",
            "run the tests as root, where mounting is allowed",
        );
    }
    ran(&mut command).says(
        1,
        &[
            "find PostgreSQL's programs (initdb, postgres)",
            "apt-get install postgresql",
        ],
    );
    nothing_is_left(&temporary);
}
