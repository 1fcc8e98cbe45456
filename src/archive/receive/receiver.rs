//! `pg_receivewal`, kept running: its slot, its orphans, its end. Blocks, in a
//! thread of its own, since its end is bound to that thread's.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Source,
    board::{Board, SlotState},
    directory::Directory,
    orphans,
};
use crate::{
    archive::staging::Marker,
    cluster,
    postgres::{
        SegmentName,
        session::{Session, SessionError, without_password},
    },
};

/// How long it rests after it ended; each time in a row twice as long.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// After so long it has been running well.
const WELL: Duration = Duration::from_secs(30);
/// How often it is looked whether it still runs.
const GLANCE: Duration = Duration::from_millis(500);
/// How often the server is asked about the slot.
const SLOT: Duration = Duration::from_secs(10);
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread that keeps it running.
#[derive(Debug)]
pub(super) struct Receiver {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    told: Mutex<bool>,
    bell: Condvar,
}

impl Stop {
    /// Waits; true where it is to end.
    fn wait(&self, time: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(told, time, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }
}

impl Receiver {
    pub(super) fn start(
        source: Source,
        marker: Marker,
        directory: Directory,
        board: Arc<Board>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let work = Work {
            source,
            marker,
            directory,
            board,
            stop: Arc::clone(&stop),
            session: None,
        };
        let thread = thread::Builder::new().name("receive".to_owned());
        let thread = thread.spawn(move || work.keep_running())?;
        Ok(Receiver {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends `pg_receivewal`, and returns when it is gone. What it had received
    /// is on the disk.
    pub(super) fn end(mut self) {
        self.stop.tell();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.tell();
    }
}

struct Work {
    source: Source,
    marker: Marker,
    directory: Directory,
    board: Arc<Board>,
    stop: Arc<Stop>,
    session: Option<Session>,
}

/// Why nothing is received.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("{action}: {cause}")]
    Io {
        action: &'static str,
        cause: std::io::Error,
    },
    #[error(
        "the server runs the cluster {found}, this archive is of {expected}: correct \
         cluster.connection"
    )]
    OtherCluster {
        found: crate::postgres::SystemId,
        expected: crate::postgres::SystemId,
    },
    #[error(
        "there is no pg_receivewal of PostgreSQL {0} or later: install PostgreSQL's client \
         programs, or set cluster.bin_directory"
    )]
    NoProgram(u32),
    #[error("pg_receivewal ended ({status}): {said}")]
    Ended { status: ExitStatus, said: String },
    #[error("there is no room: {0}")]
    Full(String),
}

fn failed(action: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
    move |cause| Failure::Io { action, cause }
}

impl Work {
    fn keep_running(mut self) {
        let mut failures = 0_u32;
        let mut said = String::new();
        loop {
            let begun = Instant::now();
            let Err(failure) = self.run_once() else {
                let ended = "`walkeep run` has ended";
                return self.board.not_receiving(ended.to_owned());
            };
            self.session = None;
            if begun.elapsed() > WELL {
                failures = 0;
            }
            let text = failure.to_string();
            if text != said || failures == 0 {
                tracing::warn!("nothing is streamed: {text}");
            }
            self.board.not_receiving(text.clone());
            said = text;
            let rest = RESTS.0.saturating_mul(1 << failures.min(8)).min(RESTS.1);
            failures += 1;
            if self.stop.wait(rest) {
                return;
            }
        }
    }

    /// Returns without an error when it is to end.
    fn run_once(&mut self) -> Result<(), Failure> {
        if self.board.is_full() {
            let path = self.directory.path().display();
            return Err(Failure::Full(format!(
                "\"{path}\" holds what neither staging nor any store has"
            )));
        }
        let ended = orphans::end(self.directory.path(), PATIENCE);
        for pid in ended.map_err(failed("look for an earlier pg_receivewal"))? {
            tracing::warn!("ended the pg_receivewal ({pid}) that a killed walkeep left");
        }
        let mut session = Session::connect(&self.source.connection)?;
        let identity = session.identity()?;
        if identity.system_id != self.marker.system_identifier {
            return Err(Failure::OtherCluster {
                found: identity.system_id,
                expected: self.marker.system_identifier,
            });
        }
        let bin = cluster::bin_directory(
            self.source.bin_directory.as_deref(),
            self.source.data_directory.as_deref(),
            Some(identity.major),
        );
        let program = cluster::receiver(bin.as_deref(), identity.major);
        let program = program.ok_or(Failure::NoProgram(identity.major))?;
        self.prepare(&mut session, &program)?;
        self.session = Some(session);

        let mut child = self.spawn(&program)?;
        let said = child.stderr.take().map(relay);
        tracing::info!(
            "streams what PostgreSQL writes, by the slot \"{}\"",
            self.source.slot
        );
        self.board.receiving();
        let ended = self.watch(&mut child);
        // On every way: nothing may write there that nobody watches.
        if ended.is_none() {
            end(&mut child).map_err(failed("end pg_receivewal"))?;
        }
        let said = said.and_then(|thread| thread.join().ok()).flatten();
        match ended {
            None if self.board.is_full() => self.run_once(),
            None => Ok(()),
            Some(status) => Err(Failure::Ended {
                status,
                said: said.unwrap_or_else(|| "it did not say why".to_owned()),
            }),
        }
    }

    /// The slot, and the directory as `pg_receivewal` can go on in it.
    fn prepare(&self, session: &mut Session, program: &Path) -> Result<(), Failure> {
        let slot = &self.source.slot;
        let unfinished = self.directory.remove_unfinished();
        unfinished.map_err(failed("remove an unfinished segment"))?;
        let received = self.directory.segments();
        let received = received.map_err(failed("list what was received"))?;
        let found = SlotState::from(session.slot(slot)?);
        match &found {
            SlotState::Kept { .. } => {}
            SlotState::Absent if received.is_empty() => {}
            SlotState::Absent => self.lost(format!(
                "the replication slot \"{slot}\" is gone, somebody has dropped it: streaming goes \
                 on by a new one"
            )),
            SlotState::Lost => {
                self.lost(format!(
                    "PostgreSQL has given up the replication slot \"{slot}\": it would have kept \
                     more than max_slot_wal_keep_size. Streaming begins anew with the segment that \
                     is written now; what is before it comes by archive_command alone"
                ));
                session.drop_slot(slot)?;
            }
        }
        if !matches!(found, SlotState::Kept { .. }) {
            self.make_slot(program)?;
        }
        self.board
            .slot(session.slot(slot).ok().map(SlotState::from));
        // Where it would go on from (FindStreamingStart, pg_receivewal.c).
        let Some(last) = received.last() else {
            return Ok(());
        };
        let number = last.number + u64::from(last.complete);
        let size = self.marker.segment_size;
        let next = SegmentName::numbered(number, last.segment.timeline, size);
        let start = crate::postgres::Lsn(number * size.bytes());
        let is_lost = matches!(found, SlotState::Lost);
        if !is_lost && session.has_removed(next, start)? {
            self.lost(format!(
                "PostgreSQL has no segment {next} any more: streaming begins anew with the one \
                 that is written now"
            ));
        } else if !is_lost {
            return Ok(());
        }
        let cleared = self.directory.clear();
        cleared.map_err(failed("remove what was received before"))
    }

    fn lost(&self, why: String) {
        tracing::error!("{why}");
        self.board.slot_lost(why);
    }

    fn make_slot(&self, program: &Path) -> Result<(), Failure> {
        let mut command = self.command(program);
        command.args(["--create-slot", "--if-not-exists"]);
        let output = command.output();
        let output = output.map_err(failed("start pg_receivewal"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::Ended {
            status: output.status,
            said: said.trim().to_owned(),
        })
    }

    /// By way of this program, which binds its end to this thread's before it
    /// becomes `pg_receivewal`.
    fn spawn(&self, program: &Path) -> Result<Child, Failure> {
        let plain = self.command(program);
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["wal", "receive", "--parent"])
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(plain.get_program())
            .args(plain.get_args())
            .arg(orphans::directory_argument(self.directory.path()))
            .args(["--synchronous", "--no-loop"])
            .envs(
                plain
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().map_err(failed("start pg_receivewal"))
    }

    fn command(&self, program: &Path) -> Command {
        let (connection, password) = without_password(&self.source.connection);
        let mut command = Command::new(program);
        command
            .arg(format!("--dbname={connection}"))
            .arg(format!("--slot={}", self.source.slot))
            .arg("--no-password");
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        command
    }

    /// Until it ends by itself; `None` where it is to be ended.
    fn watch(&mut self, child: &mut Child) -> Option<ExitStatus> {
        let mut asked = Instant::now();
        loop {
            if self.stop.wait(GLANCE) || self.board.is_full() {
                return None;
            }
            // It is our child: waiting for it does not fail.
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            if asked.elapsed() >= SLOT {
                asked = Instant::now();
                self.ask_about_slot();
            }
        }
    }

    fn ask_about_slot(&mut self) {
        if self.session.is_none() {
            self.session = Session::connect(&self.source.connection).ok();
        }
        let asked = self.session.as_mut().map(|it| it.slot(&self.source.slot));
        let slot = match asked {
            Some(Ok(slot)) => Some(slot.into()),
            _ => {
                self.session = None;
                None
            }
        };
        self.board.slot(slot);
    }
}

/// Its messages go where ours do. Returns the last one.
fn relay(stderr: std::process::ChildStderr) -> JoinHandle<Option<String>> {
    thread::spawn(move || {
        let mut last = None;
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let line = line.trim().to_owned();
            if !line.is_empty() {
                tracing::info!("{line}");
                last = Some(line);
            }
        }
        last
    })
}

/// What it had received it had flushed: nothing is lost by a signal.
fn end(child: &mut Child) -> std::io::Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed());
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // Fails where it has ended by itself.
        let _ = kill(pid, signal);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    child.wait().map(drop)
}
