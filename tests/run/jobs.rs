//! What the daemon does by itself when `[schedule]` says so.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use walkeep::catalog::{Catalog, JobRecord};

use super::{
    Daemon, PATIENCE,
    support::host::{hand_over, wait_until},
};

fn catalog(it: &Daemon) -> Catalog {
    Catalog::at(it.archive.catalog())
}

fn jobs(it: &Daemon) -> BTreeMap<String, JobRecord> {
    catalog(it).read(|reader| reader.jobs()).unwrap()
}

fn wait_for_job(it: &Daemon, name: &str, is_so: impl Fn(&JobRecord) -> bool) -> JobRecord {
    wait_until(name, PATIENCE, || jobs(it).get(name).is_some_and(&is_so));
    jobs(it)[name].clone()
}

#[test]
fn jobs_run_when_they_are_due_and_a_failing_one_stops_nothing() {
    let mut it = Daemon::new();
    let schedule = "[schedule]\nprune = \"every 2s\"\nbackup = \"every 2s\"\ndrill = \"never\"\n";
    it.configure_with(&["a", "b"], schedule);
    it.start();
    let first = it.push(1);
    let pruned = wait_for_job(&it, "prune", |job| job.ok == Some(true));
    let again = wait_for_job(&it, "prune", |job| job.succeeded > pruned.succeeded);
    let apart = again
        .succeeded
        .unwrap()
        .duration_since(pruned.succeeded.unwrap());
    assert!(apart >= SignedDuration::from_secs(2), "{apart}");
    // There is no server to take one of.
    let failed = wait_for_job(&it, "backup", |job| job.ok == Some(false));
    let error = failed.error.unwrap();
    assert!(error.contains("connect to PostgreSQL"), "{error}");
    assert_eq!(failed.succeeded, None);
    it.wait_for_line("`walkeep backup create` failed: ");
    it.wait_stored(0, &first);
    let second = it.push(2);
    it.wait_stored(1, &second);
    it.wait_shipped();
    assert_eq!(jobs(&it).len(), 2);

    // Not scheduled any more, it is not known any more.
    it.configure_with(&["a", "b"], "[schedule]\nprune = \"every 1h\"\n");
    it.signal(Signal::SIGHUP);
    it.wait_for_line("the configuration was read again");
    wait_until("the backup is forgotten", PATIENCE, || jobs(&it).len() == 1);
    assert_eq!(it.stop(), Some(0));
}

#[test]
fn a_missed_job_runs_once_after_the_start() {
    let mut it = Daemon::new();
    let long_ago = Timestamp::now() - SignedDuration::from_hours(80);
    let missed = |w: &mut walkeep::catalog::Writer<'_>| {
        w.begin_job("prune", long_ago)?;
        w.end_job("prune", long_ago, None)
    };
    catalog(&it).write(missed).unwrap();
    let mut lock = it.archive.catalog().into_os_string();
    hand_over(lock.as_ref());
    lock.push(".lock");
    hand_over(lock.as_ref());
    // In twelve hours, by any clock here.
    let later = jiff::Zoned::now() + SignedDuration::from_hours(12);
    let schedule = format!(
        "[schedule]\nprune = \"daily {}\"\n",
        later.strftime("%H:%M")
    );
    it.configure_with(&["a", "b"], &schedule);
    it.start();
    let done = wait_for_job(&it, "prune", |job| job.succeeded > Some(long_ago));
    assert_eq!(done.since, long_ago);
    assert_eq!(it.stop(), Some(0));
    it.start();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(jobs(&it)["prune"].begun, done.begun);
    // New, it has missed nothing.
    let both = format!("{schedule}verify = \"daily {}\"\n", later.strftime("%H:%M"));
    it.configure_with(&["a", "b"], &both);
    it.signal(Signal::SIGHUP);
    wait_until("verify is scheduled", PATIENCE, || jobs(&it).len() == 2);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(jobs(&it)["verify"].begun, None);
    assert_eq!(it.stop(), Some(0));
}
