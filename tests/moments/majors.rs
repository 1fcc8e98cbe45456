//! Every major: what the server says of its own transactions and restore
//! points, for the segments that they ended in.

use std::{thread::sleep, time::Duration};

use jiff::Timestamp;
use walkeep::postgres::Commit;

use super::{LOAD, PREPARED, cluster, lsn, moments, run, segments};
use crate::support::{
    host::TempDir,
    postgres::{Cluster, Server, majors},
};

/// When a transaction was committed, by the server's own record.
fn committed(cluster: &Cluster, xid: u32) -> Commit {
    let time = time(cluster, &format!("pg_xact_commit_timestamp('{xid}'::xid)"));
    Commit { time, xid }
}

fn clock(cluster: &Cluster) -> Timestamp {
    time(cluster, "clock_timestamp()")
}

fn time(cluster: &Cluster, value: &str) -> Timestamp {
    let text: String = cluster.value(&format!(
        "SELECT to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    ));
    text.parse().expect("a time")
}

/// Commits a transaction and says which it was.
fn commit(cluster: &Cluster) -> u32 {
    let mut client = cluster.client().expect("connect");
    let insert = "INSERT INTO kept (word) VALUES ('one') RETURNING xmin::text";
    let row = client.query_one(insert, &[]).expect("insert");
    row.get::<_, String>(0).parse().expect("a xid")
}

fn moments_are_found_on(server: &Server) {
    let archive = TempDir::new();
    let cluster = cluster(server, &archive).build();
    let mut session = cluster.client().expect("connect");
    run(&mut session, LOAD);
    cluster.switch_wal();

    // Plain transactions, first and last, and all sorts between them.
    let first = commit(&cluster);
    cluster.sql("BEGIN; SAVEPOINT a; INSERT INTO kept (word) VALUES ('x'); RELEASE a; COMMIT");
    cluster.sql("CREATE TABLE other (i int); DROP TABLE other; TRUNCATE kept");
    let last = commit(&cluster);
    let plain = cluster.switch_wal();
    let plain_commits = [first, last].map(|xid| committed(&cluster, xid));

    // A prepared transaction, whose own number is deep in the record.
    run(&mut session, PREPARED);
    let query = "SELECT transaction::text FROM pg_prepared_xacts";
    let prepared: String = cluster.value(query);
    cluster.switch_wal();
    session
        .batch_execute("COMMIT PREPARED 'it'")
        .expect("commit");
    let of_prepared = cluster.switch_wal();
    let prepared = committed(&cluster, prepared.parse().expect("a xid"));

    // Aborts, of both kinds.
    let before = clock(&cluster);
    cluster.sql("BEGIN; INSERT INTO kept (word) VALUES ('no'); ROLLBACK");
    sleep(Duration::from_millis(5));
    let between = clock(&cluster);
    let insert = "INSERT INTO kept (word) VALUES ('no')";
    run(
        &mut session,
        &format!("BEGIN; {insert}; PREPARE TRANSACTION 'no'; ROLLBACK PREPARED 'no'"),
    );
    let after = clock(&cluster);
    let of_aborts = cluster.switch_wal();

    // Restore points.
    let points: Vec<(String, String)> = ["one", "a b,c/ü", &"x".repeat(63)]
        .map(|name| {
            let point = format!("SELECT pg_create_restore_point('{name}')::text");
            (name.to_owned(), cluster.value(&point))
        })
        .into();
    let made = clock(&cluster);
    let of_points = cluster.switch_wal();
    cluster.wait_archived(&of_points);
    drop(cluster);

    let found = moments(&segments(&archive));
    let commits = |name: &str| [found[name].first_commit, found[name].last_commit];
    assert_eq!(commits(&plain), plain_commits.map(Some));
    assert_eq!(commits(&of_prepared), [Some(prepared); 2]);
    let aborts = [found[&of_aborts].first_abort, found[&of_aborts].last_abort];
    let [one, other] = aborts.map(|time| time.expect("an abort"));
    assert!(before < one && one < between, "{before} {one} {between}");
    assert!(
        between < other && other < after,
        "{between} {other} {after}"
    );
    assert_eq!(commits(&of_aborts), [None; 2]);
    let made_points = &found[&of_points].restore_points;
    let told = made_points.iter().map(|it| (it.name.clone(), it.lsn));
    let expected = points.into_iter().map(|(name, at)| (name, lsn(&at)));
    assert!(told.eq(expected), "{made_points:?}");
    assert!(
        made_points
            .iter()
            .all(|it| after < it.time && it.time < made)
    );
}

macro_rules! on_each_major {
    ($($name:ident: $major:literal,)*) => {$(
        #[test]
        fn $name() {
            if let Some(server) = majors::major($major) {
                moments_are_found_on(&server);
            }
        }
    )*};
}

on_each_major! {
    moments_are_found_on_13: 13,
    moments_are_found_on_14: 14,
    moments_are_found_on_15: 15,
    moments_are_found_on_16: 16,
    moments_are_found_on_17: 17,
    moments_are_found_on_18: 18,
}
