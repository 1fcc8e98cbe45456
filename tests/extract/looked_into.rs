//! What a command sees.

use std::process::Stdio;

use super::{
    ask, is_clean, now, program,
    support::postgres::{Server, every_major},
    world::{World, contents, fill},
};

#[test]
fn a_table_comes_back_from_before_it_was_lost() {
    let world = World::new();
    fill(&world.cluster);
    world.backup();
    let cluster = &world.cluster;
    cluster.sql("UPDATE kept SET word = 'after the backup' WHERE i <= 10");
    let before = contents(cluster);
    // Its locks are taken before that moment, and its end is behind it.
    let mut session = cluster.client().unwrap();
    session.batch_execute("BEGIN; DROP TABLE kept").unwrap();
    cluster.sql("CREATE TABLE at_the_same_time (i int)");
    let good = now(&world);
    session.batch_execute("COMMIT").unwrap();
    cluster.sql("CREATE TABLE another (i int)");
    world.ship();

    let mut extract = world.command(&[
        "extract",
        "--to-time",
        &good,
        "--",
        &program("pg_dump"),
        "--table=kept",
    ]);
    let mut dump = extract.stdout(Stdio::piped()).spawn().unwrap();
    let mut psql = cluster.server().command("psql");
    psql.args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1"])
        .arg(cluster.connection())
        .stdin(dump.stdout.take().unwrap());
    let loaded = psql.output().unwrap();
    assert!(loaded.status.success(), "{loaded:?}");
    assert!(dump.wait().unwrap().success());
    assert_eq!(contents(cluster), before);
    is_clean(&world);
}

#[test]
fn every_target_is_reached_and_nothing_is_promoted_into_the_archive() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept (i int)");
    let backup = world.backup();
    let xid: i64 = {
        let rows = cluster.rows("INSERT INTO kept VALUES (1) RETURNING txid_current()");
        rows[0].get(0)
    };
    cluster.sql("SELECT pg_create_restore_point('one')");
    let time = now(&world);
    cluster.sql("INSERT INTO kept VALUES (2)");
    let lsn: String = cluster.value("SELECT pg_current_wal_insert_lsn()::text");
    cluster.sql("INSERT INTO kept VALUES (3)");
    world.ship();
    let count = "SELECT count(*), pg_is_in_recovery() FROM kept";
    for (target, expected) in [
        (&["--to-time", &time][..], "1|f\n"),
        (&["--to-xid", &xid.to_string()], "1|f\n"),
        (&["--to-xid", &xid.to_string(), "--exclusive"], "0|f\n"),
        (&["--to-name", "one"], "1|f\n"),
        (&["--to-lsn", &lsn, "--exclusive"], "2|f\n"),
        (&["--immediate"], "0|f\n"),
        (&[], "3|f\n"),
        (
            &["--store", "two", "--backup", backup["id"].as_str().unwrap()],
            "3|f\n",
        ),
    ] {
        let run = ask(&world, target, count);
        assert_eq!(run.expect(0).stdout, expected, "{target:?}: {}", run.stderr);
    }
    is_clean(&world);
    assert_eq!(cluster.value::<i64>("SELECT count(*) FROM kept"), 3);
    let archived = world.site.walkeep(&["wal", "list", "--files"]);
    archived.expect(0).says_not("00000002");
}

#[test]
fn the_oldest_and_the_newest_major_are_looked_into() {
    let majors = every_major();
    let mut servers: Vec<&Server> = majors.first().into_iter().chain(majors.last()).collect();
    servers.dedup_by_key(|server| server.major);
    for server in servers {
        let world = World::on(server, &["max_connections = 37", "max_wal_senders = 3"]);
        world.cluster.sql("CREATE TABLE kept (i int)");
        world.backup();
        world.cluster.sql("INSERT INTO kept VALUES (7)");
        let time = now(&world);
        world.cluster.sql("INSERT INTO kept VALUES (8)");
        world.ship();
        let run = ask(&world, &["--to-time", &time], "SELECT i FROM kept");
        assert_eq!(run.expect(0).stdout, "7\n", "PostgreSQL {}", server.major);
        is_clean(&world);
    }
}
