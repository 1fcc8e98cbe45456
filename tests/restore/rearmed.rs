//! `init --rearm`: a restored cluster archives again, on a timeline of its own.

use std::fs;

use super::{
    PATIENCE,
    support::{
        host::wait_until,
        postgres::{Cluster, every_major},
        site::{Run, read},
    },
    world::{World, contents, fill},
};

/// From now on walkeep's cluster is this one.
fn take_over(world: &World, cluster: &Cluster) {
    world.configure_for(cluster, &["one", "two"]);
}

fn rearm(world: &World) -> Run {
    world.site.walkeep(&["init", "--rearm"])
}

fn timelines(world: &World) -> Vec<String> {
    let listed = world.site.walkeep(&["--json", "wal", "list", "--files"]);
    let lines = listed.expect(0).stdout.lines();
    let names = lines.map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["name"].as_str().expect("a name").to_owned()
    });
    names.collect()
}

/// Brings the world's cluster back, stops the old one, and starts the new one.
fn come_back(world: &World) -> Cluster {
    world.restore(&[]).expect(0);
    world.cluster.stop_fast();
    let restored = world.start();
    take_over(world, &restored);
    restored
}

#[test]
fn a_restored_cluster_archives_again_and_is_restored_across_both_timelines() {
    let majors = every_major();
    let mut servers: Vec<_> = majors.first().into_iter().chain(majors.last()).collect();
    servers.dedup_by_key(|server| server.major);
    for server in servers {
        let world = World::on(server, &[]);
        fill(&world.cluster);
        let first = world.backup();
        world
            .cluster
            .sql("INSERT INTO kept VALUES (-1, 'on the first')");
        world.ship();
        let restored = come_back(&world);
        restored.sql("INSERT INTO kept VALUES (-2, 'not archived by itself')");
        let early = restored.switch_wal();

        let run = rearm(&world);
        run.expect(0)
            .says("timeline  2, which begins at")
            .says("restart PostgreSQL for archive_mode to work")
            .says("next      restart PostgreSQL, then run `walkeep init --rearm` again")
            .tells("if the old primary runs anywhere, stop it now");
        assert!(timelines(&world).contains(&"00000002.history".to_owned()));
        // What was written while archiving was off, as well.
        assert!(timelines(&world).contains(&early), "{early}");
        let auto = read(&restored.data().join("postgresql.auto.conf"));
        assert!(
            !auto.contains("restore_command") && !auto.contains("recovery_target"),
            "{auto}"
        );
        restored.stop_fast();
        restored.start();
        let run = rearm(&world);
        run.expect(0)
            .says("settings  PostgreSQL archives through walkeep")
            .says("it can be restored"); // Again is fine.
        let again = world.site.walkeep(&["--json", "init", "--rearm"]);
        let again = again.expect(0).json();
        assert_eq!(again["rearmed"]["timeline"], 2);
        assert_eq!(again["rearmed"]["usable"], true);
        assert_eq!(again["restart_needed"], false);

        restored.sql("INSERT INTO kept VALUES (-3, 'on the second')");
        let expected = contents(&restored);
        let segment = restored.switch_wal();
        restored.wait_archived(&segment);
        world.site.walkeep(&["ship"]).expect(0);
        restored.stop_fast();
        // From the backup on the new timeline, and from the one before it.
        for backup in [None, first["id"].as_str()] {
            fs::remove_dir_all(world.target()).unwrap();
            let arguments = backup.map_or(vec![], |id| vec!["--backup", id]);
            world.restore(&arguments).expect(0);
            let again = world.start();
            assert_eq!(contents(&again), expected, "{} {backup:?}", server.major);
            let timeline = "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";
            assert_eq!(again.value::<String>(timeline), "00000003");
        }
    }
}

#[test]
fn one_that_still_recovers_or_was_overtaken_is_refused() {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept (i int)");
    world.backup();
    world.ship();
    // The living cluster has nothing to rearm.
    rearm(&world)
        .expect(1)
        .tells("it has no timeline of its own");

    world.cluster.sql("SELECT pg_create_restore_point('one')");
    world.ship();
    world
        .restore(&["--to-name", "one", "--action", "pause"])
        .expect(0);
    let restored = Cluster::over(world.cluster.server(), &world.target());
    restored.start();
    take_over(&world, &restored);
    rearm(&world)
        .expect(1)
        .tells("still recovers, or waits at its target");
    wait_until("it waits", PATIENCE, || {
        restored.value::<bool>("SELECT pg_is_wal_replay_paused()")
    });
    restored.sql("SELECT pg_wal_replay_resume()");
    restored.wait_promoted();
    let (here, elsewhere) = (restored.data().display(), world.cluster.data().display());
    let wrong = |text: String| text.replace(&here.to_string(), &elsewhere.to_string());
    world.site.reconfigure(wrong);
    rearm(&world)
        .expect(2)
        .tells("cluster.data_directory: it is");
    take_over(&world, &restored);
    // Both run: said with its process.
    let old = format!("(process {})", world.cluster.pid());
    let nothing = timelines(&world);
    assert!(!nothing.contains(&"00000002.history".to_owned()));

    // A second copy takes the same number, as nobody has said yet that it is taken.
    let second = world.site.path("second");
    let place = second.to_str().unwrap().to_owned();
    world.site.walkeep(&["restore", &place]).expect(0);
    let copy = Cluster::over(world.cluster.server(), &second);
    copy.start();
    copy.wait_promoted();
    rearm(&world).expect(0).tells(&old);
    take_over(&world, &copy);
    let before = read(&copy.data().join("postgresql.auto.conf"));
    rearm(&world).expect(1).tells("has another timeline 2");
    assert_eq!(read(&copy.data().join("postgresql.auto.conf")), before);

    // A third one, restored since, gets a number of its own, and goes on.
    copy.stop_fast();
    fs::remove_dir_all(&second).unwrap();
    let again = world.site.walkeep(&["restore", &place, "--timeline", "1"]);
    again.expect(0);
    let third = Cluster::over(world.cluster.server(), &second);
    third.start();
    third.wait_promoted();
    take_over(&world, &third);
    rearm(&world).expect(0).says("timeline  3, which begins at");
    take_over(&world, &restored);
    rearm(&world)
        .expect(1)
        .tells("has timeline 3, and this cluster is on 2");
}
