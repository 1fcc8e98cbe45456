//! `walkeep wal push %p`.

use std::path::Path;

use anyhow::bail;

use super::{Host, block_on};
use crate::{
    archive::{
        ask::{self, Answer, Ask, Task},
        notes::Notes,
        push::{Pushed, name_of, push},
        ship::{self, Held},
        staging::Staging,
    },
    config::Acknowledge,
    postgres::WalFileName,
    store::RetryPolicy,
    trail::Deed,
};

pub(super) fn run(host: &Host, path: &Path) -> anyhow::Result<u8> {
    let staging = host.staging()?;
    let notes = Notes::of_push(staging.root());
    let result = archive(host, &staging, path);
    // Of what PostgreSQL does not archive nobody has to be told.
    match (&result, name_of(path)) {
        (Ok(()), _) => notes.clear(),
        (Err(error), Ok(name)) => notes.leave(&name.to_string(), format!("{error:#}")),
        (Err(_), Err(_)) => {}
    }
    result.map(|()| 0)
}

fn archive(host: &Host, staging: &Staging, path: &Path) -> anyhow::Result<()> {
    let pushed = push(staging, path, host.config.staging.max_size)?;
    if let Pushed::Staged {
        quarantined: Some(aside),
    } = &pushed
    {
        tracing::warn!(
            "a staged file of that name was not valid; it is in \"{}\"",
            aside.display()
        );
    }
    if let Pushed::Staged { .. } = &pushed {
        let file = name_of(path)?;
        host.trail().note(Deed::Pushed { file });
    }
    let copies = match host.config.staging.acknowledge {
        Acknowledge::Staged => return Ok(()),
        Acknowledge::OneStore => 1,
        Acknowledge::AllStores => host.config.stores.len(),
    };
    if pushed != Pushed::AlreadyShipped {
        confirm(host, name_of(path)?, copies)?;
    }
    Ok(())
}

/// Waits until so many stores hold the file: by the daemon, which may have
/// credentials that PostgreSQL's commands have not, or without one.
fn confirm(host: &Host, name: WalFileName, copies: usize) -> anyhow::Result<()> {
    let ask = Ask {
        archive: ask::archive(&host.config.stores),
        task: Task::Ship { file: name, copies },
    };
    let heard = ask::ask(host.staging_path()?, &ask);
    let held = match heard.map(|heard| heard.answer) {
        Some(Answer::Held { copies, problems }) => Held { copies, problems },
        Some(Answer::Failed { reason }) => bail!("{reason}"),
        _ => block_on(async {
            let shipping = host.shipping(RetryPolicy::default())?;
            Ok(ship::confirm(&shipping, name, copies).await?)
        })?,
    };
    if held.copies >= copies {
        return Ok(());
    }
    bail!(
        "\"{name}\" is staged, but in {} of {copies} stores that `staging.acknowledge` asks \
         for; PostgreSQL asks again ({})",
        held.copies,
        held.problems.join("; ")
    )
}
