//! `walkeep ship`: everything staged goes to every store, whatever dies on the
//! way, and nothing leaves staging before it is safe elsewhere. The real
//! program, real servers, real SIGKILL.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod adoption;
mod beside;
mod crash;
mod doubts;
mod formats;
mod limits;
mod local;
mod outages;
mod owed;
mod places;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeMap, fs, path::PathBuf};

use support::{
    archive::{Archive, files_in, gunzip},
    s3::S3Server,
};
use walkeep::codec::Sha256;

/// An archive with stores on S3 servers of its own, a bucket `wal` in each.
struct InClouds {
    archive: Archive,
    servers: Vec<(&'static str, S3Server)>,
}

impl InClouds {
    fn new(names: &[&'static str]) -> Self {
        Self::on(
            names
                .iter()
                .map(|name| (*name, S3Server::start_s3s()))
                .collect(),
        )
    }

    fn on(servers: Vec<(&'static str, S3Server)>) -> Self {
        let archive = Archive::new(&[]);
        for (_, server) in &servers {
            server.create_bucket("wal");
            server.put_plainly("wal", "main/cluster.json", &archive.cluster_json());
        }
        let it = InClouds { archive, servers };
        it.configure("");
        it
    }

    /// Lines for `[staging]`, and tables behind them.
    fn configure(&self, settings: &str) {
        let tables = self.servers.iter();
        let tables: String = tables
            .map(|(name, server)| server.toml_store_table(name, "s3", "wal"))
            .collect();
        self.archive.configure(settings, &tables);
    }

    fn server(&self, name: &str) -> &S3Server {
        let found = self.servers.iter().find(|(known, _)| *known == name);
        &found.expect("a store").1
    }

    fn object(&self, store: &str, name: &str) -> PathBuf {
        self.server(store)
            .object_path("wal", &format!("main/wal/{name}.gz"))
    }

    fn holds(&self, store: &str, name: &str) -> bool {
        self.object(store, name).exists()
    }

    /// Every store has every file, byte for byte, once; nothing waits; the
    /// catalog and the receipts say so.
    fn assert_complete(&self, files: &BTreeMap<String, Vec<u8>>) {
        for (store, server) in &self.servers {
            let directory = server.object_path("wal", "main/wal");
            let objects = files_in(&directory)
                .into_iter()
                .filter(|name| name.ends_with(".gz"));
            let expected: Vec<String> = files.keys().map(|name| format!("{name}.gz")).collect();
            assert_eq!(objects.collect::<Vec<_>>(), expected, "in {store}");
        }
        let stores: Vec<&str> = self.servers.iter().map(|(name, _)| *name).collect();
        assert_stored(&self.archive, &stores, files, |store, name| {
            self.object(store, name)
        });
    }
}

/// As [`InClouds::assert_complete`], for any stores.
fn assert_stored(
    archive: &Archive,
    stores: &[&str],
    files: &BTreeMap<String, Vec<u8>>,
    object: impl Fn(&str, &str) -> PathBuf,
) {
    assert_eq!(archive.waiting(), Vec::<String>::new());
    assert!(files_in(&archive.staging().join("tmp")).is_empty());
    let records = archive.records();
    assert_eq!(records.len(), files.len());
    for (name, bytes) in files {
        let digest = Sha256::of(bytes);
        for store in stores {
            assert!(gunzip(&object(store, name)) == *bytes, "{name} in {store}");
            assert_eq!(
                records[name]["replicas"][store]["state"], "stored",
                "{name} in {store}"
            );
        }
        assert_eq!(records[name]["raw_sha256"], digest.to_string());
        assert_eq!(archive.receipt(name), Some(digest), "{name}");
    }
}

/// The texts of a report's problems.
fn problems(report: &serde_json::Value) -> String {
    let problems = report["problems"].as_array().expect("problems").iter();
    problems
        .map(|problem| problem.as_str().expect("a text"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A segment that is staged, and what is in it.
fn staged_one(archive: &Archive, seed: u64) -> (String, Vec<u8>) {
    use support::archive::{MIB, segment, segment_name};
    let name = segment_name(1, 1, MIB);
    let bytes = segment(&name, MIB, 50_000, seed);
    archive.stage(&name, &bytes);
    (name, bytes)
}

/// The files of a directory with their bytes, to see that nothing changed.
fn bytes_in(directory: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let names = files_in(directory).into_iter();
    let files = names.filter(|name| directory.join(name).is_file());
    files
        .map(|name| (name.clone(), fs::read(directory.join(name)).expect("read")))
        .collect()
}
