//! A `walkeep run`, and what it says.

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

use super::host::wait_until;

const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that a test starts and ends, as often as it likes. What it said is
/// shown where the test fails.
#[derive(Debug)]
pub struct Daemon {
    log: PathBuf,
    process: Option<Child>,
}

impl Daemon {
    /// Not started yet; what it says goes to `log`.
    pub fn new(log: PathBuf) -> Self {
        Daemon { log, process: None }
    }

    /// Starts it anew, with a log of its own.
    pub fn start(&mut self, command: &mut Command) {
        let log = File::create(&self.log).expect("open the log");
        let started = command.stderr(log).spawn();
        self.process = Some(started.expect("start walkeep run"));
    }

    /// What it has said since its start.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn wait_for_line(&self, words: &str) {
        wait_until(words, PATIENCE, || self.log().contains(words));
    }

    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it was started").id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().cast_signed()), signal).expect("signal it");
    }

    /// Ends it by SIGTERM; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let mut process = self.process.take().expect("it was started");
        process.wait().expect("wait for it").code()
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it was started");
        process.kill().expect("kill it");
        process.wait().expect("wait for it");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
