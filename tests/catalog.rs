//! The catalog between processes: none fails because of another, none loses
//! what another wrote, and one that is killed takes nothing with it.
//!
//! The processes are this test program itself, started again with the name of
//! an ignored test and what to do in its environment.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use walkeep::{
    catalog::{Catalog, FileRecord, Object, Opened, Replica, Select},
    codec::{Md5, Sha256},
    layout::Generation,
    postgres::{SegmentName, SegmentSize, TimelineId, WalFileName},
};

const CATALOG: &str = "WALKEEP_TEST_CATALOG";
const TIMELINE: &str = "WALKEEP_TEST_TIMELINE";
const COUNT: &str = "WALKEEP_TEST_COUNT";

fn name(timeline: u32, number: u64) -> WalFileName {
    SegmentName::numbered(number, TimelineId(timeline), SegmentSize::DEFAULT).into()
}

fn record(name: WalFileName) -> FileRecord {
    FileRecord::new(
        Generation::FIRST,
        name,
        SegmentSize::DEFAULT,
        16 << 20,
        Sha256::of(name.to_string().as_bytes()),
        Timestamp::UNIX_EPOCH,
    )
}

fn stored() -> Replica {
    Replica::Stored(Object {
        stored_size: 4_000_000,
        md5: Md5::of(b"stored"),
        at: Timestamp::UNIX_EPOCH,
        attempts: 1,
    })
}

fn start(test: &str, catalog: &Catalog, timeline: u32, count: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(CATALOG, catalog.path())
        .env(TIMELINE, timeline.to_string())
        .env(COUNT, count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn given<T: std::str::FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok()?.parse().ok()
}

/// Writes one file a transaction on a timeline of its own, sends half of them
/// on in a second one, counts all of it in a record that every process
/// shares, and tells each number once it is committed.
#[test]
#[ignore = "started by the other tests"]
fn child_that_writes() {
    let (Some(path), Some(timeline), Some(count)) =
        (env::var_os(CATALOG), given(TIMELINE), given(COUNT))
    else {
        return;
    };
    let catalog = Catalog::at(path);
    for number in 1..=count {
        catalog
            .write(|w| {
                w.merge(&record(name(timeline, number)).with("r2", Replica::PENDING))?;
                w.merge(&record(name(99, 1)).with("r2", Replica::PENDING))?;
                w.update(Generation::FIRST, name(99, 1), |replicas| {
                    let shared = replicas.get_mut("r2").unwrap();
                    shared.fail(Timestamp::UNIX_EPOCH, "counted");
                })
            })
            .unwrap();
        println!("committed {number}");
        if number % 2 == 0 {
            catalog
                .write(|w| {
                    w.update(Generation::FIRST, name(timeline, number), |replicas| {
                        replicas.insert("r2".into(), stored())
                    })
                })
                .unwrap();
        }
    }
}

fn shared_count(catalog: &Catalog) -> u32 {
    let file = catalog.read(|r| r.file(Generation::FIRST, name(99, 1)));
    let replicas = file.unwrap().map(|record| record.replicas);
    replicas.map_or(0, |replicas| replicas["r2"].failures().unwrap().attempts)
}

fn numbers(catalog: &Catalog, timeline: u32) -> Vec<u64> {
    catalog
        .files(Select::Timeline(Generation::FIRST, TimelineId(timeline)))
        .map(|file| {
            let segment = file.unwrap().name.segment().unwrap();
            segment.number(SegmentSize::DEFAULT).unwrap()
        })
        .collect()
}

#[test]
fn processes_that_write_at_once_wait_for_each_other_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    let count = 40;
    let children: Vec<Child> = (1..=4)
        .map(|timeline| start("child_that_writes", &catalog, timeline, count))
        .collect();
    // Threads of one process wait just as well, and readers find it whole.
    let ends = count * 4 + 40;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=20 {
                let write = catalog.write(|w| {
                    let file = record(name(5, number)).with("r2", stored());
                    w.merge(&file)
                });
                write.unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..200 {
                let (files, totals) = catalog
                    .read(|r| Ok((r.files(&Select::All)?.count() as u64, r.totals()?)))
                    .unwrap();
                assert_eq!(files, totals.files);
                assert!(files <= ends);
            }
        });
    });
    for child in children {
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
    }
    for timeline in 1..=4 {
        assert!(numbers(&catalog, timeline).into_iter().eq(1..=count));
    }
    assert!(numbers(&catalog, 5).into_iter().eq(1..=20));
    assert_eq!(u64::from(shared_count(&catalog)), 4 * count);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
}

#[test]
fn a_process_killed_at_any_point_takes_nothing_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut killed = 0;
    for round in 0..16 {
        // Every fourth round begins with no catalog, so that making one is
        // interrupted too.
        let path = directory.path().join(format!("{}.redb", round / 4));
        let catalog = Catalog::at(&path);
        let timeline = round + 1;
        let before = shared_count(&catalog);
        let mut child = start("child_that_writes", &catalog, timeline, 1_000_000);
        thread::sleep(Duration::from_micros(fastrand::u64(1_000..150_000)));
        child.kill().unwrap();
        let last = last_committed(&mut child);
        assert!(!child.wait().unwrap().success());

        // A reader may come first, or a writer.
        if fastrand::bool() {
            let found = numbers(&catalog, timeline).len() as u64;
            assert!(found == last || found == last + 1, "{found}, told {last}");
        }
        let opened = catalog.prepare().unwrap();
        killed += u32::from(opened == Opened::Existing);
        let found = numbers(&catalog, timeline);
        assert!(found.iter().copied().eq(1..=found.len() as u64));
        let found = found.len() as u64;
        assert!(found == last || found == last + 1, "{found}, told {last}");
        assert_eq!(u64::from(shared_count(&catalog) - before), found);
        assert_nothing_beside(directory.path());
    }
    assert!(
        killed >= 10,
        "only {killed} of the processes had come to write"
    );
}

/// The last number that the child told. What it was telling when it died does
/// not count.
fn last_committed(child: &mut Child) -> u64 {
    let mut text = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_to_string(&mut text).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut numbers = whole
        .lines()
        .filter_map(|line| line.strip_prefix("committed "));
    numbers
        .next_back()
        .map_or(0, |number| number.parse().unwrap())
}

/// Nothing was set aside: a crash is no damage.
fn assert_nothing_beside(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.ends_with(".redb") || name.ends_with(".redb.lock"),
            "{name} is left"
        );
    }
}

/// A child that stops in the middle of a transaction until it is killed.
#[test]
#[ignore = "started by the other tests"]
fn child_that_holds_on() {
    let Some(path) = env::var_os(CATALOG) else {
        return;
    };
    Catalog::at(path)
        .write(|w| {
            w.merge(&record(name(1, 1)))?;
            println!("holding");
            thread::sleep(Duration::from_secs(60));
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    let mut child = start("child_that_holds_on", &catalog, 1, 1);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("holding")));
    let waiting = thread::spawn({
        let catalog = catalog.clone();
        move || catalog.read(|r| r.totals())
    });
    thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished(), "a reader did not wait");
    child.kill().unwrap();
    child.wait().unwrap();
    // What the child had not committed is not there.
    assert_eq!(waiting.join().unwrap().unwrap().files, 0);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
}

/// The figures of docs/FORMAT.md: `cargo test --release --test catalog --
/// --ignored --nocapture what_100_000_files_cost`. (With debug assertions redb
/// walks the whole file at each opening.)
#[test]
#[ignore = "measures"]
fn what_100_000_files_cost() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    let time = |what: &str, times: u32, work: &mut dyn FnMut(u32)| {
        let began = std::time::Instant::now();
        (0..times).for_each(work);
        println!("{what}: {:?}", began.elapsed() / times);
    };
    let file = |number| {
        record(name(1, number))
            .with("r2", stored())
            .with("b2", stored())
    };
    time("merge 1,000 files in a transaction", 100, &mut |thousand| {
        let first = u64::from(thousand) * 1_000;
        catalog
            .write(|w| {
                (first..first + 1_000).try_for_each(|number| w.merge(&file(number)).map(drop))
            })
            .unwrap();
    });
    let size = std::fs::metadata(catalog.path()).unwrap().len();
    println!("file: {size} bytes");
    time("change one file", 100, &mut |number| {
        let suspect = |replicas: &mut std::collections::BTreeMap<String, Replica>| {
            replicas.insert("r2".into(), Replica::PENDING)
        };
        let file = name(1, u64::from(number) * 997);
        catalog
            .write(|w| w.update(Generation::FIRST, file, suspect))
            .unwrap();
    });
    time("look one file up", 100, &mut |number| {
        let file = name(1, u64::from(number) * 991);
        let found = catalog.read(|r| r.file(Generation::FIRST, file)).unwrap();
        assert!(found.is_some());
    });
    time("totals of a store", 100, &mut |_| {
        catalog.read(|r| r.store_totals("r2")).unwrap();
    });
    time("what is to do for a store", 10, &mut |_| {
        assert_eq!(
            catalog.read(|r| Ok(r.unsettled("r2")?.count())).unwrap(),
            100
        );
    });
    time("export", 3, &mut |_| {
        let mut out = Vec::new();
        assert_eq!(catalog.export(&mut out).unwrap(), 100_000);
    });
    time("prepare (reads everything)", 3, &mut |_| {
        catalog.prepare().unwrap();
    });
}
