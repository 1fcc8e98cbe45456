//! Fetching from real S3 servers, as they come and go; and what is noted of a
//! damaged copy.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use walkeep::{
    catalog::{Catalog, FileRecord, Object, Replica, State},
    codec::{Md5, Sha256},
    layout::Generation,
    postgres::WalFileName,
    store::{Body, Profile, RetryPolicy, Store},
};

use super::{
    archive::{Archive, Ended, OURS, object_of},
    support::s3::{S3Server, Versitygw},
};

const NAME: &str = "000000010000000400000024";
const NEXT: &str = "000000010000000400000025";
const LATER: &str = "000000010000000400000027";
const BUCKET: &str = "wal";

/// Stores an object as `ship` does, or with other metadata.
fn put(server: &S3Server, name: &str, object: Vec<u8>, metadata: &[(&str, String)]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let location = server.location(Profile::S3, BUCKET);
        let store = Store::open("test".parse().unwrap(), location, RetryPolicy::ONCE).unwrap();
        let key = format!("main/wal/{name}.gz");
        let body = Body::of(object);
        store.put_new(&key, &body, metadata).await.unwrap();
    });
}

fn serving(name: &str, server: &S3Server, kind: &str, archive: Archive) -> Archive {
    server.create_bucket(BUCKET);
    archive.table(&server.toml_store_table(name, kind, BUCKET))
}

#[test]
fn every_kind_of_server_serves_and_proves_absence() {
    let versioning = Versitygw {
        versioning: true,
        ..Versitygw::default()
    };
    let mut servers = vec![(S3Server::start_s3s(), "s3")];
    servers.extend(S3Server::start_versitygw(Versitygw::default()).map(|server| (server, "s3")));
    servers.extend(S3Server::start_versitygw(versioning).map(|server| (server, "b2")));
    for (server, kind) in servers {
        let archive = serving("one", &server, kind, Archive::new(&[]));
        let raw = archive.segment(NAME, OURS);
        put(&server, NAME, object_of(NAME, &raw), &[]);
        archive.run(NAME).served(&archive, &raw);
        archive.run(NEXT).failed(&archive, 1, &["store \"one\""]);
        let later = archive.segment(LATER, OURS);
        put(&server, LATER, object_of(LATER, &later), &[]);
        archive.run(NEXT).failed(&archive, 200, &["a gap", LATER]);
        // What another client deleted is there still, behind its marker.
        if kind == "b2" {
            server.delete_plainly(BUCKET, &format!("main/wal/{NAME}.gz"));
            archive.run(NAME).served(&archive, &raw);
        }
    }
}

#[test]
fn a_wrong_prefix_is_not_an_empty_archive() {
    let server = S3Server::start_s3s();
    let archive = serving("one", &server, "s3", Archive::new(&["nas"]));
    archive.store("nas", NAME);
    put(
        &server,
        NAME,
        object_of(NAME, &archive.segment(NAME, OURS)),
        &[],
    );
    archive.run(NEXT).failed(&archive, 1, &[]);
    let archive = archive.table("prefix = \"mian\"\n");
    let words = [
        "neither be fetched nor proved absent",
        "store \"one\": get \"mian/cluster.json\": not this archive's place",
        "correct `prefix` of store \"one\"",
    ];
    archive.run(NEXT).failed(&archive, 200, &words);
}

#[test]
fn an_outage_is_waited_out() {
    let server = S3Server::start_s3s();
    let archive = serving("r2", &server, "s3", Archive::new(&[]));
    let archive = archive.fetch("timeout = \"60s\"\nprefetch = 0");
    let raw = archive.segment(NAME, OURS);
    put(&server, NAME, object_of(NAME, &raw), &[]);
    server.stop();
    let child = archive.start(NAME);
    std::thread::sleep(Duration::from_secs(2));
    server.restart();
    let output = child.wait_with_output().unwrap();
    let ended = super::archive::ended(output);
    ended.served(&archive, &raw);
    assert!(ended.stderr.contains("store \"r2\""), "{}", ended.stderr);
}

#[test]
fn a_stalled_server_does_not_hold_up_the_other() {
    let (stalled, other) = (S3Server::start_s3s(), S3Server::start_s3s());
    let archive = serving("stalled", &stalled, "s3", Archive::new(&[]));
    let archive = serving("other", &other, "s3", archive);
    let raw = archive.segment(NAME, OURS);
    for server in [&stalled, &other] {
        put(server, NAME, object_of(NAME, &raw), &[]);
    }
    stalled.pause();
    let begun = Instant::now();
    archive.run(NAME).served(&archive, &raw);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_wrong_secret_is_not_asked_again() {
    let server = S3Server::start_s3s();
    server.create_bucket(BUCKET);
    let table = server.toml_store_table("r2", "s3", BUCKET);
    let archive = Archive::new(&[]).table(&table);
    let archive = archive.fetch("timeout = \"60s\"\nprefetch = 0");
    let (_, secret) = server.credential_files();
    fs::write(secret, "another").unwrap();
    let begun = Instant::now();
    let words = ["store \"r2\"", "correct the access key id"];
    archive.run(NAME).failed(&archive, 200, &words);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// By a program that knows nothing of our facts.
fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .args(["-1", "-n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let raw = raw.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&raw).unwrap());
    let output = gzip.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

#[test]
fn without_facts_in_the_object_its_metadata_counts() {
    let server = S3Server::start_s3s();
    let archive = serving("r2", &server, "s3", Archive::new(&[]));
    let raw = archive.segment(NAME, OURS);
    let of = |raw: &[u8]| [("walkeep-sha256", Sha256::of(raw).to_string())];
    put(&server, NAME, gzip(&raw), &of(&raw));
    archive.run(NAME).served(&archive, &raw);
    put(&server, NEXT, gzip(&archive.segment(NEXT, OURS)), &of(&raw));
    archive.run(NEXT).failed(&archive, 200, &["SHA-256"]);
}

#[test]
fn a_damaged_copy_is_noted_for_repair() {
    let (archive, path) = Archive::new(&["r2", "b2"]).catalog();
    let raw = archive.store("r2", NAME);
    archive.store("b2", NAME);
    fs::write(archive.object("r2", NAME), "damaged").unwrap();
    // Without a catalog none is made.
    archive.run(NAME).served(&archive, &raw);
    assert!(!path.exists());
    let name: WalFileName = NAME.parse().unwrap();
    let (size, digest) = (raw.len() as u64, Sha256::of(&raw));
    let mut record = FileRecord::new(
        Generation::FIRST,
        name,
        archive.size,
        size,
        digest,
        Timestamp::UNIX_EPOCH,
    );
    for store in ["r2", "b2"] {
        let object = Object {
            stored_size: 7,
            md5: Md5::of(b"stored"),
            at: Timestamp::UNIX_EPOCH,
            attempts: 1,
        };
        record = record.with(store, Replica::Stored(object));
    }
    let catalog = Catalog::at(&path);
    catalog.write(|writer| writer.merge(&record)).unwrap();
    let states = || {
        let record = catalog.read(|reader| reader.file(Generation::FIRST, name));
        let replicas = record.unwrap().unwrap().replicas;
        ["r2", "b2"].map(|store| replicas[store].state())
    };
    archive.run(NAME).served(&archive, &raw);
    assert_eq!(states(), [State::Suspect, State::Stored]);
    // Damaged in both: noted, though it ends recovery.
    fs::write(archive.object("b2", NAME), "damaged").unwrap();
    let ended: Ended = archive.run(NAME);
    ended.failed(&archive, 200, &["is damaged wherever it is"]);
    assert_eq!(states(), [State::Suspect, State::Suspect]);
}
