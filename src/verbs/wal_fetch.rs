//! `walkeep wal fetch %f %p`.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;
use signal_hook::{consts::SIGTERM, flag};

use super::{Host, block_on, caller::NO, wal_prefetch};
use crate::{
    archive::{
        ask::{self, Answer, Ask, Heard, Task},
        fetch::{self, FetchError, Fetched, Recovery, Request, Source, Suspect},
        notes::Notes,
    },
    catalog::Catalog,
    cli::{Fetch, Global},
    postgres::{SegmentName, WalFileName},
};

/// What a shell says of a command that SIGTERM ended. PostgreSQL takes it for
/// its own shutdown (`RestoreArchivedFile`, xlogarchive.c).
const TERMINATED: i32 = 128 + SIGTERM;

pub(super) fn run(global: &Global, arguments: &Fetch) -> anyhow::Result<u8> {
    // At once, wherever this process is: what it leaves is a temporary at the
    // most, which the next one takes over.
    let always = Arc::new(AtomicBool::new(true));
    flag::register_conditional_shutdown(SIGTERM, TERMINATED, always).context("handle SIGTERM")?;
    let name: WalFileName = arguments.name.parse()?;
    let host = Host::load(global)?;
    let directory = env::current_dir().context("find the working directory")?;
    let request = Request {
        name,
        to: &arguments.destination,
    };
    let daemon = Daemon {
        host: &host,
        directory: &directory,
        plan: arguments.plan.as_deref(),
    };
    let mut recovery = Recovery::open(&host.config, &directory, arguments.plan.as_deref())?;
    let fetched = match recovery.fetch_local(request)? {
        Some(fetched) => fetched,
        None => match by_daemon(&daemon, &recovery, request)? {
            Some(fetched) => fetched,
            None => {
                let fetch = async { Ok(recovery.fetch(&host.config, request).await) };
                block_on(fetch)?.inspect_err(|error| {
                    if let FetchError::Damaged { suspects, .. } = error {
                        record(&host, suspects);
                    }
                })?
            }
        },
    };
    let notes = Notes::of_standby(&host.config.fetch.spool);
    match &fetched {
        Fetched::NotNow { reason } => notes.leave(&name.to_string(), reason.to_string()),
        // Its archive can be asked again.
        _ if recovery.is_standby() => notes.clear(),
        _ => {}
    }
    match fetched {
        Fetched::Placed { source, suspects } => {
            tracing::debug!("\"{name}\" comes from {source}");
            for suspect in &suspects {
                let Suspect { store, reason, .. } = suspect;
                tracing::warn!("store \"{store}\": {reason}; \"{name}\" was fetched from {source}");
            }
            record(&host, &suspects);
            // What comes from staging is followed by what is staged.
            if let WalFileName::Segment(name) = name
                && source != Source::Staging
                && recovery.go_on(&host.config, name)
                && !daemon.prefetches(name)
                && let Err(error) = wal_prefetch::start(global, arguments, name)
            {
                tracing::debug!("start the prefetcher: {error}");
            }
            Ok(0)
        }
        Fetched::Absent { asked } => {
            match name {
                // PostgreSQL probes for timelines that do not exist, and a
                // standby for segments that do not exist yet.
                WalFileName::Segment(_) if !recovery.is_standby() => {
                    tracing::info!("\"{name}\" is not in {asked}: the archive ends before it");
                }
                _ => tracing::debug!("\"{name}\" is not in {asked}"),
            }
            Ok(NO)
        }
        Fetched::NotNow { reason } => {
            tracing::warn!(
                "{reason}. This server is a standby and will ask again: do not promote it before"
            );
            Ok(NO)
        }
    }
}

/// The daemon of this host, which may have credentials that PostgreSQL's
/// commands have not.
struct Daemon<'a> {
    host: &'a Host,
    /// The data directory.
    directory: &'a Path,
    plan: Option<&'a Path>,
}

impl Daemon<'_> {
    fn ask(&self, task: Task) -> Option<Heard> {
        let staging = self.host.config.staging.path.as_deref()?;
        let archive = ask::archive(&self.host.config.stores);
        ask::ask(staging, &Ask { archive, task })
    }

    fn plan(&self) -> Option<PathBuf> {
        self.plan.map(|plan| self.directory.join(plan))
    }

    /// Whether it has started the recovery's prefetcher.
    fn prefetches(&self, after: SegmentName) -> bool {
        let task = Task::Prefetch {
            after,
            directory: self.directory.to_owned(),
            plan: self.plan(),
        };
        let heard = self.ask(task).map(|heard| heard.answer);
        heard == Some(Answer::Done)
    }
}

/// Has the daemon fetch the file. `None`: it has not, and nothing is known.
fn by_daemon(
    daemon: &Daemon,
    recovery: &Recovery,
    request: Request,
) -> Result<Option<Fetched>, FetchError> {
    let task = Task::Fetch {
        file: request.name,
        directory: daemon.directory.to_owned(),
        plan: daemon.plan(),
    };
    let Some(heard) = daemon.ask(task) else {
        return Ok(None);
    };
    Ok(match heard.answer {
        Answer::Here {
            bytes,
            store,
            damaged,
        } => {
            for problem in damaged {
                tracing::warn!("{problem}; \"{}\" was fetched all the same", request.name);
            }
            let store = store.and_then(|name| name.parse().ok());
            let source = store.map_or(Source::Spool, Source::Store);
            let placed = recovery.place_from(heard.rest, bytes, request)?;
            placed.then(|| Fetched::Placed {
                source,
                suspects: Vec::new(),
            })
        }
        Answer::Absent { asked } => Some(Fetched::Absent { asked }),
        Answer::NotNow { reason } => {
            let reason = FetchError::Told(reason);
            Some(Fetched::NotNow { reason })
        }
        Answer::Failed { reason } => return Err(FetchError::Told(reason)),
        _ => None,
    })
}

/// Notes damaged copies for repair. That the catalog cannot be written is no
/// reason to end a recovery.
pub(super) fn record(host: &Host, suspects: &[Suspect]) {
    let catalog = Catalog::at(&host.config.catalog);
    if let Err(error) = fetch::record(&catalog, suspects) {
        tracing::warn!("note damaged copies in the catalog: {error}");
    }
}
