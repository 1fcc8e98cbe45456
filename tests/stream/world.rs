//! A cluster that archives and is streamed from, two S3 servers, and the daemon
//! between them.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::support::{
    host::{as_server_user, wait_until, walkeep_binary},
    postgres::{Cluster, Server},
    s3::S3Server,
    site::{Run, Site},
};

pub const BUCKET: &str = "backups";
/// Longer than anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often what is new goes to the stores: `WALKEEP_STREAM_INTERVAL`
/// seconds, 1 where it is not set. docs/BENCHMARKS.md has it at 10.
pub fn interval() -> Duration {
    let seconds = std::env::var("WALKEEP_STREAM_INTERVAL").ok();
    let seconds = seconds.map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(1))
}

pub struct World {
    pub site: Site,
    pub stores: [S3Server; 2],
    pub cluster: Cluster,
    daemon: Option<Child>,
}

impl World {
    /// With a table, a backup, and a daemon that is not started yet.
    pub fn on(server: &Server, segment_mib: u32) -> Self {
        let site = Site::empty();
        let cluster = Cluster::builder()
            .server(server)
            .wal_segsize_mb(segment_mib)
            .conf("archive_mode = on")
            .conf("autovacuum = off")
            .conf("wal_keep_size = 0")
            .conf("max_slot_wal_keep_size = 64MB")
            .conf(format!("archive_command = '{}'", site.archive_command()))
            .build();
        let world = World {
            site,
            stores: [S3Server::start_s3s(), S3Server::start_s3s()],
            cluster,
            daemon: None,
        };
        for server in &world.stores {
            server.create_bucket(BUCKET);
        }
        world.configure(&world.site, &world.cluster);
        world.site.walkeep(&["init"]).expect(0);
        world.cluster.sql(
            "CREATE TABLE done (i bigint PRIMARY KEY, filler text); \
             CREATE FUNCTION filler() RETURNS text LANGUAGE sql AS \
             $$ SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 40) $$",
        );
        world.site.walkeep(&["backup", "create"]).expect(0);
        world
    }

    /// Makes a site one of this archive, for `cluster`.
    pub fn configure(&self, site: &Site, cluster: &Cluster) {
        let tables = ["one", "two"].iter().zip(&self.stores);
        let tables: String = tables
            .map(|(name, server)| server.toml_store_table(name, "s3", BUCKET))
            .collect();
        let stream = format!(
            "[stream]\nenabled = true\ninterval = \"{}s\"\n\n",
            interval().as_secs()
        );
        let head = format!("{}{stream}", site.head(cluster));
        site.configure(
            &head.replace("[fetch]\n", "[fetch]\ntimeout = \"20s\"\n"),
            &tables,
        );
    }

    pub fn start_daemon(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let mut command = Command::new(walkeep_binary());
        as_server_user(&mut command)
            .arg("--config")
            .arg(self.site.config())
            .arg("run")
            .stdout(Stdio::null())
            .stderr(log.expect("open the log"));
        self.daemon = Some(command.spawn().expect("start walkeep run"));
    }

    /// SIGKILL, as for a lost host.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().expect("kill it");
        daemon.wait().expect("wait for it");
    }

    pub fn stop_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM).expect("signal it");
        assert!(daemon.wait().expect("wait for it").success());
    }

    fn log_path(&self) -> PathBuf {
        self.site.path("daemon.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn wait_for_line(&self, words: &str) {
        let start = Instant::now();
        while !self.log().contains(words) {
            assert!(start.elapsed() < PATIENCE, "{words:?} in\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn state(&self) -> Value {
        let path = self.site.staging().join("stream/state.json");
        let text = fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Waits until everything that is committed now is in the store.
    pub fn wait_streamed(&self, store: &str) {
        let now = Timestamp::now();
        let begun = Instant::now();
        loop {
            let state = self.state();
            let until = state["stores"][store]["until"].as_str().map(str::to_owned);
            let until = until.map(|it| it.parse::<Timestamp>().expect("a time"));
            // What was committed before the look had been received by then,
            // but for the moment that takes.
            if until.is_some_and(|until| until > now + Duration::from_secs(1)) {
                return;
            }
            let patient = begun.elapsed() < PATIENCE;
            assert!(patient, "{store} until {now}: {state:#}\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The keys below `stream/` in a store.
    pub fn streamed(&self, store: usize) -> Vec<String> {
        self.keys(store, "main/stream/")
    }

    pub fn keys(&self, store: usize, below: &str) -> Vec<String> {
        let files = self.stores[store].object_files(BUCKET).into_iter();
        let texts = files.map(|path| path.display().to_string());
        let mut keys: Vec<String> = texts
            .filter_map(|text| {
                text.find(below)
                    .map(|at| text[at + below.len()..].to_owned())
            })
            .collect();
        keys.sort();
        keys
    }

    /// The segments in `pg_receivewal`'s directory.
    pub fn received(&self) -> Vec<String> {
        let entries = fs::read_dir(self.site.staging().join("stream/wal")).expect("list it");
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    pub fn insert(&self, i: i64) {
        self.cluster
            .sql(&format!("INSERT INTO done VALUES ({i}, filler())"));
    }

    /// Everything of the host is gone: processes, data, staging, catalog.
    pub fn lose_host(&mut self) {
        if self.daemon.is_some() {
            self.kill_daemon();
        }
        if self.cluster.exited().is_none() {
            self.cluster.kill();
        }
        for gone in [self.cluster.data().to_owned(), self.site.staging()] {
            wait_until("it can be removed", PATIENCE, || {
                !gone.exists() || fs::remove_dir_all(&gone).is_ok()
            });
        }
        let _ = fs::remove_dir_all(self.site.path("catalog"));
    }

    /// Recovers on another host, from the buckets alone. Gives what `restore`
    /// said as well.
    pub fn recover(&self, arguments: &[&str]) -> (Run, Cluster) {
        let elsewhere = Site::empty();
        self.configure(&elsewhere, &self.cluster);
        let target = self.site.path(&format!("restored{}", fastrand::u32(..)));
        let command = ["restore", target.to_str().unwrap()];
        let run = elsewhere.walkeep(&[&command, arguments].concat());
        run.expect(0);
        let restored = Cluster::over(self.cluster.server(), &target);
        restored.start();
        restored.wait_promoted();
        // It was needed for its configuration, until the recovery's end.
        drop(elsewhere);
        (run, restored)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.kill_daemon();
        }
    }
}

/// Commits row after row, and notes outside of the server when each commit had
/// been confirmed.
pub struct Load {
    end: Arc<AtomicBool>,
    confirmed: Arc<Mutex<Vec<(i64, Instant)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(world: &World, pause: Duration) -> Self {
        let mut client = world.cluster.client().expect("connect");
        let (end, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (told, noted) = (Arc::clone(&end), Arc::clone(&confirmed));
        let thread = thread::spawn(move || {
            let insert = "INSERT INTO done VALUES ($1, filler())";
            let rows = (1_000_i64..).take_while(|_| !told.load(Ordering::Relaxed));
            for row in rows {
                if client.execute(insert, &[&row]).is_err() {
                    return;
                }
                let noted: &Mutex<Vec<(i64, Instant)>> = &noted;
                noted.lock().unwrap().push((row, Instant::now()));
                thread::sleep(pause);
            }
        });
        Load {
            end,
            confirmed,
            thread: Some(thread),
        }
    }

    /// What had been confirmed, and when.
    pub fn end(mut self) -> Vec<(i64, Instant)> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("join");
        std::mem::take(&mut *self.confirmed.lock().unwrap())
    }
}
