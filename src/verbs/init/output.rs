//! What `init` says: the result on stdout, the story on stderr.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    Change,
    bind::Bound,
    config_file::ConfigFile,
    rearm::Rearmed,
    settings::{State, Wanted},
};
use crate::{
    archive::claim::Claimed,
    config::Acknowledge,
    verbs::{Host, print_json, this_cluster::ThisCluster},
};

/// Everything that was found and done.
pub(super) struct Outcome<'a> {
    pub(super) host: &'a Host,
    pub(super) file: &'a ConfigFile,
    pub(super) cluster: &'a ThisCluster,
    pub(super) bound: &'a Bound,
    pub(super) change: &'a Change,
    /// What `--rearm` did, once it has.
    pub(super) rearmed: Option<Rearmed>,
}

/// Says what became of the configuration, before anything else can fail.
pub(super) fn tell_file(file: &ConfigFile) {
    // The process that root's becomes has heard it already.
    if std::env::var_os(super::config_file::WROTE).is_some() {
        return;
    }
    if let Some(path) = file.path.as_deref().filter(|_| file.written) {
        tracing::info!("wrote \"{}\"", path.display());
    }
    let Some(found) = &file.found else { return };
    tracing::info!("from the environment: {}", found.used.join(", "));
    for (name, reason) in &found.ignored {
        tracing::warn!("{name} is ignored: {reason}");
    }
}

impl Outcome<'_> {
    pub(super) fn print(&self) -> anyhow::Result<()> {
        if self.host.json {
            return print_json(&self.json());
        }
        let mut out = io::stdout().lock();
        self.bound(&mut out)?;
        if let Err(error) = &self.cluster.session {
            writeln!(out, "server    not asked: {error}")?;
        }
        self.settings(&mut out)?;
        writeln!(out, "\n{}", lost_with_the_host(self.acknowledge()))?;
        Ok(())
    }

    fn bound(&self, out: &mut impl Write) -> io::Result<()> {
        let Bound {
            generation,
            staging: (path, made),
            stores,
        } = self.bound;
        let identity = &self.cluster.identity;
        writeln!(
            out,
            "cluster   {}: PostgreSQL {}, system identifier {}, segments of {}, generation {}",
            self.host.config.cluster.name,
            identity.postgres_major,
            identity.system_id,
            identity.segment_size,
            generation
        )?;
        let made = if *made { "made" } else { "is this cluster's" };
        writeln!(out, "staging   \"{}\" {made}", path.display())?;
        for store in stores {
            let claimed = match store.claimed {
                Claimed::Now => "claimed",
                Claimed::Before => "is this cluster's",
            };
            writeln!(out, "store     {}: \"{}\" {claimed}", store.name, store.key)?;
            if store.unclaimed_wal {
                writeln!(
                    out,
                    "          there is WAL of an older set-up: `walkeep catalog rebuild` adopts it"
                )?;
            }
        }
        Ok(())
    }

    fn settings(&self, out: &mut impl Write) -> io::Result<()> {
        let change = self.change;
        for (name, before, now) in &change.changed {
            match now {
                Some(now) => writeln!(out, "set       {name} = '{now}' (was '{before}')")?,
                None => writeln!(
                    out,
                    "reset     {name} (postgresql.auto.conf had '{before}')"
                )?,
            }
        }
        if change.changed.is_empty() {
            for one in &change.wanted {
                if let State::Differs { is, .. } = &one.state
                    && one.name == "archive_command"
                    && !is.is_empty()
                {
                    writeln!(out, "replaces  archive_command = '{is}'")?;
                }
            }
        }
        for left in &change.leftovers {
            writeln!(
                out,
                "hidden    {} = '{}' of \"{}\" is hidden by '{}' in postgresql.auto.conf\n          \
                 `walkeep init --reset-auto-conf` resets that",
                left.name,
                left.hidden,
                left.hidden_in.display(),
                left.value
            )?;
        }
        if !self.is_to_set() && change.refusal.is_none() {
            return match self.restart_for().as_slice() {
                [] => writeln!(out, "settings  PostgreSQL archives through walkeep"),
                names => writeln!(
                    out,
                    "settings  restart PostgreSQL for {} to work",
                    names.join(" and ")
                ),
            };
        }
        writeln!(out, "\nFor postgresql.conf:\n")?;
        for one in &change.wanted {
            writeln!(out, "{}", conf_line(one))?;
        }
        match &change.managed {
            Some(target) => writeln!(
                out,
                "\npostgresql.conf is managed (\"{}\"): set these there, then restart PostgreSQL.",
                target.display()
            ),
            None if self.cluster.session.is_err() => {
                writeln!(out, "\nStart PostgreSQL with these, or restart it.")
            }
            None => writeln!(
                out,
                "\n`walkeep init --apply` sets them by ALTER SYSTEM. archive_mode and wal_level \
                 need a restart."
            ),
        }
    }

    fn is_to_set(&self) -> bool {
        let open = |one: &Wanted| matches!(one.state, State::Differs { .. } | State::Unknown);
        self.change.wanted.iter().any(open)
    }

    fn restart_for(&self) -> Vec<&str> {
        let wanted = self.change.wanted.iter();
        wanted
            .filter(|one| one.state == State::AfterRestart)
            .map(|one| one.name)
            .collect()
    }

    fn acknowledge(&self) -> Acknowledge {
        self.host.config.staging.acknowledge
    }

    fn json(&self) -> Value {
        let Bound {
            generation,
            staging: (path, made),
            stores,
        } = self.bound;
        let identity = &self.cluster.identity;
        let stores = list(stores, |store| {
            json!({
                "name": store.name,
                "key": store.key,
                "claimed": store.claimed == Claimed::Now,
                "unclaimed_wal": store.unclaimed_wal,
            })
        });
        let settings = list(&self.change.wanted, |one| {
            let (state, is) = match &one.state {
                State::InEffect => ("in-effect", None),
                State::AfterRestart => ("after-restart", None),
                State::Differs { is, .. } => ("differs", Some(is)),
                State::Unknown => ("unknown", None),
            };
            json!({ "name": one.name, "value": one.value, "state": state, "is": is })
        });
        let changed = list(
            &self.change.changed,
            |(name, was, now)| json!({"name": name, "was": was, "now": now}),
        );
        let leftovers = list(&self.change.leftovers, |left| {
            json!({
                "name": left.name,
                "value": left.value,
                "hidden": left.hidden,
                "hidden_in": left.hidden_in,
            })
        });
        let ignored = self.file.found.iter().flat_map(|found| &found.ignored);
        let ignored = list(ignored, |(name, why)| json!({"name": name, "reason": why}));
        json!({
            "config": { "path": self.file.path, "written": self.file.written },
            "ignored_variables": ignored,
            "cluster": {
                "name": self.host.config.cluster.name,
                "postgres_major": identity.postgres_major,
                "system_identifier": identity.system_id,
                "segment_size": identity.segment_size,
                "generation": generation,
                "server_asked": self.cluster.session.is_ok(),
            },
            "staging": { "path": path, "made": made },
            "stores": stores,
            "settings": settings,
            "changed": changed,
            "leftovers": leftovers,
            "managed": self.change.managed,
            "rearmed": self.rearmed,
            "restart_needed": !self.restart_for().is_empty(),
            "acknowledge": match self.acknowledge() {
                Acknowledge::Staged => "staged",
                Acknowledge::OneStore => "one-store",
                Acknowledge::AllStores => "all-stores",
            },
        })
    }
}

/// A JSON array, an entry for each item.
fn list<T>(items: impl IntoIterator<Item = T>, entry: impl Fn(T) -> Value) -> Value {
    items.into_iter().map(entry).collect()
}

/// As a line of postgresql.conf.
fn conf_line(one: &Wanted) -> String {
    match one.name {
        "archive_command" => format!("{} = '{}'", one.name, one.value.replace('\'', "''")),
        name => format!("{name} = {}", one.value),
    }
}

fn lost_with_the_host(acknowledge: Acknowledge) -> &'static str {
    match acknowledge {
        Acknowledge::Staged => {
            "If this host is lost, what staging holds and no store has yet is lost with it\n\
             (acknowledge = \"staged\"); one-store and all-stores make PostgreSQL wait for the stores."
        }
        Acknowledge::OneStore => {
            "If this host is lost, what PostgreSQL has not archived yet is lost with it; the rest\n\
             is in one store at least (acknowledge = \"one-store\")."
        }
        Acknowledge::AllStores => {
            "If this host is lost, what PostgreSQL has not archived yet is lost with it; the rest\n\
             is in every store (acknowledge = \"all-stores\")."
        }
    }
}
