//! A database cluster of a test's own, and its server.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use postgres::{Client, NoTls, Row, types::FromSqlOwned};

use super::{
    Builder, Server,
    process::{PATIENCE, Postmaster},
};
use crate::support::host::{TempDir, hand_over, wait_until};

/// A cluster with its server as a child of this process. It listens on a
/// socket in a directory of its own, and on a loopback port only where
/// [`Builder::tcp`] asks for it. Dropped, the server is killed and the
/// directory removed.
pub struct Cluster {
    server: Server,
    data: PathBuf,
    /// On 127.0.0.1, where it listens there.
    port: Option<u16>,
    postmaster: Mutex<Option<Postmaster>>,
    /// The socket and the log; for a cluster that was built here also `data`.
    directory: TempDir,
}

impl Cluster {
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The cluster in an existing data directory, which is handed over to the
    /// server's user; not started. The directory stays when this is dropped.
    pub fn over(server: &Server, data: &Path) -> Cluster {
        hand_over(data);
        Cluster::in_directory(server, data.to_path_buf(), TempDir::new(), None)
    }

    pub(super) fn in_directory(
        server: &Server,
        data: PathBuf,
        directory: TempDir,
        port: Option<u16>,
    ) -> Cluster {
        Cluster {
            server: server.clone(),
            data,
            port,
            postmaster: Mutex::new(None),
            directory,
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// `PGDATA`.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where the socket is, for `host=`.
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// The port in the socket's name, and on 127.0.0.1 if it listens there.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(5432)
    }

    /// How to connect as the superuser, for libpq and for walkeep's
    /// configuration.
    pub fn connection(&self) -> String {
        let socket = self.socket_directory().display();
        format!(
            "host={socket} port={} user=postgres dbname=postgres",
            self.port()
        )
    }

    /// Appends a line to `postgresql.conf`; later lines win. It is read at the
    /// next start or [`Cluster::reload`].
    pub fn append_conf(&self, line: &str) {
        let path = self.data.join("postgresql.conf");
        let mut file = OpenOptions::new()
            .append(true)
            .open(path)
            .expect("open conf");
        writeln!(file, "{line}").expect("write conf");
    }

    /// Makes the next start read archived WAL: up to the recovery target, or
    /// the end of the WAL, and then promote.
    pub fn recovery_signal(&self) {
        self.signal_file("recovery.signal");
    }

    /// Makes the next start a standby.
    pub fn standby_signal(&self) {
        self.signal_file("standby.signal");
    }

    fn signal_file(&self, name: &str) {
        let path = self.data.join(name);
        File::create(&path).expect("create the signal file");
        hand_over(&path);
    }

    /// Starts the server and waits until it answers; panics with the log's end
    /// when it exits instead.
    pub fn start(&self) {
        if let Err(log) = self.try_start() {
            panic!("the server did not start:\n{log}");
        }
    }

    /// Starts the server and waits until it answers. If it exits instead: all
    /// that it logged since this start.
    pub fn try_start(&self) -> Result<(), String> {
        let before = self.log().len();
        let start = Instant::now();
        self.spawn();
        while self.client().is_err() {
            if self.exited().is_some() {
                return Err(self.log()[before..].to_string());
            }
            assert!(start.elapsed() < PATIENCE, "no answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts the server and does not wait for anything.
    pub fn spawn(&self) {
        let mut postmaster = self.postmaster();
        assert!(postmaster.is_none(), "the server is running");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("open the log");
        let listen = if self.port.is_some() { "127.0.0.1" } else { "" };
        let mut command = self.server.command("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(self.socket_directory())
            .args(["-p", &self.port().to_string()])
            .args(["-c", &format!("listen_addresses={listen}")])
            // In the data directory, so that a killed server leaves nothing
            // in /dev/shm.
            .args(["-c", "dynamic_shared_memory_type=mmap"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone"))
            .stderr(log);
        *postmaster = Some(Postmaster::start(&mut command));
    }

    /// The status that the server exited with by itself, after which it can be
    /// started again; none when it runs or was stopped.
    pub fn exited(&self) -> Option<ExitStatus> {
        let mut postmaster = self.postmaster();
        let status = postmaster.as_mut()?.exited();
        if status.is_some() {
            *postmaster = None;
        }
        status
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        let postmaster = self.postmaster();
        postmaster.as_ref().expect("the server is running").pid()
    }

    /// Ends sessions, writes a checkpoint, archives what is left, exits.
    pub fn stop_fast(&self) {
        self.stop(Signal::SIGINT);
    }

    /// Exits at once: the next start recovers.
    pub fn stop_immediate(&self) {
        self.stop(Signal::SIGQUIT);
    }

    fn stop(&self, signal: Signal) {
        let postmaster = self.postmaster().take();
        postmaster.expect("the server is running").stop(signal);
    }

    /// What a power cut does to it: SIGKILL for the postmaster, its children
    /// and what they run (every process that works in the data directory).
    /// They are gone on return.
    pub fn kill(&self) {
        let postmaster = self.postmaster().take();
        postmaster.expect("the server is running").kill(&self.data);
    }

    /// Makes the server read its configuration again.
    pub fn reload(&self) {
        self.sql("SELECT pg_reload_conf()");
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// A new session as the superuser.
    pub fn client(&self) -> Result<Client, postgres::Error> {
        let mut client = postgres::Config::new()
            .host_path(self.socket_directory())
            .port(self.port())
            .user("postgres")
            .dbname("postgres")
            .application_name("test")
            .connect(NoTls)?;
        if let Some(postmaster) = self.postmaster().as_mut() {
            postmaster.note_shared_memory(&self.data);
        }
        client.batch_execute("SET statement_timeout = '5min'")?;
        Ok(client)
    }

    /// Runs statements, one after the other, in a session of their own.
    pub fn sql(&self, statements: &str) {
        self.connect()
            .batch_execute(statements)
            .unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The rows of one query.
    pub fn rows(&self, query: &str) -> Vec<Row> {
        self.connect()
            .query(query, &[])
            .unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    /// The first column of every row.
    pub fn column<T: FromSqlOwned>(&self, query: &str) -> Vec<T> {
        self.rows(query).iter().map(|row| row.get(0)).collect()
    }

    /// The first column of the only row.
    pub fn value<T: FromSqlOwned>(&self, query: &str) -> T {
        let mut values = self.column(query);
        assert_eq!(values.len(), 1, "one row: {query}");
        values.remove(0)
    }

    fn connect(&self) -> Client {
        self.client()
            .unwrap_or_else(|error| panic!("connect: {error:?}\n{}", self.log()))
    }

    /// Completes the current segment, though it be empty, and returns its
    /// name.
    pub fn switch_wal(&self) -> String {
        // The message makes sure that there is something to switch from.
        self.value(
            "SELECT pg_walfile_name(pg_switch_wal()) \
             FROM (SELECT pg_logical_emit_message(false, 'test', 'switch')) AS written",
        )
    }

    /// Waits until the archiver has been told that this segment is archived.
    pub fn wait_archived(&self, segment: &str) {
        let done = self
            .data
            .join("pg_wal/archive_status")
            .join(format!("{segment}.done"));
        let what = format!("{segment} is archived");
        wait_until(&what, PATIENCE, || {
            // A checkpoint removes the .done file with the segment.
            done.exists()
                || self.value::<bool>(&format!(
                    "SELECT coalesce(left(last_archived_wal, 8) = left('{segment}', 8) \
                         AND left(last_archived_wal, 24) >= '{segment}', false) \
                     FROM pg_stat_archiver"
                ))
        });
    }

    /// Waits until recovery has ended and the server takes writes.
    pub fn wait_promoted(&self) {
        wait_until("recovery ends", PATIENCE, || {
            self.exited().inspect(|status| {
                panic!("the server exited, {status}:\n{}", self.log());
            });
            self.client().is_ok_and(|mut client| {
                client
                    .query_one("SELECT pg_is_in_recovery()", &[])
                    .is_ok_and(|row| !row.get::<_, bool>(0))
            })
        });
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.postmaster.lock().expect("lock")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The lock is poisoned when a test failed while it was held.
        if let Ok(Some(postmaster)) = self.postmaster.lock().map(|mut it| it.take()) {
            postmaster.kill(&self.data);
        }
    }
}
