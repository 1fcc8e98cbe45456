//! One transaction: lock, open, do, close, unlock.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use redb::Database;

use super::{
    CatalogError, Cause, Opened, Reader, Writer,
    file::{self, Source},
    lock::Lock,
};

/// Asks the catalog at `path`.
pub(super) fn read<T>(
    path: &Path,
    ask: impl FnOnce(&Reader) -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let opened = file::open_to_read(path).map_err(|error| error.about(path))?;
    let Some((redb, lock)) = opened else {
        return ask(&Reader::new(None)).map_err(|error| error.about(path));
    };
    let asked = catch_unwind(AssertUnwindSafe(|| answer(&redb, ask)));
    file::close(redb);
    let result = match asked {
        Ok(result) => result,
        Err(panic) => {
            drop(lock);
            match file::check(path, &Lock::exclusive(path)?) {
                Err(error) => Err(error),
                // The catalog is whole: the panic is the caller's own.
                Ok(()) => resume_unwind(panic),
            }
        }
    };
    result.map_err(|error| error.about(path))
}

fn answer<T>(
    redb: &Source,
    ask: impl FnOnce(&Reader) -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    ask(&redb.reader()?)
}

/// Changes the catalog at `path`.
pub(super) fn write<T>(
    path: &Path,
    change: impl FnOnce(&mut Writer) -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let lock = Lock::exclusive(path)?;
    let (redb, _) = file::open_to_write(path, &lock)?;
    let changed = catch_unwind(AssertUnwindSafe(|| commit(&redb, change)));
    file::close(redb);
    let result = match changed {
        Ok(result) => result,
        Err(panic) => match file::check(path, &lock) {
            Err(error) => Err(error),
            Ok(()) => resume_unwind(panic),
        },
    };
    match result.map_err(|error| error.about(path)) {
        Err(CatalogError::Unreadable { path, reason }) => {
            let (redb, opened) = file::begin_anew(&path, &lock, reason.clone())?;
            file::close(redb);
            Err(was_set_aside(path, opened, reason))
        }
        result => result,
    }
}

fn was_set_aside(path: std::path::PathBuf, opened: Opened, reason: String) -> CatalogError {
    match opened {
        Opened::Begun(beginning) => match beginning.cause {
            Cause::Unreadable { set_aside, .. } | Cause::Newer { set_aside, .. } => {
                CatalogError::SetAside {
                    path,
                    set_aside,
                    reason,
                }
            }
            Cause::Missing => CatalogError::Unreadable { path, reason },
        },
        Opened::Existing => CatalogError::Unreadable { path, reason },
    }
}

fn commit<T>(
    redb: &Database,
    change: impl FnOnce(&mut Writer) -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let transaction = redb.begin_write()?;
    let mut writer = Writer::new(&transaction);
    let result = change(&mut writer).and_then(|value| writer.finish().map(|()| value));
    match result {
        Ok(value) => {
            transaction.commit()?;
            Ok(value)
        }
        Err(error) => {
            // The error that stopped the change is the one to tell.
            let _ = transaction.abort();
            Err(error)
        }
    }
}

/// Makes the catalog at `path` usable, and reads all of it.
pub(super) fn prepare(path: &Path) -> Result<Opened, CatalogError> {
    let lock = Lock::exclusive(path)?;
    let (redb, opened) = file::open_to_write(path, &lock)?;
    file::close(redb);
    match file::check(path, &lock).map_err(|error| error.about(path)) {
        Ok(()) => Ok(opened),
        Err(CatalogError::Unreadable { reason, .. }) => {
            let (redb, opened) = file::begin_anew(path, &lock, reason)?;
            file::close(redb);
            Ok(opened)
        }
        Err(error) => Err(error),
    }
}
