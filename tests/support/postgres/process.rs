//! The server's processes, which a test ends like a power cut does.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::host::{wait_for, wait_until};

/// How long a server may take to start or to stop: crash recovery on a busy
/// machine included.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running server, a child of this process.
pub struct Postmaster {
    child: Child,
    /// The System V segment that guards the data directory. Only the server
    /// removes it, which a killed one does not.
    shared_memory: Option<String>,
}

impl Postmaster {
    /// Starts `postgres`, whose arguments are set.
    pub fn start(command: &mut Command) -> Self {
        // A Ctrl-C at the terminal would ask it to shut down.
        let child = command.process_group(0).spawn().expect("start postgres");
        Postmaster {
            child,
            shared_memory: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status it exited with, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for postgres")
    }

    /// Remembers the shared memory while `postmaster.pid` tells: its seventh
    /// line is the key and the number (miscinit.c, `AddToDataDirLockFile`).
    pub fn note_shared_memory(&mut self, data: &Path) {
        if self.shared_memory.is_none() {
            let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            self.shared_memory = file
                .lines()
                .nth(6)
                .and_then(|line| line.split_whitespace().nth(1))
                .map(str::to_string);
        }
    }

    /// Signals the server and waits for its end.
    pub fn stop(mut self, signal: Signal) -> ExitStatus {
        kill(pid_of(&self.child), signal).expect("signal postgres");
        wait_for("the server stops", PATIENCE, || self.exited())
    }

    /// SIGKILL for it and for every process that works in its data directory.
    pub fn kill(mut self, data: &Path) {
        // The signal fails if it has exited by itself.
        let _ = kill(pid_of(&self.child), Signal::SIGKILL);
        let _ = self.child.wait();
        wait_until("the server's processes are gone", PATIENCE, || {
            let left = working_in(data);
            for pid in &left {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            left.is_empty()
        });
        if let Some(number) = self.shared_memory {
            let _ = Command::new("ipcrm")
                .args(["-m", &number])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// The processes whose working directory this is. PostgreSQL's are in their
/// data directory from the start to the end.
pub fn working_in(directory: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let working = fs::read_link(entry.path().join("cwd")).ok()?;
            (working == directory).then(|| Pid::from_raw(pid))
        })
        .collect()
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}
