//! The host is lost in the middle of a load.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use super::{
    support::postgres::{Cluster, default_server},
    world::{Load, World, interval},
};

/// How much older than the interval a transaction can be that is lost with the
/// host: as long as it takes until the last part is in a store, which is its
/// compression and one PUT, and as the tests' machine, which does other things
/// as well, takes to run what is due.
const SLACK: Duration = Duration::from_secs(2);

fn rows(cluster: &Cluster) -> BTreeSet<i64> {
    let rows: Vec<i64> = cluster.column("SELECT i FROM done WHERE i >= 1000");
    rows.into_iter().collect()
}

#[test]
fn nothing_older_than_the_interval_is_lost_with_the_host() {
    let mut world = World::on(&default_server(), 1);
    world.start_daemon();
    world.wait_for_line("streams what PostgreSQL writes");
    // About a segment a second, of several commits each.
    let load = Load::start(&world, Duration::from_millis(5));
    thread::sleep(Duration::from_secs(3));
    // One store is away for a while: the other goes on, and this one catches
    // up.
    world.stores[1].stop();
    thread::sleep(Duration::from_secs(3));
    world.wait_streamed("one");
    world.stores[1].restart();
    world.wait_streamed("two");
    // Archiving fails from here on: whole segments are streamed alone.
    world.cluster.append_conf("archive_command = 'false'");
    world.cluster.reload();
    // Several of them between two looks.
    for _ in 0..4 {
        world.cluster.switch_wal();
    }
    // In the middle between two looks: they have just been waited for.
    thread::sleep(interval().mul_f64(4.7));

    let lost_at = Instant::now();
    world.lose_host();
    let confirmed = load.end();
    assert!(confirmed.len() > 200, "{} commits", confirmed.len());

    for arguments in [&[][..], &["--store", "two"]] {
        let (run, restored) = world.recover(arguments);
        run.says(", streamed until ");
        let there = rows(&restored);
        let lost: Vec<_> = confirmed
            .iter()
            .filter(|(row, _)| !there.contains(row))
            .collect();
        let oldest = lost
            .iter()
            .map(|(_, at)| lost_at.saturating_duration_since(*at))
            .max();
        println!(
            "{arguments:?}: {} of {} lost, the oldest {oldest:?}",
            lost.len(),
            confirmed.len()
        );
        let bound = interval() + SLACK;
        assert!(oldest.is_none_or(|it| it <= bound), "{oldest:?} old");
        // Of those that are there, none is missing in between.
        let last = there.last().copied().unwrap_or_default();
        assert_eq!(there.len() as i64, last - 999);
    }
}

#[test]
fn what_was_streamed_can_be_a_target() {
    let mut world = World::on(&default_server(), 16);
    world.start_daemon();
    world.wait_for_line("streams what PostgreSQL writes");
    world.insert(1);
    let before: String = world.cluster.value("SELECT clock_timestamp()::text");
    world.cluster.sql("SELECT pg_sleep(0.1)");
    world.insert(2);
    let xid: String = world.cluster.value(
        "WITH it AS (INSERT INTO done VALUES (3, '') RETURNING 1) \
         SELECT pg_current_xact_id()::text FROM it",
    );
    let lsn: String = world
        .cluster
        .value("SELECT pg_create_restore_point('here')::text");
    world.insert(4);
    world.wait_streamed("one");
    world.wait_streamed("two");
    assert!(!world.streamed(0).is_empty());
    world.lose_host();
    for (target, expected) in [
        (&["--to-time", before.as_str()][..], 1),
        (&["--to-xid", xid.as_str()], 3),
        (&["--to-name", "here"], 3),
        (&["--to-lsn", lsn.as_str()], 3),
        (&[], 4),
    ] {
        let (_, restored) = world.recover(target);
        let last: i64 = restored.value("SELECT max(i) FROM done");
        assert_eq!(last, expected, "{target:?}");
    }
}
