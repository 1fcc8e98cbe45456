//! `walkeep wal fetch %f %p`.

use std::{
    env,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;
use signal_hook::{consts::SIGTERM, flag};

use super::{Host, block_on, caller::NO, wal_prefetch};
use crate::{
    archive::fetch::{self, FetchError, Fetched, Recovery, Request, Source, Suspect},
    catalog::Catalog,
    cli::{Fetch, Global},
    postgres::WalFileName,
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
    let mut recovery = Recovery::open(&host.config, &directory, arguments.plan.as_deref())?;
    let fetched = match recovery.fetch_local(request)? {
        Some(fetched) => fetched,
        None => {
            let fetch = async { Ok(recovery.fetch(&host.config, request).await) };
            block_on(fetch)?.inspect_err(|error| {
                if let FetchError::Damaged { suspects, .. } = error {
                    record(&host, suspects);
                }
            })?
        }
    };
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

/// Notes damaged copies for repair. That the catalog cannot be written is no
/// reason to end a recovery.
pub(super) fn record(host: &Host, suspects: &[Suspect]) {
    let catalog = Catalog::at(&host.config.catalog);
    if let Err(error) = fetch::record(&catalog, suspects) {
        tracing::warn!("note damaged copies in the catalog: {error}");
    }
}
