//! A standby is streamed from, and promoted.

use super::{
    support::{
        host::wait_until,
        postgres::{Cluster, default_server},
    },
    world::{PATIENCE, World},
};

#[test]
fn a_promoted_standby_is_followed_onto_its_timeline() {
    let mut world = World::on(&default_server(), 1);
    let data = world.site.path("standby");
    let mut copy = world.cluster.server().command("pg_basebackup");
    copy.arg("-d").arg(world.cluster.connection());
    copy.args(["-X", "stream", "-c", "fast", "-R", "-D"])
        .arg(&data);
    let copied = copy.output().expect("run pg_basebackup");
    assert!(copied.status.success(), "{copied:?}");
    let standby = Cluster::over(world.cluster.server(), &data);
    standby.start();
    world.configure(&world.site, &standby);
    world.start_daemon();
    world.wait_for_line("streams what PostgreSQL writes");
    world.insert(1);
    world.wait_streamed("one");

    world.cluster.kill();
    standby.sql("SELECT pg_promote()");
    standby.wait_promoted();
    standby.sql("INSERT INTO done VALUES (2, 'on the second timeline')");
    wait_until("the second timeline is streamed", PATIENCE, || {
        let mut parts = world.streamed(0).into_iter();
        parts.any(|part| part.starts_with("00000002"))
    });
    wait_until("its history is archived", PATIENCE, || {
        let mut files = world.keys(0, "main/wal/").into_iter();
        files.any(|file| file == "00000002.history.gz")
    });
    world.wait_streamed("one");
    standby.kill();
    world.kill_daemon();
    std::fs::remove_dir_all(world.site.staging()).unwrap();

    let (run, restored) = world.recover(&[]);
    run.says(" of 00000002");
    let rows: Vec<i64> = restored.column("SELECT i FROM done ORDER BY i");
    assert_eq!(rows, [1, 2]);
    // The first timeline's own end is still there.
    let (_, restored) = world.recover(&["--timeline", "1"]);
    let rows: Vec<i64> = restored.column("SELECT i FROM done ORDER BY i");
    assert_eq!(rows, [1]);
}
