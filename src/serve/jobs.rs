//! What the daemon does by itself when `[schedule]` says so: one job at a time,
//! each a process of its own, so that the daemon stays small and shipping goes
//! on whatever a job does.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, BufRead, BufReader, PipeReader, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::block_in_place,
};

use crate::{
    catalog::{Catalog, CatalogError, JobRecord, Writer},
    config::{Job, Schedule},
};

/// How often it is looked whether a job has ended.
const PAUSE: Duration = Duration::from_millis(100);
/// How long what is due may be waited for without a look at the clock, which
/// may be set meanwhile, or stand while the host sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// What a job's error is cut to, in characters.
const LONGEST_ERROR: usize = 1000;
/// What systemd tells the daemon alone.
const SYSTEMDS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How walkeep is run with this daemon's configuration.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What comes before the verb.
    pub arguments: Vec<OsString>,
}

/// A job that ended.
pub(super) struct Ended {
    job: Job,
    /// `None`: the daemon ended it, and it is to be done again.
    result: Option<Result<(), String>>,
}

/// The jobs and their schedule.
pub(super) struct Jobs {
    program: Program,
    catalog: Catalog,
    zone: TimeZone,
    schedule: BTreeMap<Job, Schedule>,
    known: BTreeMap<Job, JobRecord>,
    running: Option<Running>,
    ended: UnboundedSender<Ended>,
    ends: UnboundedReceiver<Ended>,
}

/// The process of a job, until somebody has seen its end.
struct Running {
    child: Arc<Mutex<Child>>,
    stopped: Arc<AtomicBool>,
}

impl Jobs {
    /// Reads what is known of each from the catalog. What was begun and has
    /// not ended is done again: the daemon, or the host, ended meanwhile.
    pub(super) fn new(
        program: Program,
        schedule: BTreeMap<Job, Schedule>,
        catalog: Catalog,
    ) -> Self {
        let (ended, ends) = unbounded_channel();
        let mut jobs = Jobs {
            program,
            catalog,
            zone: TimeZone::system(),
            schedule: BTreeMap::new(),
            known: BTreeMap::new(),
            running: None,
            ended,
            ends,
        };
        jobs.take_over(schedule);
        for known in jobs.known.values_mut() {
            if known.ended.is_none() {
                known.begun = None;
            }
        }
        jobs
    }

    /// Takes a new schedule. A job that runs is not disturbed.
    pub(super) fn take_over(&mut self, schedule: BTreeMap<Job, Schedule>) {
        self.zone = TimeZone::system();
        self.schedule = schedule;
        self.schedule.retain(|_, when| *when != Schedule::Never);
        let now = Timestamp::now();
        let scheduled = &self.schedule;
        let noted = block_in_place(|| {
            let has = self.catalog.read(|reader| reader.jobs())?;
            let is_news = |job: &Job| scheduled.contains_key(job) != has.contains_key(job.name());
            if !Job::ALL.iter().any(is_news) {
                return Ok(has);
            }
            self.catalog.write(|w| {
                for job in Job::ALL {
                    match scheduled.contains_key(&job) {
                        true => drop(w.schedule_job(job.name(), now)?),
                        false => w.unschedule_job(job.name())?,
                    }
                }
                Ok(())
            })?;
            self.catalog.read(|reader| reader.jobs())
        });
        let mut noted = noted.unwrap_or_else(|error: CatalogError| {
            tracing::warn!("when jobs last ran, the catalog does not say: {error}");
            BTreeMap::new()
        });
        let known = |job: &Job| {
            let noted = noted.remove(job.name());
            (*job, noted.unwrap_or_else(|| JobRecord::scheduled(now)))
        };
        self.known = self.schedule.keys().map(known).collect();
    }

    /// How long to wait until something is to be done; `None` where nothing
    /// is scheduled, or something is being done.
    pub(super) fn wait(&self) -> Option<Duration> {
        if self.running.is_some() {
            return None;
        }
        let (due, _) = self.next()?;
        let left = due.duration_since(Timestamp::now());
        Some(Duration::try_from(left).map_or(Duration::ZERO, |left| left.min(LONGEST_WAIT)))
    }

    /// What is due first; of several at once, what comes first in [`Job::ALL`].
    fn next(&self) -> Option<(Timestamp, Job)> {
        let due = self.schedule.iter().filter_map(|(job, schedule)| {
            let known = self.known.get(job)?;
            let due = schedule.due(known.since, known.begun, &self.zone)?;
            Some((due, *job))
        });
        due.min()
    }

    /// Begins what is due, if nothing is being done.
    pub(super) fn begin(&mut self) {
        let now = Timestamp::now();
        let next = self.next().filter(|(due, _)| *due <= now);
        if let (None, Some((_, job))) = (&self.running, next) {
            if let Some(known) = self.known.get_mut(&job) {
                known.begun = Some(now);
            }
            self.note(job, |w| w.begin_job(job.name(), now));
            tracing::info!("begins `walkeep {}`", job.arguments().join(" "));
            match self.start(job) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    let path = self.program.path.display();
                    let result = Err(format!("start \"{path}\": {error}"));
                    self.end(job, result);
                }
            }
        }
    }

    /// The next one that ends.
    pub(super) async fn next_end(&mut self) -> Ended {
        match self.ends.recv().await {
            Some(ended) => ended,
            // `self` has a sender.
            None => std::future::pending().await,
        }
    }

    /// A job's process has ended.
    pub(super) fn ended(&mut self, Ended { job, result }: Ended) {
        self.running = None;
        if let Some(result) = result {
            self.end(job, result);
        }
    }

    fn end(&self, job: Job, result: Result<(), String>) {
        match &result {
            Ok(()) => tracing::info!("`walkeep {}` is done", job.arguments().join(" ")),
            Err(error) => {
                tracing::error!("`walkeep {}` failed: {error}", job.arguments().join(" "));
            }
        }
        let now = Timestamp::now();
        self.note(job, |w| w.end_job(job.name(), now, result.err()));
    }

    fn note(&self, job: Job, change: impl FnOnce(&mut Writer<'_>) -> Result<(), CatalogError>) {
        if let Err(error) = block_in_place(|| self.catalog.write(change)) {
            tracing::warn!("note the job {job} in the catalog: {error}");
        }
    }

    /// Whether something is being done.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// Tells what is being done to end, by `signal`.
    pub(super) fn stop(&self, signal: Signal) {
        let Some(Running { child, stopped }) = &self.running else {
            return;
        };
        stopped.store(true, Ordering::Relaxed);
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        // As long as nobody has seen its end, its number is no other's.
        if let Ok(None) = child.try_wait() {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
    }

    fn start(&self, job: Job) -> io::Result<Running> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.arguments).args(job.arguments());
        for name in SYSTEMDS {
            command.env_remove(name);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            // Ctrl-C is for the daemon, which ends it in its turn.
            .process_group(0)
            .spawn()?;
        // It holds the writing end of the pipe.
        drop(command);
        let child = Arc::new(Mutex::new(child));
        let stopped = Arc::new(AtomicBool::new(false));
        let running = Running {
            child: Arc::clone(&child),
            stopped: Arc::clone(&stopped),
        };
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let listening = thread::Builder::new().spawn(move || pass_on(reader, &heard))?;
        let ended = self.ended.clone();
        thread::Builder::new().spawn(move || {
            let status = loop {
                let seen = child
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .try_wait();
                match seen {
                    Ok(None) => thread::sleep(PAUSE),
                    Ok(Some(status)) => break Ok(status),
                    Err(error) => break Err(error),
                }
            };
            // What it left running may keep the pipe open.
            for _ in 0..10 {
                if listening.is_finished() {
                    break;
                }
                thread::sleep(PAUSE);
            }
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let result = (!stopped.load(Ordering::Relaxed)).then(|| judge(status, &said));
            // The daemon outlives its jobs.
            let _ = ended.send(Ended { job, result });
        })?;
        Ok(running)
    }
}

fn judge(status: io::Result<ExitStatus>, said: &str) -> Result<(), String> {
    let how = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => format!("wait for it: {error}"),
    };
    Err(match said {
        "" => how,
        said => said.chars().take(LONGEST_ERROR).collect(),
    })
}

/// Puts what a job says into the daemon's log, and keeps the last error of it,
/// or the last line.
fn pass_on(reader: PipeReader, said: &Mutex<String>) {
    let mut is_error = false;
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else {
            return;
        };
        let line = String::from_utf8_lossy(&line);
        let _ = writeln!(io::stderr(), "{line}");
        let text = told(&line);
        let error = text.strip_prefix("error: ");
        if !text.trim().is_empty() && (error.is_some() || !is_error) {
            is_error = error.is_some();
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            *said = error.unwrap_or(text).trim().to_owned();
        }
    }
}

/// A line without the journal's priority and the program's name.
fn told(line: &str) -> &str {
    let text = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let text = text.map_or(line, |(_, text)| text);
    text.strip_prefix("walkeep: ").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_what_a_job_said() {
        for (lines, expected) in [
            ("", ""),
            ("walkeep: one\nwalkeep: two\n\n", "two"),
            (
                "<3>walkeep: error: bad\n<6>walkeep: then this\n  more",
                "bad",
            ),
            ("walkeep: error: bad\nwalkeep: error: worse: x", "worse: x"),
        ] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(lines.as_bytes()).unwrap();
            drop(writer);
            let said = Mutex::default();
            pass_on(reader, &said);
            assert_eq!(*said.lock().unwrap(), expected);
        }
    }
}
