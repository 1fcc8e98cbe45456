//! `walkeep backup create`, `import`, `list` and `show`.

mod import;
mod wal;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    num::NonZero,
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::Ordering},
    thread::available_parallelism,
};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Host, NO, block_on, print_json, progress,
    setup::{PROMPT, runtime},
};
use crate::{
    archive::{place::Place, staging::Staging},
    backup::{
        Manifest, base, scan,
        take::{Origin, Taken, Taking, take},
    },
    layout::BackupId,
    postgres::session::{ServerIdentity, Session},
    store::RetryPolicy,
    trail::Deed,
};

pub(super) use import::run_import;

/// More threads than these need more memory than a backup may take.
const MOST_THREADS: usize = 6;

/// What `backup create` and `backup import` answer.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    backup: Summary<'a>,
    /// Why each store that has it not has it not.
    failures: BTreeMap<&'a str, &'a str>,
    /// Whether every segment that it needs is in one of those stores.
    usable: bool,
}

/// A backup in a list.
#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    stores: Vec<&'a str>,
}

pub(super) fn run_create(host: &Host, full: bool) -> anyhow::Result<u8> {
    let (taken, usable) = create(host, full)?;
    answer(host, &taken, usable)
}

/// Takes a backup and says so, but for `--json`. With whether it can be
/// restored already.
pub(super) fn create(host: &Host, full: bool) -> anyhow::Result<(Taken, bool)> {
    let staging = host.staging()?;
    let mut session = Session::connect(&host.config.cluster.connection)?;
    let server = session.identity()?;
    check_server(&staging, &server)?;
    let data = host.config.cluster.data_directory.clone();
    let data = data.or(server.data_directory).context(
        "the data directory is not known: name it in cluster.data_directory, or let the session \
         see it (role pg_read_all_settings)",
    )?;
    let source = Source {
        major: server.major,
        data,
        full,
    };
    let taken = store(host, &staging, source, Origin::Server(&mut session))?;
    let usable = settle(host, &taken)?;
    Ok((taken, usable))
}

/// What is read.
struct Source {
    major: u32,
    data: PathBuf,
    full: bool,
}

fn threads() -> usize {
    available_parallelism()
        .map_or(2, NonZero::get)
        .min(MOST_THREADS)
}

/// Takes the backup into every store.
fn store(
    host: &Host,
    staging: &Staging,
    source: Source,
    origin: Origin<'_>,
) -> anyhow::Result<Taken> {
    let runtime = runtime()?;
    let compression = &host.config.compression;
    let taking = Taking {
        cluster: host.config.cluster.name.clone(),
        generation: staging.marker().generation,
        owner: staging.owner(),
        major: source.major,
        data: source.data,
        places: runtime.block_on(async { host.places(RetryPolicy::default()) })?,
        encoder: compression.encoder()?,
        gzip: compression.gzip()?,
        rate_limit: host.config.ship.rate_limit,
        threads: threads(),
        full: source.full,
        runtime: runtime.handle().clone(),
        read: Arc::default(),
    };
    let imported = matches!(origin, Origin::Taken(_));
    let bar = progress::show(!host.quiet, {
        let (read, data, size) = (taking.read.clone(), taking.data.clone(), OnceLock::new());
        move || {
            // It grows meanwhile, and what it is is said by the backup.
            let size = *size.get_or_init(|| scan::size(&data).unwrap_or(0));
            let read = read.load(Ordering::Relaxed);
            (read, size.max(read))
        }
    });
    let taken = take(&taking, origin);
    bar.finish_and_clear();
    let taken = taken?;
    drop(runtime);
    note(host, &taken);
    host.trail().note(Deed::BackedUp {
        generation: taken.manifest.generation,
        backup: taken.manifest.id,
        stores: taken.stores.iter().map(ToString::to_string).collect(),
        bytes: taken.manifest.totals.stored_bytes,
        imported,
    });
    Ok(taken)
}

/// Says what was taken, waits for the WAL that it needs, and says how that
/// went.
fn settle(host: &Host, taken: &Taken) -> anyhow::Result<bool> {
    // Said before the wait: the data are safe.
    if !host.json {
        print_taken(taken)?;
    }
    tell_failures(taken);
    let usable = wal::wait(host, &taken.manifest)?;
    if usable && !host.json {
        let line = "every segment that it needs is stored: it can be restored";
        writeln!(std::io::stdout(), "  {line}")?;
    }
    Ok(usable)
}

/// What `--json` says, and the exit code.
fn answer(host: &Host, taken: &Taken, usable: bool) -> anyhow::Result<u8> {
    if host.json {
        let failures = taken.failures.iter();
        print_json(&Created {
            backup: Summary {
                manifest: &taken.manifest,
                stores: taken.stores.iter().map(|store| store.as_str()).collect(),
            },
            failures: failures
                .map(|(store, failure)| (store.as_str(), failure.as_str()))
                .collect(),
            usable,
        })?;
    }
    let whole = usable && taken.failures.is_empty() && taken.manifest.damaged.is_empty();
    Ok(if whole { 0 } else { NO })
}

/// The server must run the cluster that the archive is bound to.
fn check_server(staging: &Staging, server: &ServerIdentity) -> anyhow::Result<()> {
    let bound = staging.marker().system_identifier;
    if server.system_id != bound {
        bail!(
            "the server runs the cluster {}, and \"{}\" belongs to {bound}; correct \
             cluster.connection, or bind the archive anew with `walkeep init` (after pg_upgrade: \
             `walkeep init --upgraded`)",
            server.system_id,
            staging.root().display()
        );
    }
    Ok(())
}

/// Notes the backup in the catalog, which is an index: the backup is there all
/// the same where that cannot be written.
fn note(host: &Host, taken: &Taken) {
    let now = Timestamp::now();
    let stores = taken.stores.iter().map(|store| (store.to_string(), now));
    let record = taken.manifest.record(stores.collect());
    let noted = host.catalog().and_then(|catalog| {
        let noted = catalog.write(|writer| writer.merge_backup(&record));
        Ok(noted?)
    });
    if let Err(error) = noted {
        tracing::warn!("note the backup in the catalog: {error:#}");
    }
}

fn print_taken(taken: &Taken) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let Manifest {
        id,
        totals,
        based_on,
        ..
    } = &taken.manifest;
    let seconds = (taken.manifest.stopped - taken.manifest.started).total(jiff::Unit::Second)?;
    writeln!(
        out,
        "backup {id}: {} files, {} read in {seconds:.1} s",
        totals.files,
        ByteSize(totals.raw_bytes)
    )?;
    match based_on {
        Some(before) => writeln!(
            out,
            "  {} changed since {before}: {} stored",
            ByteSize(totals.changed_bytes),
            ByteSize(totals.stored_bytes)
        )?,
        None => writeln!(out, "  {} stored", ByteSize(totals.stored_bytes))?,
    }
    let stores: Vec<&str> = taken.stores.iter().map(|store| store.as_str()).collect();
    writeln!(out, "  in {}", stores.join(", "))?;
    Ok(())
}

fn tell_failures(taken: &Taken) {
    for (store, failure) in &taken.failures {
        tracing::error!(
            "{store} does not have the backup: {failure}; once it can be written, `walkeep verify \
             --repair` brings it there"
        );
    }
    for damaged in &taken.manifest.damaged {
        tracing::error!(
            "\"{}\" is damaged in the cluster itself: the checksums of its pages {:?} are wrong; \
             the backup has them as they are",
            damaged.path,
            damaged.blocks
        );
    }
}

/// Every backup, and which stores have it.
struct Listing {
    backups: BTreeMap<BackupId, (Manifest, Vec<String>)>,
    /// Backups without a manifest: being made, killed, or deleted.
    unfinished: BTreeMap<BackupId, Vec<String>>,
    problems: Vec<String>,
}

impl Listing {
    /// The backups whose packs a backup refers to.
    fn used(&self) -> BTreeSet<BackupId> {
        let manifests = self.backups.values();
        let packs = manifests.flat_map(|(manifest, _)| &manifest.packs);
        packs.map(|set| set.backup).collect()
    }
}

async fn read_all(places: &[Place], staging: &Staging) -> Listing {
    let generation = staging.marker().generation;
    let mut listing = Listing {
        backups: BTreeMap::new(),
        unfinished: BTreeMap::new(),
        problems: Vec::new(),
    };
    for place in places {
        let store = place.name().to_string();
        let listed = match base::list(place, generation).await {
            Ok(listed) => listed,
            Err(error) => {
                listing.problems.push(error.to_string());
                continue;
            }
        };
        for base::Listed { id, complete } in listed {
            if !complete {
                let stores = listing.unfinished.entry(id).or_default();
                stores.push(store.clone());
                continue;
            }
            if let Some((_, stores)) = listing.backups.get_mut(&id) {
                stores.push(store.clone());
                continue;
            }
            match base::manifest(place, generation, id).await {
                Ok(manifest) => {
                    let stores = vec![store.clone()];
                    listing.backups.insert(id, (manifest, stores));
                }
                Err(error) => listing.problems.push(error.to_string()),
            }
        }
    }
    listing
}

pub(super) fn run_list(host: &Host) -> anyhow::Result<u8> {
    let staging = host.staging()?;
    let listing = block_on(async {
        let places = host.places(PROMPT)?;
        Ok(read_all(&places, &staging).await)
    })?;
    let mut out = std::io::stdout().lock();
    for (manifest, stores) in listing.backups.values() {
        if host.json {
            let stores = stores.iter().map(String::as_str).collect();
            serde_json::to_writer(&mut out, &Summary { manifest, stores })?;
            writeln!(out)?;
            continue;
        }
        let Manifest { id, totals, .. } = manifest;
        writeln!(
            out,
            "{id}  timeline {}  {} to {}  {} ({} stored{})  in {}",
            manifest.timeline.0,
            manifest.start_lsn,
            manifest.stop_lsn,
            ByteSize(totals.raw_bytes),
            ByteSize(totals.stored_bytes),
            manifest
                .based_on
                .map(|before| format!(", on {before}"))
                .unwrap_or_default(),
            stores.join(", ")
        )?;
    }
    let used = listing.used();
    for (id, stores) in &listing.unfinished {
        // Deleted, but for what others refer to.
        if used.contains(id) {
            continue;
        }
        let stores = stores.join(", ");
        tracing::warn!("{id} in {stores} has no manifest: it is being made, or was killed");
    }
    for problem in &listing.problems {
        tracing::error!("{problem}");
    }
    Ok(if listing.problems.is_empty() { 0 } else { NO })
}

pub(super) fn run_show(host: &Host, id: &str) -> anyhow::Result<u8> {
    let id: BackupId = id.parse()?;
    let staging = host.staging()?;
    let mut listing = block_on(async {
        let places = host.places(PROMPT)?;
        Ok(read_all(&places, &staging).await)
    })?;
    let Some((manifest, stores)) = listing.backups.remove(&id) else {
        if let Some(problem) = listing.problems.first() {
            bail!("backup {id} was not found, and not every store could be asked: {problem}");
        }
        tracing::error!("there is no backup {id}; `walkeep backup list` shows those there are");
        return Ok(NO);
    };
    let stores = stores.iter().map(String::as_str).collect();
    print_json(&Summary {
        manifest: &manifest,
        stores,
    })?;
    Ok(0)
}
