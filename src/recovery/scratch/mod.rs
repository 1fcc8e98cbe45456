//! A scratch cluster: restored to be looked into for a while, on a socket of
//! its own, and removed. It knows nothing of the living cluster's
//! configuration, archives nothing, and listens on no address, so that it can
//! run beside the living one.

mod configuration;

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Destination, Refused};
use crate::{
    backup::Manifest,
    cluster,
    fs::Scratch,
    postgres::session::{Session, SessionError},
};

/// What the directories of scratch clusters are called.
const NAME: &str = "cluster";
/// What those of their sockets are called that are elsewhere.
const SOCKET: &str = "walkeep-socket";
/// The port in the socket's name; no address is listened on.
pub const PORT: u16 = 5432;
/// What `sun_path` holds, less the socket's own name (`UNIXSOCK_PATH_BUFLEN`,
/// pqcomm.h).
const LONGEST_SOCKET: usize = 107 - "/.s.PGSQL.5432.lock".len();
/// How long a server may take to stop in order; then it is made to.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// What is set aside for replaying WAL, in bytes: `max_wal_size` and its
/// surplus, and what recovery adds to files in between.
const REPLAY: u64 = 2 << 30;
/// How much of the server's log an error shows, in lines.
const LOG_LINES: usize = 8;

/// A scratch cluster, gone with its server when this is dropped.
#[derive(Debug)]
pub struct ScratchCluster {
    server: Option<Child>,
    /// Where the socket is: in `scratch`, unless its path is too long.
    socket: PathBuf,
    /// Dropped after the server.
    scratch: Scratch,
    _socket: Option<Scratch>,
}

/// Where a scratch cluster's server listens, as long as it runs.
#[derive(Debug, Clone)]
pub struct Address(PathBuf);

impl Address {
    /// A connection string.
    pub fn connection(&self, user: &str, database: &str) -> String {
        let socket = self.0.display();
        format!(
            "host='{socket}' port={PORT} user='{}' dbname='{}'",
            escaped(user),
            escaped(database)
        )
    }
}

/// A scratch cluster could not be made, or does not recover.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// Its directory could not be used.
    #[error("{action} \"{}\": {cause}; `drill.scratch` names where scratch clusters are made", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The backup does not go there.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The server ended.
    #[error("the scratch cluster's server ended ({status}); its log ends so:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It does not answer as it should.
    #[error("ask the scratch cluster")]
    Session(#[from] SessionError),
    /// Somebody does not want to wait any longer.
    #[error("interrupted")]
    Interrupted,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScratchError + use<> {
    let path = path.to_owned();
    move |cause| ScratchError::Io {
        action,
        path,
        cause,
    }
}

impl ScratchCluster {
    /// Makes its directory below `root`, where nothing is restored yet, after
    /// what killed processes left there is removed.
    pub fn create(root: &Path) -> Result<Self, ScratchError> {
        sweep(root)?;
        let scratch = Scratch::create(root, NAME).map_err(failed("make a directory in", root))?;
        let mut elsewhere = None;
        let mut socket = scratch.path().join("socket");
        if socket.as_os_str().len() > LONGEST_SOCKET {
            let temporary = std::env::temp_dir();
            let made = Scratch::create(&temporary, SOCKET);
            let made = made.map_err(failed("make a directory in", &temporary))?;
            socket = made.path().to_owned();
            elsewhere = Some(made);
        } else {
            fs::create_dir(&socket).map_err(failed("make the directory", &socket))?;
        }
        Ok(ScratchCluster {
            server: None,
            socket,
            scratch,
            _socket: elsewhere,
        })
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Where the backup is to be restored, tablespaces included.
    pub fn destination(&self, manifest: &Manifest) -> Result<Destination, ScratchError> {
        let spaces = manifest.tablespaces.iter().map(|space| {
            let inside = format!("tablespace-{}", space.oid);
            (space.path.clone().into(), self.scratch.path().join(inside))
        });
        let spaces = spaces.collect();
        Ok(Destination::examine(
            &self.data(),
            false,
            manifest,
            &spaces,
        )?)
    }

    /// Where its socket is, for `PGHOST`.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How its server is reached.
    pub fn address(&self) -> Address {
        Address(self.socket.clone())
    }

    /// What its disk must have free, in bytes: the backup, and what replaying
    /// `wal` bytes may add: as much again, of which a restart point removes
    /// the segments and leaves what they did to the files.
    pub fn needed(&self, manifest: &Manifest, wal: u64) -> u64 {
        manifest.totals.raw_bytes.saturating_add(wal.min(REPLAY))
    }

    /// Starts the server of `bin` on what was restored. Libraries are preloaded
    /// as in the living cluster, as far as they are here.
    pub fn start(&mut self, bin: &Path, manifest: &Manifest) -> Result<(), ScratchError> {
        let preloaded = configuration::preloaded(bin, &self.data(), manifest);
        let config_file = self.configure(&preloaded)?;
        let log = self.log();
        let opened = File::options().create(true).append(true).open(&log);
        let opened = opened.map_err(failed("open", &log))?;
        let program = bin.join("postgres");
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command
            .arg("-D")
            .arg(self.data())
            .arg("-c")
            .arg(format!("config_file={}", config_file.display()))
            // Libraries may start work of their own (pg_cron: in whatever cluster
            // listens on this port). On the command line, since a restore sets
            // it for hot standbys.
            .args(["-c", "max_worker_processes=0"])
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(opened)
            // Ctrl-C is for walkeep, which stops the server in its turn.
            .process_group(0);
        let server = command.spawn().map_err(failed("start", &program))?;
        self.server = Some(server);
        Ok(())
    }

    /// Waits until the server has recovered, and can be asked: nobody is let in
    /// before. `stop`: whether nobody waits any longer.
    pub fn wait(
        &mut self,
        user: &str,
        database: &str,
        stop: &dyn Fn() -> bool,
    ) -> Result<Session, ScratchError> {
        let connection = self.address().connection(user, database);
        loop {
            if stop() {
                return Err(ScratchError::Interrupted);
            }
            self.check_running()?;
            match Session::connect(&connection) {
                Ok(session) => return Ok(session),
                // Somebody who is unknown, which does not change.
                Err(error) if error.is_refusal() => return Err(error.into()),
                Err(_) => {}
            }
            thread::sleep(PAUSE);
        }
    }

    fn check_running(&mut self) -> Result<(), ScratchError> {
        let status = self.server.as_mut().and_then(|it| it.try_wait().ok());
        let Some(status) = status.flatten() else {
            return Ok(());
        };
        self.server = None;
        Err(ScratchError::Ended {
            status,
            log: self.end_of_log(),
        })
    }

    /// The last lines of the server's log.
    pub fn end_of_log(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.len().saturating_sub(LOG_LINES);
        lines[end..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    /// Stops the server and removes everything.
    pub fn remove(mut self) -> Result<(), ScratchError> {
        self.stop();
        let path = self.scratch.path();
        self.scratch.remove().map_err(failed("remove", path))
    }

    /// Ends the server, if it runs.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // Nothing in it is kept: there is no reason to write a checkpoint.
        end(server.id(), &mut || {
            server.try_wait().is_ok_and(|status| status.is_some())
        });
    }
}

impl Drop for ScratchCluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Removes what killed processes left below `root`, and ends their servers.
pub fn sweep(root: &Path) -> Result<(), ScratchError> {
    let abandoned = Scratch::abandoned(root, NAME).map_err(failed("list", root))?;
    for scratch in abandoned {
        let data = scratch.path().join("data");
        if let Some(server) = cluster::running_in(&data) {
            tracing::info!("ending the server of a scratch cluster that was left running");
            end(server.pid, &mut || cluster::running_in(&data).is_none());
        }
        tracing::info!("removed \"{}\", which was left", scratch.path().display());
    }
    // Another user's cannot be looked at, nor need they be.
    let sockets = Scratch::abandoned(&std::env::temp_dir(), SOCKET);
    drop(sockets);
    Ok(())
}

/// Makes the postmaster `pid` stop at once, and waits until it has.
fn end(pid: u32, has_ended: &mut dyn FnMut() -> bool) {
    let pid = Pid::from_raw(pid.cast_signed());
    // Immediate: its children are told, too.
    for signal in [Signal::SIGQUIT, Signal::SIGKILL] {
        let _ = kill(pid, signal);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if has_ended() {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// In a connection string's quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
