//! What arrives, and stores that are away, or slow.

use std::time::{Duration, Instant};

use super::{Daemon, MIB, PATIENCE, segment, segment_name, support::host::wait_until};

#[test]
fn what_waited_and_what_arrives_is_shipped() {
    let mut it = Daemon::new();
    it.push(1);
    it.start();
    it.wait_shipped();
    let name = it.push(2);
    it.wait_shipped();
    assert!(it.holds(0, &name) && it.holds(1, &name));
    // As an older archive_command leaves it: copied into place.
    let name = segment_name(1, 3, MIB);
    it.archive.stage(&name, &segment(&name, MIB, 50_000, 3));
    it.wait_shipped();
    assert!(it.holds(0, &name) && it.holds(1, &name));
    assert_eq!(it.stop(), Some(0));
}

#[test]
fn a_store_that_was_away_is_caught_up_with_when_it_returns() {
    let mut it = Daemon::new();
    it.servers[1].stop();
    it.start();
    let names: Vec<String> = (1..=5).map(|number| it.push(number)).collect();
    names.iter().for_each(|name| it.wait_stored(0, name));
    assert_eq!(it.archive.waiting().len(), 5);
    it.wait_for_line("store \"b\" is asked again in 2 s");
    it.servers[1].restart();
    it.wait_shipped();
    assert!(names.iter().all(|name| it.holds(1, name)));
    assert_eq!(it.stop(), Some(0));
}

/// A server that takes connections and answers nothing: until the requests to
/// it have timed out, what arrives goes to the other store all the same.
#[test]
fn a_store_that_hangs_holds_up_nothing() {
    let mut it = Daemon::new();
    it.start();
    it.servers[1].pause();
    for number in 1..=3 {
        let name = it.push(number);
        it.wait_stored(0, &name);
    }
    it.servers[1].resume();
    it.wait_shipped();
    assert_eq!(it.stop(), Some(0));
}

/// While the store that hangs keeps a pass open, each arrival has one of its
/// own: all of them together keep to the rate.
#[test]
fn passes_beside_each_other_share_the_rate_limit() {
    let mut it = Daemon::new();
    it.configure_with(&["a", "b"], "[ship]\nrate_limit = \"50KB\"\n");
    it.start();
    it.servers[1].pause();
    let begun = Instant::now();
    for number in 1..=4 {
        let name = it.push(number);
        it.wait_stored(0, &name);
    }
    // Each has more than 50,000 bytes that do not compress, and the first goes
    // at once.
    assert!(
        begun.elapsed() >= Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    it.servers[1].resume();
    it.wait_shipped();
    assert_eq!(it.stop(), Some(0));
}

#[test]
fn without_its_staging_volume_it_does_not_begin() {
    let it = Daemon::new();
    std::fs::remove_file(it.archive.staging().join("walkeep.json")).unwrap();
    let run = it.archive.run(&["run"]);
    run.says(1, &["has no walkeep.json: its volume is not mounted"]);
}

#[test]
fn an_unmounted_staging_volume_is_said_and_waited_for() {
    let mut it = Daemon::new();
    it.start();
    let (staging, aside) = (it.archive.staging(), it.archive.directory().join("aside"));
    std::fs::rename(&staging, &aside).unwrap();
    // Something has to be looked for to be missed.
    it.signal(nix::sys::signal::Signal::SIGHUP);
    it.wait_for_line("the configuration from before stays in use");
    std::fs::rename(&aside, &staging).unwrap();
    let name = it.push(1);
    it.wait_stored(1, &name);
    wait_until("it goes on", PATIENCE, || it.archive.waiting().is_empty());
    assert_eq!(it.stop(), Some(0));
}
