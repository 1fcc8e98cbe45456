//! `walkeep wal push %p`.

use std::{path::Path, time::Duration};

use anyhow::bail;

use super::{Host, block_on};
use crate::{
    archive::{
        push::{Pushed, name_of, push},
        ship::{Goal, ship},
    },
    config::Acknowledge,
    postgres::WalFileName,
    store::RetryPolicy,
    trail::Deed,
};

/// With an acknowledgement from the stores, how long PostgreSQL waits for it
/// in one call. It calls again, and finds the file staged.
const PATIENCE: RetryPolicy = RetryPolicy {
    attempts: 3,
    deadline: Duration::from_secs(20),
    base: Duration::from_secs(1),
    cap: Duration::from_secs(5),
};

pub(super) fn run(host: &Host, path: &Path) -> anyhow::Result<u8> {
    let staging = host.staging()?;
    let pushed = push(&staging, path, host.config.staging.max_size)?;
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
        Acknowledge::Staged => return Ok(0),
        Acknowledge::OneStore => 1,
        Acknowledge::AllStores => host.config.stores.len(),
    };
    if pushed != Pushed::AlreadyShipped {
        confirm(host, name_of(path)?, copies)?;
    }
    Ok(0)
}

/// Waits until so many stores hold the file.
fn confirm(host: &Host, name: WalFileName, copies: usize) -> anyhow::Result<()> {
    let staging = host.staging()?;
    let report = block_on(async {
        let shipping = host.shipping(PATIENCE)?;
        Ok(ship(&shipping, Goal::File { name, copies }).await?)
    })?;
    // Where `ship` ran beside us, it may have been faster: then the receipt
    // or the catalog knows.
    if staging.receipts().find(name)?.is_some() {
        return Ok(());
    }
    let generation = staging.marker().generation;
    let record = host
        .catalog()?
        .read(|reader| reader.file(generation, name))?;
    let held = record.map_or(0, |record| record.stored_in().count());
    if held >= copies {
        return Ok(());
    }
    let reasons = report.problems.join("; ");
    bail!(
        "\"{name}\" is staged, but in {held} of {copies} stores that `staging.acknowledge` asks \
         for; PostgreSQL asks again ({reasons})"
    )
}
