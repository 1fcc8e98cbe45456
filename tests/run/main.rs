//! `walkeep run`: the daemon ships what arrives, to every store at its own
//! pace. The real program, real servers, real signals.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod asked;
mod backlog;
mod jobs;
mod signals;
mod stores;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    archive::{Archive, MIB, segment, segment_name},
    daemon,
    host::wait_until,
    s3::S3Server,
};

/// Longer than anything may take, and shorter than the daemon's rescan: what
/// happens within it was noticed, not found.
const PATIENCE: Duration = Duration::from_secs(120);

/// An archive with two S3 servers, and a daemon on it.
struct Daemon {
    archive: Archive,
    servers: [S3Server; 2],
    process: daemon::Daemon,
}

impl Daemon {
    /// Not started yet.
    fn new() -> Self {
        let (archive, servers) = (
            Archive::new(&[]),
            [S3Server::start_s3s(), S3Server::start_s3s()],
        );
        for server in &servers {
            server.create_bucket("wal");
            server.put_plainly("wal", "main/cluster.json", &archive.cluster_json());
        }
        let process = daemon::Daemon::new(archive.directory().join("daemon.log"));
        let it = Daemon {
            archive,
            servers,
            process,
        };
        it.configure(&["a", "b"]);
        it
    }

    /// Both stores, with these lines of `[staging]` and tables behind them.
    fn configure_staging(&self, staging: &str) {
        let tables = ["a", "b"].iter().zip(&self.servers);
        let tables: String = tables
            .map(|(name, server)| server.toml_store_table(name, "s3", "wal"))
            .collect();
        self.archive.configure(staging, &tables);
    }

    fn configure(&self, names: &[&str]) {
        self.configure_with(names, "");
    }

    /// With these tables besides.
    fn configure_with(&self, names: &[&str], tables: &str) {
        let besides = tables;
        let tables = ["a", "b"].iter().zip(&self.servers);
        let tables: String = tables
            .filter(|(name, _)| names.contains(name))
            .map(|(name, server)| server.toml_store_table(name, "s3", "wal"))
            .collect();
        self.archive.configure("", &format!("{besides}{tables}"));
    }

    fn start(&mut self) {
        self.process.start(&mut self.archive.walkeep(&["run"]));
        self.wait_for_line("ships what arrives in");
    }

    fn wait_for_line(&self, words: &str) {
        self.process.wait_for_line(words);
    }

    fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    fn stop(&mut self) -> Option<i32> {
        self.process.stop()
    }

    /// A segment arrives as `wal push` leaves it; its name.
    fn push(&self, number: u64) -> String {
        let name = segment_name(1, number, MIB);
        let bytes = segment(&name, MIB, 50_000, number);
        let incoming = self.archive.incoming(&name, &bytes);
        self.archive.push_well(&incoming);
        name
    }

    fn holds(&self, store: usize, name: &str) -> bool {
        let key = format!("main/wal/{name}.gz");
        self.servers[store].object_path("wal", &key).exists()
    }

    fn wait_stored(&self, store: usize, name: &str) {
        let what = format!("{name} is in store {store}");
        wait_until(&what, PATIENCE, || self.holds(store, name));
    }

    fn wait_shipped(&self) {
        wait_until("nothing waits", PATIENCE, || {
            self.archive.waiting().is_empty()
        });
    }
}
