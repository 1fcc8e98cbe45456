//! `walkeep check` against a real server and real stores: every finding with
//! its next action, and the exit code.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod postgresql;
mod stores;
#[path = "../support/mod.rs"]
mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use serde_json::json;
use support::{
    host::{hand_over, wait_until},
    postgres::Cluster,
    s3::S3Server,
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
