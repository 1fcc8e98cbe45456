//! What is fetched ahead of PostgreSQL: faster, and never other bytes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use walkeep::{layout::Generation, postgres::SegmentSize};

use super::archive::{Archive, Ended, OURS, TO, ended, wait_until};

const AHEAD: &str = "timeout = \"5s\"\nprefetch = 6";

fn name(number: u32) -> String {
    format!("0000000100000004{number:08X}")
}

/// An archive with `count` segments in one store, fetched ahead.
fn archive(count: u32) -> (Archive, Vec<Vec<u8>>) {
    let archive = Archive::new(&["r2"]).fetch(AHEAD);
    let raw = (0..count).map(|i| archive.store("r2", &name(i))).collect();
    (archive, raw)
}

/// Fetches, and tells where from.
fn fetch(archive: &Archive, name: &str, to: &str) -> (Ended, bool) {
    let mut command = archive.command(&[name, to, "-v"]);
    let ended = ended(command.output().expect("run walkeep"));
    let spooled = ended.stderr.contains("comes from spool");
    (ended, spooled)
}

/// The spool of this archive's data directory, once there is one.
fn spool(archive: &Archive) -> Option<PathBuf> {
    let inside = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.expect("list").path()).collect()
    };
    let spools: Vec<PathBuf> = inside(&archive.path("spool"))
        .iter()
        .flat_map(|who| inside(who))
        .collect();
    assert!(spools.len() <= 1, "{spools:?}");
    spools.into_iter().next()
}

/// The segments that wait in the spool.
fn waiting(archive: &Archive) -> Vec<String> {
    let entries = spool(archive).and_then(|spool| fs::read_dir(spool).ok());
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .map(|entry| {
            entry
                .expect("list")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| name.len() == 24)
        .collect();
    names.sort();
    names
}

fn prefetcher(archive: &Archive) -> Option<Pid> {
    let text = fs::read_to_string(spool(archive)?.join("lock")).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?);
    kill(pid, None).is_ok().then_some(pid)
}

fn wait_for_prefetcher(archive: &Archive) -> Pid {
    wait_until("a prefetcher runs", || prefetcher(archive).is_some());
    prefetcher(archive).expect("it runs")
}

#[test]
fn a_recovery_is_served_ahead_and_byte_for_byte() {
    let (archive, raw) = archive(40);
    let mut spooled = 0;
    for (i, raw) in raw.iter().enumerate() {
        let (ended, ahead) = fetch(&archive, &name(i as u32), TO);
        ended.served(&archive, raw);
        spooled += u32::from(ahead);
        // A listing that one file leaves and another enters shows both.
        let bounded = || waiting(&archive).len() <= 6;
        assert!(bounded() || bounded(), "{:?}", waiting(&archive));
        // PostgreSQL replays it.
        thread::sleep(Duration::from_millis(20));
    }
    assert!(spooled >= 25, "only {spooled} of 40 were there");
    // The end is asked of the stores, each time.
    let end = name(40);
    archive.run(&end).failed(&archive, 1, &[]);
    let raw = archive.store("r2", &end);
    archive.run(&end).served(&archive, &raw);
}

#[test]
fn the_spool_is_bounded_and_follows_postgresql() {
    let (archive, raw) = archive(30);
    fetch(&archive, &name(0), TO).0.served(&archive, &raw[0]);
    let six = |from: u32| (from..from + 6).map(name).collect::<Vec<_>>();
    wait_until("six are there", || waiting(&archive) == six(1));
    // Another place: what was ahead of the first is of no use.
    fetch(&archive, &name(15), TO).0.served(&archive, &raw[15]);
    wait_until("others are there", || waiting(&archive) == six(16));
    // What another fetch needs it takes; a file that was taken is not there.
    let (ended, ahead) = fetch(&archive, &name(16), TO);
    ended.served(&archive, &raw[16]);
    assert!(ahead);
    // Ends with its spool.
    let pid = wait_for_prefetcher(&archive);
    // It may be writing there right now.
    wait_until("the spool is gone", || {
        fs::remove_dir_all(archive.path("spool")).is_ok()
    });
    wait_until("it ends", || kill(pid, None).is_err());
}

#[test]
fn a_prefetcher_that_dies_is_not_missed() {
    let (archive, raw) = archive(40);
    let mut killed = 0;
    for (i, raw) in raw.iter().enumerate() {
        fetch(&archive, &name(i as u32), TO).0.served(&archive, raw);
        if i % 8 == 4 {
            let pid = wait_for_prefetcher(&archive);
            kill(pid, Signal::SIGKILL).unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 5);
    // What the dead ones had half is gone.
    wait_for_prefetcher(&archive);
    let spool = spool(&archive).unwrap();
    wait_until("the spool is swept", || {
        let entries = fs::read_dir(&spool).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.')).count() == 0
    });
}

#[test]
fn a_prefetcher_that_hangs_costs_seconds_at_the_most() {
    let (archive, raw) = archive(12);
    fetch(&archive, &name(0), TO).0.served(&archive, &raw[0]);
    let pid = wait_for_prefetcher(&archive);
    wait_until("it has work done", || waiting(&archive).len() == 6);
    kill(pid, Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    for i in 1..=9 {
        fetch(&archive, &name(i), TO)
            .0
            .served(&archive, &raw[i as usize]);
    }
    let took = begun.elapsed();
    kill(pid, Signal::SIGCONT).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn two_recoveries_in_one_directory_do_not_harm_each_other() {
    let (archive, raw) = archive(24);
    archive.command(&[]);
    thread::scope(|scope| {
        for turn in 0..2 {
            let (archive, raw) = (&archive, &raw);
            scope.spawn(move || {
                let to = format!("pg_wal/TO{turn}");
                for (i, raw) in raw.iter().enumerate() {
                    let (ended, _) = fetch(archive, &name(i as u32), &to);
                    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
                    let placed = fs::read(archive.data().join(&to)).unwrap();
                    assert!(&placed == raw, "other bytes");
                }
            });
        }
    });
}

#[test]
fn a_plan_is_followed_over_the_switch_of_a_timeline() {
    let archive = Archive::new(&["r2"]).fetch(AHEAD);
    let (first, last) = (name(0), name(3));
    let (branch, end) = ("000000020000000400000003", "000000020000000400000005");
    for i in 0..=3 {
        archive.store("r2", &name(i));
    }
    let raw = archive.store("r2", branch);
    archive.store("r2", "000000020000000400000004");
    archive.store("r2", end);
    // Beyond the plan.
    archive.store("r2", "000000020000000400000006");
    let plan = archive.plan(&["r2"], false, &[(&first, &last), (branch, end)], &[2]);
    let plan = plan.to_str().unwrap();
    let planned = |name: &str| {
        let mut command = archive.command(&[name, TO, "--plan", plan, "-v"]);
        ended(command.output().unwrap())
    };
    planned(&last).served(&archive, &archive.segment(&last, OURS));
    let ahead = [branch, "000000020000000400000004", end];
    wait_until("the branch is there", || waiting(&archive) == ahead);
    let ended = planned(branch);
    ended.served(&archive, &raw);
    assert!(
        ended.stderr.contains("comes from spool"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_is_staged_is_not_fetched_ahead() {
    let (archive, staging) = Archive::new(&["r2"]).fetch(AHEAD).staging(OURS);
    for i in 0..4 {
        archive.store("r2", &name(i));
    }
    fs::write(
        staging.root().join(name(2)),
        archive.segment(&name(2), OURS),
    )
    .unwrap();
    let raw = archive.segment(&name(0), OURS);
    fetch(&archive, &name(0), TO).0.served(&archive, &raw);
    wait_until("the others are there", || {
        waiting(&archive) == [name(1), name(3)]
    });
}

#[test]
fn what_is_not_valid_in_the_spool_is_fetched_again() {
    let (archive, raw) = archive(3);
    fetch(&archive, &name(0), TO).0.served(&archive, &raw[0]);
    wait_until("two are there", || waiting(&archive).len() == 2);
    let spool = spool(&archive).unwrap();
    fs::write(spool.join(name(1)), &raw[1][..5000]).unwrap();
    fs::write(spool.join(name(2)), &raw[1]).unwrap();
    for i in [1, 2] {
        let (ended, _) = fetch(&archive, &name(i), TO);
        ended.served(&archive, &raw[i as usize]);
        assert!(ended.stderr.contains("is not valid"), "{}", ended.stderr);
    }
}

#[test]
fn a_damaged_object_is_never_served_from_the_spool() {
    let (archive, raw) = archive(4);
    fs::write(archive.object("r2", &name(2)), "damaged").unwrap();
    fetch(&archive, &name(0), TO).0.served(&archive, &raw[0]);
    wait_until("the others are there", || {
        waiting(&archive) == [name(1), name(3)]
    });
    fetch(&archive, &name(1), TO).0.served(&archive, &raw[1]);
    archive.run(&name(2)).failed(&archive, 200, &["is damaged"]);
    archive.store("r2", &name(2));
    archive.run(&name(2)).served(&archive, &raw[2]);
}

#[test]
fn another_archive_has_another_spool() {
    let (archive, raw) = archive(2);
    fetch(&archive, &name(0), TO).0.served(&archive, &raw[0]);
    wait_until("one is there", || waiting(&archive) == [name(1)]);
    // The same data directory, but of a later generation: other bytes.
    let mut archive = archive;
    archive.cluster_file("r2", &[super::archive::OTHERS, OURS]);
    archive.pg_control(super::archive::OTHERS);
    archive.generation = Generation::FIRST;
    let other = archive.segment(&name(1), super::archive::OTHERS);
    archive.store_bytes("r2", &name(1), &other);
    archive.run(&name(1)).served(&archive, &other);
}

#[test]
fn without_a_spool_it_works_all_the_same() {
    let (archive, raw) = archive(3);
    fs::remove_dir(archive.path("spool")).unwrap();
    fs::write(archive.path("spool"), "a file").unwrap();
    for (i, raw) in raw.iter().enumerate() {
        fetch(&archive, &name(i as u32), TO).0.served(&archive, raw);
    }
    archive.run(&name(3)).failed(&archive, 1, &[]);
}

#[test]
fn a_spool_on_another_volume_serves_too() {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        return;
    }
    let (archive, raw) = archive(6);
    let elsewhere = tempfile::tempdir_in(shm).unwrap();
    fetch(&archive, &name(0), TO).0.served(&archive, &raw[0]);
    wait_until("five are there", || waiting(&archive).len() == 5);
    let to = elsewhere.path().join("RECOVERYXLOG");
    for i in 1..6 {
        let (ended, ahead) = fetch(&archive, &name(i), to.to_str().unwrap());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ahead && fs::read(&to).unwrap() == raw[i as usize]);
    }
}

#[test]
fn an_archive_without_cluster_json_is_fetched_ahead_too() {
    let mut archive = Archive::new(&[]);
    archive.size = SegmentSize::new(2 << 20).unwrap();
    let archive = archive.fetch(AHEAD).directory_store("r2");
    let name = |i: u32| format!("0000000100000004{i:08X}");
    let raw: Vec<_> = (0..4).map(|i| archive.store("r2", &name(i))).collect();
    fetch(&archive, &name(0), TO).0.served(&archive, &raw[0]);
    wait_until("three are there", || waiting(&archive).len() == 3);
    let (ended, ahead) = fetch(&archive, &name(1), TO);
    ended.served(&archive, &raw[1]);
    assert!(ahead);
}

#[test]
fn it_is_no_verb_for_people() {
    let help = Command::new(env!("CARGO_BIN_EXE_walkeep"))
        .args(["wal", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.contains("fetch") && !help.contains("prefetch"),
        "{help}"
    );
}
