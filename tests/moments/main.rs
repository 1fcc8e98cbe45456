//! The moments of real segments: against `pg_waldump`, against what the server
//! itself says, and on their way with the objects.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

#[path = "../support/mod.rs"]
mod support;

mod majors;
mod travel;
mod waldump;

use postgres::Client;
use std::{collections::BTreeMap, fs, path::PathBuf};

use support::{
    host::TempDir,
    postgres::{Builder, Cluster, Server},
};
use walkeep::postgres::{Lsn, Moments, record};

/// A cluster that says when each transaction was committed, does nothing of
/// its own accord, and archives by `cp`.
fn cluster(server: &Server, archive: &TempDir) -> Builder {
    let to = archive.join("%f");
    let to = to.display();
    Cluster::builder()
        .server(server)
        .wal_segsize_mb(1)
        .conf("autovacuum = off")
        .conf("track_commit_timestamp = on")
        .conf("max_prepared_transactions = 10")
        .conf("wal_level = logical")
        .conf("archive_mode = on")
        .conf(format!("archive_command = 'test ! -f {to} && cp %p {to}'"))
}

/// The archived segments, by name.
fn segments(archive: &TempDir) -> BTreeMap<String, PathBuf> {
    let names = support::archive::files_in(archive).into_iter();
    names
        .filter(|name| name.len() == 24)
        .map(|name| (name.clone(), archive.join(name)))
        .collect()
}

/// Each segment's moments, with what the one before it carried over.
fn moments(segments: &BTreeMap<String, PathBuf>) -> BTreeMap<String, Moments> {
    let mut carried = None;
    let found = segments.iter().map(|(name, path)| {
        let bytes = fs::read(path).expect("read a segment");
        let (moments, next) = record::decode(&bytes, carried.take()).expect("decode");
        carried = next;
        (name.clone(), moments)
    });
    found.collect()
}

/// Statement by statement: those of one message would be one transaction.
fn run(client: &mut Client, script: &str) {
    for statement in script.split(';').filter(|it| !it.trim().is_empty()) {
        client
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

fn lsn(text: &str) -> Lsn {
    text.parse().expect("an LSN")
}

/// Everything that makes commit and abort records long and odd.
const LOAD: &str = "
    CREATE TABLE IF NOT EXISTS kept (i bigserial, word text);
    INSERT INTO kept (word) SELECT repeat(md5(i::text), 20) FROM generate_series(1, 300) i;
    UPDATE kept SET word = word || 'x' WHERE i IN (SELECT i FROM kept ORDER BY i LIMIT 20 FOR UPDATE SKIP LOCKED);
    BEGIN; INSERT INTO kept (word) VALUES ('lost'); ROLLBACK;
    BEGIN;
        SAVEPOINT a; INSERT INTO kept (word) VALUES ('a');
        SAVEPOINT b; INSERT INTO kept (word) VALUES ('b'); ROLLBACK TO b;
        SAVEPOINT c; INSERT INTO kept (word) VALUES ('c');
    COMMIT;
    BEGIN; CREATE TABLE gone (i int PRIMARY KEY, t text); ABORT;
    SELECT pg_logical_emit_message(true, 'test', repeat('m', 3000));
    SELECT pg_logical_emit_message(false, 'test', repeat('n', 30000));
";

/// A prepared transaction whose commit record has every list: dropped and made
/// relations, statistics of functions, subtransactions, invalidations.
const PREPARED: &str = "
    CREATE TABLE dropped (i int PRIMARY KEY, t text);
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    BEGIN;
        SAVEPOINT a; INSERT INTO kept (word) VALUES ('a');
        SAVEPOINT b; INSERT INTO kept (word) VALUES ('b');
        RELEASE a;
        DROP TABLE dropped; DROP FUNCTION f();
        CREATE TABLE made (i int PRIMARY KEY, t text);
        CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 2';
    PREPARE TRANSACTION 'it';
";

/// What either end of it leaves.
const TIDY: &str = "DROP TABLE IF EXISTS dropped, made; DROP FUNCTION IF EXISTS f, g";
