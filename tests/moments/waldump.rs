//! What `pg_waldump` of the machine's own PostgreSQL says of the same files.

use std::{collections::BTreeMap, path::Path};

use jiff::{civil::DateTime, tz::TimeZone};
use walkeep::postgres::{Commit, Lsn, Moments, RestorePoint, record};

use super::{LOAD, PREPARED, TIDY, cluster, moments, run, segments};
use crate::support::{
    host::TempDir,
    postgres::{Cluster, Server, default_server},
};

const SEGMENT: u64 = 1 << 20;
const PAGE: u64 = 8192;

/// A record as `pg_waldump` prints it.
struct Line {
    manager: String,
    xid: u32,
    end: Lsn,
    description: String,
}

fn waldump(server: &Server, directory: &Path, from: &str, to: Option<&str>) -> Vec<Line> {
    let mut command = server.command("pg_waldump");
    command.env("TZ", "UTC").arg("-p").arg(directory).arg(from);
    let output = command.args(to).output().expect("run pg_waldump");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Line> = text.lines().map(parse).collect();
    assert!(
        !lines.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    lines
}

/// `rmgr: XLOG  len (rec/tot): 98/ 98, tx: 0, lsn: 0/01000028, prev …, desc: …`
fn parse(line: &str) -> Line {
    let after = |mark: &str| {
        let at = line
            .find(mark)
            .unwrap_or_else(|| panic!("{mark} in {line}"));
        line[at + mark.len()..].trim_start()
    };
    let until = |text: &str, end: char| text.split(end).next().unwrap_or_default().to_owned();
    let total = after("len (rec/tot):").split('/').nth(1).expect("a length");
    let total: u64 = until(total, ',').trim().parse().expect("a length");
    let start: Lsn = until(after("lsn:"), ',').parse().expect("an LSN");
    let description = after("desc:").to_owned();
    let end = if description.starts_with("SWITCH") {
        Lsn(start.0.next_multiple_of(SEGMENT))
    } else {
        end(start.0, total)
    };
    Line {
        manager: until(after("rmgr:"), ' '),
        xid: until(after("tx:"), ',').parse().expect("a transaction"),
        end,
        description,
    }
}

/// Where a record ends, page headers on the way included.
fn end(start: u64, mut left: u64) -> Lsn {
    let mut at = start;
    loop {
        let room = PAGE - at % PAGE;
        if left <= room {
            return Lsn((at + left).next_multiple_of(8));
        }
        left -= room;
        at += room;
        at += if at.is_multiple_of(SEGMENT) { 40 } else { 24 };
    }
}

/// Adds a record to the moments of the segment that it ends in.
fn add(moments: &mut Moments, line: &Line) {
    moments.end = moments.end.max(line.end);
    let (word, rest) = line.description.split_once(' ').unwrap_or_default();
    let prepared = rest.split_once(": ").map(|(xid, rest)| (xid.parse(), rest));
    let (xid, rest) = match (word, prepared) {
        ("COMMIT_PREPARED" | "ABORT_PREPARED", Some((xid, rest))) => (xid.expect("a xid"), rest),
        _ => (line.xid, rest),
    };
    match (line.manager.as_str(), word) {
        ("Transaction", "COMMIT" | "COMMIT_PREPARED") => {
            let commit = Commit {
                time: time(rest),
                xid,
            };
            let first = moments.first_commit.filter(|it| it.time <= commit.time);
            moments.first_commit = first.or(Some(commit));
            let last = moments.last_commit.filter(|it| it.time > commit.time);
            moments.last_commit = last.or(Some(commit));
        }
        ("Transaction", "ABORT" | "ABORT_PREPARED") => {
            let time = time(rest);
            moments.first_abort = Some(moments.first_abort.map_or(time, |it| it.min(time)));
            moments.last_abort = Some(moments.last_abort.map_or(time, |it| it.max(time)));
        }
        ("XLOG", "RESTORE_POINT") => moments.restore_points.push(RestorePoint {
            name: rest.to_owned(),
            lsn: line.end,
            // It does not say.
            time: jiff::Timestamp::UNIX_EPOCH,
        }),
        _ => {}
    }
}

/// `2026-11-20 14:30:00.123456 UTC; …`
fn time(text: &str) -> jiff::Timestamp {
    let text = text.split(" UTC").next().expect("a time").trim();
    let civil: DateTime = text
        .parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    civil.to_zoned(TimeZone::UTC).expect("a time").timestamp()
}

/// By the number of the segment.
fn expected(lines: &[Line]) -> BTreeMap<u64, Moments> {
    let mut all: BTreeMap<u64, Moments> = BTreeMap::new();
    for line in lines {
        add(all.entry((line.end.0 - 1) / SEGMENT).or_default(), line);
    }
    all
}

fn without_times(moments: &Moments) -> Moments {
    let mut moments = moments.clone();
    for point in &mut moments.restore_points {
        point.time = jiff::Timestamp::UNIX_EPOCH;
    }
    moments.cut = false;
    moments
}

/// Two sessions at once, restore points all the time, prepared transactions,
/// checkpoints (and so images of whole pages), switches in the middle.
fn load(cluster: &Cluster, rounds: u32) {
    run(&mut cluster.client().expect("connect"), LOAD);
    std::thread::scope(|scope| {
        for session in 0..2 {
            scope.spawn(move || {
                let mut client = cluster.client().expect("connect");
                for round in 0..rounds {
                    run(&mut client, LOAD);
                    for number in 0..4 {
                        let name = format!("point {session}/{round} ü {number}");
                        let point = "SELECT pg_create_restore_point($1)";
                        client.query(point, &[&name]).expect("a restore point");
                    }
                    if session == 0 {
                        run(&mut client, PREPARED);
                        let end = if round % 2 == 0 { "COMMIT" } else { "ROLLBACK" };
                        run(&mut client, &format!("{end} PREPARED 'it'; {TIDY}"));
                    } else if round % 3 == 0 {
                        client.batch_execute("CHECKPOINT").expect("checkpoint");
                    } else if round % 5 == 0 {
                        cluster.switch_wal();
                    }
                }
            });
        }
    });
}

#[test]
fn every_segment_has_the_moments_that_pg_waldump_sees() {
    let server = default_server();
    let archive = TempDir::new();
    let cluster = cluster(&server, &archive)
        .conf("wal_compression = on")
        .build();
    load(&cluster, 48);
    cluster.wait_archived(&cluster.switch_wal());
    drop(cluster);

    let segments = segments(&archive);
    let (first, last) = (segments.keys().next(), segments.keys().next_back());
    let (first, last) = (first.expect("a segment"), last.expect("a segment"));
    let lines = waldump(&server, &archive, first, Some(last));
    let mut expected = expected(&lines);
    let found = moments(&segments);
    assert!(found.len() > 24, "{} segments", found.len());
    let (mut commits, mut points, mut cut) = (0, 0, 0);
    for (name, found) in &found {
        let number = (found.end.0 - 1) / SEGMENT;
        let expected = expected.remove(&number).unwrap_or_default();
        assert_eq!(without_times(found), expected, "{name}");
        commits += usize::from(found.first_commit.is_some());
        points += found.restore_points.len();
        cut += usize::from(found.cut);
    }
    assert!(expected.is_empty(), "{:?}", expected.keys());
    assert!(commits > 10 && points == 2 * 48 * 4, "{commits} {points}");
    println!(
        "{} segments, {commits} with commits, {cut} cut",
        found.len()
    );

    // Alone, a segment lacks only what began in the one before, and that one
    // says so.
    let mut was_cut = false;
    for (name, path) in &segments {
        let bytes = std::fs::read(path).expect("read");
        let (alone, _) = record::decode(&bytes, None).expect("decode");
        assert!(alone == found[name] || was_cut, "{name}");
        was_cut = alone.cut;
    }
}

#[test]
fn a_recycled_segment_ends_where_its_own_records_end() {
    let server = default_server();
    let archive = TempDir::new();
    let cluster = cluster(&server, &archive)
        .conf("min_wal_size = 8MB")
        .conf("max_wal_size = 8MB")
        .build();
    let mut recycled = 0;
    for _ in 0..6 {
        load(&cluster, 2);
        cluster.wait_archived(&cluster.switch_wal());
        cluster.sql("CHECKPOINT");
        cluster.sql("CHECKPOINT; INSERT INTO kept (word) VALUES ('last')");
        let name: String = cluster.value("SELECT pg_walfile_name(pg_current_wal_flush_lsn())");
        let flushed: String = cluster.value("SELECT pg_current_wal_flush_lsn()::text");
        let wal = cluster.data().join("pg_wal");
        let bytes = std::fs::read(wal.join(&name)).expect("read");
        let (found, _) = record::decode(&bytes, None).expect("decode");
        assert_eq!(found.end, super::lsn(&flushed), "{name}");
        let expected = expected(&waldump(&server, &wal, &name, None));
        let number = (found.end.0 - 1) / SEGMENT;
        assert_eq!(without_times(&found), expected[&number], "{name}");
        let behind = (found.end.0 % SEGMENT).next_multiple_of(PAGE) as usize;
        recycled += usize::from(bytes[behind..].iter().any(|&byte| byte != 0));
    }
    assert!(recycled > 0, "no segment was recycled");
}
