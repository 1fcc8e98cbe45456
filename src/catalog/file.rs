//! The catalog's file: opened by redb and closed, begun where there is none,
//! and set aside where this program cannot use it.

use std::{
    any::Any,
    ffi::OsString,
    fs::{File, OpenOptions, remove_file},
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    TableError,
};

use super::{
    Beginning, CatalogError, Cause, Reader,
    lock::Lock,
    rows::{self, BEGINNING, META},
};
use crate::fs;

/// redb's page cache in bytes. Its default is 1 GiB; a transaction of ours
/// reads some dozen pages of 4 KiB, and 64 KiB to 4 MiB made no difference
/// that could be measured over 100,000 records.
const CACHE: usize = 256 << 10;

/// How long to wait for a program that opened the file without our lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// What making the catalog usable took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: it was there.
    Existing,
    /// A new one was begun, empty; the cause says why, and where the one
    /// before is, if there was one.
    Begun(Beginning),
}

/// redb, open to be read.
pub(super) enum Source {
    /// Beside other readers.
    Shared(ReadOnlyDatabase),
    /// Alone, as it was just repaired.
    Repaired(Database),
}

impl Source {
    /// The catalog as it is now.
    pub(super) fn reader(&self) -> Result<Reader, CatalogError> {
        let transaction = match self {
            Source::Shared(redb) => redb.begin_read()?,
            Source::Repaired(redb) => redb.begin_read()?,
        };
        match version(&transaction)? {
            super::VERSION => Ok(Reader::new(Some(transaction))),
            version => Err(newer(version)),
        }
    }
}

/// Opens what is there, beside other readers, with the lock it needs. `None`
/// where there is no catalog.
pub(super) fn open_to_read(path: &Path) -> Result<Option<(Source, Lock)>, CatalogError> {
    // Where there is nothing to read, reading leaves no lock file behind.
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let lock = Lock::shared(path)?;
    match open(|| builder().open_read_only(path)) {
        Ok(redb) => Ok(redb.map(|redb| (Source::Shared(redb), lock))),
        // A process died while it wrote. redb repairs a file that it may
        // write, so this one reader waits for the others.
        Err(CatalogError::Redb(error)) if matches!(*error, redb::Error::RepairAborted) => {
            drop(lock);
            let lock = Lock::exclusive(path)?;
            let redb = open(|| builder().open(path))?;
            Ok(redb.map(|redb| (Source::Repaired(redb), lock)))
        }
        Err(error) => Err(error),
    }
}

/// Opens what is there, or begins a new catalog where there is none that this
/// program can use.
pub(super) fn open_to_write(path: &Path, lock: &Lock) -> Result<(Database, Opened), CatalogError> {
    match open_existing(path) {
        Ok(Some(redb)) => Ok((redb, Opened::Existing)),
        Ok(None) => begin(path, Cause::Missing),
        Err(CatalogError::Newer { version, .. }) => {
            let set_aside = set_aside(path, &format!("v{version}"))?;
            begin(path, Cause::Newer { version, set_aside })
        }
        Err(error) => match error.about(path) {
            CatalogError::Unreadable { reason, .. } => begin_anew(path, lock, reason),
            error => Err(error),
        },
    }
}

/// Sets a damaged catalog aside, which must be closed by now, and begins a new
/// one.
pub(super) fn begin_anew(
    path: &Path,
    _lock: &Lock,
    reason: String,
) -> Result<(Database, Opened), CatalogError> {
    let set_aside = set_aside(path, "unreadable")?;
    begin(path, Cause::Unreadable { reason, set_aside })
}

/// Reads every row and every checksum. `Ok` for a whole catalog, and for none.
pub(super) fn check(path: &Path, _lock: &Lock) -> Result<(), CatalogError> {
    let Some(mut redb) = open_existing(path)? else {
        return Ok(());
    };
    let checked = guarded(|| {
        // What redb could repair is right again, whatever it answers.
        redb.check_integrity()?;
        Reader::new(Some(redb.begin_read()?)).check()
    });
    close(redb);
    checked
}

/// Closes redb. Should even that meet damage, the next opening will too.
pub(super) fn close<R>(redb: R) {
    let closed = guarded(|| {
        drop(redb);
        Ok(())
    });
    if let Err(error) = closed {
        tracing::warn!(%error, "close catalog");
    }
}

/// Runs what may panic over a damaged file: redb unwraps some of what it
/// reads. The catalog is an index, and its damage must not keep anything from
/// being archived or restored.
///
/// Unwinding leaves nothing half done that is used afterwards: what `work`
/// opened is dropped with it, and the file is redb's to repair.
pub(super) fn guarded<T>(
    work: impl FnOnce() -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let told = redb::Error::Corrupted(text_of(panic.as_ref()).to_owned());
        Err(CatalogError::Redb(Box::new(told)))
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("redb panicked")
}

/// The catalog of this schema. `None` where there is no file. The version is
/// looked at before redb may write, so that what is set aside is untouched;
/// what a crash left behind has to be repaired before anything can be read.
fn open_existing(path: &Path) -> Result<Option<Database>, CatalogError> {
    if let Ok(Some(redb)) = open(|| builder().open_read_only(path)) {
        close(checked(redb)?);
    }
    open(|| builder().open(path))?.map(checked).transpose()
}

/// `redb` if it holds a catalog of this schema; closed if not.
fn checked<R: ReadableDatabase>(redb: R) -> Result<R, CatalogError> {
    match guarded(|| version(&redb.begin_read()?)) {
        Ok(super::VERSION) => Ok(redb),
        found => {
            close(redb);
            Err(found.map_or_else(|error| error, newer))
        }
    }
}

/// The path is filled in by `about`.
fn newer(version: u32) -> CatalogError {
    CatalogError::Newer {
        path: PathBuf::new(),
        version,
    }
}

/// The schema's version. Anything below 1 and a file without one was not
/// written by walkeep.
fn version(transaction: &ReadTransaction) -> Result<u32, CatalogError> {
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(rows::damaged(META, rows::VERSION, &"there is none"));
        }
        Err(error) => return Err(error.into()),
    };
    match rows::get(&meta, META, rows::VERSION)? {
        Some(version) if version >= 1 => Ok(version),
        Some(_) => Err(rows::damaged(META, rows::VERSION, &"it is 0")),
        None => Err(rows::damaged(META, rows::VERSION, &"there is none")),
    }
}

/// Makes an empty catalog. It gets its name when it is complete, so that a
/// crash leaves either no catalog or a whole one.
fn begin(path: &Path, cause: Cause) -> Result<(Database, Opened), CatalogError> {
    let beginning = Beginning {
        at: Timestamp::now(),
        cause,
    };
    let new = beside(path, ".new");
    let io = |operation| {
        let path = new.clone();
        move |source| CatalogError::Io {
            operation,
            path,
            source,
        }
    };
    match remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(io("remove unfinished catalog")(error));
        }
        _ => {}
    }
    let file = fs::open_shared(OpenOptions::new().read(true).write(true), &new)
        .map_err(io("create catalog"))?;
    write_beginning(file, &beginning).map_err(|error| error.about(&new))?;
    fs::rename(&new, path).map_err(io("rename new catalog"))?;
    match open(|| builder().open(path)).map_err(|error| error.about(path))? {
        Some(redb) => Ok((redb, Opened::Begun(beginning))),
        None => Err(CatalogError::Io {
            operation: "open new catalog",
            path: path.to_owned(),
            source: ErrorKind::NotFound.into(),
        }),
    }
}

fn write_beginning(file: File, beginning: &Beginning) -> Result<(), CatalogError> {
    let redb = builder().create_file(file)?;
    let transaction = redb.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        rows::put(&mut meta, META, rows::VERSION, &super::VERSION)?;
        rows::put(&mut meta, META, BEGINNING, beginning)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Renames the catalog durably to `NAME.WHY.TIME` and says what it is now.
fn set_aside(path: &Path, why: &str) -> Result<PathBuf, CatalogError> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    for count in 1u32.. {
        let again = match count {
            1 => String::new(),
            _ => format!(".{count}"),
        };
        let aside = beside(path, &format!(".{why}.{time}{again}"));
        let renamed = fs::rename_new(path, &aside)
            .and_then(|()| fs::sync_dir(aside.parent().filter(named).unwrap_or(Path::new("."))));
        match renamed {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(CatalogError::Io {
                    operation: "set aside catalog",
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
    unreachable!("four thousand million catalogs were set aside within a second")
}

fn named(directory: &&Path) -> bool {
    !directory.as_os_str().is_empty()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Opens redb; `None` where there is no file. Waits for a moment where somebody
/// has it open who does not know our lock: redb itself never waits.
fn open<R>(open: impl Fn() -> Result<R, DatabaseError>) -> Result<Option<R>, CatalogError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let opened = guarded(|| Ok(open()?));
        let error = match &opened {
            Err(CatalogError::Redb(error)) => error.as_ref(),
            _ => return opened.map(Some),
        };
        match error {
            redb::Error::Io(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            redb::Error::DatabaseAlreadyOpen if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            _ => return opened.map(Some),
        }
    }
}
