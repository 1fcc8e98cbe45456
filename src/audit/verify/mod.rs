//! `verify`: what every store lists, held against the catalog and the WAL's own
//! continuity; deep, every object read; and repaired from another store, where
//! that is asked for. What cannot be asked is never taken for absent.
//!
//! ```text
//! look      one listing of everything, store by store
//! manifests, states  which backups there are; what is wrong by the catalog
//! files     the WAL: what is missing, unknown, or not what was confirmed
//! backups   manifests, and all that they need
//! deep      every object read and hashed, resumable
//! judge     one object of the WAL        objects   one object of a backup
//! repair    from another store           lost      what cannot be had any more
//! ```

mod backups;
mod deep;
mod files;
mod judge;
mod look;
mod lost;
mod manifests;
mod objects;
mod repair;
mod report;
mod states;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::{
    archive::{
        histories,
        pace::Pace,
        place::Place,
        staging::{Staging, StagingError},
    },
    catalog::{Catalog, CatalogError, Select, VerifyKind, VerifyRecord},
    codec::Encoder,
    postgres::WalFileName,
};
use files::File;
use look::{Seen, look};
pub use report::{DamagedBackup, Outcome, Problem, ProblemKind, Progress, StoreReport};

/// Everything that a verify needs.
#[derive(Debug, Clone)]
pub struct Verifying {
    /// The stores, as `init` has claimed them.
    pub places: Vec<Place>,
    /// What is not shipped yet; `None` where that cannot be told.
    pub staging: Option<Staging>,
    /// What should be there.
    pub catalog: Catalog,
    /// Where objects are put on their way from store to store.
    pub spools: PathBuf,
    /// How fast objects are read and written, over all stores.
    pub pace: Arc<Pace>,
    /// How a staged file is compressed that a store is repaired with.
    pub encoder: Encoder,
    /// How many objects of a store are read at once.
    pub concurrency: usize,
    /// Whether every object is read.
    pub deep: bool,
    /// Whether what can be repaired is.
    pub repair: bool,
    /// How far the reading has come.
    pub progress: Arc<Progress>,
}

/// Why a verify ended. What it had found by then is in the catalog.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The staging directory failed.
    #[error(transparent)]
    Staging(#[from] StagingError),
}

/// What was there when the verify began, and what the stores list. Stores are
/// known by their number.
struct Scene<'v> {
    verifying: &'v Verifying,
    places: &'v [Place],
    begun: Timestamp,
    /// The files that wait in staging, or stay there for a while.
    staged: BTreeSet<File>,
    /// Whether that is known.
    staging_known: bool,
    /// The files that the catalog knew.
    known: BTreeSet<File>,
    /// None of a store that could not be asked.
    seen: Vec<Option<Seen>>,
}

/// Verifies every store.
pub async fn verify(verifying: &Verifying) -> Result<Outcome, VerifyError> {
    let mut scene = Scene {
        verifying,
        places: &verifying.places,
        begun: Timestamp::now(),
        staged: BTreeSet::new(),
        staging_known: verifying.staging.is_some(),
        known: BTreeSet::new(),
        seen: Vec::new(),
    };
    scene.look_at_staging()?;
    for record in verifying.catalog.files(Select::All) {
        let record = record?;
        scene.known.insert((record.generation, record.name));
    }
    let mut reports = scene.begin()?;
    let mut events = Vec::new();
    let looks = verifying.places.iter().map(|place| look(place, verifying));
    for (store, looked) in join_all(looks).await.into_iter().enumerate() {
        match looked {
            Ok(seen) => scene.seen.push(Some(seen)),
            Err(error) => {
                let name = verifying.places[store].name().as_str();
                events.push(Problem::unreachable(name, error.to_string()));
                scene.seen.push(None);
            }
        }
    }
    scene.note_histories().await?;
    events.extend(files::hold(&mut scene).await?);
    let (mut backups, found) = backups::hold(&mut scene).await?;
    events.extend(found);
    if verifying.deep {
        events.extend(deep::read(&scene, &mut backups, &mut reports).await?);
    }
    let mut problems = states::of(&scene)?;
    if verifying.repair {
        let failures = repair::repair(&scene, &mut backups).await?;
        problems = states::after_repair(problems, states::of(&scene)?, &failures);
    }
    let damaged = lost::backups(&scene, &backups).await?;
    let gaps = lost::gaps(&scene)?;
    events.extend(problems);
    // A store that fails fails at each question.
    let mut said = BTreeSet::new();
    events.retain(|it| {
        let of_store = it.kind == ProblemKind::Unreachable;
        !of_store || said.insert(it.store.clone())
    });
    events.sort_by_key(|it| (it.settled, it.kind));
    let finished = Timestamp::now();
    for (store, report) in reports.iter_mut().enumerate() {
        scene.tell(store, report, &events);
    }
    // Whoever has seen everything has rebuilt a catalog that was begun anew.
    let everything = scene.seen.iter().all(Option::is_some);
    let unread = |it: &Problem| matches!(it.kind, ProblemKind::Unread | ProblemKind::Unreachable);
    let knows_all = everything && !events.iter().any(unread);
    scene.end(&reports, finished, knows_all)?;
    Ok(Outcome {
        begun: scene.begun,
        finished,
        deep: verifying.deep,
        repair: verifying.repair,
        problems: events,
        gaps,
        backups: damaged,
        stores: reports,
    })
}

impl<'v> Scene<'v> {
    fn name(&self, store: usize) -> &'v str {
        self.places[store].name().as_str()
    }

    /// The stores that could be asked, with what they list.
    fn reached(&self) -> impl Iterator<Item = (usize, &Seen)> {
        let seen = self.seen.iter().enumerate();
        seen.filter_map(|(store, seen)| Some((store, seen.as_ref()?)))
    }

    fn reached_places(&self) -> Vec<Place> {
        let reached = self.reached();
        reached
            .map(|(store, _)| self.places[store].clone())
            .collect()
    }

    fn look_at_staging(&mut self) -> Result<(), VerifyError> {
        if let Some(staging) = &self.verifying.staging {
            let generation = staging.marker().generation;
            let files = staging.files()?.into_iter();
            self.staged
                .extend(files.map(|file| (generation, file.name)));
        }
        Ok(())
    }

    /// Reads the history files that the catalog does not know, so that gaps
    /// are seen on the way through the timelines.
    async fn note_histories(&self) -> Result<(), VerifyError> {
        let catalog = &self.verifying.catalog;
        let known = catalog.read(|reader| reader.histories())?;
        let listed = self.reached().flat_map(|(_, seen)| seen.wal.keys());
        let listed: BTreeSet<File> = listed.chain(&self.staged).copied().collect();
        let places = self.reached_places();
        for (generation, name) in listed {
            let WalFileName::History(timeline) = name else {
                continue;
            };
            if known
                .get(&generation)
                .is_some_and(|it| it.contains_key(&timeline))
            {
                continue;
            }
            let staging = self.verifying.staging.as_ref();
            let staging = staging.filter(|it| it.marker().generation == generation);
            match histories::read(&places, staging, generation, timeline).await {
                Ok(ancestors) => {
                    catalog
                        .write(|writer| writer.note_history(generation, timeline, &ancestors))?;
                }
                Err(reason) => tracing::warn!("read the history file \"{name}\": {reason}"),
            }
        }
        Ok(())
    }

    fn begin(&self) -> Result<Vec<StoreReport>, VerifyError> {
        self.verifying.catalog.write(|writer| {
            for place in self.places {
                let name = place.name().as_str();
                writer.note_verify(&VerifyRecord::begin(name, VerifyKind::Plain, self.begun))?;
            }
            Ok(())
        })?;
        let reports = self.places.iter().map(|place| StoreReport {
            store: place.name().to_string(),
            ..StoreReport::default()
        });
        Ok(reports.collect())
    }

    fn tell(&self, store: usize, report: &mut StoreReport, problems: &[Problem]) {
        let about = problems
            .iter()
            .filter(|it| it.store.as_ref() == Some(&report.store));
        for problem in about {
            match problem.kind {
                ProblemKind::Unreachable => report.failure = Some(problem.detail.clone()),
                ProblemKind::Unknown => continue,
                _ => {}
            }
            report.problems += 1;
            report.settled += u64::from(problem.settled);
        }
        if let Some(seen) = &self.seen[store] {
            report.wal_files = seen.wal.len() as u64;
            report.backups = seen.manifests.len() as u64;
            report.backup_objects = (seen.data.len() + seen.manifests.len()) as u64;
            report.foreign = seen.foreign;
            report.bytes = seen.bytes;
        }
    }

    fn end(
        &self,
        reports: &[StoreReport],
        finished: Timestamp,
        knows_all: bool,
    ) -> Result<(), VerifyError> {
        let deep = deep::records(self)?;
        let catalog = &self.verifying.catalog;
        let wants_rebuild = catalog.read(|reader| reader.wants_rebuild())?.is_some();
        catalog.write(|writer| {
            if wants_rebuild && knows_all {
                writer.rebuilt(finished)?;
            }
            for report in reports {
                let name = report.store.as_str();
                writer.note_verify(&VerifyRecord {
                    finished: report.failure.is_none().then_some(finished),
                    objects: report.wal_files + report.backup_objects,
                    bytes: report.bytes,
                    problems: report.problems,
                    repaired: report.settled,
                    failure: report.failure.clone(),
                    ..VerifyRecord::begin(name, VerifyKind::Plain, self.begun)
                })?;
                if let Some(record) = deep.get(name).filter(|_| self.verifying.deep) {
                    writer.note_verify(&VerifyRecord {
                        problems: report.problems,
                        repaired: report.settled,
                        failure: report.failure.clone(),
                        ..record.clone()
                    })?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}
