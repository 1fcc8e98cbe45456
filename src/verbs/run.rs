//! `walkeep run`.

use std::{env, sync::Arc, thread};

use anyhow::Context;

use super::{
    Host, command,
    setup::{PROMPT, runtime},
};
use crate::{
    cli::Global,
    recovery::scratch,
    serve::{self, Program, Service},
};

pub(super) fn run(global: &Global, no_schedule: bool) -> anyhow::Result<u8> {
    let path = env::current_exe().context("find this program's path")?;
    let load = || {
        let mut host = Host::load(global)?;
        if no_schedule && !host.config.schedule.is_empty() {
            tracing::warn!(
                "[schedule] is left to others by --no-schedule: see `systemctl list-timers`"
            );
            host.config.schedule.clear();
        }
        let arguments = command::finding(global, &host.config)?;
        let arguments = arguments.into_iter().map(Into::into).collect();
        Ok(Service {
            shipping: host.shipping(PROMPT)?,
            config: Arc::new(host.config),
            program: Program {
                path: path.clone(),
                arguments,
            },
        })
    };
    // Before anything is started: it may become another user.
    let left = Host::load(global)?.config.drill.scratch;
    // What a killed drill left takes room until somebody removes it.
    thread::spawn(move || {
        if let Err(error) = scratch::sweep(&left) {
            tracing::warn!("remove what drills left: {error}");
        }
    });
    runtime()?.block_on(serve::run(load))?;
    Ok(0)
}
