//! `walkeep status`: how far behind each store is, what would be lost with
//! this host, and what needs a person.

use std::io::Write;

use bytesize::ByteSize;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Host, NO, counted, print_json};
use crate::{
    catalog::EventKind,
    layout::BackupId,
    serve::facts::{Facts, Gatherer, StagingFacts, StoreView},
};

/// A file that waits longer than this is late, in seconds.
const LATE: i64 = 15 * 60;

/// The result, as `--json` prints it. Sizes in bytes, times in RFC 3339,
/// durations in seconds.
#[derive(Debug, Serialize)]
struct Status {
    cluster: String,
    staging: Option<StagingFacts>,
    stores: Vec<StoreStatus>,
    /// What needs a person, as sentences.
    attention: Vec<String>,
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
}

pub(super) fn run(host: &Host) -> anyhow::Result<u8> {
    let facts = Gatherer::default().gather(&host.config);
    let status = Status::of(host, facts);
    if host.json {
        print_json(&status)?
    } else {
        print(&status)?
    }
    Ok(if status.attention.is_empty() { 0 } else { NO })
}

impl Status {
    fn of(host: &Host, facts: Facts) -> Self {
        let mut attention = Vec::new();
        let high_water = host.config.staging.high_water;
        match &facts.staging {
            Some(Err(problem)) => attention.push(problem.clone()),
            Some(Ok(full)) if full.bytes > high_water => attention.push(format!(
                "staging holds {} of {}: above its high-water mark",
                ByteSize(full.bytes),
                ByteSize(full.max_bytes)
            )),
            _ => {}
        }
        attention.extend(facts.no_catalog.clone());
        attention.extend(facts.events.iter().map(|event| tell(&event.kind)));
        attention.extend(facts.wants_rebuild.then(|| {
            "the catalog was begun anew and does not know what the stores held before: run \
             `walkeep catalog rebuild`"
                .to_owned()
        }));
        attention.extend(facts.stores.iter().flat_map(needs));
        Status {
            cluster: facts.cluster,
            staging: facts.staging.and_then(Result::ok),
            stores: facts.stores.into_iter().map(StoreStatus::from).collect(),
            attention,
        }
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
        }
    }
}

/// What a store's state asks of a person.
fn needs(status: &StoreView) -> Vec<String> {
    let store = &status.name;
    let mut needs = Vec::new();
    if let Some((error, _)) = &status.failing {
        needs.push(error.clone());
    }
    if let Some(lag) = status.lag_seconds.filter(|&lag| lag > LATE) {
        needs.push(format!(
            "store \"{store}\" lacks {}, the oldest for {}: is `walkeep ship` run?",
            counted(status.waiting_files, "staged file", "staged files"),
            span(lag)
        ));
    }
    if status.owed > 0 {
        needs.push(format!(
            "{} owed to store \"{store}\"",
            counted(status.owed, "file is", "files are")
        ));
    }
    if status.suspect > 0 {
        needs.push(format!(
            "{} in store \"{store}\"",
            counted(status.suspect, "damaged object", "damaged objects")
        ));
    }
    needs
}

fn tell(event: &EventKind) -> String {
    match event {
        EventKind::Conflict {
            name,
            store,
            expected,
            found,
            ..
        } => format!(
            "split brain: \"{name}\" has SHA-256 {expected}, but \"{store}\" has {found}; find out \
             which server should write to this archive"
        ),
        EventKind::Refused { file, reason } => {
            format!("\"{file}\" in staging is not shipped: {reason}")
        }
    }
}

fn span(seconds: i64) -> String {
    let rounded = SignedDuration::from_secs(seconds);
    format!("{rounded:#}")
}

fn print(status: &Status) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "cluster {}", status.cluster)?;
    if let Some(staging) = &status.staging {
        let (used, most) = (ByteSize(staging.bytes), ByteSize(staging.max_bytes));
        let oldest = staging
            .oldest_seconds
            .map(|age| format!(", the oldest {} old", span(age)));
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
    }
    for store in &status.stores {
        let StoreStatus {
            store: name,
            files,
            stored_bytes,
            waiting_files,
            ..
        } = store;
        write!(
            out,
            "{name:<8} {} stored ({})",
            counted(*files, "file", "files"),
            ByteSize(*stored_bytes)
        )?;
        match store.lag_seconds {
            Some(lag) => write!(out, ", {waiting_files} to go, {} behind", span(lag))?,
            None => write!(out, ", nothing to go")?,
        }
        for (number, what) in [
            (store.owed, "owed"),
            (store.suspect, "damaged"),
            (store.conflicts, "in conflict"),
        ] {
            if number > 0 {
                write!(out, ", {number} {what}")?;
            }
        }
        if let Some(newest) = store.newest_backup {
            let backups = counted(store.backups, "backup", "backups");
            write!(out, ", {backups}, the newest {newest}")?;
        }
        writeln!(out)?;
    }
    if status.attention.is_empty() {
        writeln!(out, "nothing needs you")?;
    }
    for need in &status.attention {
        writeln!(out, "! {need}")?;
    }
    Ok(())
}
