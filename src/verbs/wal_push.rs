//! `walkeep wal push %p`.

use std::path::Path;

use super::Host;
use crate::archive::push::{Pushed, push};

pub(super) fn run(host: &Host, path: &Path) -> anyhow::Result<u8> {
    let staging = host.staging()?;
    match push(&staging, path, host.config.staging.max_size)? {
        Pushed::Staged {
            quarantined: Some(aside),
        } => {
            tracing::warn!(
                "a staged file of that name was not valid; it is in \"{}\"",
                aside.display()
            );
        }
        Pushed::Staged { quarantined: None } | Pushed::AlreadyStaged | Pushed::AlreadyShipped => {}
    }
    Ok(0)
}
