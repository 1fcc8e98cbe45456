//! Takes a base backup: its start, the data, its stop, and last the manifest,
//! in every store at once.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    base::{self, Lines},
    beside::{configuration, read_control},
    data::{Data, Reading},
    import::BaseBackup,
    lines::{object, pack_sets},
    manifest::{self, ConfigurationFile, Manifest, Tablespace},
    packs::Packs,
    running::{self, Heart, Running},
    send::{Failure, Senders, Upload},
};
use crate::{
    archive::{inspect::Owner, pace::Pace, place::Place},
    codec::Encoder,
    layout::{BackupId, Generation, Key},
    postgres::{
        checksum::PAGE,
        label::{BackupLabel, parse_tablespace_map},
        session::{Session, SessionError, StartedBackup, StoppedBackup},
    },
    store::StoreName,
};

/// Objects that wait to be sent, beside those that are being sent.
const QUEUE: usize = 16;

/// Everything that a backup needs.
pub struct Taking {
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The archive's generation.
    pub generation: Generation,
    /// Whose archive it is.
    pub owner: Owner,
    /// The server's major version.
    pub major: u32,
    /// The data directory.
    pub data: PathBuf,
    /// Where it goes.
    pub places: Vec<Place>,
    /// How the data are compressed.
    pub encoder: Encoder,
    /// How the manifest is, and its parts.
    pub gzip: Encoder,
    /// Bytes per second over all stores; `None` is no limit.
    pub rate_limit: Option<u64>,
    /// How many threads read and compress.
    pub threads: usize,
    /// Whether nothing of an earlier backup is used.
    pub full: bool,
    /// Where stores are spoken to.
    pub runtime: Handle,
    /// Counts the bytes of the data directory that were read.
    pub read: Arc<AtomicU64>,
}

/// What begins and ends a backup.
pub enum Origin<'a> {
    /// A running server, in this session.
    Server(&'a mut Session),
    /// It has begun and ended: `pg_basebackup` took it.
    Taken(&'a BaseBackup),
}

impl Origin<'_> {
    fn start(&mut self, id: BackupId) -> Result<StartedBackup, SessionError> {
        match self {
            Origin::Server(session) => session.start_backup(&format!("walkeep {id}")),
            Origin::Taken(backup) => Ok(backup.started()),
        }
    }

    fn stop(&mut self) -> Result<StoppedBackup, SessionError> {
        match self {
            Origin::Server(session) => session.stop_backup(),
            Origin::Taken(backup) => Ok(backup.stopped()),
        }
    }

    /// What lives outside of `data`, the data directory.
    fn configuration(&mut self, data: &Path) -> anyhow::Result<Vec<ConfigurationFile>> {
        match self {
            Origin::Server(session) => configuration(session, data),
            // Nobody has copied it.
            Origin::Taken(_) => Ok(Vec::new()),
        }
    }
}

/// A backup that was taken.
#[derive(Debug)]
pub struct Taken {
    /// What it is.
    pub manifest: Manifest,
    /// The stores that have it.
    pub stores: Vec<StoreName>,
    /// Why each of the others has not.
    pub failures: Vec<(StoreName, String)>,
}

/// Takes a backup of `origin`. From a thread that is none of the runtime's.
pub fn take(taking: &Taking, origin: Origin<'_>) -> anyhow::Result<Taken> {
    let pace = Pace::new(taking.rate_limit);
    let senders = Senders::new(taking.places.clone(), pace);
    let runtime = &taking.runtime;
    let newest = runtime.block_on(check_alone(taking, &senders))?;
    let now = after(newest)?;
    let id = BackupId::at(now);
    let before = match taking.full {
        true => None,
        false => runtime.block_on(find_before(taking, &senders))?,
    };
    let marker = Running::here(now, before.as_ref().map(|(_, manifest)| manifest.id));
    runtime.block_on(announce(taking, &senders, id, &marker))?;
    let heart = Heart::start(runtime, senders.alive(), (taking.generation, id), marker);
    let taken = take_announced(taking, origin, &senders, id, before);
    drop(heart);
    // With its manifest the backup is there; without, what was stored of it
    // waits for `prune`, which need not wait for the marker to become stale.
    let key = Key::Running(taking.generation, id);
    runtime.block_on(async {
        for place in &taking.places {
            if let Err(error) = place.store.delete(&place.layout.key(key)).await {
                tracing::debug!("remove the marker of the backup: {error}");
            }
        }
    });
    taken
}

fn take_announced(
    taking: &Taking,
    mut origin: Origin<'_>,
    senders: &Senders,
    id: BackupId,
    before: Option<(Place, Manifest)>,
) -> anyhow::Result<Taken> {
    let begun = origin.start(id)?;
    let check_from =
        (begun.data_checksums && begun.block_size as usize == PAGE).then_some(begun.start_lsn);

    let (uploads, queue) = mpsc::channel::<Upload>(QUEUE);
    let delivery = taking.runtime.spawn({
        let senders = senders.clone();
        async move { senders.deliver(queue).await }
    });
    let packs = Packs::new(
        (taking.generation, id),
        taking.encoder.format(),
        taking.runtime.clone(),
        uploads,
    );
    let reading = Reading {
        data: &taking.data,
        check_from,
        generation: taking.generation,
        encoder: &taking.encoder,
        gzip: &taking.gzip,
        runtime: taking.runtime.clone(),
        before: before
            .as_ref()
            .map(|(place, manifest)| (place.clone(), Lines::of(place.clone(), manifest))),
        threads: taking.threads,
        read: &taking.read,
    };
    let read = reading.run(&packs).map_err(anyhow::Error::new);
    let read = read.and_then(|mut data| {
        let control = read_control(taking, &packs, &mut data)?;
        data.totals.stored_bytes = packs.finish()? + data.totals.index_bytes;
        Ok((data, control))
    });
    drop(packs);
    let delivered = taking.runtime.block_on(delivery);
    let (data, control) = read.map_err(|error| explain(error, senders))?;
    delivered.context("send the backup")?;

    let stopped = origin.stop()?;
    let label = BackupLabel::parse(&stopped.label)?;
    let formats = before.as_ref().map(|(_, manifest)| manifest.formats());
    let format_of = |backup| {
        let earlier = formats.as_ref().and_then(|formats| formats.get(&backup));
        earlier.copied().unwrap_or(taking.encoder.format())
    };
    let manifest = Manifest {
        format: manifest::FORMAT,
        id,
        cluster: taking.cluster.clone(),
        generation: taking.generation,
        system_identifier: taking.owner.system_id,
        postgres_major: taking.major,
        segment_size: taking.owner.segment_size,
        data_checksums: begun.data_checksums,
        from_standby: label.from_standby,
        started: begun.time,
        stopped: stopped.time,
        timeline: label.timeline,
        start_lsn: label.start_lsn,
        stop_lsn: stopped.stop_lsn,
        stop_xmax: stopped.xmax,
        based_on: before.as_ref().map(|(_, manifest)| manifest.id),
        tablespaces: tablespaces(&stopped)?,
        tablespace_map: Some(stopped.tablespace_map).filter(|map| !map.is_empty()),
        backup_label: stopped.label,
        configuration: origin.configuration(&taking.data)?,
        control,
        packs: pack_sets(&data.packs, format_of),
        pages: data.pages.clone(),
        damaged: data.damaged.clone(),
        totals: data.totals,
    };
    taking
        .runtime
        .block_on(finish(taking, senders, &manifest, &data))?;
    let stores: Vec<StoreName> = senders
        .alive()
        .iter()
        .map(|place| place.name().clone())
        .collect();
    let failures = senders.failures();
    if stores.is_empty() {
        bail!("no store has the backup: {}", list(&failures));
    }
    Ok(Taken {
        manifest,
        stores,
        failures,
    })
}

/// Refuses where another backup is being made. The newest name that is taken.
async fn check_alone(taking: &Taking, senders: &Senders) -> anyhow::Result<Option<BackupId>> {
    let mut newest = None;
    for place in senders.alive() {
        match look(&place, taking.generation).await {
            Ok((_, Some((id, running)))) => bail!(
                "a backup is being made already: {id}, by process {} on \"{}\", alive at {}; \
                 wait for it; once it is silent for 15 minutes it counts as dead",
                running.pid,
                running.host,
                running.heartbeat
            ),
            Ok((last, None)) => newest = newest.max(last),
            Err(base::BackupError::Store(error)) => {
                tracing::warn!("the backup does not go to {}: {error}", place.name());
                senders.give_up(place.name(), error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if senders.alive().is_empty() {
        bail!("no store can be reached: {}", list(&senders.failures()));
    }
    Ok(newest)
}

/// The newest name in a store, and the backup that is being made there, if one
/// is.
async fn look(
    place: &Place,
    generation: Generation,
) -> Result<(Option<BackupId>, Option<(BackupId, Running)>), base::BackupError> {
    let now = Timestamp::now();
    let listed = base::list(place, generation).await?;
    let newest = listed.last().map(|listed| listed.id);
    for base::Listed { id, .. } in listed.into_iter().filter(|listed| !listed.complete) {
        let running = running::read(place, generation, id).await?;
        if let Some(running) = running.filter(|running| running.is_alive(now)) {
            return Ok((newest, Some((id, running))));
        }
    }
    Ok((newest, None))
}

/// The time, once a backup that begins now has a name of its own, behind all
/// others: names have whole seconds.
fn after(newest: Option<BackupId>) -> anyhow::Result<Timestamp> {
    for _ in 0..20 {
        let now = Timestamp::now();
        if Some(BackupId::at(now)) > newest {
            return Ok(now);
        }
        thread::sleep(Duration::from_millis(100));
    }
    let newest = newest.map(|id| id.to_string()).unwrap_or_default();
    bail!("this host's clock is behind that of the newest backup, {newest}; correct it")
}

/// The newest backup that all stores have: its blocks are used again.
async fn find_before(
    taking: &Taking,
    senders: &Senders,
) -> anyhow::Result<Option<(Place, Manifest)>> {
    let mut common: Option<Vec<BackupId>> = None;
    for place in senders.alive() {
        let listed = base::list(&place, taking.generation).await?;
        let complete = listed.iter().filter(|listed| listed.complete);
        let ids: Vec<BackupId> = complete.map(|listed| listed.id).collect();
        common = Some(match common {
            None => ids,
            Some(common) => common.into_iter().filter(|id| ids.contains(id)).collect(),
        });
    }
    let Some(place) = senders.alive().into_iter().next() else {
        return Ok(None);
    };
    for id in common.unwrap_or_default().into_iter().rev() {
        match base::manifest(&place, taking.generation, id).await {
            Ok(manifest) if manifest.system_identifier == taking.owner.system_id => {
                return Ok(Some((place, manifest)));
            }
            Ok(_) => {}
            // Without it the backup becomes larger, not wrong.
            Err(error) => tracing::warn!("backup {id} is not built on: {error}"),
        }
    }
    Ok(None)
}

async fn announce(
    taking: &Taking,
    senders: &Senders,
    id: BackupId,
    marker: &Running,
) -> anyhow::Result<()> {
    for place in senders.alive() {
        if let Err(error) = running::write(&place, taking.generation, id, marker).await {
            tracing::warn!("the backup does not go to {}: {error}", place.name());
            senders.give_up(place.name(), error.into());
        }
    }
    if senders.alive().is_empty() {
        bail!("no store takes the backup: {}", list(&senders.failures()));
    }
    Ok(())
}

/// Looks whether everything is there that the backup uses of earlier ones, and
/// writes the manifest where it is.
async fn finish(
    taking: &Taking,
    senders: &Senders,
    manifest: &Manifest,
    data: &Data,
) -> anyhow::Result<()> {
    for place in senders.alive() {
        let missing =
            base::missing(&place, taking.generation, &manifest.packs, &data.indexes).await;
        let failure = match missing {
            Ok(missing) if missing.is_empty() => continue,
            Ok(missing) => Failure::Missing(missing),
            Err(error) => error.into(),
        };
        tracing::warn!("{} does not have the backup: {failure}", place.name());
        senders.give_up(place.name(), failure);
    }
    let text = manifest.to_json()?;
    let upload = Upload {
        key: Key::Manifest(taking.generation, manifest.id),
        body: object(&taking.gzip, &text, "manifest.json")?,
        memory: None,
    };
    senders.put(&upload).await;
    Ok(())
}

fn tablespaces(stopped: &StoppedBackup) -> anyhow::Result<Vec<Tablespace>> {
    let map = parse_tablespace_map(&stopped.tablespace_map)?;
    let tablespace = |(oid, path)| Tablespace { oid, path };
    Ok(map.into_iter().map(tablespace).collect())
}

/// Where no store takes anything any more, what the stores said is the reason.
fn explain(error: anyhow::Error, senders: &Senders) -> anyhow::Error {
    if senders.alive().is_empty() {
        return anyhow!("no store takes the backup: {}", list(&senders.failures()));
    }
    error
}

fn list(failures: &[(StoreName, String)]) -> String {
    let failures: Vec<&str> = failures.iter().map(|(_, failure)| &**failure).collect();
    failures.join("; ")
}
