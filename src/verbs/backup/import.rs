//! `walkeep backup import`: what `pg_basebackup` has taken becomes a backup
//! like any other, with the WAL that it needs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{
    Source, answer, settle, store, threads,
    wal::{Needed, is_stored},
};
use crate::{
    archive::{
        push::{PushError, Pushed, push},
        ship::{Goal, ship},
        staging::Staging,
    },
    backup::{import::BaseBackup, take::Origin},
    postgres::WalFileName,
    store::RetryPolicy,
    verbs::{Host, block_on, counted, setup::PROMPT},
};

pub(in crate::verbs) fn run_import(host: &Host, path: &Path) -> anyhow::Result<u8> {
    let staging = host.staging()?;
    let path = std::path::absolute(path).context("read the working directory")?;
    let backup = BaseBackup::open(
        &path,
        &host.config.drill.scratch,
        staging.owner(),
        threads(),
    )?;
    // Before anything is stored: without it the backup would be none.
    let wal = find_wal(host, &staging, &backup)?;
    let source = Source {
        major: backup.major,
        data: backup.data.clone(),
        full: false,
    };
    let taken = store(host, &staging, source, Origin::Taken(&backup))?;
    for path in &wal {
        send(host, &staging, path)?;
    }
    if !wal.is_empty() {
        let count = counted(wal.len() as u64, "file", "files");
        tracing::info!("{count} of WAL came with the backup, and were lacking in the archive");
    }
    for place in &backup.displaced {
        tracing::warn!(
            "a tablespace lies in \"{0}\", where pg_basebackup put it: restore with \
             --tablespace {0}=NEW",
            place.display()
        );
    }
    let usable = settle(host, &taken)?;
    answer(host, &taken, usable)
}

/// The files of the WAL that the backup needs, the archive lacks and the
/// backup has. Fails where neither has one.
fn find_wal(host: &Host, staging: &Staging, backup: &BaseBackup) -> anyhow::Result<Vec<PathBuf>> {
    let (start, stop) = backup.needs();
    let needed = Needed {
        generation: staging.marker().generation,
        timeline: backup.timeline,
        size: staging.owner().segment_size,
        wal: start..stop,
    };
    let history = backup.wal.history.as_ref();
    let (lacking, lacks_history) = block_on(async {
        let places = host.places(PROMPT)?;
        let lacks_history = match history {
            Some((name, _)) => !is_stored(&places, needed.generation, *name).await?,
            None => false,
        };
        Ok((needed.missing(&places).await?, lacks_history))
    })?;
    let mut wal = Vec::new();
    wal.extend(
        history
            .filter(|_| lacks_history)
            .map(|(_, path)| path.clone()),
    );
    for segment in lacking {
        if staging.file(WalFileName::Segment(segment))?.is_some() {
            continue;
        }
        let Some(path) = backup.wal.find(segment) else {
            bail!(
                "the backup needs \"{segment}\" (its WAL goes from {start} to {stop}), which neither \
                 the archive nor the backup has whole: archive it with `walkeep wal push`, or take \
                 a backup anew with `walkeep backup create`"
            );
        };
        wal.push(path.to_owned());
    }
    Ok(wal)
}

/// Stages a file, after what is staged has been shipped where there is no room.
fn send(host: &Host, staging: &Staging, path: &Path) -> anyhow::Result<()> {
    let most = host.config.staging.max_size;
    let sent: Result<Pushed, PushError> = match push(staging, path, most) {
        Err(PushError::Full { .. }) => {
            block_on(async {
                let shipping = host.shipping(RetryPolicy::default())?;
                Ok(ship(&shipping, Goal::Everything).await?)
            })?;
            push(staging, path, most)
        }
        sent => sent,
    };
    sent?;
    Ok(())
}
