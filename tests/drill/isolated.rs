//! Nothing of a drill reaches the living cluster or its archive, though the
//! backup's own configuration leads there.

use std::fs;

use super::{
    configure, drill, is_clean,
    support::host::hand_over,
    world::{World, make},
};

#[test]
fn a_backup_whose_configuration_leads_to_the_living_cluster_does_no_harm() {
    let world = World::new();
    let cluster = &world.cluster;
    let (outside, space) = (world.site.path("etc"), world.site.path("space"));
    make(&outside);
    make(&space);
    let hba = outside.join("pg_hba.conf");
    fs::copy(cluster.data().join("pg_hba.conf"), &hba).unwrap();
    hand_over(&outside);
    for line in [
        format!("data_directory = '{}'", cluster.data().display()),
        format!("hba_file = '{}'", hba.display()),
        format!("external_pid_file = '{}'", outside.join("pid").display()),
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
    // The drill's cluster could be promoted with it, into this archive.
    cluster.sql("ALTER SYSTEM SET archive_mode = 'always'");
    cluster.sql("ALTER SYSTEM SET listen_addresses = '*'");
    cluster.sql("ALTER SYSTEM SET shared_preload_libraries = no_such_library");
    world.backup();
    cluster.sql("UPDATE kept SET i = 8");
    world.ship();
    let before = (names(&outside), names(&space), archived(&world));
    let row = "select i, current_setting('archive_mode'), current_setting('archive_command'), \
               current_setting('listen_addresses'), \
               current_setting('data_directory') like '%/scratch/cluster-%', \
               pg_tablespace_location(t.oid) like '%/scratch/cluster-%' \
               from kept, pg_tablespace t where spcname = 'one'";
    // It writes, and switches its WAL: nothing of it is archived.
    let checks = format!("checks = [\"{row}\", \"delete from kept\", \"select pg_switch_wal()\"]");
    configure(&world, &checks);
    let (said, _) = drill(&world, &[], 0);
    assert_eq!(
        said["checks"][0]["answer"], "8|off|(disabled)||t|t",
        "{said}"
    );
    assert_eq!((names(&outside), names(&space), archived(&world)), before);
    assert_eq!(cluster.value::<i32>("SELECT i FROM kept"), 8);
    is_clean(&world);
}

fn names(directory: &std::path::Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

fn archived(world: &World) -> String {
    let list = world.site.walkeep(&["wal", "list", "--files"]);
    list.expect(0).stdout.clone()
}
