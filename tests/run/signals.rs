//! Beginning, reloading and ending.

use std::{os::unix::net::UnixDatagram, process::Stdio, time::Duration};

use nix::sys::signal::Signal;

use super::{
    Daemon,
    support::{archive::ran, host::hand_over},
};

#[test]
fn a_second_daemon_says_so_and_stops() {
    let mut it = Daemon::new();
    it.start();
    let second = ran(it.archive.walkeep(&["run"]).stdin(Stdio::null()));
    second.says(1, &["another `walkeep run` ships", "stop that one first"]);
    // `ship` is no daemon.
    it.push(1);
    it.archive.ship();
    it.wait_shipped();
    // Killed, it leaves nothing in the way of the next.
    it.process.kill();
    it.start();
    assert_eq!(it.stop(), Some(0));
}

#[test]
fn a_new_configuration_is_taken_and_a_wrong_one_is_not() {
    let mut it = Daemon::new();
    it.configure(&["a"]);
    it.start();
    let first = it.push(1);
    it.wait_shipped();
    assert!(it.holds(0, &first) && !it.holds(1, &first));

    let config = it.archive.config();
    let right = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{right}\n[stagging]\n")).unwrap();
    it.signal(Signal::SIGHUP);
    it.wait_for_line("the configuration from before stays in use");
    it.wait_for_line("stagging");
    it.configure(&["a", "b"]);
    let second = it.push(2);
    it.wait_shipped();
    assert!(it.holds(0, &second) && !it.holds(1, &second));
    it.signal(Signal::SIGHUP);
    it.wait_for_line("the configuration was read again");
    let third = it.push(3);
    it.wait_stored(1, &third);
    it.wait_shipped();
    assert_eq!(it.stop(), Some(0));
}

#[test]
fn systemd_is_told() {
    let mut it = Daemon::new();
    let path = it.archive.directory().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    hand_over(&path);
    socket.set_read_timeout(Some(super::PATIENCE)).unwrap();
    let mut command = it.archive.walkeep(&["run"]);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    it.process.start(&mut command);
    let heard = |words: &str| {
        let mut all = String::new();
        while !all.contains(words) {
            let mut message = [0; 4096];
            let length = socket.recv(&mut message).expect("a message");
            all += &String::from_utf8_lossy(&message[..length]);
            all.push('\n');
        }
        all
    };
    heard("READY=1");
    heard("WATCHDOG=1");
    it.signal(Signal::SIGHUP);
    let reload = heard("READY=1");
    assert!(
        reload.contains("RELOADING=1") && reload.contains("MONOTONIC_USEC="),
        "{reload}"
    );
    let begun = std::time::Instant::now();
    assert_eq!(it.stop(), Some(0));
    heard("STOPPING=1");
    assert!(begun.elapsed() < Duration::from_secs(60));
}
