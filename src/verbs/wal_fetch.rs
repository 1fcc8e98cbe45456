//! `walkeep wal fetch %f %p`.

use std::{
    env,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;
use signal_hook::{consts::SIGTERM, flag};

use super::{Host, block_on, caller::NO};
use crate::{
    archive::fetch::{Fetched, Recovery, Request},
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
        None => block_on(async { Ok(recovery.fetch(&host.config, request).await?) })?,
    };
    match fetched {
        Fetched::Placed { source, suspects } => {
            tracing::debug!("\"{name}\" comes from {source}");
            for suspect in &suspects {
                tracing::warn!(
                    "store \"{}\": {}; \"{name}\" was fetched from {source}",
                    suspect.store,
                    suspect.reason
                );
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
