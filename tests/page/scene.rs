//! A daemon with its page, and archives to be shown.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use walkeep::{
    catalog::{
        BackupRecord, Catalog, ClusterFacts, DrillRecord, FileRecord, Object, Replica, Writer,
    },
    codec::{Md5, Sha256},
    layout::{BackupId, Generation},
    postgres::{Commit, Lsn, Moments, SegmentName, SegmentSize, SystemId, TimelineId, WalFileName},
};

use super::support::{
    archive::{Archive, MIB, SYSTEM, segment, segment_name},
    daemon::Daemon,
    host::hand_over,
};

pub const PATIENCE: Duration = Duration::from_secs(60);
/// Archived every five minutes.
const EVERY: i64 = 300;
/// A month of it.
pub const MONTH: u64 = 8640;

/// An archive with two stores, and a daemon.
pub struct Scene {
    pub archive: Archive,
    pub daemon: Daemon,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Scene {
    /// Nothing is archived yet. `serve` is what `[serve]` says.
    pub fn new(serve: &str) -> Self {
        let archive = Archive::new(&[]);
        let daemon = Daemon::new(archive.directory().join("daemon.log"));
        let scene = Scene { archive, daemon };
        scene.configure(serve);
        let rebuilt = scene.archive.run(&["catalog", "rebuild"]);
        assert_eq!(rebuilt.code, 0, "{}", rebuilt.stderr);
        scene
    }

    pub fn configure(&self, serve: &str) {
        let tables = ["r2", "b2"].map(|name| self.archive.directory_store(name));
        let prices = ["price_storage = 15.0", "price_storage = 6.0"];
        let tables: String = tables
            .iter()
            .zip(prices)
            .map(|(table, price)| format!("{table}{price}\n"))
            .collect();
        self.archive
            .configure("", &format!("[serve]\n{serve}\n{tables}"));
    }

    /// Starts the daemon, and gives where it answers.
    pub fn start(&mut self) -> String {
        self.start_and_wait("answers at http://");
        self.address()
    }

    /// Starts it where it answers in another way.
    pub fn start_and_wait(&mut self, line: &str) {
        self.daemon.start(&mut self.archive.walkeep(&["run"]));
        self.daemon.wait_for_line(line);
    }

    /// Where it said last that it answers.
    pub fn address(&self) -> String {
        let log = self.daemon.log();
        let at = log.rfind("answers at http://").expect("it answers") + "answers at ".len();
        let url = log[at..].split_whitespace().next().expect("an address");
        url.trim_end_matches('/').to_owned()
    }

    /// Writes to the catalog as walkeep does.
    fn note(&self, change: impl FnOnce(&mut Writer) -> Result<(), walkeep::catalog::CatalogError>) {
        let path = self.archive.catalog();
        Catalog::at(&path)
            .write(change)
            .expect("write to the catalog");
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        hand_over(&path);
        hand_over(lock.as_ref());
    }

    /// So many segments, five minutes apart, up to now; a base backup each
    /// day; a new timeline at three quarters; two drills. `missing` segments
    /// are nowhere.
    pub fn fill(&self, segments: u64, missing: std::ops::Range<u64>) {
        let now = Timestamp::now();
        let at = |number: u64| now - SignedDuration::from_secs((segments - number) as i64 * EVERY);
        let switch = segments * 3 / 4;
        self.note(|writer| {
            writer.set_cluster(Generation::FIRST, &cluster(now))?;
            for number in (1..segments).filter(|number| !missing.contains(number)) {
                let timeline = if number < switch { 1 } else { 2 };
                let record = record(timeline, number, at(number));
                writer.merge(&record)?;
                let moments = moments(at(number), number);
                let raw = record.raw_sha256;
                writer.note_moments(Generation::FIRST, record.name, raw, &moments)?;
            }
            for day in (10..segments).step_by(288) {
                let timeline = if day < switch { 1 } else { 2 };
                writer.merge_backup(&backup(timeline, day, at(day)))?;
            }
            for (number, store) in [(segments / 2, "r2"), (segments - 200, "b2")] {
                writer.note_drill(&drill(store, at(number)))?;
            }
            Ok(())
        });
    }

    /// Stages a segment that was written so many seconds ago.
    pub fn stage(&self, timeline: u32, number: u64, ago: u64) -> String {
        let name = segment_name(timeline, number, MIB);
        self.archive
            .stage(&name, &segment(&name, MIB, 200_000, number));
        let file = File::options().write(true).open(self.archive.staged(&name));
        let then = SystemTime::now() - Duration::from_secs(ago);
        file.expect("open")
            .set_modified(then)
            .expect("set the time");
        name
    }

    /// From now on a store is not there.
    pub fn kill_store(&self, name: &str) {
        let path = self.archive.store(name);
        fs::rename(&path, path.with_extension("away")).expect("take the store away");
    }
}

fn cluster(now: Timestamp) -> ClusterFacts {
    ClusterFacts {
        system_id: SystemId(SYSTEM),
        segment_size: size(),
        postgres_major: Some(17),
        seen: now,
    }
}

fn size() -> SegmentSize {
    SegmentSize::new(MIB).expect("a size")
}

/// A segment, a second after it was written in both stores; b2 is now and then
/// slower. Busier by day than by night.
fn record(timeline: u32, number: u64, modified: Timestamp) -> FileRecord {
    let name = SegmentName::numbered(number, TimelineId(timeline), size());
    let name = WalFileName::from(name);
    let raw = Sha256::of(name.to_string().as_bytes());
    let phase = (number % 288) as f64 / 288.0 * std::f64::consts::TAU;
    let busy = 0.5 - 0.4 * phase.cos();
    let stored_size = (MIB as f64 * (0.08 + 0.5 * busy)) as u64;
    let slow = if number.is_multiple_of(97) {
        240_000
    } else {
        900
    };
    let object = |milliseconds: i64| {
        Replica::Stored(Object {
            stored_size,
            md5: Md5::of(b"stored"),
            at: modified + SignedDuration::from_millis(milliseconds),
            attempts: 1,
        })
    };
    FileRecord::new(Generation::FIRST, name, size(), MIB, raw, modified)
        .with("r2", object(700 + (number % 13) as i64 * 60))
        .with("b2", object(slow + (number % 7) as i64 * 200))
}

fn moments(modified: Timestamp, number: u64) -> Moments {
    let commit = |before: i64| {
        let time = modified - SignedDuration::from_secs(before);
        Some(Commit {
            time,
            xid: number as u32,
        })
    };
    Moments {
        first_commit: commit(EVERY - 2),
        last_commit: commit(3),
        end: Lsn((number + 1) * MIB),
        ..Moments::default()
    }
}

fn backup(timeline: u32, number: u64, at: Timestamp) -> BackupRecord {
    let started = at - SignedDuration::from_secs(95);
    BackupRecord {
        generation: Generation::FIRST,
        id: BackupId::at(started),
        timeline: TimelineId(timeline),
        start_lsn: Lsn(number * MIB + 40),
        stop_lsn: Lsn(number * MIB + 5000),
        started,
        stopped: at,
        based_on: None,
        raw_bytes: 48 << 30,
        stored_bytes: (300 + number % 90) << 20,
        stores: [("r2".to_owned(), at), ("b2".to_owned(), at)].into(),
    }
}

fn drill(store: &str, begun: Timestamp) -> DrillRecord {
    DrillRecord {
        begun,
        ended: begun + SignedDuration::from_secs(412),
        store: store.to_owned(),
        generation: Some(Generation::FIRST),
        backup: Some(BackupId::at(begun - SignedDuration::from_hours(5))),
        target: "the end of the WAL".to_owned(),
        last_commit: Some(begun - SignedDuration::from_secs(20)),
        ok: true,
        rto_seconds: Some(371.4),
        restore_seconds: Some(318.0),
        bytes: 48 << 30,
        fetched_bytes: 12 << 30,
        error: None,
        checks: Vec::new(),
    }
}

/// One request, and the answer to it.
pub fn get(url: &str) -> Answer {
    let (host, path) = split(url);
    request(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n"))
}

/// A request as it is given, but for its end.
pub fn request(address: &str, head: &str) -> Answer {
    let stream = TcpStream::connect(address).expect("connect");
    over(stream, head)
}

/// The same over any connection.
pub fn over(mut stream: impl Read + Write, head: &str) -> Answer {
    let text = format!("{head}Connection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).expect("ask");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read the answer");
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        code: code.expect("a code"),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

fn split(url: &str) -> (&str, &str) {
    let url = url.strip_prefix("http://").expect("an address");
    let slash = url.find('/').unwrap_or(url.len());
    let path = &url[slash..];
    (&url[..slash], if path.is_empty() { "/" } else { path })
}
