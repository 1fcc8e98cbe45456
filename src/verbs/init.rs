//! `walkeep init`: the configuration, the staging directory, the stores, and
//! the settings that PostgreSQL archives by.

mod bind;
mod config_file;
mod environment;
mod output;
mod rearm;
mod settings;
mod template;

use anyhow::Context;

use self::{
    config_file::ConfigFile,
    output::Outcome,
    rearm::Rearmed,
    settings::{Current, Leftover, State, Wanted},
};
use super::{Host, NO, command, this_cluster::ThisCluster};
use crate::{
    cli::{Global, Init},
    config::{Config, ConfigError},
    postgres::session::Session,
    privileges,
    trail::Deed,
};

pub(super) fn run(global: &Global, args: &Init) -> anyhow::Result<u8> {
    let file = config_file::ensure(global, args)?;
    output::tell_file(&file);
    let config = load(global, &file)?;
    become_user(&config, &file)?;
    warn_of_other_user(&config);

    let host = Host {
        config,
        json: global.json,
        quiet: global.quiet,
    };
    let mut cluster = ThisCluster::find(&host.config)?;
    let rearm = args.rearm.then(|| rearm::check(&host, &mut cluster));
    let rearm = rearm.transpose()?;
    let bound = bind::bind(&host, &cluster.identity, args.upgraded)?;
    host.trail().note(Deed::Initialized {
        generation: bound.generation,
        system_identifier: cluster.identity.system_id,
    });
    let arguments = command::finding(global, &host.config)?;
    let command = command::command(&arguments, "wal push %p")?;
    let change = match &mut cluster.session {
        Ok(session) => {
            if let Some(rearm) = &rearm {
                rearm.take_back(session)?;
            }
            change(session, args, &command)?
        }
        Err(_) => Change::unasked(&command),
    };
    let mut outcome = Outcome {
        host: &host,
        file: &file,
        cluster: &cluster,
        bound: &bound,
        change: &change,
        rearmed: None,
    };
    if !host.json {
        outcome.print()?;
    }
    if let Some(rearm) = rearm.filter(|_| change.refusal.is_none()) {
        let rearmed = rearm.finish(&host, change.archives())?;
        host.trail().note(Deed::Rearmed {
            timeline: rearmed.timeline,
        });
        outcome.rearmed = Some(rearmed);
    }
    if host.json {
        outcome.print()?;
    }
    if let Some(refusal) = &change.refusal {
        anyhow::bail!("{refusal}");
    }
    if let (Err(error), true) = (&cluster.session, args.apply || args.reset_auto_conf) {
        anyhow::bail!("{error}; the settings were not changed");
    }
    let waits = outcome.rearmed.as_ref().is_some_and(Rearmed::waits);
    Ok(if waits { NO } else { 0 })
}

fn load(global: &Global, file: &ConfigFile) -> anyhow::Result<Config> {
    let config = Config::load(global.config.as_deref(), global.cluster.as_deref());
    let path = file.path.as_deref().filter(|_| file.written);
    Ok(match path {
        Some(path) => config.with_context(|| {
            format!(
                "complete \"{}\", then run `walkeep init` again",
                path.display()
            )
        })?,
        None => config?,
    })
}

/// Started by root, makes the directories and goes on as the cluster's user.
fn become_user(config: &Config, file: &ConfigFile) -> anyhow::Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    let directories = [&config.cluster.data_directory, &config.staging.path];
    let directories: Vec<_> = directories.into_iter().flatten().map(|it| &**it).collect();
    let user = privileges::successor(config.cluster.user.as_deref(), &directories)?;
    let user = user.ok_or_else(|| ConfigError::Value {
        place: "cluster.user".to_owned(),
        problem: "not set, and no data directory tells: name the user that PostgreSQL runs as"
            .to_owned(),
    })?;
    config_file::prepare(config, &user)?;
    let told = [(config_file::WROTE, "1")];
    let told = if file.written { &told[..] } else { &[] };
    Err(privileges::restart_as(user, told).into())
}

/// What another user makes here, PostgreSQL may not be allowed to write to.
fn warn_of_other_user(config: &Config) {
    use std::os::unix::fs::MetadataExt;
    let data = config.cluster.data_directory.as_deref();
    let owner = data.and_then(|data| std::fs::metadata(data).ok());
    let Some(owner) = owner.map(|metadata| metadata.uid()) else {
        return;
    };
    if owner != nix::unistd::geteuid().as_raw() {
        tracing::warn!(
            "this is not the user that PostgreSQL runs as: see that it may write to staging, or run \
             `walkeep init` as root"
        );
    }
}

/// What became of PostgreSQL's settings.
struct Change {
    wanted: Vec<Wanted>,
    leftovers: Vec<Leftover>,
    /// Where the settings are kept, if not by `ALTER SYSTEM`.
    managed: Option<std::path::PathBuf>,
    /// What was changed: name, value before, value now (none: reset).
    changed: Vec<(String, String, Option<String>)>,
    /// Why not what was asked for.
    refusal: Option<String>,
}

impl Change {
    /// Whether the server archives through walkeep now.
    fn archives(&self) -> bool {
        let works = |one: &Wanted| one.state == State::InEffect;
        self.wanted.iter().all(works)
    }

    fn unasked(command: &str) -> Self {
        Change {
            wanted: settings::wanted(command, None),
            leftovers: Vec::new(),
            managed: None,
            changed: Vec::new(),
            refusal: None,
        }
    }
}

fn change(session: &mut Session, args: &Init, command: &str) -> anyhow::Result<Change> {
    let before = Current::ask(session)?;
    let managed = settings::managed(&session.config_file()?);
    let mut changed = Vec::new();
    let mut refusal = None;
    if args.reset_auto_conf {
        for (name, value) in before.altered() {
            session.alter_system(&name, None)?;
            changed.push((name, value, None));
        }
    } else if args.rearm && managed.is_some() {
        // What it says works again, as the restore's own is taken back.
    } else if args.apply
        && let Some(target) = &managed
    {
        refusal = Some(format!(
            "--apply: postgresql.conf leads to \"{}\", which is managed elsewhere: set the lines \
             above there; ALTER SYSTEM would hide them",
            target.display()
        ));
    } else if args.apply || args.rearm {
        for one in settings::wanted(command, Some(&before)) {
            match one.state {
                State::Differs {
                    command_line: true, ..
                } => {
                    refusal = Some(format!(
                        "{} stands on the server's command line, which wins: change it there",
                        one.name
                    ));
                }
                State::Differs { is, .. } => {
                    session.alter_system(one.name, Some(&one.value))?;
                    changed.push((one.name.to_owned(), is, Some(one.value)));
                }
                State::InEffect | State::AfterRestart | State::Unknown => {}
            }
        }
    }
    if !changed.is_empty() {
        session.reload()?;
    }
    let after = Current::ask(session)?;
    let wanted = settings::wanted(command, Some(&after));
    // What --apply wrote hides an older line of postgresql.conf on purpose.
    let is_wrong = |name: &str| {
        let differs = |one: &Wanted| matches!(one.state, State::Differs { .. });
        wanted.iter().any(|one| one.name == name && differs(one))
    };
    let mut leftovers = after.leftovers();
    leftovers.retain(|left| managed.is_some() || is_wrong(&left.name));
    Ok(Change {
        wanted,
        leftovers,
        managed,
        changed,
        refusal,
    })
}
