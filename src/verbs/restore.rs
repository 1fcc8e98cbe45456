//! `walkeep restore`.

pub(super) mod arguments;
mod output;
pub(super) mod planned;
pub(super) mod shown;
mod start;

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use anyhow::Context;

use super::{
    Host, command, print_json, progress,
    setup::{PROMPT, runtime},
};
use crate::{
    archive::{place::Place, plan::FetchPlan},
    cli::{Global, Restore},
    config::{Config, ConfigError},
    recovery::{
        self, Destination, Progress, Refused, RestoreError, Restored, Restoring, Settings,
        finish::PLAN,
    },
    store::RetryPolicy,
    trail::Deed,
};
use arguments::Asked;
use planned::Planned;
use shown::Shown;

pub(super) fn run(global: &Global, arguments: &Restore) -> anyhow::Result<u8> {
    let asked = Asked::of(arguments)?;
    let host = Host::load_for(global, &near(&arguments.directory))?;
    refuse_root()?;
    let runtime = runtime()?;
    let restored = runtime.block_on(restore(&host, global, arguments, &asked));
    runtime.shutdown_background();
    restored
}

async fn restore(
    host: &Host,
    global: &Global,
    arguments: &Restore,
    asked: &Asked,
) -> anyhow::Result<u8> {
    let planned = planned::plan(
        host,
        arguments.target.store.as_deref(),
        &asked.request,
        PROMPT,
    )
    .await?;
    let (plan, manifest) = (&planned.plan, &planned.manifest);
    let destination = Destination::examine(
        &arguments.directory,
        arguments.delta,
        manifest,
        &asked.tablespaces,
    )
    .map_err(|refused| match refused {
        Refused::NoSuchTablespace { .. } => usage("--tablespace", refused.to_string()).into(),
        refused => anyhow::Error::new(refused),
    })?;
    if manifest.tablespaces.is_empty() {
        destination.check_space(manifest.totals.raw_bytes, &BTreeMap::new())?;
    }
    let shown = Shown::of(&planned, &destination).await;
    if !host.json {
        shown.print(&planned, asked)?;
    }
    if arguments.plan {
        if host.json {
            print_json(&shown)?;
        }
        return Ok(0);
    }
    // A standby goes on behind the end of the plan.
    let plan_file = (!arguments.standby).then(|| destination.directory.join(PLAN));
    let settings = Settings {
        restore_command: restore_command(global, &host.config, plan_file.as_deref())?,
        target: asked.request.target.clone(),
        exclusive: asked.request.exclusive,
        timeline: plan.timeline_setting.clone(),
        action: asked.action(std::io::stdin().is_terminal()),
        standby: arguments.standby,
    };
    let restored = carry_out(host, &planned, &destination, &settings).await?;
    host.trail().note(Deed::Restored {
        backup: manifest.id,
        target: shown::target(&asked.request.target),
        directory: Some(destination.directory.clone()),
    });
    output::done(host, manifest, &destination, &settings, &restored, shown)?;
    Ok(0)
}

/// Restores what is planned, and shows how far it has come.
pub(super) async fn carry_out(
    host: &Host,
    planned: &Planned,
    destination: &Destination,
    settings: &Settings,
) -> Result<Restored, RestoreError> {
    let progress = Arc::new(Progress::default());
    let total = planned.manifest.totals.raw_bytes;
    let bar = progress::show(!host.quiet, {
        let progress = Arc::clone(&progress);
        move || (progress.done.load(Ordering::Relaxed), total)
    });
    let plan = FetchPlan::from(&planned.plan);
    let restored = recovery::restore(Restoring {
        manifest: &planned.manifest,
        destination,
        places: once(&planned.holding),
        spare: once(&planned.others),
        patience: host.config.fetch.timeout,
        settings,
        streamed: &planned.streamed,
        // A standby goes on behind the end of the plan.
        plan: (!settings.standby).then(|| plan.to_json()),
        progress,
    })
    .await;
    bar.finish_and_clear();
    restored
}

/// Asked once each: another store may do at once what this one cannot.
fn once(places: &[Place]) -> Vec<Place> {
    let once = places.iter().map(|place| Place {
        store: place.store.with_retry(RetryPolicy::ONCE),
        layout: place.layout.clone(),
    });
    once.collect()
}

/// The directory, and the nearest above it that exists: a cluster's user owns
/// one of them.
fn near(directory: &Path) -> Vec<&Path> {
    let above = directory.ancestors().skip(1).find(|path| path.is_dir());
    [Some(directory), above].into_iter().flatten().collect()
}

/// PostgreSQL would not start in files of root's.
pub(super) fn refuse_root() -> Result<(), ConfigError> {
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    Err(usage(
        "cluster.user",
        "not set, and neither the directory nor the one above it is another user's than root: \
         PostgreSQL does not run as root; name its user, or run walkeep as that"
            .to_owned(),
    ))
}

fn usage(place: &str, problem: String) -> ConfigError {
    let place = place.to_owned();
    ConfigError::Value { place, problem }
}

pub(super) fn restore_command(
    global: &Global,
    config: &Config,
    plan: Option<&Path>,
) -> anyhow::Result<String> {
    let mut words = command::finding(global, config)?;
    words.extend(["wal", "fetch"].map(str::to_owned));
    if let Some(plan) = plan {
        let plan = plan.to_str().context("the directory's path is not UTF-8")?;
        words.extend(["--plan".to_owned(), plan.to_owned()]);
    }
    command::command(&words, "%f %p")
}
