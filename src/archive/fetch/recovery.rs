//! A recovery as this host knows it: whose, by which plan, with which sources
//! on this host. Where each fetch, and each prefetcher, begins.

use std::path::{Path, PathBuf};

use super::{
    FetchError, Source,
    answer::{Answer, Testimony},
    here::{self, Staged},
    known::{Known, control_of},
    spool::Spool,
    survey::Candidate,
};
use crate::{
    archive::{place::Place, plan::FetchPlan, staging::Staging},
    config::Config,
    layout::{Format, Layout},
    postgres::{SegmentName, WalFileName},
    store::{RetryPolicy, Store},
};

/// A recovery in one data directory.
#[derive(Debug)]
pub struct Recovery {
    pub(super) plan: Option<FetchPlan>,
    pub(super) known: Known,
    pub(super) staged: Staged,
    pub(super) spool: Option<Spool>,
    pub(super) standby: bool,
    /// Stores that are open already.
    opened: Vec<Place>,
    /// What is written on this host: looked for first.
    pub(super) format: Format,
}

impl Recovery {
    /// Looks at the data directory (where PostgreSQL runs restore_command, an
    /// absolute path), the plan file, and staging. No network.
    pub fn open(
        config: &Config,
        directory: &Path,
        plan: Option<&Path>,
    ) -> Result<Self, FetchError> {
        let plan = plan.map(read_plan).transpose()?;
        let path = config.staging.path.as_deref();
        // A plan without staging is none of its business.
        let wanted = |_: &&Path| plan.as_ref().is_none_or(|plan| plan.staging);
        let staged = match path.filter(wanted).map(Staging::open) {
            None => Staged::NotAsked,
            Some(Ok(staging)) => Staged::Open(staging),
            Some(Err(error)) => Staged::Unable(error),
        };
        let marker = match &staged {
            Staged::Open(staging) => Some(staging.marker()),
            Staged::NotAsked | Staged::Unable(_) => None,
        };
        let control = control_of(directory)?;
        let (mut known, is_ours) = Known::of(control, plan.as_ref(), marker)?;
        let spool = open_spool(config, directory, &known, plan.as_ref());
        if let Some(spool) = &spool {
            spool.recall(&mut known);
        }
        Ok(Recovery {
            plan,
            known,
            staged: if is_ours { staged } else { Staged::NotAsked },
            spool,
            opened: Vec::new(),
            standby: directory.join("standby.signal").exists(),
            format: config.compression.format,
        })
    }

    /// The same, over connections that are there already: of those of `places`
    /// that are to be asked.
    pub fn by_way_of(mut self, places: &[Place]) -> Self {
        self.opened = places.to_vec();
        self
    }

    /// Whether the server is a standby (`standby.signal`), which asks again by
    /// itself and for ever.
    pub fn is_standby(&self) -> bool {
        self.standby
    }

    /// Whether the plan needs the file, where there is a plan.
    pub(super) fn needs(&self, name: WalFileName) -> Option<bool> {
        self.plan.as_ref().map(|plan| plan.needs(name))
    }

    /// Whether it is in `pg_wal` by the plan.
    pub(super) fn has_placed(&self, name: WalFileName) -> bool {
        let plan = self.plan.as_ref();
        plan.is_some_and(|plan| plan.has_placed(name))
    }

    /// Whether a later segment would make the absence of `name` a gap.
    pub(super) fn looks_behind(&self, name: WalFileName) -> bool {
        self.plan.is_none() && matches!(name, WalFileName::Segment(_))
    }

    /// The segments that PostgreSQL will ask for after `name`.
    pub(super) fn ahead(&self, name: SegmentName, count: usize) -> Vec<SegmentName> {
        if let Some(plan) = &self.plan {
            return plan.after(name, count);
        }
        let Some(size) = self.known.segment_size else {
            return Vec::new();
        };
        let next = |name: &SegmentName| name.next(size);
        let following = std::iter::successors(next(&name), next);
        following.take(count).collect()
    }

    /// Puts the file in place from this host, if it is here: from staging,
    /// which is the only home of what is not shipped, or from the spool.
    /// Otherwise with what staging said.
    pub(super) fn fetch_here(
        &self,
        name: WalFileName,
        to: &Path,
    ) -> Result<Result<Source, Option<Testimony>>, FetchError> {
        let look_behind = self.looks_behind(name);
        let staged = self.staged.fetch(name, &self.known, look_behind, to)?;
        let said = match staged {
            Some(Answer::Has(())) => return Ok(Ok(Source::Staging)),
            Some(Answer::Not(said)) => Some(Testimony {
                source: Source::Staging,
                said,
            }),
            None => None,
        };
        if let (Some(spool), WalFileName::Segment(segment)) = (&self.spool, name)
            && here::take(&spool.path(segment), name, &self.known, to)?
        {
            return Ok(Ok(Source::Spool));
        }
        Ok(Err(said))
    }

    /// The stores that are to be asked: the plan's, else all. Inside a tokio
    /// runtime.
    pub(super) fn candidates(&self, config: &Config) -> Result<Vec<Candidate>, FetchError> {
        let planned = self.plan.as_ref().map(|plan| &plan.stores);
        for name in planned.into_iter().flatten() {
            if !config
                .stores
                .iter()
                .any(|store| store.name().as_str() == name)
            {
                return Err(FetchError::PlanStore(name.clone()));
            }
        }
        let asked = config.stores.iter().filter(|store| {
            planned.is_none_or(|names| names.iter().any(|name| name == store.name().as_str()))
        });
        let open = |settings: &crate::config::StoreSettings| {
            let (name, location) = (settings.name().clone(), settings.location.clone());
            let layout = Layout::new(&settings.prefix);
            // Asked again by `survey`, which sees all of them.
            let once = RetryPolicy::ONCE;
            let opened = self.opened.iter().find(|place| *place.name() == name);
            let store = match opened {
                Some(place) => Ok(place.store.with_retry(once)),
                None => Store::open(name.clone(), location, once),
            };
            Candidate {
                name,
                place: store.map(|store| Place { store, layout }),
            }
        };
        Ok(asked.map(open).collect())
    }
}

fn read_plan(path: &Path) -> Result<FetchPlan, FetchError> {
    let path_buf = || -> PathBuf { path.to_owned() };
    let bytes = std::fs::read(path).map_err(|source| FetchError::ReadPlan {
        path: path_buf(),
        source,
    })?;
    FetchPlan::parse(&bytes).map_err(|reason| FetchError::Plan {
        path: path_buf(),
        reason,
    })
}

/// Without a spool every fetch goes to the stores itself: slower, and right.
fn open_spool(
    config: &Config,
    directory: &Path,
    known: &Known,
    plan: Option<&FetchPlan>,
) -> Option<Spool> {
    match Spool::open(config, directory, known.system_id, plan) {
        Ok(spool) => Some(spool),
        Err(error) => {
            let path = config.fetch.spool.display();
            tracing::debug!("no spool in \"{path}\", nothing is fetched ahead: {error}");
            None
        }
    }
}
