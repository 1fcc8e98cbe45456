//! What a real PostgreSQL is the cause of.

use nix::sys::signal::Signal;

use crate::{
    PATIENCE, Scene,
    support::{
        archive::{Archive, MIB},
        host::{wait_until, walkeep_binary},
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

/// PostgreSQL makes, holds and drops the slot; nothing reads from it here.
#[test]
fn a_slot_that_lags_is_told_from_one_that_is_lost() {
    let (scene, cluster) = watched();
    archive_by(&cluster, "true");
    let stream = "[stream]\nenabled = true\nslot = \"walkeep\"\n";
    let tables = format!("{}{stream}", tables(&cluster));
    scene.configure("", "slot_lag = \"2MiB\"", &tables);
    let of_slot = || -> Vec<String> {
        let status = scene.status();
        let conditions = status["conditions"].as_array().expect("conditions");
        let of_slot = conditions.iter().filter(|it| it["subject"] == "walkeep");
        let said = of_slot.map(|it| it["kind"].as_str().expect("a kind").to_owned());
        said.collect()
    };
    assert_eq!(of_slot(), ["slot-lost"], "there is none");
    cluster.sql("SELECT pg_create_physical_replication_slot('walkeep', true)");
    assert_eq!(of_slot(), Vec::<String>::new());
    let write = || {
        for _ in 0..4 {
            cluster.switch_wal();
        }
        cluster.sql("CHECKPOINT");
    };
    write();
    assert_eq!(of_slot(), ["slot-lag"]);
    cluster.append_conf("max_slot_wal_keep_size = 1MB");
    cluster.reload();
    wait_until("the server lets go of it", PATIENCE, || {
        write();
        of_slot() == ["slot-lost"]
    });
}
