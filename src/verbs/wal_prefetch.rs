//! The hidden `walkeep wal prefetch`, which `wal fetch` starts.

use std::{
    env, io,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;

use super::{Host, block_on, wal_fetch::record};
use crate::{
    archive::fetch::{Prefetching, Recovery, prefetch},
    cli::{Fetch, Global, Prefetch},
    postgres::SegmentName,
};

/// It ends when nobody has fetched for so long.
const IDLE: Duration = Duration::from_secs(60);

pub(super) fn run(global: &Global, arguments: &Prefetch) -> anyhow::Result<u8> {
    // Of no terminal and of no process group of PostgreSQL's, which signals
    // whole groups. Fails for the leader of a group, which has one already.
    let _ = nix::unistd::setsid();
    let after: SegmentName = arguments.after.parse()?;
    let host = Host::load(global)?;
    let directory = env::current_dir().context("find the working directory")?;
    let recovery = Recovery::open(&host.config, &directory, arguments.plan.as_deref())?;
    // It must not keep the data directory's volume busy.
    env::set_current_dir("/").context("leave the data directory")?;
    let on_suspects = |suspects: &[_]| record(&host, suspects);
    let how = Prefetching {
        config: &host.config,
        directory: &directory,
        after,
        idle: IDLE,
        on_suspects: &on_suspects,
    };
    block_on(async { Ok(prefetch(&recovery, how).await?) })?;
    Ok(0)
}

/// Starts a prefetcher, and does not wait for it.
pub(super) fn start(global: &Global, fetch: &Fetch, after: SegmentName) -> io::Result<()> {
    let mut command = Command::new(env::current_exe()?);
    if let Some(config) = &global.config {
        command.arg("--config").arg(config);
    }
    if let Some(cluster) = &global.cluster {
        command.arg("--cluster").arg(cluster);
    }
    command.args(["wal", "prefetch"]).arg(after.to_string());
    if let Some(plan) = &fetch.plan {
        command.arg("--plan").arg(plan);
    }
    // PostgreSQL's log must not be held open by it.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}
