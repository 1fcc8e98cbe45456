//! `walkeep status`: how far behind each store is, what would be lost with
//! this host, and what needs a person.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use bytesize::ByteSize;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Host, NO, counted, print_json};
use crate::{
    archive::staging::Staged,
    catalog::{CatalogError, EventKind, Reader, State, StoreTotals},
    layout::{BackupId, Generation},
    postgres::WalFileName,
};

/// A file that waits longer than this is late, in seconds.
const LATE: i64 = 15 * 60;

/// The result, as `--json` prints it. Sizes in bytes, times in RFC 3339,
/// durations in seconds.
#[derive(Debug, Serialize)]
struct Status {
    cluster: String,
    staging: Option<StagingStatus>,
    stores: Vec<StoreStatus>,
    /// What needs a person, as sentences.
    attention: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StagingStatus {
    path: String,
    /// Files that a store is still to get; those that none has would be lost
    /// with this host.
    files: u64,
    bytes: u64,
    max_bytes: u64,
    oldest_seconds: Option<i64>,
    /// Files that every store has, and that stay for retention.local_window.
    kept_files: u64,
    kept_bytes: u64,
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
    let mut attention = Vec::new();
    let (mut staging, staged, generation) = look_at_staging(host, &mut attention)?;
    let (stores, waiting) = look_at_stores(host, &staged, generation, &mut attention)?;
    if let (Some(staging), Some(waiting)) = (&mut staging, waiting) {
        staging.tell_apart(&staged, &waiting);
    }
    let high_water = host.config.staging.high_water;
    if let Some(full) = staging.as_ref().filter(|it| it.bytes > high_water) {
        let full = format!(
            "staging holds {} of {}: above its high-water mark",
            ByteSize(full.bytes),
            ByteSize(full.max_bytes)
        );
        attention.insert(0, full);
    }
    let cluster = host.config.cluster.name.clone();
    let status = Status {
        cluster,
        staging,
        stores,
        attention,
    };
    if host.json {
        print_json(&status)?
    } else {
        print(&status)?
    }
    Ok(if status.attention.is_empty() { 0 } else { NO })
}

fn look_at_staging(
    host: &Host,
    attention: &mut Vec<String>,
) -> anyhow::Result<(Option<StagingStatus>, Vec<Staged>, Generation)> {
    let settings = &host.config.staging;
    let Some(path) = &settings.path else {
        return Ok((None, Vec::new(), Generation::FIRST));
    };
    let staging = match host.staging() {
        Ok(staging) => staging,
        Err(error) => {
            attention.push(format!("{error:#}"));
            return Ok((None, Vec::new(), Generation::FIRST));
        }
    };
    let files = staging.files()?;
    let bytes = files.iter().map(|file| file.allocated).sum();
    let status = StagingStatus {
        path: path.display().to_string(),
        files: files.len() as u64,
        bytes,
        max_bytes: settings.max_size,
        oldest_seconds: files.iter().map(age).max(),
        kept_files: 0,
        kept_bytes: 0,
    };
    Ok((Some(status), files, staging.marker().generation))
}

impl StagingStatus {
    /// What every store has does not wait any more.
    fn tell_apart(&mut self, staged: &[Staged], waiting: &BTreeSet<WalFileName>) {
        let waits = |file: &&Staged| waiting.contains(&file.name);
        let waiting: Vec<&Staged> = staged.iter().filter(waits).collect();
        let all = (self.files, self.bytes);
        self.files = waiting.len() as u64;
        self.bytes = waiting.iter().map(|file| file.allocated).sum();
        self.oldest_seconds = waiting.iter().map(|file| age(file)).max();
        (self.kept_files, self.kept_bytes) = (all.0 - self.files, all.1 - self.bytes);
    }
}

/// How the stores are doing, and which staged files one of them lacks; none
/// where the catalog cannot tell.
fn look_at_stores(
    host: &Host,
    staged: &[Staged],
    generation: Generation,
    attention: &mut Vec<String>,
) -> anyhow::Result<(Vec<StoreStatus>, Option<BTreeSet<WalFileName>>)> {
    let read = host.catalog()?.read(|reader| {
        let missing = missing(reader, host, staged, generation)?;
        let mut stores = Vec::new();
        for settings in &host.config.stores {
            let name = settings.name().as_str();
            let waiting = missing.get(name).map_or(&[][..], Vec::as_slice);
            stores.push(store(reader, name, waiting)?);
        }
        let missing = missing.values().flatten();
        let waiting: BTreeSet<WalFileName> = missing.map(|file| file.name).collect();
        let mut notes: Vec<String> = reader
            .events()?
            .iter()
            .map(|event| tell(&event.kind))
            .collect();
        notes.extend(reader.wants_rebuild()?.map(|_| {
            "the catalog was begun anew and does not know what the stores held before: run \
             `walkeep catalog rebuild`"
                .to_owned()
        }));
        Ok((stores, waiting, notes))
    });
    match read {
        Ok((stores, waiting, notes)) => {
            attention.extend(notes);
            attention.extend(stores.iter().flat_map(needs));
            Ok((stores, Some(waiting)))
        }
        Err(error) => {
            attention.push(error.to_string());
            Ok((Vec::new(), None))
        }
    }
}

/// By store: the staged files that it has not.
fn missing<'a>(
    reader: &Reader,
    host: &Host,
    staged: &'a [Staged],
    generation: Generation,
) -> Result<BTreeMap<String, Vec<&'a Staged>>, CatalogError> {
    let mut missing: BTreeMap<String, Vec<&Staged>> = BTreeMap::new();
    for file in staged {
        let record = reader.file(generation, file.name)?;
        for settings in &host.config.stores {
            let name = settings.name().as_str();
            let replica = record.as_ref().and_then(|record| record.replicas.get(name));
            if replica.is_none_or(|replica| replica.state() != State::Stored) {
                missing.entry(name.to_owned()).or_default().push(file);
            }
        }
    }
    Ok(missing)
}

fn store(reader: &Reader, name: &str, waiting: &[&Staged]) -> Result<StoreStatus, CatalogError> {
    let StoreTotals {
        stored,
        owed,
        suspect,
        conflict,
        ..
    } = reader.store_totals(name)?;
    let facts = reader.store(name)?;
    let backups = backups_in(reader, name)?;
    let failing = facts.last_failure.filter(|_| facts.failures_in_a_row > 0);
    Ok(StoreStatus {
        store: name.to_owned(),
        files: stored.files,
        stored_bytes: stored.stored_bytes,
        waiting_files: waiting.len() as u64,
        waiting_bytes: waiting.iter().map(|file| file.size).sum(),
        lag_seconds: waiting.iter().map(|file| age(file)).max(),
        owed: owed.files,
        suspect: suspect.files,
        conflicts: conflict.files,
        backups: backups.len() as u64,
        newest_backup: backups.last().copied(),
        last_success: facts.last_success,
        failing: failing.map(|failure| failure.error),
    })
}

/// The base backups that a store has, oldest first.
fn backups_in(reader: &Reader, name: &str) -> Result<Vec<BackupId>, CatalogError> {
    let known = reader.backups()?.into_iter();
    let here = known.filter(|backup| backup.stores.contains_key(name));
    Ok(here.map(|backup| backup.id).collect())
}

/// What a store's state asks of a person.
fn needs(status: &StoreStatus) -> Vec<String> {
    let store = &status.store;
    let mut needs = Vec::new();
    if let Some(error) = &status.failing {
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

fn age(file: &Staged) -> i64 {
    Timestamp::now()
        .duration_since(file.modified)
        .as_secs()
        .max(0)
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
