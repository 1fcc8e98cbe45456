//! Nothing of it reaches the living cluster.

use std::fs;

use super::{
    ask, is_clean, now,
    support::host::hand_over,
    world::{World, make},
};

#[test]
fn a_configuration_that_leads_to_the_living_cluster_does_no_harm() {
    let world = World::new();
    let cluster = &world.cluster;
    let (outside, space) = (world.site.path("etc"), world.site.path("space"));
    make(&outside);
    make(&space);
    let hba = outside.join("pg_hba.conf");
    fs::copy(cluster.data().join("pg_hba.conf"), &hba).unwrap();
    hand_over(&outside);
    let pid_file = outside.join("pid");
    for line in [
        format!("data_directory = '{}'", cluster.data().display()),
        format!("hba_file = '{}'", hba.display()),
        format!("external_pid_file = '{}'", pid_file.display()),
        format!("unix_socket_directories = '{}'", outside.display()),
        "include_if_exists = '/no/such.conf'".to_owned(),
        "shared_preload_libraries = 'auto_explain'".to_owned(),
        "logging_collector = on".to_owned(),
        format!("log_directory = '{}'", outside.display()),
    ] {
        cluster.append_conf(&line);
    }
    cluster.stop_fast();
    cluster.start();
    cluster.sql(&format!(
        "CREATE TABLESPACE one LOCATION '{}'",
        space.display()
    ));
    cluster.sql("CREATE TABLE kept TABLESPACE one AS SELECT 7 AS i");
    // It would start nowhere else.
    cluster.sql("ALTER SYSTEM SET shared_preload_libraries = auto_explain, no_such_library");
    cluster.sql("ALTER SYSTEM SET shared_buffers = '500GB'");
    cluster.sql("ALTER SYSTEM SET listen_addresses = '*'");
    cluster.sql("ALTER SYSTEM SET recovery_target_name = 'never'");
    world.backup();
    let time = now(&world);
    cluster.sql("UPDATE kept SET i = 8");
    world.ship();
    let (pid, names) = (fs::read(&pid_file).unwrap(), names(&outside));

    let run = ask(
        &world,
        &["--to-time", &time],
        "SELECT current_setting('data_directory') LIKE '%/scratch/cluster-%/data', \
         current_setting('hba_file') LIKE '%/scratch/cluster-%', \
         current_setting('external_pid_file') = '', current_setting('listen_addresses') = '', \
         current_setting('archive_mode'), current_setting('archive_command'), \
         current_setting('shared_preload_libraries'), \
         pg_tablespace_location(oid) LIKE '%/scratch/cluster-%', (SELECT i FROM kept) \
         FROM pg_tablespace WHERE spcname = 'one'",
    );
    run.expect(0)
        .tells("\"no_such_library\" is not on this host");
    let expected = "t|t|t|t|off|(disabled)|\"auto_explain\"|t|7\n";
    assert_eq!(run.stdout, expected);
    assert_eq!(fs::read(&pid_file).unwrap(), pid);
    assert_eq!(self::names(&outside), names);
    assert_eq!(cluster.value::<i32>("SELECT i FROM kept"), 8);
    is_clean(&world);
}

fn names(directory: &std::path::Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_scratch_directory_with_a_long_name_has_its_socket_elsewhere() {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept AS SELECT 7 AS i");
    world.backup();
    world.ship();
    let long = scratch_with(&world, &"long".repeat(25));
    let run = ask(&world, &[], "SELECT i FROM kept");
    assert_eq!(run.expect(0).stdout, "7\n");
    assert_eq!(fs::read_dir(long).unwrap().count(), 0);
}

fn scratch_with(world: &World, name: &str) -> std::path::PathBuf {
    let old = super::scratch(world).display().to_string();
    let new = world.site.path(name);
    world
        .site
        .reconfigure(|text| text.replace(&old, &new.display().to_string()));
    new
}
