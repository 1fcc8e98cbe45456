//! PostgreSQL's settings and its archiver.

use std::{fs, time::Duration};

use crate::{
    Archive,
    support::{host::wait_until, postgres::Cluster, site::Site},
};

#[test]
fn a_command_that_is_not_walkeep_or_hides_its_answer_loses_data() {
    let archive = Archive::new();
    let ours = archive.site.archive_command();
    for (command, finding) in [
        (
            "cp %p /tmp/%f".to_owned(),
            "loss     postgresql: archive_command = 'cp %p /tmp/%f': that is not walkeep, so \
             nothing reaches the stores\n           run `walkeep init --apply`\n"
                .to_owned(),
        ),
        (
            format!("{ours} || true"),
            format!(
                "loss     postgresql: archive_command = '{ours} || true': \"|| true\" tells \
                 PostgreSQL \"archived\" when it is not\n           run `walkeep init --apply`\n"
            ),
        ),
        (
            format!("exit 0; {ours}"),
            format!(
                "loss     postgresql: archive_command = 'exit 0; {ours}': \"exit 0\" tells \
                 PostgreSQL \"archived\" when it is not\n           run `walkeep init --apply`\n"
            ),
        ),
        (
            format!("true # {ours}"),
            format!(
                "loss     postgresql: archive_command = 'true # {ours}': that is not walkeep, so \
                 nothing reaches the stores\n"
            ),
        ),
        (
            "/no/such/walkeep wal push %p".to_owned(),
            "loss     postgresql: archive_command runs \"/no/such/walkeep\", which is no program \
             here\n"
                .to_owned(),
        ),
        (
            ours.replace(archive.site.config().to_str().unwrap(), "/etc/other.toml"),
            format!(
                "loss     postgresql: archive_command uses the configuration \"/etc/other.toml\", \
                 not \"{}\"\n           run `walkeep init --apply` with the right one\n",
                archive.site.config().display()
            ),
        ),
    ] {
        archive.archive_by(&command);
        archive
            .check()
            .expect(1)
            .says(&finding)
            .says("1 finding would lose data\n");
    }
    archive.archive_by(&format!("timeout 60 {ours}"));
    archive
        .check()
        .expect(0)
        .says(&format!(
            "warning  postgresql: archive_command = 'timeout 60 {ours}': \"timeout\" may change \
             what walkeep answers\n"
        ))
        .says("nothing would lose data; 1 warning\n");
}

#[test]
fn settings_that_lose_data_are_named() {
    let cluster = Cluster::builder()
        .conf("wal_level = minimal")
        .conf("max_wal_senders = 0")
        .conf("full_page_writes = off")
        .conf("restore_command = 'walkeep wal fetch %f %p || exit 1'")
        .build();
    let site = Site::of(&cluster);
    site.walkeep(&["init"]).expect(0);
    site.walkeep(&["check"])
        .expect(1)
        .says("loss     postgresql: archive_mode is off: nothing is archived\n")
        .says("loss     postgresql: wal_level is minimal: its WAL restores no base backup\n")
        .says("loss     postgresql: fsync is off: a power cut may damage the cluster")
        .says("loss     postgresql: archive_command is empty: PostgreSQL keeps all its WAL")
        .says(
            "loss     postgresql: restore_command = 'walkeep wal fetch %f %p || exit 1': \"|| exit \
             1\" may make an outage (200) the end of WAL (1 to 125): recovery would end there\n",
        )
        .says("warning  postgresql: full_page_writes is off: a crash may tear pages\n")
        .says("warning  postgresql: archive_timeout is 0")
        .says("warning  store one: it is on the cluster's own file system, and is lost with it\n")
        .says("5 findings would lose data\n");
}

#[test]
fn archiving_that_fails_loses_data() {
    let archive = Archive::new();
    fs::remove_file(archive.site.staging().join("walkeep.json")).unwrap();
    let segment = archive.cluster.switch_wal();
    wait_until("archiving fails", Duration::from_secs(60), || {
        archive
            .cluster
            .value::<i64>("SELECT failed_count FROM pg_stat_archiver")
            > 0
    });
    let run = archive.check();
    run.expect(1)
        .says(&format!(
            "loss     postgresql: archiving fails: \"{segment}\", "
        ))
        .says(&format!(
            "loss     staging: the staging directory \"{}\" has no walkeep.json: its volume is not \
             mounted, or `walkeep init` has not been run; nothing was written\n           mount \
             its volume, or run `walkeep init`; PostgreSQL keeps its WAL until then\n",
            archive.site.staging().display()
        ))
        .says("ok       store two: writes, reads and lists")
        .says("2 findings would lose data\n");
}

#[test]
fn a_stopped_server_is_a_warning_and_the_rest_is_examined() {
    let archive = Archive::new();
    archive.cluster.stop_fast();
    archive
        .check()
        .expect(0)
        .says("warning  postgresql: connect to PostgreSQL (host=")
        .says("; its settings were not examined\n           start the server, or correct")
        .says("ok       staging: ")
        .says("ok       store two: ")
        .says("nothing would lose data; 1 warning\n");
}

#[test]
fn a_slot_without_a_bound_is_named_where_one_is_streamed_by() {
    let archive = Archive::new();
    archive.check().says_not(" stream: ");
    let stream = "[stream]\nenabled = true\n\n";
    archive.site.reconfigure(|text| format!("{stream}{text}"));
    archive
        .check()
        .says("warning  stream: max_slot_wal_keep_size is not set")
        .says("note     stream: there is no replication slot \"walkeep\"");
}
