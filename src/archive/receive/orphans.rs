//! A `pg_receivewal` that a killed daemon left: two of them in one directory
//! would write the same files. The kernel ends it with its daemon
//! (`PR_SET_PDEATHSIG`); this is for one that was stopped then, or that began at
//! that moment.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};

/// How the directory stands among the arguments: this is what tells ours.
pub(super) fn directory_argument(directory: &Path) -> OsString {
    let mut argument = OsString::from("--directory=");
    argument.push(directory);
    argument
}

/// Ends every process of this user that was started to receive into
/// `directory`, and waits until it is gone. Returns their numbers. Only the
/// daemon that holds the staging directory calls this, before it starts its
/// own.
pub(super) fn end(directory: &Path, patience: Duration) -> io::Result<Vec<i32>> {
    let argument = directory_argument(directory);
    let mut ended = Vec::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let begun = Instant::now();
        loop {
            let left = receivers(&argument)?;
            if left.is_empty() {
                return Ok(ended);
            }
            for pid in left {
                if !ended.contains(&pid) {
                    ended.push(pid);
                }
                // Fails where it has just ended.
                let _ = kill(Pid::from_raw(pid), signal);
            }
            if begun.elapsed() > patience {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    let left = format!("process {ended:?} does not end, not even by SIGKILL");
    Err(io::Error::new(io::ErrorKind::ResourceBusy, left))
}

/// Whoever has the argument, and `pg_receivewal` among those before it: the
/// program itself, or the walkeep that is about to become it.
fn receivers(argument: &OsStr) -> io::Result<Vec<i32>> {
    let us = Uid::effective().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let is_ours = entry.metadata().is_ok_and(|it| it.uid() == us);
        if !is_ours || pid == std::process::id().cast_signed() {
            continue;
        }
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let mut arguments = line.split(|byte| *byte == 0).map(OsStr::from_bytes);
        let is_receiver = arguments.any(|word| Path::new(word).ends_with("pg_receivewal"));
        if is_receiver && arguments.any(|word| word == argument) {
            found.push(pid);
        }
    }
    Ok(found)
}
