//! `walkeep check` against a real server and real stores: every finding with
//! its next action, and the exit code.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use serde_json::json;
use support::{
    host::{hand_over, wait_until},
    postgres::Cluster,
    s3::{S3Server, Versitygw},
    site::{Run, Site},
};

/// A cluster that archives through walkeep into two buckets.
struct Archive {
    cluster: Cluster,
    site: Site,
    servers: [S3Server; 2],
}

const BUCKETS: [&str; 2] = ["wal-one", "wal-two"];

impl Archive {
    fn new() -> Self {
        let cluster = Cluster::builder()
            .fsync(true)
            .wal_segsize_mb(1)
            .conf("archive_mode = on")
            .conf("archive_timeout = 300")
            .build();
        let site = Site::empty();
        let servers = BUCKETS.map(|bucket| {
            let server = S3Server::start_s3s();
            server.create_bucket(bucket);
            server
        });
        let archive = Archive {
            cluster,
            site,
            servers,
        };
        let stores = [0, 1].map(|index| archive.store(index)).join("\n");
        archive
            .site
            .configure(&archive.site.head(&archive.cluster), &stores);
        archive.site.walkeep(&["init", "--apply"]).expect(0);
        archive
    }

    /// The table of a store, its secret in a file for its user alone.
    fn store(&self, index: usize) -> String {
        let (name, server) = (["one", "two"][index], &self.servers[index]);
        let table = server.toml_store_table(name, "s3", BUCKETS[index]);
        let (_, open) = server.credential_files();
        let secret = self.secret(index);
        fs::write(&secret, server.secret_key()).unwrap();
        fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        hand_over(&secret);
        table.replace(open.to_str().unwrap(), secret.to_str().unwrap())
    }

    fn secret(&self, index: usize) -> PathBuf {
        self.site.path(&format!("secret-{index}"))
    }

    fn check(&self) -> Run {
        self.site.walkeep(&["check"])
    }

    /// Sets `archive_command` to this and waits until the server has it.
    fn archive_by(&self, command: &str) {
        let quoted = command.replace('\'', "''");
        self.cluster
            .sql(&format!("ALTER SYSTEM SET archive_command = '{quoted}'"));
        self.cluster.reload();
        wait_until("the command is read", Duration::from_secs(20), || {
            let now: String = self.cluster.value("SHOW archive_command");
            now == command
        });
    }
}

#[test]
fn all_is_well() {
    let archive = Archive::new();
    let segment = archive.cluster.switch_wal();
    archive.cluster.wait_archived(&segment);
    archive.site.walkeep(&["ship"]).expect(0);
    let run = archive.check();
    run.expect(0);
    let site = &archive.site;
    let staging = format!(
        "ok       staging: \"{}\": 0 files wait (0 B), room for",
        site.staging().display()
    );
    let lines: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| !line.starts_with(&staging))
        .collect();
    let expected = format!(
        "ok       config: \"{config}\"\n\
         note     store one: plain http, accepted on loopback only\n           \
           nothing to do on a machine for tests\n\
         note     store two: plain http, accepted on loopback only\n           \
           nothing to do on a machine for tests\n\
         ok       postgresql: archive_command = '{command}'\n\
         ok       postgresql: archives; last: {segment}; 0 files wait in pg_wal\n\
         note     staging: it shares a file system with pg_wal: when one fills it, both stop\n           \
           give staging a volume of its own\n\
         ok       store one: writes, reads and lists \"main/check/probe\"\n\
         note     store one: its key can delete objects, which shipping does not need\n           \
           take s3:DeleteObject from the key, or turn object lock on\n\
         ok       store two: writes, reads and lists \"main/check/probe\"\n\
         note     store two: its key can delete objects, which shipping does not need\n           \
           take s3:DeleteObject from the key, or turn object lock on\n\
         ok       catalog: \"{catalog}\"\n\
         all is well",
        config = site.config().display(),
        command = site.archive_command(),
        catalog = site.path("catalog/catalog.redb").display(),
    );
    assert_eq!(lines.join("\n"), expected);
    assert_eq!(
        lines.len() + 1,
        run.stdout.lines().count(),
        "staging's own line"
    );
    assert_eq!(run.stderr, "");
    // The probe is gone again.
    for (server, bucket) in archive.servers.iter().zip(BUCKETS) {
        assert!(!server.object_path(bucket, "main/check/probe").exists());
    }

    let document = site.walkeep(&["check", "--json"]).expect(0).json();
    assert_eq!(document["ok"], json!(true));
    assert_eq!(
        document["findings"][0],
        json!({"severity": "ok", "subject": "config", "next": null,
               "what": format!("\"{}\"", site.config().display())})
    );
}

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
fn a_store_that_is_set_up_wrongly_loses_its_copy() {
    let archive = Archive::new();
    let site = &archive.site;
    let head = site.head(&archive.cluster);
    let wrong = site.path("wrong-secret");
    fs::write(&wrong, "not the secret\n").unwrap();
    let right = archive.secret(1);
    let (wrong, right) = (wrong.to_str().unwrap(), right.to_str().unwrap());
    let good = archive.store(0);

    let secret = archive.store(1).replace(right, wrong);
    site.configure(&head, &format!("{good}\n{secret}"));
    let run = archive.check();
    run.expect(1)
        .says("ok       store one: writes")
        .says("loss     store two: put \"main/check/probe\": credentials refused (")
        .says("\n           correct the access key id and the secret of store \"two\"\n")
        .says(&format!(
            "warning  config: \"{wrong}\" holds a secret and can be read by others\n"
        ));

    let directory = site.directory_store("gone");
    site.configure(&head, &format!("{good}\n{directory}"));
    archive.check().expect(1).says(&format!(
        "loss     store gone: put \"main/check/probe\": no such bucket (the directory \"{}\" does \
         not exist)\n",
        site.path("gone").display()
    ));
    site.subdirectory("gone");
    archive.check().expect(1).says(
        "loss     store gone: there is no \"main/cluster.json\": the prefix is nobody's\n           \
         run `walkeep init`\n",
    );

    let missing = archive.store(1).replace(right, "/no/such/secret");
    site.configure(&head, &format!("{good}\n{missing}"));
    archive
        .check()
        .expect(1)
        .says("loss     store two: put \"main/check/probe\": no credentials (read \"/no/such/");
}

/// s3s makes a bucket that is written to; versitygw does not.
#[test]
fn a_missing_bucket_is_named_and_a_key_without_the_right_to_delete_is_no_note() {
    let options = Versitygw {
        users: true,
        ..Versitygw::default()
    };
    let Some(server) = S3Server::start_versitygw(options) else {
        return;
    };
    let cluster = Cluster::builder().build();
    let site = Site::of(&cluster);
    let table = server.toml_store_table("two", "s3", "wal-gone");
    site.configure(&site.head(&cluster), &table);
    site.walkeep(&["init"])
        .expect(1)
        .tells("store \"two\": get \"main/cluster.json\": no such bucket");
    site.walkeep(&["check"])
        .expect(1)
        .says("loss     store two: put \"main/check/probe\": no such bucket")
        .says("\n           create the bucket, or correct `bucket` of store \"two\"\n");

    server.create_bucket("wal-gone");
    site.walkeep(&["init"]).expect(0);
    let note = "note     store two: its key can delete objects";
    site.walkeep(&["check"]).says(note);
    server.create_user("narrow", "narrow-secret");
    let allow = |actions: &str, resource: &str| {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":["narrow"]}},"Action":[{actions}],"Resource":["arn:aws:s3:::wal-gone{resource}"]}}"#
        )
    };
    let statements = [
        allow(r#""s3:ListBucket""#, ""),
        allow(r#""s3:GetObject","s3:PutObject""#, "/*"),
    ];
    server.set_policy(
        "wal-gone",
        &format!(
            r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
            statements.join(",")
        ),
    );
    let (id, secret) = server.credential_files();
    fs::write(id, "narrow").unwrap();
    fs::write(secret, "narrow-secret").unwrap();
    site.walkeep(&["check"])
        .says("ok       store two: writes, reads and lists \"main/check/probe\"\n")
        .says_not(note);
}

#[test]
fn a_store_that_is_away_is_a_warning_while_another_works() {
    let archive = Archive::new();
    archive.servers[0].stop();
    archive
        .check()
        .expect(0)
        .says("warning  store one: put \"main/check/probe\": unreachable (")
        .says("\n           check the endpoint and this host's network\n")
        .says("ok       store two: writes");
    archive.servers[1].stop();
    archive
        .check()
        .expect(1)
        .says("loss     store one: put \"main/check/probe\": unreachable (")
        .says("2 findings would lose data\n");
}

#[test]
fn another_clusters_archive_is_named() {
    let archive = Archive::new();
    let other = Cluster::builder().fsync(true).build();
    let stores = [0, 1].map(|index| archive.store(index)).join("\n");
    archive.site.configure(&archive.site.head(&other), &stores);
    let id = |cluster: &Cluster| -> String {
        cluster.value("SELECT system_identifier::text FROM pg_control_system()")
    };
    let (ours, theirs) = (id(&other), id(&archive.cluster));
    archive
        .check()
        .expect(1)
        .says(&format!(
            "loss     staging: \"{}\" belongs to the cluster {theirs}, and this one is {ours}: \
             every push is refused\n",
            archive.site.staging().display()
        ))
        .says(&format!(
            "loss     store two: the archive is that of the cluster \"main\" ({theirs}), and this \
             one is {ours}\n"
        ));
}

#[test]
fn what_lies_beside_the_prefix_and_a_lost_catalog_are_noticed() {
    let archive = Archive::new();
    archive.servers[0].put_plainly(BUCKETS[0], "other/file", "x");
    archive.servers[1].put_plainly(BUCKETS[1], "a-first/file", "x");
    fs::remove_file(archive.site.path("catalog/catalog.redb")).unwrap();
    archive
        .check()
        .expect(0)
        .says("note     store one: its key reaches what lies beside the prefix\n")
        .says("note     store two: its key reaches what lies beside the prefix\n")
        .says("warning  catalog: ")
        .says("\n           run `walkeep catalog rebuild`\n");
}

#[test]
fn config_only_opens_no_credential_and_no_network() {
    let archive = Archive::new();
    let site = &archive.site;
    let secret = site.path("locked");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    let store = format!(
        "[[store]]\nname = \"r2\"\ntype = \"r2\"\naccount_id = \"abc\"\nbucket = \"b\"\n\
         access_key_id = \"id\"\nsecret_access_key_file = \"{}\"\n",
        secret.display()
    );
    site.configure(&site.head(&archive.cluster), &store);
    archive.cluster.stop_fast();
    let run = site.walkeep(&["check", "--config-only"]);
    run.expect(0);
    let config = site.config();
    let config = config.display();
    assert_eq!(
        run.stdout,
        format!("\"{config}\" is a configuration: cluster main, stores r2\n")
    );
    let document = site
        .walkeep(&["--json", "check", "--config-only"])
        .expect(0)
        .json();
    assert_eq!(document["stores"], json!(["r2"]));

    site.reconfigure(|text| text.replace("[staging]\n", "[staging]\nmax_sise = \"1GiB\"\n"));
    let run = site.walkeep(&["check", "--config-only"]);
    run.expect(2).tells("did you mean `max_size`?\n");
    site.walkeep(&["check", "--config-only", "--roundtrip"])
        .expect(2);
}

#[test]
fn a_segment_goes_out_and_comes_back() {
    let archive = Archive::new();
    archive
        .cluster
        .sql("CREATE TABLE kept AS SELECT i, md5(i::text) FROM generate_series(1, 2000) i");
    let run = archive.site.walkeep(&["check", "--roundtrip"]);
    let segment: String = archive
        .cluster
        .value("SELECT last_archived_wal FROM pg_stat_archiver");
    run.expect(0)
        .says(&format!(
            "ok       roundtrip: {segment} is in one and comes back whole ("
        ))
        .says(&format!(
            "ok       roundtrip: {segment} is in two and comes back whole ("
        ));

    // One store damages what it keeps.
    let key = |segment: &str| format!("main/wal/{segment}.gz");
    assert!(
        archive.servers[0]
            .object_path(BUCKETS[0], &key(&segment))
            .is_file()
    );
    archive.servers[1].stop();
    archive
        .site
        .walkeep(&["check", "--roundtrip"])
        .expect(1)
        .says(" is in one and comes back whole (")
        .says(" from two: store \"two\": get \"main/wal/");
}
