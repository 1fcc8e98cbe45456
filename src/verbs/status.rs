//! `walkeep status`: what can be restored, how far behind each store is, what
//! would be lost with this host, and what needs a person.

mod stream;

use std::{
    io::{IsTerminal, Write},
    thread::sleep,
    time::Duration,
};

use bytesize::ByteSize;
use jiff::Timestamp;
use serde::Serialize;

use self::stream::StreamStatus;
use super::{
    Host, NO,
    colour::{Colours, Look},
    counted, print_json,
};
use crate::{
    catalog::Severity,
    layout::BackupId,
    serve::{
        alerts::{Condition, Thresholds, conditions, span},
        facts::{Facts, Gatherer, Server, Span, StagingFacts, StoreView},
        report::window_line,
    },
};

/// How often `--watch` looks again.
const AGAIN: Duration = Duration::from_secs(2);

/// The result, as `--json` prints it. Sizes in bytes, times in RFC 3339,
/// durations in seconds.
#[derive(Debug, Serialize)]
struct Status {
    cluster: String,
    staging: Option<StagingFacts>,
    stores: Vec<StoreStatus>,
    /// What needs a person, as sentences.
    attention: Vec<String>,
    /// The same with its parts.
    conditions: Vec<Condition>,
    /// The moments that can be restored from all stores together.
    window: Vec<Span>,
    server: ServerStatus,
    /// How streaming goes; null where nothing is to be streamed.
    stream: Option<StreamStatus>,
    /// The newest base backup's age.
    newest_backup_seconds: Option<i64>,
    last_drill: Option<DrillStatus>,
    at: Timestamp,
}

#[derive(Debug, Serialize)]
struct StoreStatus {
    store: String,
    files: u64,
    stored_bytes: u64,
    /// Staged, and not in this store.
    waiting_files: u64,
    waiting_bytes: u64,
    /// How far behind the store is: the age of the oldest such file.
    lag_seconds: Option<i64>,
    owed: u64,
    suspect: u64,
    conflicts: u64,
    /// Base backups, of every generation.
    backups: u64,
    newest_backup: Option<BackupId>,
    last_success: Option<Timestamp>,
    /// What it failed with, where it has not succeeded since.
    failing: Option<String>,
    owed_bytes: u64,
    /// The moments that can be restored from this store alone.
    window: Vec<Span>,
    clock_skew_seconds: Option<i64>,
}

/// What the server says, as far as it was asked.
#[derive(Debug, Default, Serialize)]
struct ServerStatus {
    answers: bool,
    /// Why it does not.
    reason: Option<String>,
    lsn: Option<String>,
    last_archived: Option<String>,
    last_archived_at: Option<Timestamp>,
    /// Files that wait in `pg_wal` for the archiver.
    waiting: Option<u64>,
}

#[derive(Debug, Serialize)]
struct DrillStatus {
    store: String,
    ended: Timestamp,
    ok: bool,
    rto_seconds: Option<f64>,
}

pub(super) fn run(host: &Host, watch: bool) -> anyhow::Result<u8> {
    let mut gatherer = Gatherer::default();
    loop {
        let facts = gatherer.gather(&host.config);
        let status = Status::of(facts, Thresholds::of(&host.config));
        let mut out = std::io::stdout().lock();
        if watch && host.json {
            serde_json::to_writer(&mut out, &status)?;
            writeln!(out)?;
        } else if host.json {
            drop(out);
            print_json(&status)?;
        } else {
            if watch && std::io::stdout().is_terminal() {
                // To the upper left corner, and nothing behind it.
                write!(out, "\x1b[H\x1b[2J")?;
            }
            status.print(&mut out, Colours::of_stdout())?;
            out.flush()?;
        }
        if !watch {
            let well = status.attention.is_empty();
            return Ok(if well { 0 } else { NO });
        }
        sleep(AGAIN);
    }
}

impl Status {
    fn of(facts: Facts, thresholds: Thresholds) -> Self {
        let conditions = conditions(&facts, thresholds);
        let newest = facts.last_backup();
        let age = |then: Timestamp| facts.at.duration_since(then).as_secs().max(0);
        Status {
            newest_backup_seconds: newest.map(|backup| age(backup.stopped)),
            last_drill: facts.last_drill().map(|drill| DrillStatus {
                store: drill.store.clone(),
                ended: drill.ended,
                ok: drill.ok,
                rto_seconds: drill.rto_seconds,
            }),
            server: ServerStatus::of(&facts),
            stream: StreamStatus::of(&facts),
            at: facts.at,
            cluster: facts.cluster,
            staging: facts.staging.and_then(Result::ok),
            stores: facts.stores.into_iter().map(StoreStatus::from).collect(),
            attention: conditions.iter().map(|it| it.message.clone()).collect(),
            conditions,
            window: facts.window,
        }
    }

    fn print(&self, out: &mut impl Write, colours: Colours) -> anyhow::Result<()> {
        writeln!(out, "cluster {}", self.cluster)?;
        writeln!(out, "restore  {}", window_line(&self.window))?;
        if let Some(server) = self.server.line(self.at) {
            writeln!(out, "server   {server}")?;
        }
        if let Some(staging) = &self.staging {
            print_staging(out, staging)?;
        }
        for store in &self.stores {
            store.print(out, colours)?;
        }
        if let Some(stream) = &self.stream {
            stream.print(out)?;
        }
        if let Some(drill) = &self.last_drill {
            let ago = span(self.at.duration_since(drill.ended).as_secs().max(0));
            let word = if drill.ok { "succeeded" } else { "failed" };
            write!(out, "drill    {ago} ago from \"{}\", {word}", drill.store)?;
            match drill.rto_seconds {
                Some(rto) => writeln!(out, ", {} until it answered", span(rto.round() as i64))?,
                None => writeln!(out)?,
            }
        }
        if self.conditions.is_empty() {
            writeln!(out, "{}", colours.paint(Look::Good, "nothing needs you"))?;
        }
        for need in &self.conditions {
            let look = match need.severity {
                Severity::Critical => Look::Critical,
                Severity::Warning => Look::Warning,
            };
            let line = format!("! {}", need.message);
            writeln!(out, "{}", colours.paint(look, line))?;
        }
        Ok(())
    }
}

fn print_staging(out: &mut impl Write, staging: &StagingFacts) -> anyhow::Result<()> {
    let (used, most) = (ByteSize(staging.bytes), ByteSize(staging.max_bytes));
    let oldest = staging.oldest_seconds;
    let oldest = oldest.map(|age| format!(", the oldest {} old", span(age)));
    let oldest = oldest.unwrap_or_default();
    write!(
        out,
        "staging  {} ({used} of {most}{oldest})",
        counted(staging.files, "file waits", "files wait")
    )?;
    match staging.kept_files {
        0 => writeln!(out)?,
        files => writeln!(
            out,
            ", {} that every store has ({})",
            counted(files, "file", "files"),
            ByteSize(staging.kept_bytes)
        )?,
    }
    Ok(())
}

impl ServerStatus {
    fn of(facts: &Facts) -> Self {
        let waiting = facts.waiting.map(|waiting| waiting.files);
        match &facts.server {
            Server::Answers(server) => {
                let (name, at) = server.archived.clone().unzip();
                ServerStatus {
                    answers: true,
                    reason: None,
                    lsn: server.lsn.map(|lsn| lsn.to_string()),
                    last_archived: name,
                    last_archived_at: at,
                    waiting,
                }
            }
            Server::Silent { reason, .. } => ServerStatus {
                reason: Some(reason.clone()),
                waiting,
                ..ServerStatus::default()
            },
        }
    }

    /// Where it does not answer and is not expected to, there is nothing to
    /// say; where it is, that is said below.
    fn line(&self, now: Timestamp) -> Option<String> {
        if !self.answers {
            return None;
        }
        let mut line = match (&self.last_archived, self.last_archived_at) {
            (Some(name), Some(at)) => {
                let ago = span(now.duration_since(at).as_secs().max(0));
                format!("archived \"{name}\" {ago} ago")
            }
            _ => "has archived nothing yet".to_owned(),
        };
        if let Some(lsn) = &self.lsn {
            line += &format!(", is at {lsn}");
        }
        if let Some(waiting) = self.waiting.filter(|&waiting| waiting > 0) {
            let files = counted(waiting, "file waits", "files wait");
            line += &format!(", {files} in pg_wal");
        }
        Some(line)
    }
}

impl From<StoreView> for StoreStatus {
    fn from(view: StoreView) -> Self {
        StoreStatus {
            store: view.name,
            files: view.files,
            stored_bytes: view.stored_bytes,
            waiting_files: view.waiting_files,
            waiting_bytes: view.waiting_bytes,
            lag_seconds: view.lag_seconds,
            owed: view.owed,
            suspect: view.suspect,
            conflicts: view.conflicts,
            backups: view.backups.len() as u64,
            newest_backup: view.backups.last().copied(),
            last_success: view.last_success,
            failing: view.failing.map(|(error, _)| error),
            owed_bytes: view.owed_bytes,
            window: view.window,
            clock_skew_seconds: view.clock_skew_seconds,
        }
    }
}

impl StoreStatus {
    fn print(&self, out: &mut impl Write, colours: Colours) -> anyhow::Result<()> {
        write!(
            out,
            "{:<8} {} stored ({})",
            self.store,
            counted(self.files, "file", "files"),
            ByteSize(self.stored_bytes)
        )?;
        match self.lag_seconds {
            Some(lag) => write!(out, ", {} to go, {} behind", self.waiting_files, span(lag))?,
            None => write!(out, ", nothing to go")?,
        }
        for (number, what) in [
            (self.owed, "owed"),
            (self.suspect, "damaged"),
            (self.conflicts, "in conflict"),
        ] {
            if number > 0 {
                let what = format!("{number} {what}");
                write!(out, ", {}", colours.paint(Look::Warning, what))?;
            }
        }
        if let Some(newest) = self.newest_backup {
            let backups = counted(self.backups, "backup", "backups");
            write!(out, ", {backups}, the newest {newest}")?;
        }
        writeln!(out)?;
        Ok(())
    }
}
