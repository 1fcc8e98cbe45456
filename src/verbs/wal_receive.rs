//! The hidden `walkeep wal receive`, which the daemon starts: it becomes
//! `pg_receivewal`, and ends when the daemon does, however that ends.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, bail};
use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{Pid, getppid},
};

pub(super) fn run(parent: i32, command: &[OsString]) -> anyhow::Result<u8> {
    let (program, arguments) = command.split_first().context("nothing to run")?;
    set_pdeathsig(Signal::SIGTERM).context("be told of the daemon's end")?;
    // It may have ended before that.
    if getppid() != Pid::from_raw(parent) {
        bail!("the daemon that started this has ended");
    }
    let failed = Command::new(program).args(arguments).exec();
    Err(failed).with_context(|| format!("run {}", program.display()))
}
