//! What a real PostgreSQL is the cause of.

use nix::sys::signal::{Signal, kill};

use crate::{
    PATIENCE, Scene,
    support::{
        archive::{Archive, MIB},
        host::{receivers, wait_until, walkeep_binary},
        postgres::Cluster,
    },
};

/// A cluster that archives, and what watches it.
pub fn watched() -> (Scene, Cluster) {
    let cluster = Cluster::builder()
        .wal_segsize_mb(1)
        .conf("archive_mode = on")
        .conf("wal_level = replica")
        .conf("archive_command = 'false'")
        .build();
    let system: i64 = cluster.value("SELECT system_identifier FROM pg_control_system()");
    let scene = Scene::of(Archive::bound_to(system.cast_unsigned(), MIB));
    (scene, cluster)
}

pub fn tables(cluster: &Cluster) -> String {
    format!(
        "[cluster]\nname = \"main\"\ndata_directory = \"{}\"\nbin_directory = \"{}\"\n\
         connection = \"{}\"\n",
        cluster.data().display(),
        cluster.server().bin.display(),
        cluster.connection()
    )
}

fn archive_by(cluster: &Cluster, command: &str) {
    cluster.append_conf(&format!("archive_command = '{command}'"));
    cluster.reload();
}

pub fn archive_with_walkeep(scene: &Scene, cluster: &Cluster) {
    let push = format!(
        "{} --config {} wal push %p",
        walkeep_binary().display(),
        scene.archive.config().display()
    );
    archive_by(cluster, &push);
}

/// The story of a server: it archives nothing, fails, is too slow, takes a
/// backup, and is gone.
#[test]
fn a_server_that_does_not_archive_or_does_not_answer_is_told() {
    let (mut scene, cluster) = watched();
    // More than one file in pg_wal is much.
    scene.configure("", "waiting = 1\nbackup_age = \"8s\"", &tables(&cluster));
    // Without a command the archiver does nothing at all.
    archive_by(&cluster, "");
    scene.start();
    let first = cluster.switch_wal();
    scene.wait_raised("silent");
    cluster.switch_wal();
    scene.wait_raised("waiting");
    archive_by(&cluster, "false");
    scene.wait_raised("archiver");
    archive_with_walkeep(&scene, &cluster);
    cluster.switch_wal();
    cluster.wait_archived(&first);
    for id in ["silent", "waiting", "archiver"] {
        scene.wait_resolved(id);
    }
    scene.wait_shipped();

    scene.wait_raised("backup-age");
    let made = scene.archive.run(&["backup", "create"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    scene.wait_resolved("backup-age");
    let status = scene.status();
    assert_eq!(
        status["window"].as_array().map(Vec::len),
        Some(1),
        "{status}"
    );
    assert_eq!(status["server"]["answers"], true, "{status}");
    let shown = scene.archive.run(&["status"]).stdout;
    assert!(shown.contains("\nrestore  any moment from "), "{shown}");
    assert!(shown.contains("\nserver   archived \""), "{shown}");
    let report = scene.archive.run(&["report"]).stdout;
    for line in [
        "shipped ", "a  ", "b  ", "restore ", "backups ", "drill ", "alerts ",
    ] {
        assert!(report.contains(&format!("\n{line}")), "{report}");
    }

    cluster.stop_fast();
    scene.wait_raised("server");
    cluster.start();
    scene.wait_resolved("server");
    // The configuration is read anew, and what is open stays known.
    scene.signal(Signal::SIGHUP);
    cluster.stop_fast();
    wait_until("it is told once more", PATIENCE, || {
        scene.web.told("server") == ["raised", "resolved", "raised"]
    });
    scene.stop();
}

/// The receiver hangs, and the slot lags; then there is none, and PostgreSQL
/// drops it.
#[test]
fn a_slot_that_lags_is_told_from_one_that_is_lost() {
    let (mut scene, cluster) = watched();
    archive_by(&cluster, "true");
    let stream = "[stream]\nenabled = true\ninterval = \"1s\"\n";
    let tables = format!("{}{stream}", tables(&cluster));
    scene.configure("", "slot_lag = \"2MiB\"", &tables);
    let kinds = |scene: &Scene| -> Vec<String> {
        let status = scene.status();
        let conditions = status["conditions"].as_array().expect("conditions");
        let kinds = conditions.iter().map(|it| &it["kind"]);
        kinds
            .map(|kind| kind.as_str().expect("a kind").to_owned())
            .collect()
    };
    assert_eq!(kinds(&scene), ["slot-lost", "stream"], "there is none");
    cluster.sql("SELECT pg_create_physical_replication_slot('walkeep', true)");
    assert_eq!(kinds(&scene), ["stream"], "nobody streams");
    scene.start();
    wait_until("it receives", PATIENCE, || {
        let stream = scene.status()["stream"].take();
        stream["receiving"] == true && stream["received"].is_string()
    });
    scene.wait_green();
    let shown = scene.archive.run(&["status"]).stdout;
    assert!(shown.contains("\nstream   received until 0/"), "{shown}");

    let directory = scene.archive.staging().join("stream/wal");
    let signal = |signal| {
        let [receiver] = receivers(&directory)[..] else {
            panic!("one receives");
        };
        kill(receiver, signal).expect("signal it");
    };
    let write = || {
        for _ in 0..4 {
            cluster.switch_wal();
        }
        cluster.sql("CHECKPOINT");
    };
    signal(Signal::SIGSTOP);
    write();
    scene.wait_raised("slot-lag/walkeep");
    let status = scene.status();
    let held = status["stream"]["slot"]["held_bytes"].as_u64();
    assert!(held > Some(2 << 20), "{status}");
    signal(Signal::SIGCONT);
    scene.wait_resolved("slot-lag/walkeep");

    // PostgreSQL lets go of it while nobody receives. Made anew by the next
    // daemon, it is told for as long as `lag`.
    scene.stop();
    cluster.append_conf("max_slot_wal_keep_size = 1MB");
    cluster.reload();
    wait_until("the server lets go of it", PATIENCE, || {
        write();
        scene.status()["stream"]["slot"]["state"] == "lost"
    });
    assert_eq!(kinds(&scene), ["slot-lost", "stream"]);
    scene.start();
    scene.wait_told("slot-lost/walkeep", &["raised", "resolved"]);
    let status = scene.status();
    assert!(status["stream"]["slot"]["lost_at"].is_string(), "{status}");
    assert_eq!(status["stream"]["slot"]["state"], "kept", "{status}");

    // Where the machine is slow that was told before, at the start.
    let wait_last = |event: &str| {
        wait_until(event, PATIENCE, || {
            let told = scene.web.told("stream");
            told.last().is_some_and(|last| last == event)
        });
    };
    cluster.stop_fast();
    wait_last("raised");
    cluster.start();
    wait_last("resolved");
    scene.wait_green();
}
