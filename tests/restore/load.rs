//! Backups of a cluster that does not stand still: while their files are read,
//! relations are created, extended, truncated, dropped and moved. And backups
//! of a standby.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    PATIENCE,
    support::{
        host::wait_until,
        postgres::{Cluster, Server, every_major},
    },
    targets::rows,
    whole::{amcheck, check_pages},
    world::{World, fill, make},
};

/// Every table that is logged, and all that is in it.
fn everything(cluster: &Cluster) -> Vec<(String, i64, String)> {
    let tables: Vec<String> = cluster.column(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace \
         AND relkind = 'r' AND relpersistence = 'p' ORDER BY 1",
    );
    let contents = |table: String| {
        let query = format!(
            "SELECT count(*), coalesce(md5(string_agg(md5({table}::text), '' \
             ORDER BY {table}::text)), '') FROM {table}"
        );
        let row = cluster.rows(&query).remove(0);
        (table, row.get(0), row.get(1))
    };
    tables.into_iter().map(contents).collect()
}

/// Changes what a base backup reads, until told to end.
fn disturb(cluster: &Cluster, end: &AtomicBool) {
    let mut client = cluster.client().expect("connect");
    let mut turn = 0;
    while !end.load(Ordering::Relaxed) || turn < 3 {
        turn += 1;
        let space = ["pg_default", "beside"][turn % 2];
        for statement in [
            format!(
                "CREATE TABLE made_{turn} AS SELECT i, md5(i::text) \
                 FROM generate_series(1, {0}) i",
                500 * (turn % 7)
            ),
            "INSERT INTO grows SELECT i, repeat('x', 500) FROM generate_series(1, 300) i"
                .to_owned(),
            "INSERT INTO empties SELECT i FROM generate_series(1, 30000) i".to_owned(),
            format!("ALTER TABLE moves SET TABLESPACE {space}"),
            "TRUNCATE empties".to_owned(),
            "DELETE FROM shrinks WHERE i > (SELECT max(i) / 2 FROM shrinks)".to_owned(),
            // Gives pages at the end back to the file system.
            "VACUUM shrinks".to_owned(),
            "INSERT INTO shrinks SELECT i, md5(i::text) FROM generate_series(1, 3000) i".to_owned(),
            format!("DROP TABLE IF EXISTS made_{}", turn.saturating_sub(2)),
            "CHECKPOINT".to_owned(),
        ] {
            let done = client.batch_execute(&statement);
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}

#[test]
fn relations_that_come_go_grow_shrink_and_move_meanwhile() {
    let world = World::new();
    let cluster = &world.cluster;
    let space = world.site.path("beside");
    make(&space);
    cluster.sql(&format!(
        "CREATE TABLESPACE beside LOCATION '{}'",
        space.display()
    ));
    fill(cluster);
    cluster.sql(
        "CREATE TABLE grows (i int, filler text); CREATE TABLE empties (i int); \
         CREATE TABLE moves AS SELECT i FROM generate_series(1, 20000) i; \
         CREATE TABLE shrinks AS SELECT i, md5(i::text) FROM generate_series(1, 3000) i; \
         CREATE INDEX ON grows (i); CREATE INDEX ON moves (i)",
    );
    let end = AtomicBool::new(false);
    let backups = thread::scope(|scope| {
        let load = scope.spawn(|| disturb(cluster, &end));
        let backups: Vec<_> = (0..3).map(|_| world.backup()).collect();
        end.store(true, Ordering::Relaxed);
        load.join().expect("the load");
        backups
    });
    assert!(backups[0]["based_on"].is_null());
    let expected = everything(cluster);
    world.ship();

    let elsewhere = world.site.path("elsewhere");
    for backup in &backups {
        let id = backup["id"].as_str().expect("an id");
        for directory in [&world.target(), &elsewhere] {
            let _ = std::fs::remove_dir_all(directory);
        }
        make(&elsewhere);
        let map = format!("{}={}", space.display(), elsewhere.display());
        world
            .restore(&["--backup", id, "--tablespace", &map])
            .expect(0);
        let restored = world.start();
        assert_eq!(everything(&restored), expected, "from {id}");
        amcheck(&restored);
        check_pages(&restored);
    }
}

#[test]
fn a_standby_is_backed_up_on_every_major() {
    for server in every_major() {
        a_standby_is_backed_up(&server);
    }
}

fn a_standby_is_backed_up(server: &Server) {
    let world = World::on(server, &[]);
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept AS SELECT i FROM generate_series(1, 5000) i");
    world.backup();
    world.ship();
    let directory = world.site.path("standby");
    let arguments = ["restore", directory.to_str().expect("UTF-8"), "--standby"];
    world.site.walkeep(&arguments).expect(0);
    let standby = Cluster::over(server, &directory);
    standby.start();
    cluster.sql("INSERT INTO kept VALUES (-1)");
    world.ship();
    let expected = rows(cluster);
    wait_until("the standby follows", PATIENCE, || {
        rows(&standby) == expected
    });

    world.configure_for(&standby, &["one", "two"]);
    // A standby writes no WAL: what its backup needs comes from the primary.
    let end = AtomicBool::new(false);
    let backup = thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                cluster.sql("INSERT INTO kept VALUES (-2)");
                cluster.switch_wal();
            }
        });
        let backup = world.site.walkeep(&["--json", "backup", "create"]);
        end.store(true, Ordering::Relaxed);
        backup
    });
    let backup = backup.expect(0).json();
    assert_eq!(backup["from_standby"], true, "{backup}");
    assert!(!backup["based_on"].is_null(), "{backup}");

    cluster.sql("INSERT INTO kept VALUES (-3)");
    let expected = rows(cluster);
    world.ship();
    let id = backup["id"].as_str().expect("an id");
    world.restore(&["--backup", id]).expect(0);
    let restored = world.start();
    assert_eq!(rows(&restored), expected, "PostgreSQL {}", server.major);
    check_pages(&restored);
}
