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

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{
    archive::{Archive, MIB, segment, segment_name},
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
    process: Option<Child>,
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
        let it = Daemon {
            archive,
            servers,
            process: None,
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

    fn command(&self) -> Command {
        let log = File::create(self.log());
        let mut command = self.archive.walkeep(&["run"]);
        command.stderr(log.expect("open the log"));
        command
    }

    fn start(&mut self) {
        let child = self.command().spawn().expect("start walkeep run");
        self.process = Some(child);
        self.wait_for_line("ships what arrives in");
    }

    fn log(&self) -> PathBuf {
        self.archive.directory().join("daemon.log")
    }

    fn wait_for_line(&self, words: &str) {
        wait_until(words, PATIENCE, || {
            fs::read_to_string(self.log()).is_ok_and(|log| log.contains(words))
        });
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it was started");
        kill(Pid::from_raw(process.id().cast_signed()), signal).expect("signal it");
    }

    /// Ends it by SIGTERM; its exit code.
    fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let mut process = self.process.take().expect("it was started");
        process.wait().expect("wait for it").code()
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

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.log()).unwrap_or_default());
        }
    }
}
