//! `walkeep extract`: a command on a scratch cluster.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use super::{
    Host,
    restore::{arguments::request, carry_out, planned, refuse_root, restore_command},
    setup::{PROMPT, runtime},
};
use crate::{
    cli::{Extract, Global},
    cluster::bin_directory,
    config::ConfigError,
    postgres::session::user_and_database,
    recovery::{
        Settings,
        finish::PLAN,
        plan::Request,
        scratch::{PORT, ScratchCluster, ScratchError},
        settings::Action,
    },
};

/// The command did not run, or the cluster for it was not there.
const NOT_RUN: u8 = 125;
/// As shells have it: it is no program, or there is none.
const NO_PROGRAM: u8 = 126;
const NOT_FOUND: u8 = 127;
/// And a signal ended it.
const SIGNALLED: i32 = 128;
const PAUSE: Duration = Duration::from_millis(20);

/// The signal that says that nobody waits any longer; 0 is none.
#[derive(Clone, Default)]
struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    fn watch() -> anyhow::Result<Self> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_usize(signal, Arc::clone(&interrupt.0), signal as usize)
                .context("handle signals")?;
        }
        Ok(interrupt)
    }

    fn signal(&self) -> Option<i32> {
        let signal = self.0.load(Ordering::Relaxed);
        (signal != 0).then_some(signal as i32)
    }
}

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
    let runtime = runtime()?;
    let restored = runtime.block_on(async {
        let work = restore(host, global, arguments, request, &scratch);
        tokio::select! {
            restored = work => restored,
            () = interrupted(interrupt) => Err(ScratchError::Interrupted.into()),
        }
    });
    runtime.shutdown_background();
    let manifest = restored?;
    let major = manifest.postgres_major;
    let cluster = &host.config.cluster;
    let bin = bin_directory(
        cluster.bin_directory.as_deref(),
        cluster.data_directory.as_deref(),
        Some(major),
    );
    let bin = bin.with_context(|| {
        format!("find PostgreSQL {major} on this host; name it in cluster.bin_directory")
    })?;
    scratch.start(&bin, &manifest)?;
    let (user, database) = user_and_database(&cluster.connection);
    let stop = || interrupt.signal().is_some();
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

/// Restores into the scratch cluster.
async fn restore(
    host: &Host,
    global: &Global,
    arguments: &Extract,
    request: &Request,
    scratch: &ScratchCluster,
) -> anyhow::Result<crate::backup::Manifest> {
    let store = arguments.target.store.as_deref();
    let planned = planned::plan(host, store, request, PROMPT).await?;
    let (plan, manifest) = (&planned.plan, &planned.manifest);
    let destination = scratch.destination(manifest)?;
    let plan_file = destination.directory.join(PLAN);
    let settings = Settings {
        restore_command: restore_command(global, &host.config, Some(&plan_file))?,
        target: request.target.clone(),
        exclusive: request.exclusive,
        timeline: plan.timeline_setting.clone(),
        // Paused, it would hold the locks of transactions that were under way
        // then: of a DROP TABLE, on the table that is wanted.
        action: Action::Promote,
        standby: false,
    };
    tracing::info!(
        "restoring backup {} of {} into a scratch cluster",
        plan.backup.id,
        plan.backup.stopped
    );
    carry_out(host, &planned, &destination, &settings, global.quiet).await?;
    Ok(planned.manifest)
}

async fn interrupted(interrupt: &Interrupt) {
    while interrupt.signal().is_none() {
        tokio::time::sleep(PAUSE).await;
    }
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
