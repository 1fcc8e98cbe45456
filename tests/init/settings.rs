//! PostgreSQL's settings: said, applied, left to their manager.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use crate::{
    setting,
    support::{
        postgres::Cluster,
        site::{Site, read},
    },
};

#[test]
fn apply_sets_what_differs_and_says_that_a_restart_is_needed() {
    let cluster = Cluster::builder()
        .conf("wal_level = logical")
        .conf("archive_command = 'cp %p /nowhere/%f'")
        .build();
    let site = Site::of(&cluster);
    site.walkeep(&["init"])
        .expect(0)
        .says("replaces  archive_command = 'cp %p /nowhere/%f'\n")
        .says("\nwal_level = logical\n");

    let run = site.walkeep(&["init", "--apply"]);
    run.expect(0)
        .says("set       archive_mode = 'on' (was 'off')\n")
        .says(&format!(
            "set       archive_command = '{}' (was 'cp %p /nowhere/%f')\n",
            site.archive_command()
        ))
        .says("set       archive_timeout = '300' (was '0')\n")
        .says_not("set       wal_level")
        .says_not("hidden")
        .says("settings  restart PostgreSQL for archive_mode to work\n");
    cluster.stop_fast();
    cluster.start();
    assert_eq!(setting(&cluster, "archive_mode"), "on");
    assert_eq!(setting(&cluster, "wal_level"), "logical");
    assert_eq!(setting(&cluster, "archive_timeout"), "300");
    site.walkeep(&["init", "--apply"])
        .expect(0)
        .says("settings  PostgreSQL archives through walkeep\n")
        .says_not("set    ");

    // It does what it says.
    let segment = cluster.switch_wal();
    cluster.wait_archived(&segment);
    assert!(site.staging().join(&segment).is_file());
}

#[test]
fn apply_needs_no_restart_where_archiving_is_on() {
    let cluster = Cluster::builder()
        .conf("archive_mode = always")
        .conf("archive_command = 'false'")
        .conf("archive_timeout = '1min'")
        .build();
    let site = Site::of(&cluster);
    site.walkeep(&["init", "--apply"])
        .expect(0)
        .says("settings  PostgreSQL archives through walkeep\n");
    assert_eq!(setting(&cluster, "archive_command"), site.archive_command());
    assert_eq!(setting(&cluster, "archive_mode"), "always");
    assert_eq!(setting(&cluster, "archive_timeout"), "60");
}

#[test]
fn a_minimal_wal_level_is_raised() {
    let cluster = Cluster::builder()
        .conf("wal_level = minimal")
        .conf("max_wal_senders = 0")
        .build();
    let site = Site::of(&cluster);
    site.walkeep(&["init", "--apply"])
        .expect(0)
        .says("set       wal_level = 'replica' (was 'minimal')\n")
        .says("restart PostgreSQL for archive_mode and wal_level to work\n");
    cluster.stop_fast();
    cluster.start();
    assert_eq!(setting(&cluster, "wal_level"), "replica");
    assert_eq!(setting(&cluster, "archive_mode"), "on");
}

#[test]
fn a_leftover_that_hides_the_setting_is_shown_and_reset() {
    let cluster = Cluster::builder().conf("archive_mode = on").build();
    let site = Site::of(&cluster);
    cluster.append_conf(&format!("archive_command = '{}'", site.archive_command()));
    cluster.append_conf("archive_timeout = 300");
    cluster.sql("ALTER SYSTEM SET archive_command = 'cp %p /old/%f'");
    cluster.reload();
    let run = site.walkeep(&["init"]);
    run.expect(0).says(&format!(
        "hidden    archive_command = '{}' of \"{}\" is hidden by 'cp %p /old/%f' in \
         postgresql.auto.conf\n          `walkeep init --reset-auto-conf` resets that\n",
        site.archive_command(),
        cluster.data().join("postgresql.conf").display()
    ));
    site.walkeep(&["init", "--reset-auto-conf"])
        .expect(0)
        .says("reset     archive_command (postgresql.auto.conf had 'cp %p /old/%f')\n")
        .says("settings  PostgreSQL archives through walkeep\n")
        .says_not("hidden");
    assert_eq!(setting(&cluster, "archive_command"), site.archive_command());
    assert!(!read(&cluster.data().join("postgresql.auto.conf")).contains("archive_command"));
}

#[test]
fn a_managed_postgresql_conf_is_left_to_its_manager() {
    let cluster = Cluster::builder().build_stopped();
    let site = Site::of(&cluster);
    // As NixOS does it: a link into a place that nobody writes to.
    let (conf, managed) = (
        cluster.data().join("postgresql.conf"),
        site.subdirectory("managed"),
    );
    let target = managed.join("postgresql.conf");
    fs::copy(&conf, &target).unwrap();
    fs::remove_file(&conf).unwrap();
    symlink(&target, &conf).unwrap();
    fs::set_permissions(&target, PermissionsExt::from_mode(0o444)).unwrap();
    fs::set_permissions(&managed, PermissionsExt::from_mode(0o555)).unwrap();
    cluster.start();

    let run = site.walkeep(&["init", "--apply"]);
    run.expect(1)
        .says(&format!(
            "\nwal_level = replica\n\npostgresql.conf is managed (\"{}\"): set these there, then \
             restart PostgreSQL.\n",
            target.display()
        ))
        .says("store     one: \"main/cluster.json\" claimed\n");
    assert_eq!(
        run.stderr,
        format!(
            "walkeep: error: --apply: postgresql.conf leads to \"{}\", which is managed elsewhere: \
             set the lines above there; ALTER SYSTEM would hide them\n",
            target.display()
        )
    );
    assert!(!read(&cluster.data().join("postgresql.auto.conf")).contains("archive"));
}
