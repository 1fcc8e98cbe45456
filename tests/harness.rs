//! The tests' own PostgreSQL, on every major that is here: what the other
//! tests take for granted.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use support::{
    host::{TempDir, as_server_user, hand_over, wait_until, walkeep_binary},
    postgres::{Cluster, Server, default_server, majors, process::working_in},
};

/// Archives by `cp`, copies, loses everything, recovers by `cp`.
fn loses_nothing_on(server: &Server) {
    let archive = TempDir::new();
    let primary = archiving_cluster(server, &archive);
    primary
        .sql("CREATE TABLE kept AS SELECT i, md5(i::text) AS word FROM generate_series(1, 5000) i");

    let place = TempDir::new();
    let base = place.join("base");
    let copy = primary.base_copy(&base);
    primary.sql("INSERT INTO kept SELECT i, 'later ' || i FROM generate_series(5001, 6000) i");
    let last = primary.switch_wal();
    assert!(copy.stop_segment < last, "{copy:?} {last}");
    primary.wait_archived(&last);
    let rows = kept_rows(&primary);
    assert_eq!(rows.len(), 6000);

    primary.kill();
    drop(primary);

    let recovered = Cluster::over(server, &base);
    recovered.append_conf("archive_mode = off");
    recovered.append_conf(&format!(
        "restore_command = 'cp {}/%f %p'",
        archive.display()
    ));
    recovered.recovery_signal();
    recovered.start();
    recovered.wait_promoted();
    assert_eq!(kept_rows(&recovered), rows);
    assert!(recovered.log().contains("archive recovery complete"));
}

fn archiving_cluster(server: &Server, archive: &Path) -> Cluster {
    let to = archive.join("%f");
    let to = to.display();
    Cluster::builder()
        .server(server)
        .wal_segsize_mb(1)
        .conf("archive_mode = on")
        .conf(format!("archive_command = 'test ! -f {to} && cp %p {to}'"))
        .build()
}

fn kept_rows(cluster: &Cluster) -> Vec<(i32, String)> {
    cluster
        .rows("SELECT i, word FROM kept ORDER BY i")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

macro_rules! on_each_major {
    ($($name:ident: $major:literal,)*) => {$(
        #[test]
        fn $name() {
            if let Some(server) = majors::major($major) {
                loses_nothing_on(&server);
            }
        }
    )*};
}

on_each_major! {
    loses_nothing_on_13: 13,
    loses_nothing_on_14: 14,
    loses_nothing_on_15: 15,
    loses_nothing_on_16: 16,
    loses_nothing_on_17: 17,
    loses_nothing_on_18: 18,
}

#[test]
fn pg_basebackup_restores_as_well() {
    let server = default_server();
    let archive = TempDir::new();
    let primary = archiving_cluster(&server, &archive);
    primary.sql("CREATE TABLE kept AS SELECT 1 AS i, 'one' AS word");
    let place = TempDir::new();
    let base = place.join("base");
    let status = server
        .command("pg_basebackup")
        .args(["--checkpoint=fast", "--wal-method=none", "--no-sync"])
        .arg("-d")
        .arg(primary.connection())
        .arg("-D")
        .arg(&base)
        .stderr(Stdio::null())
        .status()
        .expect("run pg_basebackup");
    assert!(status.success(), "{status}");
    let last = primary.switch_wal();
    primary.wait_archived(&last);
    let rows = kept_rows(&primary);
    drop(primary);

    let recovered = Cluster::over(&server, &base);
    recovered.append_conf(&format!(
        "restore_command = 'cp {}/%f %p'",
        archive.display()
    ));
    recovered.append_conf("archive_command = 'true'");
    recovered.recovery_signal();
    recovered.start();
    recovered.wait_promoted();
    assert_eq!(kept_rows(&recovered), rows);
}

#[test]
fn a_killed_server_is_gone_and_starts_again() {
    let cluster = Cluster::builder().build();
    cluster.sql("CREATE TABLE kept AS SELECT 1 AS i, 'one' AS word");
    // A backend that is busy when the kill comes.
    let mut busy = cluster.client().expect("connect");
    let sleeping = std::thread::spawn(move || busy.batch_execute("SELECT pg_sleep(60)"));
    wait_until("the session sleeps", Duration::from_secs(20), || {
        cluster.value::<i64>("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            == 1
    });
    assert!(working_in(cluster.data()).len() > 2);
    cluster.kill();
    assert_eq!(working_in(cluster.data()), []);
    assert!(sleeping.join().expect("join").is_err());

    cluster.start();
    assert_eq!(kept_rows(&cluster), [(1, "one".to_string())]);
    assert!(cluster.log().contains("was not properly shut down"));
    cluster.stop_immediate();
    cluster.start();
    cluster.stop_fast();
    cluster.start();
    assert_eq!(kept_rows(&cluster), [(1, "one".to_string())]);
}

#[test]
fn a_server_that_cannot_start_tells_why() {
    let cluster = Cluster::builder()
        .conf("no_such_setting = 1")
        .build_stopped();
    let log = cluster.try_start().expect_err("it must not start");
    assert!(
        log.contains(r#"unrecognized configuration parameter "no_such_setting""#),
        "{log}"
    );
}

#[test]
fn settings_reach_the_cluster() {
    let server = default_server();
    for (mib, bytes) in [(1, "1048576"), (64, "67108864")] {
        let cluster = Cluster::builder()
            .server(&server)
            .wal_segsize_mb(mib)
            .checksums(mib == 64)
            .fsync(true)
            .tcp()
            .build();
        let setting = |name: &str| {
            cluster.value::<String>(&format!(
                "SELECT setting FROM pg_settings WHERE name = '{name}'"
            ))
        };
        assert_eq!(setting("wal_segment_size"), bytes);
        assert_eq!(
            setting("data_checksums"),
            if mib == 64 { "on" } else { "off" }
        );
        assert_eq!(setting("fsync"), "on");
        assert_eq!(setting("listen_addresses"), "127.0.0.1");
        assert!(std::net::TcpStream::connect(("127.0.0.1", cluster.port())).is_ok());
    }
}

#[test]
fn the_server_user_runs_walkeep_and_is_not_root() {
    let directory = TempDir::new();
    let file = directory.join("mine");
    fs::write(&file, "").expect("write");
    hand_over(&file);
    let mut shell = Command::new("/bin/sh");
    shell.args([
        "-c",
        r#"id -u && test -O "$0" && test -x "$1" && cd "${0%/*}""#,
    ]);
    shell.arg(&file).arg(walkeep_binary());
    let output = as_server_user(&mut shell).output().expect("run sh");
    assert!(output.status.success(), "{output:?}");
    assert_ne!(output.stdout, b"0\n");
}

#[test]
fn a_dropped_cluster_leaves_no_directory_and_no_process() {
    let cluster = Cluster::builder().build();
    let data = cluster.data().to_path_buf();
    drop(cluster);
    assert!(!data.exists());
    assert_eq!(working_in(&data), []);
}
