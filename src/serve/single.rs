//! One daemon to a staging directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use anyhow::{Context, bail};

use crate::fs;

/// `flock`ed while a daemon runs. Not a name that PostgreSQL archives.
const NAME: &str = "daemon.lock";

/// The staging directory is this daemon's until it ends, however it ends.
pub(super) struct Single {
    _locked: File,
}

impl Single {
    /// Fails where another daemon runs on `staging`.
    pub(super) fn on(staging: &Path) -> anyhow::Result<Self> {
        let path = staging.join(NAME);
        let file = fs::open_shared(OpenOptions::new().write(true), &path)
            .with_context(|| format!("open \"{}\"", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Single { _locked: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "another `walkeep run` ships \"{}\" already; stop that one first",
                staging.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock \"{}\"", path.display()))
            }
        }
    }
}
