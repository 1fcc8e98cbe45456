//! `walkeep verify` and `walkeep gap ack` against damage that somebody does to
//! the buckets behind walkeep's back. The real program, two S3 servers that
//! share no code, real SIGKILL.
#![allow(
    clippy::disallowed_methods,
    reason = "damages buckets, and what a test writes need not survive a power cut"
)]

mod backups;
mod cost;
mod gaps;
mod killed;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod wal;
#[allow(dead_code, reason = "the tests of restore use all of it")]
#[path = "../restore/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    archive::{Archive, Ran},
    s3::{S3Server, Versitygw},
};

/// An archive in two stores on servers of their own: versitygw as "a" where it
/// is installed, s3s as "b".
struct Clouds {
    archive: Archive,
    servers: [(&'static str, S3Server); 2],
}

/// What one run of `verify --json` answered.
struct Verified {
    code: i32,
    outcome: Value,
}

fn versitygw() -> S3Server {
    S3Server::start_versitygw(Versitygw::default()).unwrap_or_else(S3Server::start_s3s)
}

impl Clouds {
    fn new() -> Self {
        let archive = Archive::new(&[]);
        let servers = [("a", versitygw()), ("b", S3Server::start_s3s())];
        for (_, server) in &servers {
            server.create_bucket("wal");
            server.put_plainly("wal", "main/cluster.json", &archive.cluster_json());
        }
        let it = Clouds { archive, servers };
        it.configure("", &["a", "b"]);
        it
    }

    /// Lines for `[staging]`, and tables behind them; these stores.
    fn configure(&self, settings: &str, stores: &[&str]) {
        let tables = self
            .servers
            .iter()
            .filter(|(name, _)| stores.contains(name));
        let tables: String = tables
            .map(|(name, server)| server.toml_store_table(name, "s3", "wal"))
            .collect();
        self.archive.configure(settings, &tables);
    }

    /// So many segments, and a history file that says nothing, in both stores.
    fn filled(segments: u64) -> (Self, BTreeMap<String, Vec<u8>>) {
        let it = Clouds::new();
        let mut files = it.archive.stage_many(segments, 20_000);
        let history = b"1\t0/100000\tno recovery target specified\n".to_vec();
        it.archive.stage("00000002.history", &history);
        files.insert("00000002.history".to_owned(), history);
        it.archive.ship_well();
        (it, files)
    }

    fn server(&self, store: &str) -> &S3Server {
        let found = self.servers.iter().find(|(name, _)| *name == store);
        &found.expect("a store").1
    }

    fn object(&self, store: &str, name: &str) -> PathBuf {
        self.server(store)
            .object_path("wal", &format!("main/wal/{name}.gz"))
    }

    fn verify(&self, arguments: &[&str]) -> Verified {
        Verified::of(
            &self
                .archive
                .run(&[&["--json", "verify"], arguments].concat()),
        )
    }

    /// Everything that the stores hold of the WAL.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self
            .servers
            .iter()
            .flat_map(|(_, server)| server.object_files("wal"));
        let wal = files.filter(|path| path.components().any(|part| part.as_os_str() == "wal"));
        wal.filter(|path| path.extension().is_some_and(|it| it == "gz"))
            .map(|path| (path.clone(), fs::read(&path).expect("read an object")))
            .collect()
    }

    /// Each store by itself gives every file.
    #[track_caller]
    fn each_store_serves(&self, files: &BTreeMap<String, Vec<u8>>) {
        for store in ["a", "b"] {
            let spool = self.archive.directory().join("spool");
            let fetch = format!("[fetch]\nspool = \"{}\"\nprefetch = 0\n", spool.display());
            self.configure(&fetch, &[store]);
            for (name, bytes) in files {
                let to = self.archive.directory().join("incoming/fetched");
                let ran = self
                    .archive
                    .run(&["wal", "fetch", name, to.to_str().expect("UTF-8")]);
                assert_eq!(ran.code, 0, "{store} {name}: {}", ran.stderr);
                assert!(fs::read(&to).expect("read it") == *bytes, "{store} {name}");
                fs::remove_file(&to).expect("remove it");
            }
        }
        self.configure("", &["a", "b"]);
    }
}

impl Verified {
    #[track_caller]
    fn of(ran: &Ran) -> Self {
        let outcome = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
        let code = ran.code;
        Verified { code, outcome }
    }

    /// Kind, store and object of what is not as it should be, in order; of
    /// what was settled, instead.
    fn told(&self, settled: bool) -> Vec<(String, String, String)> {
        let problems = self.outcome["problems"].as_array().expect("problems");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut told: Vec<_> = problems
            .iter()
            .filter(|it| it["settled"] == settled)
            .map(|it| (text(&it["kind"]), text(&it["store"]), text(&it["object"])))
            .collect();
        told.sort();
        told
    }

    fn problems(&self) -> Vec<(String, String, String)> {
        self.told(false)
    }

    fn settled(&self) -> Vec<(String, String, String)> {
        self.told(true)
    }

    fn store(&self, name: &str) -> &Value {
        let stores = self.outcome["stores"].as_array().expect("stores");
        stores
            .iter()
            .find(|it| it["store"] == name)
            .expect("a store")
    }

    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(
            (self.code, self.told(false)),
            (0, vec![]),
            "{}",
            self.outcome
        );
    }
}

/// What `told` has of these.
fn told(of: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let owned = |it: &(&str, &str, &str)| (it.0.to_owned(), it.1.to_owned(), it.2.to_owned());
    let mut told: Vec<_> = of.iter().map(owned).collect();
    told.sort();
    told
}

/// Flips one bit, which neither size nor a server's ETag shows.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("write it");
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    fs::write(path, &bytes[..bytes.len() / 2]).expect("write it");
}
