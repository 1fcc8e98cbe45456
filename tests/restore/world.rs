//! A cluster that archives into two S3 servers, and restored copies of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::support::{
    host::{as_server_user, hand_over, walkeep_binary},
    postgres::{Cluster, Server, default_server},
    s3::S3Server,
    site::{Run, Site},
};

pub const BUCKET: &str = "backups";

/// A cluster, its archive, and where it is restored to.
pub struct World {
    pub site: Site,
    pub stores: [S3Server; 2],
    pub cluster: Cluster,
}

impl World {
    /// On the machine's own PostgreSQL.
    pub fn new() -> Self {
        World::on(&default_server(), &[])
    }

    pub fn on(server: &Server, settings: &[&str]) -> Self {
        let stores = [S3Server::start_s3s(), S3Server::start_s3s()];
        World::with_stores(server, settings, stores)
    }

    pub fn with_stores(server: &Server, settings: &[&str], stores: [S3Server; 2]) -> Self {
        let site = Site::empty();
        let mut builder = Cluster::builder()
            .server(server)
            .wal_segsize_mb(1)
            .conf("archive_mode = on")
            .conf("autovacuum = off")
            .conf(format!("archive_command = '{}'", site.archive_command()));
        for setting in settings {
            builder = builder.conf(*setting);
        }
        let cluster = builder.build();
        let world = World {
            site,
            stores,
            cluster,
        };
        world.configure(&["one", "two"]);
        for server in &world.stores {
            server.create_bucket(BUCKET);
        }
        world.site.walkeep(&["init"]).expect(0);
        world
    }

    /// The configuration with these stores.
    pub fn configure(&self, names: &[&str]) {
        self.configure_for(&self.cluster, names);
    }

    /// The same for another copy of the cluster.
    pub fn configure_for(&self, cluster: &Cluster, names: &[&str]) {
        let tables = ["one", "two"].iter().zip(&self.stores);
        let tables: String = tables
            .filter(|(name, _)| names.contains(name))
            .map(|(name, server)| server.toml_store_table(name, "s3", BUCKET))
            .collect();
        let head = self.site.head(cluster);
        let head = head.replace("[fetch]\n", "[fetch]\ntimeout = \"20s\"\n");
        self.site.configure(&head, &tables);
    }

    /// Takes a backup that must succeed, and gives what `--json` says.
    pub fn backup(&self) -> Value {
        let run = self.site.walkeep(&["--json", "backup", "create"]);
        run.expect(0).json()
    }

    /// Everything written so far is in both stores.
    pub fn ship(&self) {
        let segment = self.cluster.switch_wal();
        self.cluster.wait_archived(&segment);
        self.site.walkeep(&["ship"]).expect(0);
    }

    /// Where restored clusters go.
    pub fn target(&self) -> PathBuf {
        self.site.path("restored")
    }

    /// Runs `walkeep restore` to the target with these arguments.
    pub fn restore(&self, arguments: &[&str]) -> Run {
        let target = self.target();
        let target = target.to_str().expect("UTF-8");
        self.site
            .walkeep(&[&["restore", target], arguments].concat())
    }

    /// The restored cluster, looked at by `pg_verifybackup` as long as it is
    /// untouched, started, and recovered.
    pub fn start(&self) -> Cluster {
        let target = self.target();
        self.verify(&target);
        let restored = Cluster::over(self.cluster.server(), &target);
        restored.start();
        restored.wait_promoted();
        restored
    }

    /// `pg_verifybackup -n`, where this PostgreSQL has it.
    #[track_caller]
    pub fn verify(&self, target: &Path) {
        let server = match self.cluster.server().has("pg_verifybackup") {
            true => self.cluster.server().clone(),
            false => default_server(),
        };
        // An older one does not read a newer manifest.
        if server.major < self.cluster.server().major.min(17) {
            return;
        }
        let mut command = server.command("pg_verifybackup");
        let verified = command.arg("-n").arg(target).output().expect("run it");
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success(), "pg_verifybackup: {said}");
    }

    /// `walkeep` with this world's configuration, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(walkeep_binary());
        as_server_user(&mut command)
            .arg("--config")
            .arg(self.site.config())
            .args(arguments);
        command
    }

    /// Overwrites a part of every pack in a store's bucket.
    pub fn spoil(&self, store: usize, at: usize, bytes: usize) {
        let mut spoiled = 0;
        for path in self.packs(store) {
            let mut text = fs::read(&path).expect("read a pack");
            let end = text.len().min(at + bytes);
            if at < end {
                text[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
                fs::write(&path, text).expect("spoil a pack");
                spoiled += 1;
            }
        }
        assert!(spoiled > 0, "there is nothing to spoil");
    }

    /// The files of a store's packs.
    pub fn packs(&self, store: usize) -> Vec<PathBuf> {
        let mut files = self.stores[store].object_files(BUCKET);
        files.retain(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let stem = name.and_then(|name| {
                name.strip_suffix(".gz")
                    .or_else(|| name.strip_suffix(".zst"))
            });
            stem.is_some_and(|stem| stem.len() == 6 && stem.parse::<u32>().is_ok())
        });
        files
    }
}

/// About 30 MB in a table, its index, and what else a cluster has.
pub fn fill(cluster: &Cluster) {
    cluster.sql(
        "CREATE TABLE kept (i int PRIMARY KEY, word text, filler char(200)); \
         INSERT INTO kept SELECT i, md5(i::text), '' FROM generate_series(1, 100000) i; \
         CREATE UNLOGGED TABLE fleeting AS SELECT * FROM kept LIMIT 100",
    );
    cluster.sql("CREATE DATABASE other");
    cluster.sql("CHECKPOINT");
}

/// What is in it.
pub fn contents(cluster: &Cluster) -> (i64, String) {
    let rows = cluster.rows(
        "SELECT count(*), coalesce(md5(string_agg(md5(kept::text), '' ORDER BY i)), '') FROM kept",
    );
    (rows[0].get(0), rows[0].get(1))
}

/// A directory of the server's user.
pub fn make(path: &Path) {
    fs::create_dir_all(path).expect("make a directory");
    hand_over(path);
}
