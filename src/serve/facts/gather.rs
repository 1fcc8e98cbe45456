//! Asks everybody. What cannot be asked becomes a fact as well.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Facts, Server, SinkView, Span, StagingFacts, StoreView, StreamFacts,
    survey::{Held, Kept, Survey},
    window::{Base, Stretch, spans},
};
use crate::{
    archive::{
        notes::Notes,
        staging::{Staged, Staging, StagingError},
    },
    catalog::{
        AlertRecord, BackupRecord, Catalog, CatalogError, DrillRecord, Event, JobRecord, Reader,
        Runs, State, StoreTotals, Totals, VerifyRecord,
    },
    config::{Config, StagingSettings},
    layout::{BackupId, Generation},
    postgres::WalFileName,
};

/// Gathers facts, and remembers what costs much and seldom changes.
#[derive(Debug, Default)]
pub struct Gatherer {
    kept: Kept,
}

/// What one transaction of the catalog told.
#[derive(Default)]
struct Asked {
    stores: Vec<StoreView>,
    /// The staged files that a store lacks.
    waiting: BTreeSet<WalFileName>,
    totals: Totals,
    events: Vec<Event>,
    backups: Vec<BackupRecord>,
    drills: Vec<DrillRecord>,
    jobs: BTreeMap<String, JobRecord>,
    verifies: Vec<VerifyRecord>,
    alerts: Vec<AlertRecord>,
    resolved: Vec<AlertRecord>,
    sinks: Vec<SinkView>,
    wants_rebuild: bool,
}

impl Gatherer {
    /// The facts as they are now. Blocks: for as long as the server takes to
    /// answer, some seconds at the most.
    pub fn gather(&mut self, config: &Config) -> Facts {
        let at = Timestamp::now();
        let (staging, opened) = match look_at(&config.staging, at) {
            None => (None, None),
            Some(Ok((facts, staging, files))) => (Some(Ok(facts)), Some((staging, files))),
            Some(Err(problem)) => (Some(Err(problem)), None),
        };
        let marker = opened.as_ref().map(|(it, _)| it.marker());
        let bound = marker.map(|it| it.system_identifier);
        let (server, waiting, slot) = Server::ask(config, bound);
        let mut facts = Facts {
            at,
            cluster: config.cluster.name.clone(),
            generation: marker.map_or(Generation::FIRST, |it| it.generation),
            staging,
            no_catalog: None,
            wants_rebuild: false,
            stores: Vec::new(),
            files: 0,
            raw_bytes: 0,
            events: Vec::new(),
            backups: Vec::new(),
            since: None,
            window: Vec::new(),
            gaps: Vec::new(),
            timelines: Vec::new(),
            hours: Vec::new(),
            drills: Vec::new(),
            jobs: BTreeMap::new(),
            verifies: Vec::new(),
            server,
            waiting,
            slot,
            stream: StreamFacts::of(config, opened.as_ref().map(|(it, _)| it), at),
            push_failure: opened
                .as_ref()
                .and_then(|(it, _)| Notes::of_push(it.root()).read()),
            standby: Notes::of_standby(&config.fetch.spool).read_recent(at),
            alerts: Vec::new(),
            resolved: Vec::new(),
            sinks: Vec::new(),
            segment_size: marker.map(|it| it.segment_size),
        };
        let catalog = Catalog::at(&config.catalog);
        let told = self.ask(config, &catalog, &mut facts, opened);
        facts.no_catalog = told.err().map(|error| error.to_string());
        facts
    }

    fn ask(
        &mut self,
        config: &Config,
        catalog: &Catalog,
        facts: &mut Facts,
        opened: Option<(Staging, Vec<Staged>)>,
    ) -> Result<(), CatalogError> {
        let files = opened.as_ref().map_or(&[][..], |(_, files)| files);
        let asked = catalog.read(|reader| ask(reader, config, files, facts))?;
        if let Some(Ok(staging)) = &mut facts.staging {
            staging.tell_apart(files, &asked.waiting, facts.at);
        }
        facts.stores = asked.stores;
        (facts.files, facts.raw_bytes) = (asked.totals.files, asked.totals.raw_bytes);
        facts.events = asked.events;
        facts.backups = asked.backups;
        facts.drills = asked.drills;
        facts.jobs = asked.jobs;
        facts.verifies = asked.verifies;
        facts.alerts = asked.alerts;
        facts.resolved = asked.resolved;
        facts.sinks = asked.sinks;
        facts.wants_rebuild = asked.wants_rebuild;
        let staging = opened.as_ref().map(|(staging, _)| staging);
        let names: Vec<&str> = names(config).collect();
        let survey = self.kept.survey(catalog, staging, &names)?;
        facts.take(survey);
        Ok(())
    }
}

impl Facts {
    /// Adds what a walk over all files found.
    fn take(&mut self, survey: &Survey) {
        let backups = self.backups.iter().map(|backup| backup.started);
        self.since = survey.since.into_iter().chain(backups).min();
        self.gaps = survey.gaps.clone();
        self.timelines = survey.timelines.clone();
        self.hours = survey.hours.values().cloned().collect();
        self.window = window(&self.backups, survey, None);
        for store in &mut self.stores {
            store.window = window(&self.backups, survey, Some(&store.name));
        }
    }
}

/// The moments that one store, or all of them together, can bring back.
fn window(backups: &[BackupRecord], survey: &Survey, store: Option<&str>) -> Vec<Span> {
    let mut all = Vec::new();
    for (generation, held) in &survey.generations {
        let runs = match store {
            Some(store) => held.stores.get(store),
            None => Some(&held.anywhere),
        };
        let Some(runs) = runs else { continue };
        let here = backups.iter().filter(|backup| {
            backup.generation == *generation
                && store.is_none_or(|store| backup.stores.contains_key(store))
        });
        let bases: Vec<Base> = here.map(|backup| base(backup, held)).collect();
        all.extend(spans(&bases, &stretches(runs, held)));
    }
    all.sort_by_key(|span| span.from);
    all
}

fn base(backup: &BackupRecord, held: &Held) -> Base {
    let numbers = held.size.numbers(&(backup.start_lsn..backup.stop_lsn));
    Base {
        timeline: backup.timeline,
        first: *numbers.start(),
        last: *numbers.end(),
        stopped: backup.stopped,
    }
}

fn stretches(runs: &Runs, held: &Held) -> Vec<Stretch> {
    let stretches = runs.iter().filter_map(|run| {
        Some(Stretch {
            timeline: run.first.timeline,
            first: run.first.number(held.size)?,
            last: run.last.number(held.size)?,
            until: held.commits.get(&run.last).copied(),
        })
    });
    stretches.collect()
}

type Looked = Result<(StagingFacts, Staging, Vec<Staged>), String>;

fn look_at(settings: &StagingSettings, now: Timestamp) -> Option<Looked> {
    let path = settings.path.as_ref()?;
    let look = || {
        let staging = Staging::open(path)?;
        let files = staging.files()?;
        let facts = StagingFacts {
            path: path.display().to_string(),
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.allocated).sum(),
            max_bytes: settings.max_size,
            oldest_seconds: files.iter().map(|file| age(file, now)).max(),
            kept_files: 0,
            kept_bytes: 0,
        };
        Ok((facts, staging, files))
    };
    Some(look().map_err(|error: StagingError| error.to_string()))
}

impl StagingFacts {
    /// What every store has does not wait any more.
    fn tell_apart(&mut self, staged: &[Staged], waiting: &BTreeSet<WalFileName>, now: Timestamp) {
        let waits = |file: &&Staged| waiting.contains(&file.name);
        let waiting: Vec<&Staged> = staged.iter().filter(waits).collect();
        let all = (self.files, self.bytes);
        self.files = waiting.len() as u64;
        self.bytes = waiting.iter().map(|file| file.allocated).sum();
        self.oldest_seconds = waiting.iter().map(|file| age(file, now)).max();
        (self.kept_files, self.kept_bytes) = (all.0 - self.files, all.1 - self.bytes);
    }
}

fn names(config: &Config) -> impl Iterator<Item = &str> + Clone {
    config.stores.iter().map(|store| store.name().as_str())
}

fn ask(
    reader: &Reader,
    config: &Config,
    staged: &[Staged],
    facts: &Facts,
) -> Result<Asked, CatalogError> {
    let missing = missing(reader, names(config), staged, facts.generation)?;
    let (backups, flaws, clocks) = (reader.backups()?, reader.flaws()?, reader.clocks()?);
    let mut asked = Asked {
        waiting: missing.values().flatten().map(|file| file.name).collect(),
        totals: reader.totals()?,
        events: reader.events()?,
        drills: reader.drills()?,
        jobs: reader.jobs()?,
        verifies: reader.verifies()?,
        alerts: reader.alerts()?,
        resolved: reader.resolved_alerts()?,
        sinks: sinks(reader, config)?,
        wants_rebuild: reader.wants_rebuild()?.is_some(),
        ..Asked::default()
    };
    for name in names(config) {
        let waiting = missing.get(name).map_or(&[][..], Vec::as_slice);
        let mut view = store(reader, name, waiting, &backups, facts.at)?;
        let flaws = flaws.iter().filter(|flaw| flaw.store == name);
        view.flaws = flaws.cloned().collect();
        view.clock_skew_seconds = clocks.get(name).copied();
        asked.stores.push(view);
    }
    asked.backups = backups;
    Ok(asked)
}

/// By store: the staged files that it has not.
fn missing<'a, 's>(
    reader: &Reader,
    stores: impl Iterator<Item = &'s str> + Clone,
    staged: &'a [Staged],
    generation: Generation,
) -> Result<BTreeMap<&'s str, Vec<&'a Staged>>, CatalogError> {
    let mut missing: BTreeMap<&str, Vec<&Staged>> = BTreeMap::new();
    for file in staged {
        let record = reader.file(generation, file.name)?;
        for name in stores.clone() {
            let replica = record.as_ref().and_then(|record| record.replicas.get(name));
            if replica.is_none_or(|replica| replica.state() != State::Stored) {
                missing.entry(name).or_default().push(file);
            }
        }
    }
    Ok(missing)
}

fn store(
    reader: &Reader,
    name: &str,
    waiting: &[&Staged],
    backups: &[BackupRecord],
    now: Timestamp,
) -> Result<StoreView, CatalogError> {
    let StoreTotals {
        stored,
        owed,
        suspect,
        conflict,
        ..
    } = reader.store_totals(name)?;
    let facts = reader.store(name)?;
    let failing = facts.last_failure.filter(|_| facts.failures_in_a_row > 0);
    let here = || {
        let all = backups.iter();
        all.filter(|backup| backup.stores.contains_key(name))
    };
    let mut ids: Vec<BackupId> = here().map(|backup| backup.id).collect();
    ids.sort_unstable();
    Ok(StoreView {
        name: name.to_owned(),
        files: stored.files,
        raw_bytes: stored.raw_bytes,
        stored_bytes: stored.stored_bytes,
        waiting_files: waiting.len() as u64,
        waiting_bytes: waiting.iter().map(|file| file.size).sum(),
        lag_seconds: waiting.iter().map(|file| age(file, now)).max(),
        owed: owed.files,
        owed_bytes: owed.raw_bytes,
        suspect: suspect.files,
        conflicts: conflict.files,
        flaws: Vec::new(),
        clock_skew_seconds: None,
        backups: ids,
        backup_bytes: here().map(|backup| backup.stored_bytes).sum(),
        last_success: facts.last_success,
        failing: failing.map(|failure| (failure.error, failure.at)),
        window: Vec::new(),
    })
}

fn sinks(reader: &Reader, config: &Config) -> Result<Vec<SinkView>, CatalogError> {
    let mut known = reader.sinks()?;
    let views = config.alerts.sinks.iter().map(|sink| {
        let facts = known.remove(&sink.name).unwrap_or_default();
        let failing = facts.last_failure.filter(|_| facts.failures_in_a_row > 0);
        SinkView {
            name: sink.name.clone(),
            last_success: facts.last_success,
            failing: failing.map(|failure| (failure.error, failure.at)),
        }
    });
    Ok(views.collect())
}

fn age(file: &Staged, now: Timestamp) -> i64 {
    now.duration_since(file.modified).as_secs().max(0)
}
