//! Where recovery stops, each checked by rows.

use std::{thread, time::Duration};

use jiff::Timestamp;

use super::{
    PATIENCE,
    support::{host::wait_until, postgres::Cluster, site::read},
    whole::{amcheck, check_pages},
    world::World,
};

/// A moment between two marked transactions: what was true when.
pub struct Mark {
    pub rows: i64,
    pub time: Timestamp,
    pub lsn: String,
    pub xid: String,
}

pub fn rows(cluster: &Cluster) -> i64 {
    cluster.value("SELECT count(*) FROM kept")
}

pub fn mark(cluster: &Cluster) -> Mark {
    let xid = cluster.value("INSERT INTO kept VALUES (1) RETURNING pg_current_xact_id()::text");
    thread::sleep(Duration::from_millis(30));
    let now: String = cluster.value(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    );
    let lsn = cluster.value("SELECT pg_current_wal_insert_lsn()::text");
    thread::sleep(Duration::from_millis(30));
    Mark {
        rows: rows(cluster),
        time: now.parse().expect("a time"),
        lsn,
        xid,
    }
}

/// Restores to these arguments, and gives the rows there, once every page and
/// index was found in order.
pub fn restored(world: &World, arguments: &[&str]) -> i64 {
    let _ = std::fs::remove_dir_all(world.target());
    world.restore(arguments).expect(0);
    let restored = world.start();
    let found = rows(&restored);
    amcheck(&restored);
    check_pages(&restored);
    found
}

#[test]
fn every_kind_of_target_is_reached_to_the_row() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept (i int)");
    let before = mark(cluster);
    world.backup();
    let first = mark(cluster);
    cluster.sql("SELECT pg_create_restore_point('here it is')");
    let second = mark(cluster);
    world.ship();
    let third = mark(cluster);
    world.ship();

    let time = second.time.to_string();
    assert_eq!(restored(&world, &["--to-time", &time]), second.rows);
    assert_eq!(restored(&world, &["--to-lsn", &second.lsn]), second.rows);
    assert_eq!(restored(&world, &["--to-name", "here it is"]), first.rows);
    assert_eq!(restored(&world, &["--to-xid", &second.xid]), second.rows);
    let exclusive = ["--to-xid", &second.xid, "--exclusive"];
    assert_eq!(restored(&world, &exclusive), second.rows - 1);
    assert_eq!(restored(&world, &["--immediate"]), before.rows);
    assert_eq!(restored(&world, &[]), third.rows);

    // What cannot be reached is said before a disk is touched.
    let refused = |arguments: &[&str], words: &str| {
        let _ = std::fs::remove_dir_all(world.target());
        let run = world.restore(arguments);
        run.expect(1)
            .tells(words)
            .tells("what can be reached on timeline 1");
        assert!(!world.target().exists());
    };
    let early = before.time.to_string();
    refused(&["--to-time", &early], "before the earliest backup");
    refused(
        &["--to-time", "2100-01-01T00:00:00Z"],
        "ended after the target",
    );
    refused(
        &["--to-name", "here it was"],
        "no restore point \"here it was\"",
    );
    refused(&["--to-lsn", "FF/0"], "the WAL ends at");
    refused(&["--timeline", "7"], "timeline 7 does not exist");
    refused(
        &["--backup", "20000101T000000Z"],
        "there is no backup \"20000101T000000Z\"",
    );
}

#[test]
fn a_gap_is_said_beforehand_with_what_is_left() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept (i int)");
    world.backup();
    let reached = mark(cluster);
    world.ship();
    let lost = cluster.value::<String>("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    mark(cluster);
    world.ship();
    mark(cluster);
    world.ship();
    for store in &world.stores {
        let key = format!("main/wal/{lost}.gz");
        std::fs::remove_file(store.object_path(super::world::BUCKET, &key)).unwrap();
    }
    world.restore(&[]).expect(1).tells(&lost).tells("gap");
    assert!(!world.target().exists());
    assert_eq!(restored(&world, &["--to-lsn", &reached.lsn]), reached.rows);
}

#[test]
fn stale_settings_of_the_backup_do_no_harm_and_a_paused_server_waits() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept (i int)");
    for stale in [
        "recovery_target_name = 'stale'",
        "primary_conninfo = 'host=/nowhere'",
        "primary_slot_name = 'stale'",
        "recovery_end_command = 'false'",
    ] {
        cluster.sql(&format!("ALTER SYSTEM SET {stale}"));
    }
    cluster.append_conf("recovery_target_time = '2001-01-01 00:00:00+00'");
    world.backup();
    let kept = mark(cluster);
    mark(cluster);
    world.ship();
    let time = kept.time.to_string();
    world
        .restore(&["--to-time", &time, "--action", "pause"])
        .expect(0);
    let restored = Cluster::over(cluster.server(), &world.target());
    restored.start();
    let paused = "SELECT pg_is_in_recovery() AND pg_get_wal_replay_pause_state() = 'paused'";
    wait_until("it pauses", PATIENCE, || restored.value(paused));
    assert_eq!(rows(&restored), kept.rows);
    restored.sql("SELECT pg_wal_replay_resume()");
    restored.wait_promoted();
}

#[test]
fn a_standby_goes_on_asking() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept (i int)");
    world.backup();
    let then = mark(cluster);
    world.ship();
    world
        .restore(&["--standby"])
        .expect(0)
        .says("primary_conninfo");
    world.verify(&world.target());
    let auto = read(&world.target().join("postgresql.auto.conf"));
    assert!(!auto.contains("--plan"), "{auto}");
    let standby = Cluster::over(cluster.server(), &world.target());
    standby.start();
    let reaches = |rows: i64| {
        wait_until("the standby follows", PATIENCE, || {
            standby.value::<i64>("SELECT count(*) FROM kept") == rows
        });
    };
    reaches(then.rows);
    let later = mark(cluster);
    world.ship();
    reaches(later.rows);
    assert!(standby.value::<bool>("SELECT pg_is_in_recovery()"));
}

#[test]
fn a_plan_is_shown_and_nothing_is_done() {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept (i int)");
    let backup = world.backup();
    let last = mark(&world.cluster);
    world.ship();
    let id = backup["id"].as_str().unwrap();
    let run = world.restore(&["--plan"]);
    run.expect(0)
        .says(id)
        .says("the newest that leads to the timeline");
    let plan = world.restore(&["--plan", "--json"]).expect(0).json();
    assert_eq!(plan["backup"], id);
    assert_eq!(plan["stores"], serde_json::json!(["one", "two"]));
    assert!(plan["last_commit"].as_str().unwrap() <= last.time.to_string().as_str());
    assert!(plan["fetch_bytes"].as_u64().unwrap() > 1 << 20, "{plan}");
    assert!(!world.target().exists());
}

#[test]
fn a_bare_machine_needs_a_bucket_a_key_and_a_prefix() {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept (i int)");
    world.backup();
    let last = mark(&world.cluster);
    world.ship();
    // Neither staging nor catalog nor cluster, nor the cluster's name.
    let spool = world.site.path("elsewhere");
    let mut text = format!(
        "[cluster]\nname = \"unknown\"\n[catalog]\npath = \"{0}\"\n[fetch]\nspool = \"{0}\"\n",
        spool.display()
    );
    for (name, server) in ["one", "two"].iter().zip(&world.stores) {
        text += &server.toml_store_table(name, "s3", super::world::BUCKET);
    }
    world.site.configure(&text, "");
    world
        .restore(&[])
        .expect(2)
        .tells("there is no archive at \"unknown/\"")
        .tells("store \"one\" has \"main\"")
        .tells("WALKEEP_PREFIX");
    let target = world.target();
    let arguments = ["restore", target.to_str().unwrap()];
    let variables = [("WALKEEP_PREFIX", "main")];
    world.site.run(&arguments, &variables).expect(0);
    // The server's environment has the prefix as well.
    let auto = target.join("postgresql.auto.conf");
    let settings = read(&auto).replace(
        "restore_command = '",
        "restore_command = 'WALKEEP_PREFIX=main ",
    );
    std::fs::write(&auto, settings).unwrap();
    assert_eq!(rows(&world.start()), last.rows);
    assert!(!spool.join("catalog.redb").exists());
}
