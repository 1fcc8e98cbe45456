//! `walkeep extract`: a command on a scratch cluster.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{
    Host,
    interrupt::Interrupt,
    restore::{arguments::request, refuse_root, shown::target},
    scratch::IntoScratch,
};
use crate::{
    cli::{Extract, Global},
    config::ConfigError,
    postgres::session::user_and_database,
    recovery::{
        plan::Request,
        scratch::{PORT, ScratchCluster},
    },
    trail::Deed,
};

/// The command did not run, or the cluster for it was not there.
const NOT_RUN: u8 = 125;
/// As shells have it: it is no program, or there is none.
const NO_PROGRAM: u8 = 126;
const NOT_FOUND: u8 = 127;
/// And a signal ended it.
const SIGNALLED: i32 = 128;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn run(global: &Global, arguments: &Extract) -> anyhow::Result<u8> {
    let request = request(&arguments.target)?;
    let host = Host::load_for(global, &[])?;
    refuse_root()?;
    let interrupt = Interrupt::watch()?;
    let ended = extract(&host, global, arguments, &request, &interrupt);
    match (ended, interrupt.signal()) {
        // Whatever it was in the way of.
        (Err(_), Some(signal)) => Ok(code(ExitStatus::from_raw(signal))),
        (Err(error), None) if error.downcast_ref::<ConfigError>().is_some() => Err(error),
        (Err(error), None) => {
            tracing::error!("{error:#}");
            Ok(NOT_RUN)
        }
        (Ok(code), _) => Ok(code),
    }
}

fn extract(
    host: &Host,
    global: &Global,
    arguments: &Extract,
    request: &Request,
    interrupt: &Interrupt,
) -> anyhow::Result<u8> {
    let mut scratch = ScratchCluster::create(&host.config.drill.scratch)?;
    let stop = || interrupt.signal().is_some();
    let into = IntoScratch {
        host,
        global,
        store: arguments.target.store.as_deref(),
        request,
        stop: &stop,
    };
    let planned = into.plan()?;
    into.restore(&planned, &mut scratch)?;
    host.trail().note(Deed::Restored {
        backup: planned.manifest.id,
        target: target(&request.target),
        directory: None,
    });
    let (user, database) = user_and_database(&host.config.cluster.connection);
    drop(scratch.wait(&user, &database, &stop)?);
    tracing::info!("recovered; running the command");

    let mut command = Command::new(&arguments.command[0]);
    command.args(&arguments.command[1..]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| leads_elsewhere(name)) {
        command.env_remove(name);
    }
    command
        .env("PGHOST", scratch.socket())
        .env("PGPORT", PORT.to_string())
        .env("PGUSER", user)
        .env("PGDATABASE", database);
    let code = match command.spawn() {
        Ok(child) => code(wait(child, interrupt)?),
        Err(error) => {
            let program = arguments.command[0].display();
            tracing::error!("start \"{program}\": {error}");
            match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NO_PROGRAM,
            }
        }
    };
    scratch.remove()?;
    Ok(code)
}

/// A variable by which libpq would connect to another server, or in another way.
fn leads_elsewhere(name: &OsString) -> bool {
    const HARMLESS: [&str; 5] = [
        "PGTZ",
        "PGDATESTYLE",
        "PGCLIENTENCODING",
        "PGAPPNAME",
        "PGPASSFILE",
    ];
    name.as_encoded_bytes().starts_with(b"PG") && !HARMLESS.iter().any(|it| name == it)
}

/// Waits until the command ends. An interruption is passed on to it.
fn wait(mut child: Child, interrupt: &Interrupt) -> anyhow::Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().context("wait for the command")? {
            return Ok(status);
        }
        if let Some(signal) = interrupt.signal().filter(|_| !told) {
            told = true;
            let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
            let Ok(signal) = nix::sys::signal::Signal::try_from(signal) else {
                bail!("there is no signal {signal}");
            };
            let _ = nix::sys::signal::kill(pid, signal);
        }
        thread::sleep(PAUSE);
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code();
    let code = code.or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(NOT_RUN)
}
