//! A drill that the daemon holds.

use std::{fs::File, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use walkeep::catalog::Catalog;

use super::{configure, is_clean, kept, scratch, support::host::wait_until, world::World};

const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn the_daemon_holds_drills_and_ends_one_with_itself() {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept AS SELECT 7 AS i");
    world.backup();
    world.ship();
    configure(
        &world,
        "checks = [\"select pg_sleep(600)\"]\namcheck = false",
    );
    world
        .site
        .reconfigure(|text| format!("[schedule]\ndrill = \"every 1h\"\n\n{text}"));
    let start = || {
        let log = File::create(world.site.path("daemon.log")).unwrap();
        let mut command = world.command(&["run"]);
        command.stderr(log).spawn().unwrap()
    };
    let job = || {
        let catalog = Catalog::at(world.site.path("catalog/catalog.redb"));
        let jobs = catalog.read(|reader| reader.jobs()).unwrap();
        jobs.get("drill").cloned()
    };
    let mut daemon = start();
    wait_until("a drill has its server", PATIENCE, || {
        let entries = std::fs::read_dir(scratch(&world)).into_iter().flatten();
        let mut files = entries
            .flatten()
            .map(|it| it.path().join("data/postmaster.pid"));
        files.any(|file| file.exists())
    });
    let begun = std::time::Instant::now();
    kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20));
    is_clean(&world);
    assert_eq!(kept(&world), []);
    let ended = job().unwrap();
    assert!(ended.begun.is_some() && ended.ended.is_none(), "{ended:?}");

    // It was not done: it is the first thing that the next one does.
    world
        .site
        .reconfigure(|text| text.replace("pg_sleep(600)", "i from kept"));
    let mut daemon = start();
    wait_until("the drill is done", PATIENCE, || {
        job().is_some_and(|job| job.ok == Some(true))
    });
    let drills = kept(&world);
    assert_eq!((drills.len(), drills[0].ok), (1, true));
    kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    is_clean(&world);
}
