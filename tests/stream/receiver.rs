//! `pg_receivewal` and its slot: what becomes of them when the daemon is
//! killed, and when PostgreSQL gives the slot up. On every major that this
//! machine's `pg_receivewal` can stream from.

use std::{fs, path::Path, process::Child, thread, time::Duration};

use super::{
    support::{
        host::{receivers, wait_until},
        postgres::{Cluster, Server, default_server, every_major},
    },
    world::{PATIENCE, World},
};

/// Receives into this directory without a daemon.
fn orphan(cluster: &Cluster, directory: &Path) -> Child {
    let mut command = default_server().command("pg_receivewal");
    let child = command
        .arg(format!("--dbname={}", cluster.connection()))
        .arg(format!("--directory={}", directory.display()))
        .spawn();
    let child = child.expect("start pg_receivewal");
    wait_until("it receives", PATIENCE, || {
        !receivers(directory).is_empty()
            && cluster.value::<i64>("SELECT count(*) FROM pg_stat_replication") > 0
    });
    child
}

#[test]
fn killed_daemons_leave_nobody_and_lost_slots_are_made_again() {
    let newest = default_server().major;
    thread::scope(|scope| {
        for server in every_major() {
            if server.major <= newest {
                scope.spawn(move || the_story_of(&server));
            }
        }
    });
}

fn the_story_of(server: &Server) {
    println!("PostgreSQL {}", server.major);
    let mut world = World::on(server, 1);
    let directory = world.site.staging().join("stream/wal");
    world.start_daemon();
    world.wait_for_line("streams what PostgreSQL writes");
    world.insert(1);
    world.wait_streamed("one");

    // It ends with its daemon, however that ended. What has outlived one
    // all the same is ended by the next.
    assert_eq!(receivers(&directory).len(), 1);
    world.kill_daemon();
    wait_until("nobody receives", PATIENCE, || {
        receivers(&directory).is_empty()
    });
    let mut orphan = orphan(&world.cluster, &directory);
    let orphans = receivers(&directory);
    world.start_daemon();
    world.wait_for_line("that a killed walkeep left");
    orphan.wait().expect("wait for it");
    world.insert(2);
    world.wait_streamed("one");
    let living = receivers(&directory);
    assert!(living.len() == 1 && living != orphans);

    // Whole segments take the place of their parts, and few stay here.
    for i in 10..14 {
        world.insert(i);
        world.cluster.switch_wal();
    }
    world.wait_streamed("two");
    for store in 0..2 {
        wait_until("parts of whole segments go", PATIENCE, || {
            let whole = world.keys(store, "main/wal/");
            let parts = world.streamed(store);
            parts.iter().all(|part| {
                let segment = &part[..24];
                !whole
                    .iter()
                    .any(|file| file.starts_with(&format!("{segment}.gz")))
            })
        });
    }
    wait_until("few segments stay", PATIENCE, || {
        world.received().len() <= 3
    });

    // Killed, it ends with its daemon; and its slot is dropped meanwhile.
    world.kill_daemon();
    wait_until("nobody receives", PATIENCE, || {
        receivers(&directory).is_empty()
    });
    wait_until("the slot is free", PATIENCE, || {
        let free = "SELECT NOT active FROM pg_replication_slots";
        world.cluster.column::<bool>(free) == [true]
    });
    world
        .cluster
        .sql("SELECT pg_drop_replication_slot('walkeep')");
    world.insert(20);
    world.start_daemon();
    world.wait_for_line("the replication slot \"walkeep\" is gone");
    world.insert(21);
    world.wait_streamed("one");
    let loss = world.state()["slot_lost"]["why"].to_string();
    assert!(loss.contains("somebody has dropped it"), "{loss}");
    assert_eq!(world.state()["slot"]["state"], "kept");

    // PostgreSQL gives it up: it may keep less than is written meanwhile.
    world.stop_daemon();
    world.cluster.append_conf("max_slot_wal_keep_size = 1MB");
    world.cluster.append_conf("max_wal_size = 2MB");
    world.cluster.append_conf("min_wal_size = 2MB");
    world.cluster.reload();
    for _ in 0..6 {
        world.cluster.switch_wal();
    }
    let last = world.cluster.switch_wal();
    world.cluster.wait_archived(&last);
    wait_until("the slot is lost", PATIENCE, || {
        world.cluster.sql("CHECKPOINT");
        let status = "SELECT coalesce(wal_status, '') FROM pg_replication_slots";
        world.cluster.column::<String>(status) == ["lost"]
    });
    world.start_daemon();
    world.wait_for_line("PostgreSQL has given up the replication slot");
    world.insert(30);
    world.wait_streamed("one");
    // What archive_command had brought by then closes the hole.
    wait_until("staging is empty", PATIENCE, || {
        let staged = fs::read_dir(world.site.staging()).unwrap().flatten();
        let mut names = staged.map(|entry| entry.file_name().into_string().unwrap());
        !names.any(|name| name.len() == 24)
    });
    thread::sleep(Duration::from_secs(1));
    world.lose_host();
    let (run, restored) = world.recover(&[]);
    run.says(", streamed until ");
    let rows: Vec<i64> = restored.column("SELECT i FROM done ORDER BY i");
    assert_eq!(rows, [1, 2, 10, 11, 12, 13, 20, 21, 30]);
}
