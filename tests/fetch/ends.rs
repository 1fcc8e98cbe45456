//! Exit codes that are not about the file.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::archive::{Archive, TO, ended, silent_server};

const NAME: &str = "000000010000000400000024";

#[test]
fn sigterm_ends_it_at_once_with_143() {
    let archive = Archive::new(&[]).s3_store("silent", silent_server());
    let archive = archive.fetch("timeout = \"5m\"\nprefetch = 0");
    let mut child = archive.start(NAME);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(
        child.try_wait().unwrap().is_none(),
        "it waits for the store"
    );
    let begun = Instant::now();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!((status.code(), status.signal()), (Some(143), None));
}

#[test]
fn what_is_wrong_with_the_command_ends_recovery() {
    let archive = Archive::new(&["r2"]);
    for (arguments, word) in [
        (&[][..], "required"),
        (&[NAME], "required"),
        (&[NAME, TO, "more"], "unexpected"),
        (&["--no-such", NAME, TO], "unexpected"),
        (&[NAME, TO, "--plan"], "required"),
        (
            &["000000010000000400000024.gz", TO],
            "not the name of a WAL file",
        ),
        (
            &["../000000010000000400000024", TO],
            "not the name of a WAL file",
        ),
        (&["", TO], "not the name of a WAL file"),
    ] {
        let mut command = archive.command(arguments);
        let ended = ended(command.output().unwrap());
        ended.failed(&archive, 200, &[word]);
    }
}

#[test]
fn what_is_wrong_with_the_configuration_ends_recovery() {
    let archive = Archive::new(&["r2"]);
    archive.store("r2", NAME);
    let fetch = |config: &str| {
        let path = archive.path("other.toml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_walkeep"));
        command
            .arg("--config")
            .arg(path)
            .args(["wal", "fetch", NAME, TO]);
        ended(command.current_dir(archive.data()).output().unwrap())
    };
    fetch("[[stores]]\n").failed(&archive, 200, &["stores"]);
    fetch("[fetch]\ntimeout = \"soon\"\n").failed(&archive, 200, &["other.toml:2:11", "\"soon\""]);
    fetch("").failed(&archive, 200, &["store"]);
    let missing = archive.path("no-such.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_walkeep"));
    command
        .arg("--config")
        .arg(missing)
        .args(["wal", "fetch", NAME, TO]);
    let ended = ended(command.current_dir(archive.data()).output().unwrap());
    ended.failed(&archive, 200, &["no-such.toml"]);
}

#[test]
fn a_destination_that_cannot_be_written_ends_recovery() {
    let archive = Archive::new(&["r2"]);
    archive.store("r2", NAME);
    let mut command = archive.command(&[NAME, "no-such/RECOVERYXLOG"]);
    let words = ["put \"no-such/RECOVERYXLOG\" in place"];
    ended(command.output().unwrap()).failed(&archive, 200, &words);
    fs::create_dir(archive.data().join("taken")).unwrap();
    let mut command = archive.command(&[NAME, "taken"]);
    let words = ["put \"taken\" in place"];
    ended(command.output().unwrap()).failed(&archive, 200, &words);
    // pg_control that cannot be understood: whose WAL would it be?
    fs::write(archive.data().join("global/pg_control"), "damaged").unwrap();
    archive.run(NAME).failed(&archive, 200, &["pg_control"]);
}
