//! What the daemon does for `wal push` and `wal fetch`: they may not see its
//! credentials, and are told the same as they would find out themselves.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::PathBuf,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    Daemon,
    support::{
        archive::{MIB, Ran, Running, ran, segment, segment_name},
        host::wait_until,
    },
};

/// A daemon that PostgreSQL's commands need: after its start, the credentials
/// are where they do not find them.
fn started(staging: &str) -> Daemon {
    let mut it = Daemon::new();
    it.configure_staging(staging);
    it.start();
    hide_credentials(&it);
    it
}

fn hide_credentials(it: &Daemon) {
    let config = it.archive.config();
    let text = fs::read_to_string(&config).unwrap();
    let hidden = text.replace("secret-access-key\"", "hidden-from-you\"");
    assert_ne!(text, hidden);
    fs::write(&config, hidden).unwrap();
}

fn made(it: &Daemon, number: u64) -> (String, Vec<u8>, PathBuf) {
    let name = segment_name(1, number, MIB);
    let bytes = segment(&name, MIB, 50_000, number);
    let path = it.archive.incoming(&name, &bytes);
    (name, bytes, path)
}

/// `wal fetch` into `pgdata`, by its name there.
fn fetch(it: &Daemon, name: &str) -> Ran {
    let mut command = it.archive.walkeep(&["wal", "fetch", name, "fetched"]);
    ran(command.current_dir(it.archive.directory().join("incoming")))
}

fn fetched(it: &Daemon) -> PathBuf {
    it.archive.directory().join("incoming/fetched")
}

#[test]
fn a_push_and_a_fetch_go_through_the_daemon() {
    let mut it = started("acknowledge = \"all-stores\"\n[fetch]\ntimeout = \"3s\"");
    let socket = fs::metadata(it.archive.staged("daemon.sock")).unwrap();
    let staging = fs::metadata(it.archive.staging()).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
    assert_eq!(socket.gid(), staging.gid());

    // In every store before PostgreSQL is told so.
    let (name, bytes, path) = made(&it, 1);
    it.archive.push_well(&path);
    assert!(it.holds(0, &name) && it.holds(1, &name));
    it.wait_shipped();
    fetch(&it, &name).says(0, &[]);
    assert_eq!(fs::read(fetched(&it)).unwrap(), bytes);
    // Proved absent, and only where both stores say so.
    let absent = segment_name(1, 2, MIB);
    fetch(&it, &absent).says(1, &["is not in staging, store \"a\" and store \"b\""]);
    fetch(&it, "00000002.history").says(1, &[]);
    it.servers[1].stop();
    fetch(&it, &absent).says(200, &["neither be fetched nor proved absent", "\"b\""]);
    fetch(&it, &name).says(0, &[]);
    // One store is not all of them.
    let (second, _, path) = made(&it, 2);
    let refused = it.archive.push(&path);
    refused.says(1, &["in 1 of 2 stores that", "PostgreSQL asks again"]);
    assert!(it.holds(0, &second));
    it.servers[1].restart();
    it.wait_stored(1, &second);
    it.archive.push_well(&path);

    // Without it they do it themselves, and here cannot.
    assert_eq!(it.stop(), Some(0));
    assert!(!it.archive.staged("daemon.sock").exists());
    let (_, _, path) = made(&it, 3);
    it.archive.push(&path).says(1, &["hidden-from-you"]);
    fetch(&it, &name).says(200, &["hidden-from-you"]);
}

#[test]
fn a_daemon_that_dies_in_the_middle_is_never_taken_for_an_answer() {
    let mut it = started("acknowledge = \"one-store\"\n[fetch]\ntimeout = \"60s\"");
    let (name, bytes, path) = made(&it, 1);
    it.archive.push_well(&path);
    it.wait_shipped();
    let (second, _, path) = made(&it, 2);
    for server in &it.servers {
        server.pause();
    }
    let push = it
        .archive
        .walkeep(&["wal", "push", path.to_str().unwrap()])
        .spawn();
    let mut push = Running(push.unwrap());
    let mut command = it.archive.walkeep(&["wal", "fetch", &name, "fetched"]);
    command.current_dir(it.archive.directory().join("incoming"));
    let mut fetching = Running(command.spawn().unwrap());
    // Both wait for it: it has said nothing yet that they would end on.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(push.0.try_wait().unwrap().is_none() && fetching.0.try_wait().unwrap().is_none());
    it.process.kill();
    assert_eq!(push.wait().code(), Some(1));
    assert_eq!(fetching.wait().code(), Some(200));
    assert!(!fetched(&it).exists());
    for server in &it.servers {
        server.resume();
    }

    // What it left is in nobody's way.
    it.configure_staging("acknowledge = \"one-store\"");
    it.start();
    hide_credentials(&it);
    it.archive.push_well(&path);
    fetch(&it, &name).says(0, &[]);
    assert_eq!(fs::read(fetched(&it)).unwrap(), bytes);
    it.wait_stored(0, &second);
    assert_eq!(it.stop(), Some(0));
}

#[test]
fn a_daemon_that_works_by_other_stores_is_not_asked() {
    let mut it = Daemon::new();
    it.configure(&["a"]);
    it.start();
    let name = it.push(1);
    it.wait_shipped();
    assert!(!it.holds(1, &name));
    // It has not read that: what it knows of "b" is nothing, and here it is
    // the daemon's word that would prove an absence.
    it.configure_staging("acknowledge = \"all-stores\"\n[fetch]\ntimeout = \"3s\"");
    let (second, _, path) = made(&it, 2);
    it.archive.push_well(&path);
    assert!(it.holds(0, &second) && it.holds(1, &second));
    it.servers[1].stop();
    fetch(&it, &segment_name(1, 3, MIB)).says(200, &["\"b\""]);
    // Now it has.
    it.servers[1].restart();
    it.signal(Signal::SIGHUP);
    it.wait_for_line("the configuration was read again");
    hide_credentials(&it);
    wait_until("it fetches", super::PATIENCE, || {
        fetch(&it, &name).code == 0
    });
    assert_eq!(it.stop(), Some(0));
}
