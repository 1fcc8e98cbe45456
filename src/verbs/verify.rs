//! `walkeep verify`.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use bytesize::ByteSize;

use super::{Host, NO, block_on, counted, gap::described, print_json, progress, setup::PROMPT};
use crate::{
    archive::{pace::Pace, place::Place, staging::Staging},
    audit::verify::{
        DamagedBackup, Outcome, Problem, ProblemKind, Progress, StoreReport, Verifying, verify,
    },
    cli::{Global, Verify},
    store::RetryPolicy,
    trail::Deed,
};

/// How many objects of one kind are named in text; `--json` names all.
const NAMED: usize = 12;

pub(super) fn run(global: &Global, arguments: Verify) -> anyhow::Result<u8> {
    let host = Host::load(global)?;
    let (staging, staging_failed) = staging(&host);
    let progress = Arc::new(Progress::default());
    let bar = progress::show(arguments.deep && !host.quiet, {
        let progress = Arc::clone(&progress);
        move || {
            let [done, total] =
                [&progress.done, &progress.total].map(|n| n.load(Ordering::Relaxed));
            (done, total)
        }
    });
    let outcome = block_on(async {
        // A look should end soon; what takes hours should survive an outage.
        let retry = if arguments.deep {
            RetryPolicy::default()
        } else {
            PROMPT
        };
        let verifying = verifying(&host, arguments, staging, retry, progress)?;
        Ok(verify(&verifying).await?)
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    note_repairs(&host, &outcome);
    if host.json {
        print_json(&outcome)?;
    } else {
        print(&outcome)?;
    }
    let clean = outcome.is_clean() && !staging_failed;
    Ok(if clean { 0 } else { NO })
}

/// Tells the audit trail what was stored anew.
fn note_repairs(host: &Host, outcome: &Outcome) {
    let repaired = |it: &&Problem| {
        let kind = matches!(it.kind, ProblemKind::Missing | ProblemKind::Damaged);
        kind && it.settled
    };
    let deeds = outcome
        .stores
        .iter()
        .filter_map(|StoreReport { store, .. }| {
            let here = outcome.problems.iter().filter(repaired);
            let here = here.filter(|it| it.store.as_ref() == Some(store));
            let objects: Vec<String> = here.filter_map(|it| it.object.clone()).collect();
            let store = store.clone();
            (!objects.is_empty()).then_some(Deed::Repaired { store, objects })
        });
    host.trail().note_all(&deeds.collect::<Vec<_>>());
}

/// Everything that a verify needs. Inside a tokio runtime.
pub(super) fn verifying(
    host: &Host,
    arguments: Verify,
    staging: Option<Staging>,
    retry: RetryPolicy,
    progress: Arc<Progress>,
) -> anyhow::Result<Verifying> {
    let catalog = host.catalog()?;
    let beside = catalog.path().parent().unwrap_or(Path::new(".")).to_owned();
    let spools = staging.as_ref().map_or(beside, Staging::temporaries);
    let places = host.places(retry)?.into_iter();
    Ok(Verifying {
        places: match staging {
            Some(_) => places.map(Place::claimed).collect(),
            None => places.collect(),
        },
        staging,
        catalog,
        spools,
        pace: Arc::new(Pace::new(host.config.ship.rate_limit)),
        encoder: host.config.compression.encoder()?,
        concurrency: host.config.ship.concurrency.max(2),
        deep: arguments.deep,
        repair: arguments.repair,
        progress,
    })
}

/// Staging, and whether it should be there and is not.
fn staging(host: &Host) -> (Option<Staging>, bool) {
    if host.config.staging.path.is_none() {
        return (None, false);
    }
    match host.staging() {
        Ok(staging) => (Some(staging), false),
        Err(error) => {
            tracing::error!("{error:#}; what waits there is not known");
            (None, true)
        }
    }
}

/// What is wrong first, then what was looked at.
fn print(outcome: &Outcome) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut problems = outcome.problems.as_slice();
    while let Some(first) = problems.first() {
        let alike = problems.iter().take_while(|it| is_alike(it, first)).count();
        let (group, rest) = problems.split_at(alike);
        problems = rest;
        print_group(&mut out, group)?;
    }
    for known in &outcome.gaps {
        let mark = if known.needs_person { "! gap" } else { "  gap" };
        writeln!(out, "{mark}: {}", described(known))?;
        if known.needs_person && known.acknowledged.is_none() {
            writeln!(
                out,
                "    `walkeep gap ack {}` once you know of it",
                known.gap.first
            )?;
        }
    }
    for backup in &outcome.backups {
        print_backup(&mut out, backup)?;
    }
    for store in &outcome.stores {
        print_store(&mut out, store)?;
    }
    let can_mend = |it: &Problem| {
        let kind = matches!(it.kind, ProblemKind::Missing | ProblemKind::Damaged);
        kind && !it.settled
    };
    if outcome.is_clean() {
        writeln!(out, "all is as it should be")?;
    } else if !outcome.repair && outcome.problems.iter().any(can_mend) {
        writeln!(
            out,
            "`walkeep verify --repair` copies what is missing or damaged from another store"
        )?;
    }
    Ok(())
}

fn is_alike(one: &Problem, other: &Problem) -> bool {
    one.kind == other.kind && one.settled == other.settled
}

fn print_group(out: &mut impl Write, group: &[Problem]) -> anyhow::Result<()> {
    let Some(Problem { kind, settled, .. }) = group.first() else {
        return Ok(());
    };
    let mark = if *settled { " " } else { "!" };
    let what = match (kind, settled) {
        (ProblemKind::Unreachable, _) => "cannot be verified",
        (ProblemKind::Conflict, _) => "in conflict",
        (ProblemKind::Lost, _) => "lost",
        (ProblemKind::Damaged, false) => "damaged",
        (ProblemKind::Damaged, true) => "was damaged, repaired",
        (ProblemKind::Missing, false) => "missing",
        (ProblemKind::Missing, true) => "was missing, repaired",
        (ProblemKind::Unread, _) => "could not be read",
        (ProblemKind::Unknown, _) => "adopted",
    };
    for problem in group.iter().take(NAMED) {
        let store = problem.store.as_ref();
        let store = store.map_or(String::new(), |store| format!("store \"{store}\": "));
        let object = problem.object.as_ref();
        let object = object.map_or(String::new(), |object| format!("\"{object}\" "));
        writeln!(out, "{mark} {store}{object}{what}: {}", problem.detail)?;
    }
    if let Some(more) = group.len().checked_sub(NAMED).filter(|more| *more > 0) {
        writeln!(
            out,
            "{mark} and {more} more {what}; `--json` names them all"
        )?;
    }
    Ok(())
}

fn print_backup(out: &mut impl Write, backup: &DamagedBackup) -> anyhow::Result<()> {
    let objects = counted(backup.objects.len() as u64, "object is", "objects are");
    write!(
        out,
        "! backup {} cannot be restored as a whole: {objects} lost",
        backup.id
    )?;
    match backup.file_count {
        0 => writeln!(out, ", such as \"{}\"", backup.objects[0])?,
        count => {
            let files = counted(count, "file needs", "files need");
            writeln!(out, ", which {files}, such as \"{}\"", backup.files[0])?;
        }
    }
    Ok(())
}

fn print_store(out: &mut impl Write, store: &StoreReport) -> anyhow::Result<()> {
    let StoreReport {
        store: name,
        wal_files,
        backups,
        backup_objects,
        ..
    } = store;
    if store.failure.is_some() && *wal_files == 0 {
        return Ok(());
    }
    write!(
        out,
        "{name}: {} of WAL",
        counted(*wal_files, "file", "files")
    )?;
    if *backups > 0 {
        let backups = counted(*backups, "backup", "backups");
        write!(
            out,
            ", {backups} in {}",
            counted(*backup_objects, "object", "objects")
        )?;
    }
    write!(out, ", {}", ByteSize(store.bytes))?;
    if store.read_objects > 0 {
        let read = counted(store.read_objects, "object", "objects");
        write!(out, "; {read} read ({})", ByteSize(store.read_bytes))?;
    }
    if store.resumed_after.is_some() {
        write!(out, ", going on where the last one was interrupted")?;
    }
    if store.foreign > 0 {
        write!(
            out,
            "; {} that are not walkeep's",
            counted(store.foreign, "key", "keys")
        )?;
    }
    writeln!(out)?;
    Ok(())
}
