//! `walkeep init --rearm`: archiving on again, for a cluster that was restored.
//! A restore turned it off, since a copy of a cluster must not archive into
//! the living one's archive before somebody has said that it takes its place.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use futures_util::future::try_join_all;
use serde::Serialize;

use crate::{
    archive::{
        claim, histories,
        place::Place,
        push::push,
        ship::{Goal, ship},
    },
    cluster,
    config::ConfigError,
    fs::Temporary,
    layout::{BackupId, Format, Key},
    postgres::{
        Lsn, SegmentName, SegmentSize, SystemId, TimelineId, WalFileName, history,
        session::{FileSetting, Session, SessionError},
    },
    recovery::{finish::PLAN, settings},
    store::RetryPolicy,
    verbs::{Host, backup, block_on, setup::PROMPT, this_cluster::ThisCluster},
};

const AUTO: &str = "postgresql.auto.conf";

/// A restored cluster that may archive again.
pub(super) struct Rearm {
    data: PathBuf,
    size: SegmentSize,
    /// What is being written; its timeline is the cluster's.
    current: SegmentName,
    /// Where the timeline begins.
    begins_at: Lsn,
    history: WalFileName,
}

/// What was done.
#[derive(Debug, Serialize)]
pub(super) struct Rearmed {
    pub(super) timeline: TimelineId,
    begins_at: Lsn,
    /// The first backup on it; none as long as the server has to be restarted.
    backup: Option<BackupId>,
    /// Whether all that the backup needs is stored.
    usable: bool,
}

impl Rearmed {
    /// Whether its backup cannot be restored yet.
    pub(super) fn waits(&self) -> bool {
        self.backup.is_some() && !self.usable
    }
}

/// Looks whether the cluster may archive, and changes nothing.
pub(super) fn check(host: &Host, cluster: &mut ThisCluster) -> anyhow::Result<Rearm> {
    let session = match &mut cluster.session {
        Ok(session) => session,
        Err(error) => bail!("{error}; start the restored cluster, then run this again"),
    };
    if cluster.in_recovery {
        bail!(
            "the cluster still recovers, or waits at its target: look at it, then end recovery \
             (`SELECT pg_promote()`, or pg_wal_replay_resume() where it is paused) and run this \
             again; a standby is not rearmed, its primary archives"
        );
    }
    let data = data_directory(host, session.identity()?.data_directory)?;
    let current = session.current_segment()?;
    let timeline = current.timeline;
    let history = WalFileName::History(timeline);
    let path = data.join("pg_wal").join(history.to_string());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => bail!(
            "the cluster is on timeline {timeline}, and there is no \"{}\" ({error}): it has no \
             timeline of its own, and what it writes would go under the names of the cluster that \
             it is a copy of; restore again, and let it recover (recovery.signal)",
            path.display()
        ),
    };
    let ancestors = history::parse(&text)?;
    let begins_at = ancestors.last().map(|last| last.left_at);
    let begins_at = begins_at.with_context(|| format!("\"{history}\" names no ancestor"))?;
    warn_of_others(cluster.identity.system_id, &data);
    let rearm = Rearm {
        data,
        size: cluster.identity.segment_size,
        current,
        begins_at,
        history,
    };
    rearm.check_staging(host)?;
    let archived = block_on(async {
        let places = host.places(PROMPT)?;
        let checks = places.iter();
        let checks =
            checks.map(|place| rearm.check_store(place, cluster.identity.system_id, &text));
        Ok(try_join_all(checks).await?.into_iter().flatten().max())
    })?;
    // Asked after the stores: a busy cluster goes on meanwhile.
    let current = session.current_segment()?;
    if let Some(archived) = archived.filter(|archived| *archived > current) {
        bail!(
            "\"{archived}\" is archived, and this cluster writes \"{current}\": another server \
             archives on the same timeline; stop that one, and restore again"
        );
    }
    Ok(Rearm { current, ..rearm })
}

/// The server's own: a copy has the identity of the cluster that it is a copy of.
fn data_directory(host: &Host, server: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let configured = host.config.cluster.data_directory.clone();
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    if let Some((configured, server)) = configured.as_ref().zip(server.as_ref())
        && real(configured) != real(server)
    {
        let problem = format!(
            "it is \"{}\", and the server of cluster.connection runs in \"{}\": correct it first",
            configured.display(),
            server.display()
        );
        let place = "cluster.data_directory".to_owned();
        return Err(ConfigError::Value { place, problem }.into());
    }
    let data = server.or(configured);
    data.context("the data directory is not known: name it in cluster.data_directory")
}

/// Two servers of one cluster, each with the same archive, are what a restore
/// must not end in.
fn warn_of_others(ours: SystemId, data: &Path) {
    let here = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let others = cluster::running().into_iter().filter(|server| {
        let identity = cluster::read_identity(&server.data_directory);
        server.data_directory != here && identity.is_ok_and(|it| it.system_id == ours)
    });
    for server in others {
        tracing::warn!(
            "another server of this cluster runs here, in \"{}\" (process {}): if that is the one \
             that this one replaces, stop it, and see that it does not start again",
            server.data_directory.display(),
            server.pid
        );
    }
    tracing::warn!(
        "if the old primary runs anywhere, stop it now: it would go on archiving its own timeline \
         into this archive, and whoever is connected to it loses what they write"
    );
}

impl Rearm {
    fn timeline(&self) -> TimelineId {
        self.current.timeline
    }

    /// A host that only restored has none yet.
    fn check_staging(&self, host: &Host) -> anyhow::Result<()> {
        let Ok(staging) = host.staging() else {
            return Ok(());
        };
        let timelines = staging
            .files()?
            .into_iter()
            .map(|file| file.name.timeline());
        match timelines.max().filter(|newest| *newest > self.timeline()) {
            Some(newest) => Err(self.newer(newest, "the staging directory")),
            None => Ok(()),
        }
    }

    fn newer(&self, newest: TimelineId, place: &str) -> anyhow::Error {
        anyhow!(
            "{place} has timeline {newest}, and this cluster is on {}: another cluster was restored \
             since, and archives; stop that one and restore this one anew, or leave this one be",
            self.timeline()
        )
    }

    /// The timeline must be this cluster's alone: nobody's yet, or begun in the
    /// same way. Gives a segment behind the current one, if there is one.
    async fn check_store(
        &self,
        place: &Place,
        ours: SystemId,
        text: &str,
    ) -> anyhow::Result<Option<SegmentName>> {
        let timeline = self.timeline();
        let name = format!("store \"{}\"", place.name());
        let generations = claim::known_generations(place).await?;
        let mine = generations.iter().find(|one| one.system_identifier == ours);
        let Some(generation) = mine.map(|facts| facts.generation) else {
            bail!("{name} has no archive of this cluster; `walkeep init` makes one");
        };
        // PostgreSQL takes the first number that is free (`findNewestTimeLine`).
        let next = TimelineId(timeline.0 + 1);
        let prefix = place.layout.timeline_prefix(generation, next);
        if place.store.list(&prefix, None).first().await?.is_some() {
            return Err(self.newer(next, &name));
        }
        let prefix = place.layout.timeline_prefix(generation, timeline);
        let begun = place.store.list(&prefix, None).first().await?.is_some();
        let known = histories::text(place, generation, timeline).await;
        let known = known.map_err(|reason| anyhow!("read {} in {name}: {reason}", self.history))?;
        let is_own = match known {
            Some(known) => known == *text,
            None => !begun,
        };
        if !is_own {
            bail!(
                "{name} has another timeline {timeline}: another cluster was restored from this \
                 archive before, and archives. Restore this one again: it gets a number of its own"
            );
        }
        let current = WalFileName::Segment(self.current);
        let current = Format::ALL.map(|format| place.key(generation, current, format));
        let after = current.iter().max().map(String::as_str);
        let later = place.store.list(&prefix, after).first().await?;
        let later = later.and_then(|object| place.layout.parse(&object.key));
        Ok(match later {
            Some(Key::Wal(_, WalFileName::Segment(later), _)) => Some(later),
            _ => None,
        })
    }

    /// Takes the settings of the restore back, so that those from before it
    /// work again.
    pub(super) fn take_back(&self, session: &mut Session) -> anyhow::Result<()> {
        let path = self.data.join(AUTO);
        let reading = || format!("read \"{}\"", path.display());
        let text = fs::read_to_string(&path).with_context(reading)?;
        let kept = settings::without_block(&text);
        if kept != text {
            let mode = fs::metadata(&path)
                .with_context(reading)?
                .permissions()
                .mode();
            let written = || {
                let mut temporary = Temporary::beside(&path)?;
                let permissions = fs::Permissions::from_mode(mode & 0o777);
                temporary.file().set_permissions(permissions)?;
                temporary.file().write_all(kept.as_bytes())?;
                temporary.keep(&path)
            };
            written().with_context(|| format!("write \"{}\"", path.display()))?;
        }
        // ALTER SYSTEM takes the marks away that it stands between.
        self.reset(session)?;
        session.reload()?;
        Ok(())
    }

    fn reset(&self, session: &mut Session) -> Result<(), SessionError> {
        let plan = self.data.join(PLAN);
        let plan = plan.to_string_lossy();
        let lines = session.file_settings(&["restore_command"])?;
        let is_ours = |line: &FileSetting| line.is_auto() && line.value.contains(&*plan);
        if lines.iter().any(is_ours) {
            for name in settings::RECOVERY {
                session.alter_system(name, None)?;
            }
        }
        Ok(())
    }

    /// Archives the timeline's history file, which claims its number, and what
    /// was written on it. With `archives`, when PostgreSQL does so by itself
    /// again, takes a backup.
    pub(super) fn finish(&self, host: &Host, archives: bool) -> anyhow::Result<Rearmed> {
        let staging = host.staging()?;
        let wal = self.data.join("pg_wal");
        let most = host.config.staging.max_size;
        push(&staging, &wal.join(self.history.to_string()), most)?;
        // PostgreSQL does not archive what it wrote while archiving was off, and
        // removes it at its next checkpoints.
        let written = self.begins_at..self.current.start(self.size).unwrap_or_default();
        for number in self.size.numbers(&written) {
            let segment = SegmentName::numbered(number, self.timeline(), self.size);
            let path = wal.join(segment.to_string());
            if segment < self.current && path.exists() {
                push(&staging, &path, most)?;
            }
        }
        block_on(async {
            let shipping = host.shipping(RetryPolicy::default())?;
            Ok(ship(&shipping, Goal::Everything).await?)
        })?;
        if !host.json {
            writeln!(
                std::io::stdout(),
                "timeline  {}, which begins at {}, is this cluster's; its history is archived",
                self.timeline(),
                self.begins_at
            )?;
        }
        let mut rearmed = Rearmed {
            timeline: self.timeline(),
            begins_at: self.begins_at,
            backup: None,
            usable: false,
        };
        if archives {
            let (taken, usable) = backup::create(host, false)?;
            rearmed.backup = Some(taken.manifest.id);
            rearmed.usable = usable;
        } else if !host.json {
            writeln!(
                std::io::stdout(),
                "next      restart PostgreSQL, then run `walkeep init --rearm` again: it takes the \
                 backup that archiving begins with"
            )?;
        }
        Ok(rearmed)
    }
}
