//! A real PostgreSQL, with walkeep as its `archive_command`.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path, process::Stdio};

use walkeep::postgres::page::{HEADER_SIZE, SegmentHeader};

use crate::support::{
    archive::{Archive, MIB, files_in, gunzip},
    host::{TempDir, walkeep_binary},
    postgres::{Cluster, default_server},
};

/// A running cluster that archives, and the archive that is bound to it.
fn archiving(segment_mib: u32) -> (Archive, Cluster) {
    let cluster = Cluster::builder()
        .wal_segsize_mb(segment_mib)
        .conf("archive_mode = on")
        .conf("archive_command = 'false'")
        .conf("wal_level = replica")
        .build();
    let archive = archive_of(&cluster, segment_mib);
    archive_with(&cluster, &archive);
    cluster.reload();
    (archive, cluster)
}

fn archive_of(cluster: &Cluster, segment_mib: u32) -> Archive {
    let system: i64 = cluster.value("SELECT system_identifier FROM pg_control_system()");
    let archive = Archive::bound_to(system.cast_unsigned(), u64::from(segment_mib) * MIB);
    archive.configure("", &archive.directory_store("a"));
    archive
}

fn archive_with(cluster: &Cluster, archive: &Archive) {
    cluster.append_conf(&format!(
        "archive_command = '{} --config {} wal push %p'",
        walkeep_binary().display(),
        archive.config().display()
    ));
}

fn fill(cluster: &Cluster) -> String {
    cluster.sql("CREATE TABLE IF NOT EXISTS t (i int, w text)");
    cluster.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 5000) i");
    cluster.switch_wal()
}

fn failures(cluster: &Cluster) -> i64 {
    cluster.value("SELECT failed_count FROM pg_stat_archiver")
}

/// %p is relative to PGDATA, which is the archiver's working directory.
#[test]
fn what_postgresql_archives_is_staged_as_it_is() {
    for segment_mib in [1, 64] {
        let (archive, cluster) = archiving(segment_mib);
        let last = fill(&cluster);
        cluster.wait_archived(&last);
        let staged = fs::read(archive.staged(&last)).unwrap();
        assert_eq!(staged.len() as u64, u64::from(segment_mib) * MIB);
        // PostgreSQL's umask is 0077, and the daemon may be another user.
        let mode = fs::metadata(archive.staged(&last)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);
        let pg_wal = cluster.data().join("pg_wal").join(&last);
        if let Ok(original) = fs::read(pg_wal) {
            assert!(staged == original);
        }
        archive.ship_well();
        assert!(gunzip(&archive.object("a", &last)) == staged);
    }
}

#[test]
fn a_push_repeated_after_a_crash_is_fine() {
    let (archive, cluster) = archiving(1);
    let last = fill(&cluster);
    cluster.wait_archived(&last);
    cluster.kill();
    // As when the power fails between archive_command's answer and the rename
    // of .ready to .done; some of them shipped meanwhile.
    archive.ship_well();
    let status = cluster.data().join("pg_wal/archive_status");
    let mut again = 0;
    for name in files_in(&status) {
        if let Some(segment) = name.strip_suffix(".done")
            && cluster.data().join("pg_wal").join(segment).exists()
        {
            fs::rename(status.join(&name), status.join(format!("{segment}.ready"))).unwrap();
            again += 1;
        }
    }
    assert!(again > 0);
    cluster.start();
    let next = fill(&cluster);
    cluster.wait_archived(&next);
    assert_eq!(failures(&cluster), 0, "{}", cluster.log());
    archive.ship_well();
    assert!(archive.object("a", &next).exists());
}

#[test]
fn a_failure_is_counted_and_does_not_abort_the_archiver() {
    let (archive, cluster) = archiving(1);
    let away = archive.directory().join("away");
    fs::rename(archive.staging(), &away).unwrap();
    let last = fill(&cluster);
    crate::support::host::wait_until(
        "a failure is counted",
        std::time::Duration::from_secs(20),
        || failures(&cluster) > 0,
    );
    assert!(
        cluster.log().contains("its volume is not mounted"),
        "{}",
        cluster.log()
    );
    // 128 and above would be FATAL, "terminated by signal" as well.
    let log = cluster.log();
    assert!(
        log.contains("archive command failed with exit code 1\n"),
        "{log}"
    );
    assert!(!log.contains("FATAL:  archive command"), "{log}");
    fs::rename(&away, archive.staging()).unwrap();
    cluster.wait_archived(&last);
    assert!(archive.staged(&last).exists());
}

#[test]
fn a_backups_history_file_is_archived() {
    let (archive, cluster) = archiving(1);
    fill(&cluster);
    let place = TempDir::new();
    pg_basebackup(&cluster, &place.join("base"));
    let last = fill(&cluster);
    cluster.wait_archived(&last);
    let names = archive.waiting();
    let backup = names.iter().find(|name| name.ends_with(".backup"));
    let text = fs::read_to_string(archive.staged(backup.expect("one"))).unwrap();
    assert!(text.starts_with("START WAL LOCATION: "), "{text}");
    archive.ship_well();
    assert_eq!(
        gunzip(&archive.object("a", backup.unwrap())),
        text.as_bytes()
    );
}

fn pg_basebackup(cluster: &Cluster, to: &Path) {
    let mut command = cluster.server().command("pg_basebackup");
    let status = command
        .args(["--checkpoint=fast", "--wal-method=none", "--no-sync"])
        .arg("-d")
        .arg(cluster.connection())
        .arg("-D")
        .arg(to)
        .stderr(Stdio::null())
        .status()
        .expect("run pg_basebackup");
    assert!(status.success(), "{status}");
}

/// A standby is promoted in the middle of a segment: its history file, the old
/// timeline's partial segment, and a segment of the new timeline that begins
/// with pages of the old one.
#[test]
fn a_promotion_archives_history_partial_and_a_first_segment_with_old_pages() {
    let primary = Cluster::builder()
        .wal_segsize_mb(1)
        .conf("wal_level = replica")
        .build();
    fill(&primary);
    let place = TempDir::new();
    let base = place.join("base");
    primary.base_copy(&base);
    fill(&primary);
    // Into the middle of a segment: past what the base copy has.
    primary.sql("INSERT INTO t SELECT i, 'more' FROM generate_series(1, 2000) i");
    let archive = archive_of(&primary, 1);

    let standby = Cluster::over(&default_server(), &base);
    standby.append_conf("archive_mode = on");
    archive_with(&standby, &archive);
    standby.append_conf(&format!("primary_conninfo = '{}'", primary.connection()));
    standby.standby_signal();
    standby.start();
    let position: String = primary.value("SELECT pg_current_wal_insert_lsn()::text");
    crate::support::host::wait_until(
        "the standby has replayed",
        std::time::Duration::from_secs(30),
        || {
            standby.value::<Option<bool>>(&format!(
                "SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"
            )) == Some(true)
        },
    );
    standby.sql("SELECT pg_promote()");
    standby.wait_promoted();
    let last = fill(&standby);
    assert!(last.starts_with("00000002"), "{last}");
    standby.wait_archived(&last);
    assert_eq!(failures(&standby), 0, "{}", standby.log());

    let names = archive.waiting();
    assert!(names.contains(&"00000002.history".to_owned()), "{names:?}");
    assert!(
        names.iter().any(|name| name.ends_with(".partial")),
        "{names:?}"
    );
    let first = names
        .iter()
        .find(|name| name.starts_with("00000002000"))
        .unwrap();
    let bytes = fs::read(archive.staged(first)).unwrap();
    let header = SegmentHeader::parse(&bytes[..HEADER_SIZE]).unwrap();
    assert_eq!(
        header.timeline.0, 1,
        "{first} does not begin with the old timeline's pages"
    );

    // Shipped: all of them; the history file before its timeline's segments.
    let raw: Vec<(String, Vec<u8>)> = names
        .iter()
        .map(|name| (name.clone(), fs::read(archive.staged(name)).unwrap()))
        .collect();
    archive.ship_well();
    for (name, bytes) in &raw {
        assert!(gunzip(&archive.object("a", name)) == *bytes, "{name}");
    }
    let recorded: BTreeSet<String> = archive.records().into_keys().collect();
    assert_eq!(recorded, names.iter().cloned().collect());
}
