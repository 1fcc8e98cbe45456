//! A cluster comes back whole.

use std::{fs, process::Stdio, thread, time::Duration};

use super::{
    PATIENCE,
    support::{
        host::wait_until,
        postgres::{Cluster, every_major},
        site::read,
    },
    world::{World, contents, fill, make},
};

#[test]
fn what_was_backed_up_under_load_comes_back_to_the_last_commit() {
    let world = World::new();
    fill(&world.cluster);
    let cluster = &world.cluster;
    thread::scope(|scope| {
        let backup = scope.spawn(|| world.backup());
        let mut turn = 0;
        while !backup.is_finished() {
            turn += 1;
            cluster.sql(&format!(
                "INSERT INTO kept VALUES ({0}, 'during'); \
                 UPDATE kept SET word = 'changed' WHERE i % 1000 = {turn}; \
                 CREATE TABLE passing AS SELECT * FROM kept LIMIT 5000; DROP TABLE passing; \
                 CREATE TABLE made_{turn} (i int); INSERT INTO made_{turn} VALUES ({turn})",
                100_000 + turn
            ));
            thread::sleep(Duration::from_millis(20));
        }
        backup.join().expect("the backup");
    });
    cluster.sql("INSERT INTO kept VALUES (-1, 'the last one')");
    let expected = contents(cluster);
    world.ship();

    let run = world.restore(&[]);
    run.expect(0).says("archive_mode = off").says("pg_ctl -D ");
    let target = world.target();
    assert!(target.join("recovery.signal").exists());
    assert!(!target.join("walkeep.restore.json").exists());
    let restored = world.start();
    assert_eq!(contents(&restored), expected);
    assert_eq!(restored.value::<i64>("SELECT count(*) FROM made_1"), 1);
    assert_eq!(restored.value::<i64>("SELECT count(*) FROM fleeting"), 0);
    let mode: String = restored.value("SHOW archive_mode");
    assert_eq!(mode, "off");
    assert_eq!(
        restored
            .value::<String>("SHOW restore_command")
            .matches("wal fetch")
            .count(),
        1
    );
    restored.sql("INSERT INTO kept VALUES (-2, 'it takes writes')");
    amcheck(&restored);
}

#[test]
fn every_major_comes_back_and_is_verified() {
    for server in every_major() {
        let world = World::on(&server, &["max_connections = 37", "max_wal_senders = 3"]);
        world
            .cluster
            .sql("CREATE TABLE kept AS SELECT i, md5(i::text) FROM generate_series(1, 9999) i");
        world.backup();
        world.cluster.sql("INSERT INTO kept VALUES (0, 'later')");
        world.ship();
        let expected = contents(&world.cluster);
        world.restore(&[]).expect(0);
        let auto = read(&world.target().join("postgresql.auto.conf"));
        for limit in [
            "max_connections = '37'",
            "max_worker_processes = '8'",
            "max_wal_senders = '3'",
            "max_prepared_transactions = '0'",
            "max_locks_per_transaction = '64'",
        ] {
            assert!(
                auto.contains(limit),
                "PostgreSQL {}: {limit} in {auto}",
                server.major
            );
        }
        let restored = world.start();
        assert_eq!(contents(&restored), expected, "PostgreSQL {}", server.major);
        amcheck(&restored);
        check_pages(&restored);
    }
}

#[test]
fn tablespaces_go_where_they_are_mapped() {
    let world = World::new();
    let (old, new) = (world.site.path("old space"), world.site.path("new space"));
    let (stays, target) = (world.site.path("stays"), world.target());
    make(&old);
    make(&stays);
    world.cluster.sql(&format!(
        "CREATE TABLESPACE moved LOCATION '{}'",
        old.display()
    ));
    world.cluster.sql(&format!(
        "CREATE TABLESPACE staying LOCATION '{}'",
        stays.display()
    ));
    fill(&world.cluster);
    world.cluster.sql("ALTER TABLE kept SET TABLESPACE moved");
    world
        .cluster
        .sql("CREATE TABLE beside TABLESPACE staying AS SELECT 7 AS seven");
    world.backup();
    world.ship();
    let expected = contents(&world.cluster);

    let map = format!("{}={}", old.display(), new.display());
    world
        .restore(&["--tablespace", &map])
        .expect(1)
        .tells("which is not empty");
    assert!(!target.exists());
    world
        .restore(&["--tablespace", "/no/such=/x"])
        .expect(2)
        .tells("the backup has no tablespace in \"/no/such\"");
    world.cluster.stop_fast();
    fs::rename(&stays, world.site.path("was there")).unwrap();
    make(&new);
    world.restore(&["--tablespace", &map]).expect(0);
    assert!(read(&target.join("tablespace_map")).contains(&*new.to_string_lossy()));
    let restored = world.start();
    assert_eq!(contents(&restored), expected);
    assert_eq!(restored.value::<i32>("SELECT seven FROM beside"), 7);
    let locations: Vec<String> = restored.column(
        "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE oid >= 16384 ORDER BY oid",
    );
    assert_eq!(
        locations,
        [new.display().to_string(), stays.display().to_string()]
    );
}

#[test]
fn a_killed_restore_goes_on_where_it_was() {
    let world = World::new();
    fill(&world.cluster);
    world.backup();
    world.ship();
    let expected = contents(&world.cluster);
    let target = world.target();
    let target_text = target.to_str().unwrap();
    for _ in 0..3 {
        let mut command = world.command(&["restore", target_text]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut restore = command.spawn().unwrap();
        let before = written(&target);
        wait_until("something was written", PATIENCE, || {
            written(&target) > before + (1 << 20) || restore.try_wait().unwrap().is_some()
        });
        restore.kill().unwrap();
        restore.wait().unwrap();
        if !target.join("walkeep.restore.json").exists() {
            break;
        }
        assert!(
            !target.join("global/pg_control").exists(),
            "it looks like a cluster"
        );
    }
    if target.join("walkeep.restore.json").exists() {
        // What a power cut may have left of a file.
        let damaged = target.join("PG_VERSION");
        fs::write(&damaged, "torn").unwrap();
        fs::write(target.join("base/not in the backup"), "").unwrap();
        world.restore(&[]).expect(0);
    }
    assert_eq!(contents(&world.start()), expected);
}

fn written(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => written(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// `pg_amcheck`, where this PostgreSQL has it.
pub fn amcheck(cluster: &Cluster) {
    if !cluster.server().has("pg_amcheck") {
        return;
    }
    let mut command = cluster.server().command("pg_amcheck");
    command
        .args([
            "--install-missing",
            "--heapallindexed",
            "--username=postgres",
            "--all",
        ])
        .arg("--host")
        .arg(cluster.socket_directory())
        .arg(format!("--port={}", cluster.port()));
    let checked = command.output().expect("run pg_amcheck");
    assert!(checked.status.success(), "pg_amcheck: {checked:?}");
}

/// Stops the cluster, and has `pg_checksums` read every page of it.
pub fn check_pages(cluster: &Cluster) {
    let enabled: String = cluster.value("SHOW data_checksums");
    assert_eq!(enabled, "on");
    cluster.stop_fast();
    if !cluster.server().has("pg_checksums") {
        return;
    }
    let mut command = cluster.server().command("pg_checksums");
    command.arg("--check").arg("-D").arg(cluster.data());
    let checked = command.output().expect("run pg_checksums");
    assert!(checked.status.success(), "pg_checksums: {checked:?}");
}
