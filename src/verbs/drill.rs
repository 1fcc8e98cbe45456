//! `walkeep drill`: is what a store holds a cluster that comes back?

mod output;

use std::{
    fmt::Write as _,
    io::IsTerminal,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::{
    Host, NO,
    interrupt::Interrupt,
    restore::{arguments::request, planned::Planned, refuse_root, shown::target},
    scratch::IntoScratch,
};
use crate::{
    archive::{fetch::Ahead, plan::FetchPlan},
    catalog::DrillRecord,
    cli::{Drill, Global},
    config::{ConfigError, DrillSettings},
    postgres::session::user_and_database,
    recovery::{
        drill::{Checks, Examining, examine, next_store},
        plan::Request,
        scratch::{ScratchCluster, ScratchError},
    },
    trail::Deed,
};

/// How often it is looked whether somebody wants an end of it.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn run(global: &Global, arguments: &Drill) -> anyhow::Result<u8> {
    let request = request(&arguments.target)?;
    let host = Host::load_for(global, &[])?;
    refuse_root()?;
    let checks = checks(&host.config.drill)?;
    let store = store(&host, arguments.target.store.as_deref())?;
    let interrupt = Interrupt::watch()?;
    let begun = Instant::now();
    let deadline = begun + host.config.drill.timeout;
    let stop = || interrupt.signal().is_some() || Instant::now() >= deadline;
    let mut drill = Drilling {
        into: IntoScratch {
            host: &host,
            global,
            store: Some(&store),
            request: &request,
            stop: &stop,
        },
        checks,
        begun,
        deadline,
        bar: spinner(host.quiet),
        record: blank(&store, &request),
    };
    let held = drill.hold();
    drill.bar.finish_and_clear();
    let mut record = drill.record;
    record.ended = Timestamp::now();
    if let Err(error) = held {
        if interrupt.signal().is_some() {
            // It proves nothing.
            return Err(ScratchError::Interrupted.into());
        }
        record.error = Some(match Instant::now() >= deadline {
            true => {
                let limit = humantime::format_duration(host.config.drill.timeout);
                format!("it took longer than drill.timeout, {limit}")
            }
            false => format!("{error:#}"),
        });
    }
    record.ok = record.error.is_none();
    if let Err(error) = note(&host, &record) {
        tracing::warn!("note the drill in the catalog: {error:#}");
    }
    host.trail().note(Deed::Drilled {
        store: record.store.clone(),
        backup: record.backup,
        ok: record.ok,
        rto_seconds: record.rto_seconds,
    });
    output::done(&host, &record)?;
    Ok(if record.ok { 0 } else { NO })
}

fn note(host: &Host, record: &DrillRecord) -> anyhow::Result<()> {
    Ok(host.catalog()?.write(|writer| writer.note_drill(record))?)
}

/// A drill before it has come to anything.
fn blank(store: &str, request: &Request) -> DrillRecord {
    let exclusive = if request.exclusive {
        "just before "
    } else {
        ""
    };
    let now = Timestamp::now();
    DrillRecord {
        begun: now,
        ended: now,
        store: store.to_owned(),
        generation: None,
        backup: None,
        target: format!("{exclusive}{}", target(&request.target)),
        last_commit: None,
        ok: false,
        rto_seconds: None,
        restore_seconds: None,
        bytes: 0,
        fetched_bytes: 0,
        error: None,
        checks: Vec::new(),
    }
}

/// The one that is named, or whose turn it is.
fn store(host: &Host, named: Option<&str>) -> anyhow::Result<String> {
    let stores = &host.config.stores;
    let stores: Vec<&str> = stores.iter().map(|store| store.name().as_str()).collect();
    if let Some(named) = named {
        return match stores.contains(&named) {
            true => Ok(named.to_owned()),
            false => Err(wrong("--store", format!("there is no store \"{named}\"")).into()),
        };
    }
    let drills = host
        .catalog()
        .and_then(|catalog| Ok(catalog.read(|r| r.drills())?));
    let drills = drills.unwrap_or_else(|error| {
        tracing::warn!("which store's turn it is, the catalog does not say: {error:#}");
        Vec::new()
    });
    let next = next_store(&stores, &drills).context("no store is configured")?;
    Ok(next.to_owned())
}

fn checks(settings: &DrillSettings) -> Result<Checks, ConfigError> {
    let read = |path: &PathBuf| match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.clone(), text)),
        Err(error) => {
            let problem = format!("read \"{}\": {error}", path.display());
            Err(wrong("drill.file", problem))
        }
    };
    Ok(Checks {
        sql: settings.checks.clone(),
        file: settings.file.as_ref().map(read).transpose()?,
        amcheck: settings.amcheck,
    })
}

fn wrong(place: &str, problem: String) -> ConfigError {
    let place = place.to_owned();
    ConfigError::Value { place, problem }
}

struct Drilling<'a> {
    into: IntoScratch<'a>,
    checks: Checks,
    begun: Instant,
    deadline: Instant,
    bar: ProgressBar,
    /// What it has come to so far.
    record: DrillRecord,
}

impl Drilling<'_> {
    /// All of it. Whatever comes of it, nothing is left.
    fn hold(&mut self) -> anyhow::Result<()> {
        let mut scratch = ScratchCluster::create(&self.into.host.config.drill.scratch)?;
        self.bar.set_message("planning");
        // What a killed one left is removed by now.
        self.begun = Instant::now();
        let planned = self.into.plan()?;
        self.record.generation = Some(planned.plan.generation);
        self.record.backup = Some(planned.manifest.id);
        let held = self.recover(&planned, &mut scratch);
        let held = held.map_err(|error| with_log(error, &scratch));
        self.bar.set_message("removing the scratch cluster");
        let plan = FetchPlan::from(&planned.plan);
        let ahead = Ahead::of(&self.into.host.config, &scratch.data(), &plan);
        let removed = scratch.remove();
        ahead.forget();
        held?;
        Ok(removed?)
    }

    fn recover(&mut self, planned: &Planned, scratch: &mut ScratchCluster) -> anyhow::Result<()> {
        self.bar.set_message("restoring");
        let restored = self.bar.suspend(|| self.into.restore(planned, scratch))?;
        self.record.restore_seconds = Some(self.seconds());
        self.record.bytes = restored.written;
        self.record.fetched_bytes = restored.fetched;

        self.bar.set_message("recovering");
        let connection = &self.into.host.config.cluster.connection;
        let (user, database) = user_and_database(connection);
        let mut session = scratch.wait(&user, &database, self.into.stop)?;
        self.record.rto_seconds = Some(self.seconds());
        self.record.last_commit = session.last_replayed()?;
        drop(session);

        self.check(scratch, &user, &database)?;
        let failed = self.record.checks.iter().filter(|check| !check.ok);
        let failed: Vec<&str> = failed.map(|check| check.check.as_str()).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(anyhow!(
            "the recovered cluster fails: {}",
            failed.join("; ")
        ))
    }

    /// Runs the checks, and ends the server under them where nobody waits any
    /// longer.
    fn check(
        &mut self,
        scratch: &mut ScratchCluster,
        user: &str,
        database: &str,
    ) -> anyhow::Result<()> {
        let where_to = scratch.address();
        let connection = |as_user: Option<&str>, to: Option<&str>| {
            where_to.connection(as_user.unwrap_or(user), to.unwrap_or(database))
        };
        let (bar, checks) = (self.bar.clone(), &self.checks);
        let how = Examining {
            connection: &connection,
            deadline: self.deadline,
            tell: &|what| bar.set_message(format!("checking: {what}")),
        };
        let done = thread::scope(|scope| {
            let examining = scope.spawn(|| examine(checks, &how));
            while !examining.is_finished() {
                if (self.into.stop)() {
                    scratch.stop();
                }
                thread::sleep(PAUSE);
            }
            examining.join()
        });
        self.record.checks = done.map_err(|_| anyhow!("a checking thread died"))?;
        match (self.into.stop)() {
            true => Err(ScratchError::Interrupted.into()),
            false => Ok(()),
        }
    }

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

/// With the end of the server's log, unless it is told already.
fn with_log(error: anyhow::Error, scratch: &ScratchCluster) -> anyhow::Error {
    let told = error.downcast_ref::<ScratchError>();
    if matches!(
        told,
        Some(ScratchError::Ended { .. } | ScratchError::Interrupted)
    ) {
        return error;
    }
    let log = scratch.end_of_log();
    if log.is_empty() {
        return error;
    }
    let mut text = format!("{error:#}");
    let _ = write!(text, "; the scratch cluster's log ends so:\n{log}");
    anyhow!(text)
}

/// Says on a terminal what is being done.
fn spinner(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
