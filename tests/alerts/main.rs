//! Alerts, each raised and resolved by its real cause: the real daemon, real
//! servers, real sinks.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod listeners;
mod mail;
mod proven;
mod server;
mod sinks;
mod stores;
#[path = "../support/mod.rs"]
mod support;

use std::{fs, time::Duration};

use listeners::Web;
use nix::sys::signal::Signal;
use serde_json::Value;
use support::{
    archive::{Archive, MIB, segment, segment_name},
    daemon::Daemon,
    host::wait_until,
    s3::S3Server,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What is told within seconds.
const QUICK: &str = "lag = \"3s\"\nheartbeat_interval = \"1s\"\n";

/// An archive with two S3 servers, a web server that is told, and a daemon.
struct Scene {
    archive: Archive,
    stores: [S3Server; 2],
    web: Web,
    daemon: Daemon,
}

impl Scene {
    /// The daemon is not started yet.
    fn of(archive: Archive) -> Self {
        let stores = [S3Server::start_s3s(), S3Server::start_s3s()];
        for store in &stores {
            store.create_bucket("wal");
            store.put_plainly("wal", "main/cluster.json", &archive.cluster_json());
        }
        let daemon = Daemon::new(archive.directory().join("daemon.log"));
        Scene {
            archive,
            stores,
            web: Web::start(),
            daemon,
        }
    }

    fn new() -> Self {
        Scene::of(Archive::new(&[]))
    }

    /// With these lines for `[staging]`, for `[alerts]`, and tables besides.
    fn configure(&self, staging: &str, alerts: &str, tables: &str) {
        let stores = ["a", "b"].iter().zip(&self.stores);
        let stores: String = stores
            .map(|(name, server)| server.toml_store_table(name, "s3", "wal"))
            .collect();
        let spool = self.archive.directory().join("spool");
        let text = format!(
            "{staging}\n[fetch]\nspool = \"{}\"\ntimeout = \"2s\"\nprefetch = 0\n[alerts]\n\
             {QUICK}{alerts}\nheartbeat_url = \"{}\"\n[[alerts.sink]]\ntype = \"webhook\"\n\
             url = \"{}\"\n{tables}\n",
            spool.display(),
            self.web.url("/alive"),
            self.web.url("/hook"),
        );
        self.archive.configure(&text, &stores);
        // It holds a URL.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        fs::set_permissions(self.archive.config(), mode).expect("chmod");
        let ran = self.archive.run(&["catalog", "rebuild"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }

    fn start(&mut self) {
        self.daemon.start(&mut self.archive.walkeep(&["run"]));
        self.daemon.wait_for_line("ships what arrives");
    }

    fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    fn stop(&mut self) {
        assert_eq!(self.daemon.stop(), Some(0));
    }

    /// A segment as `wal push` leaves it; its name.
    fn push(&self, number: u64) -> String {
        let name = segment_name(1, number, MIB);
        let bytes = segment(&name, MIB, 5000, number);
        self.archive
            .push_well(&self.archive.incoming(&name, &bytes));
        name
    }

    fn wait_shipped(&self) {
        wait_until("nothing waits", PATIENCE, || {
            self.archive.waiting().is_empty()
        });
    }

    fn wait_told(&self, id: &str, events: &[&str]) {
        let what = format!("{id} is {events:?}: {:?}", self.web.told(id));
        wait_until(&what, PATIENCE, || self.web.told(id) == events);
    }

    fn wait_raised(&self, id: &str) {
        self.wait_told(id, &["raised"]);
        // Whoever asks gets the same answer.
        let status = self.status();
        let conditions = status["conditions"].as_array().expect("conditions").clone();
        let known = conditions.iter().any(|it| {
            let subject = it["subject"].as_str().map(|subject| format!("/{subject}"));
            let kind = it["kind"].as_str().expect("a kind");
            format!("{kind}{}", subject.unwrap_or_default()) == id
        });
        assert!(known, "{id}: {status}");
        assert_eq!(self.archive.run(&["status"]).code, 1);
    }

    fn wait_resolved(&self, id: &str) {
        self.wait_told(id, &["raised", "resolved"]);
    }

    fn wait_green(&self) {
        let what = format!("all is well: {}", self.status()["attention"]);
        wait_until(&what, PATIENCE, || self.archive.run(&["status"]).code == 0);
    }

    fn status(&self) -> Value {
        let ran = self.archive.run(&["--json", "status"]);
        serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
    }

    /// The lines of `alerts --json`: (state, alert).
    fn alerts(&self) -> Vec<Value> {
        let ran = self.archive.run(&["--json", "alerts"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let lines = ran.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for heard in self.web.heard() {
                eprintln!("{} {}", heard.to, heard.body);
            }
        }
    }
}
