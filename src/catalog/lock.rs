//! What processes wait for each other on.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::CatalogError;
use crate::fs;

/// The lock that a transaction holds: `flock` on a file of its own, as the
/// catalog's may be renamed. The system releases it when the process dies.
pub(super) struct Lock(File);

impl Lock {
    /// Waits until nobody writes.
    pub(super) fn shared(path: &Path) -> Result<Self, CatalogError> {
        Self::take(lock_file(path), File::lock_shared)
    }

    /// Waits until nobody reads or writes.
    pub(super) fn exclusive(path: &Path) -> Result<Self, CatalogError> {
        Self::take(lock_file(path), File::lock)
    }

    fn take(path: PathBuf, lock: fn(&File) -> io::Result<()>) -> Result<Self, CatalogError> {
        let failed = |operation| {
            let path = path.clone();
            move |source| CatalogError::Io {
                operation,
                path,
                source,
            }
        };
        let file = fs::open_shared(OpenOptions::new().read(true).write(true), &path)
            .map_err(failed("open lock file"))?;
        loop {
            match lock(&file) {
                Ok(()) => return Ok(Lock(file)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("lock")(error)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to closing: a child that is being started holds a copy of
        // the descriptor until its exec, and with it the lock.
        let _ = self.0.unlock();
    }
}

fn lock_file(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}
