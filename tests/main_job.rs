//! The main job on real input: a cluster archives through walkeep to two S3
//! servers while the shipper is killed again and again, is lost with its
//! staging and its catalog, and comes back: every row, every segment's bytes.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use support::{
    host::{TempDir, as_server_user, hand_over, walkeep_binary},
    postgres::{Cluster, Server, default_server, majors},
    s3::{S3Server, Versitygw},
};

const BUCKET: &str = "backups";

/// Two servers, and walkeep's configuration for them.
struct Site {
    directory: TempDir,
    stores: [(S3Server, &'static str); 2],
}

impl Site {
    fn new(stores: [(S3Server, &'static str); 2]) -> Self {
        for (server, _) in &stores {
            server.create_bucket(BUCKET);
        }
        Site {
            directory: TempDir::new(),
            stores,
        }
    }

    fn config(&self) -> PathBuf {
        self.directory.join("walkeep.toml")
    }

    /// Written once the cluster is there.
    fn configure(&self, cluster: &Cluster) {
        let home = self.directory.display();
        let mut text = format!(
            "[cluster]\nname = 'main'\ndata_directory = '{}'\nconnection = '{}'\n\
             [staging]\npath = '{home}/staging'\n[catalog]\npath = '{home}/catalog.redb'\n\
             [fetch]\nspool = '{home}/spool'\ntimeout = '20s'\n",
            cluster.data().display(),
            cluster.connection(),
        );
        for ((server, kind), name) in self.stores.iter().zip(["one", "two"]) {
            text += &server.toml_store_table(name, kind, BUCKET);
        }
        fs::write(self.config(), text).unwrap();
        hand_over(&self.config());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(walkeep_binary());
        as_server_user(&mut command)
            .arg("--config")
            .arg(self.config())
            .args(arguments);
        command
    }

    fn walkeep(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "walkeep {arguments:?}: {}\n{said}",
            output.status
        );
        output
    }

    /// `wal push` or `wal fetch`, as PostgreSQL's shell runs it.
    fn shell(&self, arguments: &str) -> String {
        format!(
            "{} --config {} {arguments}",
            walkeep_binary().display(),
            self.config().display()
        )
    }

    /// Starts a pass and kills it after a while that differs each time.
    fn ship_and_kill(&self, turn: u64) {
        let mut ship = self
            .command(&["ship"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(turn * 37 % 230));
        ship.kill().unwrap();
        ship.wait().unwrap();
    }

    /// What a server's objects are when `gunzip` opens them, by name.
    fn archived(&self, store: usize) -> BTreeMap<String, Vec<u8>> {
        let server = &self.stores[store].0;
        let listed = self.walkeep(&["--json", "wal", "list", "--files"]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        let names = listed.lines().map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["name"].as_str().unwrap().to_owned()
        });
        names
            .map(|name| {
                let path = server.object_path(BUCKET, &format!("main/wal/{name}.gz"));
                let raw = Command::new("gunzip")
                    .arg("-c")
                    .stdin(fs::File::open(path).unwrap())
                    .output();
                let raw = raw.unwrap();
                assert!(raw.status.success(), "gunzip refuses {name}");
                (name, raw.stdout)
            })
            .collect()
    }
}

/// Everything that `archive_command` was given, kept beside by the test.
fn archiving(server: &Server, site: &Site, witness: &Path, segment_mib: u32) -> Cluster {
    Cluster::builder()
        .server(server)
        .wal_segsize_mb(segment_mib)
        .conf("archive_mode = on")
        .conf(format!(
            "archive_command = 'cp %p {}/%f && {}'",
            witness.display(),
            site.shell("wal push %p")
        ))
        .build()
}

fn rows(cluster: &Cluster) -> Vec<(i32, String)> {
    let rows = cluster.rows("SELECT i, word FROM kept ORDER BY i");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Archives, loses everything, recovers.
fn loses_nothing(server: &Server, site: &Site, segment_mib: u32, kills: u64) {
    let (witness, place) = (TempDir::new(), TempDir::new());
    let primary = archiving(server, site, &witness, segment_mib);
    site.configure(&primary);
    site.walkeep(&["init"]);
    primary.sql("CREATE TABLE kept (i int, word text)");
    let base = place.join("base");
    primary.base_copy(&base);
    for turn in 0..kills {
        primary.sql(&format!(
            "INSERT INTO kept SELECT i, md5(i::text) FROM generate_series({}, {}) i",
            turn * 500 + 1,
            (turn + 1) * 500
        ));
        primary.switch_wal();
        site.ship_and_kill(turn);
    }
    primary.sql("INSERT INTO kept VALUES (0, 'the last one')");
    let last = primary.switch_wal();
    primary.wait_archived(&last);
    site.walkeep(&["ship"]);
    let expected = rows(&primary);
    assert_eq!(expected.len() as u64, kills * 500 + 1);

    // Each store holds each file that PostgreSQL archived, to the byte.
    let mut given = BTreeMap::new();
    for entry in fs::read_dir(&*witness).unwrap() {
        let entry = entry.unwrap();
        given.insert(
            entry.file_name().into_string().unwrap(),
            fs::read(entry.path()).unwrap(),
        );
    }
    for store in 0..2 {
        let archived = site.archived(store);
        assert_eq!(
            archived.keys().collect::<Vec<_>>(),
            given.keys().collect::<Vec<_>>()
        );
        assert!(archived == given, "store {store} holds other bytes");
    }

    primary.kill();
    drop(primary);
    for lost in ["staging", "spool"] {
        let _ = fs::remove_dir_all(site.directory.join(lost));
    }
    fs::remove_file(site.directory.join("catalog.redb")).unwrap();

    let config = fs::read_to_string(site.config()).unwrap();
    // Another host: no staging, no cluster of its own.
    let staging = format!("[staging]\npath = '{}/staging'\n", site.directory.display());
    fs::write(site.config(), config.replace(&staging, "")).unwrap();
    let recovered = Cluster::over(server, &base);
    recovered.append_conf("archive_mode = off");
    recovered.append_conf(&format!(
        "restore_command = '{}'",
        site.shell("wal fetch %f %p")
    ));
    recovered.recovery_signal();
    recovered.start();
    recovered.wait_promoted();
    assert_eq!(rows(&recovered), expected, "{}", recovered.log());

    // The index is made anew from either store alone, and says the same.
    let names = |store: &str| {
        let _ = fs::remove_file(site.directory.join("catalog.redb"));
        site.walkeep(&["catalog", "rebuild", "--store", store]);
        let export = String::from_utf8(site.walkeep(&["catalog", "export"]).stdout).unwrap();
        let fact = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            (record["name"].to_string(), record["raw_sha256"].to_string())
        };
        export.lines().map(fact).collect::<Vec<_>>()
    };
    let from_one = names("one");
    assert_eq!(from_one.len(), given.len());
    assert_eq!(from_one, names("two"));
}

fn two_s3s() -> Site {
    Site::new([(S3Server::start_s3s(), "s3"), (S3Server::start_s3s(), "s3")])
}

#[test]
fn nothing_is_lost_when_the_shipper_is_killed_and_then_the_cluster() {
    loses_nothing(&default_server(), &two_s3s(), 16, 14);
}

#[test]
fn nothing_is_lost_on_servers_that_share_no_code_with_us() {
    let r2 = Versitygw {
        region: "auto",
        ..Versitygw::default()
    };
    let b2 = Versitygw {
        versioning: true,
        ..Versitygw::default()
    };
    let servers = (S3Server::start_versitygw(r2), S3Server::start_versitygw(b2));
    let (Some(one), Some(two)) = servers else {
        return;
    };
    loses_nothing(
        &default_server(),
        &Site::new([(one, "r2"), (two, "b2")]),
        1,
        8,
    );
}

macro_rules! on_each_major {
    ($($name:ident: $major:literal,)*) => {$(
        #[test]
        fn $name() {
            if let Some(server) = majors::major($major) {
                loses_nothing(&server, &two_s3s(), 1, 3);
            }
        }
    )*};
}

on_each_major! {
    postgresql_13: 13,
    postgresql_14: 14,
    postgresql_15: 15,
    postgresql_16: 16,
    postgresql_17: 17,
    postgresql_18: 18,
}
