//! Writes that survive a power cut: bytes are fsynced before they get their
//! name, and the directory is fsynced before anyone is told. Everything that
//! walkeep keeps on a disk is written through here; `clippy.toml` bans the
//! standard library's own ways elsewhere.
//!
//! All of it blocks.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the room the ban points to"
)]

mod rotating;
pub mod scattered;
mod scratch;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

pub use rotating::append_rotating;
pub use scratch::Scratch;

/// How much is read, looked at and written at a time by [`copy_sparse`]: it
/// stays in a core's L2 cache, and a hole is never shorter.
const CHUNK: usize = 128 << 10;

/// What the daemon and PostgreSQL's commands both write, by their group.
const SHARED: u32 = 0o660;
/// The set-group-ID bit: what is made in the directory has its group.
const SETGID: u32 = 0o2000;

/// How many files may be written beside one name at a time.
const MOST_BESIDE: u32 = 16;

/// A file that is being written, under a name nobody looks at. It is locked
/// as long as its writer lives, so that [`sweep_temporaries`] can tell a
/// crashed writer's file from a busy one's. Dropped unfinished, it is removed.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Temporary {
    /// Makes, or takes over, `directory/NAME.PID`. What a crashed process of
    /// the same number left there is overwritten.
    pub fn create(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(format!("{name}.{}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&path)?;
        // Whatever the umask: PostgreSQL's commands have 0077, and what they
        // stage is for the daemon to read.
        file.set_permissions(Permissions::from_mode(0o640))?;
        file.lock()?;
        Ok(Temporary {
            path,
            file,
            kept: false,
        })
    }

    /// Makes a file beside `to`, on the same file system, to be renamed to it.
    /// Its name is one of a few (`.NAME.walkeep0` …), so that what a killed
    /// process leaves is overwritten by a later one instead of piling up where
    /// nobody sweeps, as in `pg_wal`. A file that a living writer has is left
    /// alone.
    pub fn beside(to: &Path) -> io::Result<Self> {
        // Some network file systems lock by process: its own writers must not
        // meet.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (directory, name) = split(to)?;
        let first = NEXT.fetch_add(1, Ordering::Relaxed);
        for number in 0..MOST_BESIDE {
            let number = first.wrapping_add(number) % MOST_BESIDE;
            let path = directory.join(format!(".{name}.walkeep{number}"));
            if let Some(file) = try_lock(&path)? {
                file.set_len(0)?;
                return Ok(Temporary {
                    path,
                    file,
                    kept: false,
                });
            }
        }
        let busy = "other processes are writing it";
        Err(io::Error::new(io::ErrorKind::ResourceBusy, busy))
    }

    /// The file, to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is until it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the bytes durable and gives them the name `to`, which must not
    /// exist (`AlreadyExists` otherwise: nothing is replaced).
    pub fn keep_new(mut self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        rename_new(&self.path, to)?;
        self.kept = true;
        sync_parent(to)
    }

    /// Makes the bytes durable and gives them the name `to`, replacing what
    /// has it.
    pub fn keep(mut self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        self.kept = true;
        sync_parent(to)
    }

    /// Gives the bytes the name `to` without making them durable first: for
    /// what is fetched again after a power cut (a segment put before
    /// recovery, a prefetched one).
    pub fn place(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.kept = true;
        Ok(())
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing depends on it: the sweep takes what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the temporaries of crashed writers from `directory` and says how
/// many there were. A file whose writer lives is locked, and left alone.
pub fn sweep_temporaries(directory: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Ok(file) = File::open(&path) else {
            continue;
        };
        if file.metadata()?.is_file() && file.try_lock().is_ok() && is_still(&file, &path) {
            fs::remove_file(&path)?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Opens the file at `path`, made where it is missing, and locks it; `None`
/// where somebody else holds it, or the name went to another file meanwhile.
/// It is held as long as it is open; what is in it stays.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file).filter(|file| names(path, file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Opens the file at `path`, made where it is missing, and then writable for
/// the directory's group whatever the umask: the daemon and PostgreSQL are two
/// users, and both keep the same books.
pub fn open_shared(options: &OpenOptions, path: &Path) -> io::Result<File> {
    loop {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match options.clone().create_new(true).mode(SHARED).open(path) {
            // Made by another process since.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Ok(file) => {
                file.set_permissions(Permissions::from_mode(SHARED))?;
                return Ok(file);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether `path` still names the open `file` and is older than a minute: a
/// writer opens its file a moment before it locks it.
fn is_still(file: &File, path: &Path) -> bool {
    let written = file.metadata().and_then(|metadata| metadata.modified());
    let age = written.ok().and_then(|time| time.elapsed().ok());
    names(path, file) && age.is_some_and(|age| age.as_secs() > 60)
}

/// Whether `path` names the open `file`, and not another one by now.
pub fn names(path: &Path, file: &File) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Writes a small file durably, replacing what has the name.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = split(path)?;
    let mut temporary = Temporary::create(directory, &format!(".{name}.tmp"))?;
    temporary.file().write_all(bytes)?;
    temporary.keep(path)
}

/// Writes a small file durably under a name that must not exist yet
/// (`AlreadyExists` otherwise).
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = split(path)?;
    let mut temporary = Temporary::create(directory, &format!(".{name}.tmp"))?;
    temporary.file().write_all(bytes)?;
    temporary.keep_new(path)
}

/// Replaces a file whose loss costs nothing but time: others see all of the
/// old bytes or all of the new, but nothing is fsynced.
pub fn replace_volatile(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = split(path)?;
    let mut temporary = Temporary::create(directory, &format!(".{name}.tmp"))?;
    temporary.file().write_all(bytes)?;
    temporary.place(path)
}

/// Adds lines to a file, each with its newline, and makes them durable. A
/// reader treats a last line without its newline as not written.
pub fn append_lines(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = open_shared(OpenOptions::new().append(true).read(true), path)?;
    file.lock()?;
    // A line cut short by a power cut must not swallow the next.
    let length = file.metadata()?.len();
    let is_new = length == 0;
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    let separator = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{separator}{lines}").as_bytes())?;
    file.sync_data()?;
    if is_new { sync_parent(path) } else { Ok(()) }
}

/// Renames durably, replacing what has the name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)?;
    sync_parent(from)
}

/// Moves a file without waiting for the disk: for what is fetched again
/// after a power cut. Replaces what has the name.
pub fn place(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Renames to a name that must not exist (`AlreadyExists` otherwise). Not
/// durable by itself.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        // File systems without RENAME_NOREPLACE (NFS among them): a hard link
        // refuses an existing name just as well.
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes `file`'s bytes and its name in the directory durable.
pub fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    sync_parent(path)
}

/// Makes the names in a directory durable.
pub fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes a directory, and those above it that are missing, durably. Fine if
/// it is there already. With the set-group-ID bit in `mode`, those that it makes
/// are their group's to write to, whatever the umask.
pub fn create_dir_all(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_dir_all(parent, mode)?;
    }
    match DirBuilder::new().mode(mode & 0o777).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
        Ok(()) if mode & SETGID != 0 => share(directory, mode)?,
        Ok(()) => {}
    }
    sync_parent(directory)
}

/// Gives a new directory what the umask took, and the set-group-ID bit, which
/// mkdir(2) does not give: it has it from the directory above, or not at all.
fn share(directory: &Path, mode: u32) -> io::Result<()> {
    let has = fs::metadata(directory)?.mode() & 0o7777;
    if has | mode == has {
        return Ok(());
    }
    match fs::set_permissions(directory, Permissions::from_mode(has | mode)) {
        // systemd's RestrictSUIDSGID= keeps the bit from whoever runs so.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        set => set,
    }
}

/// Copies the rest of `from` to `to`, an empty file, leaving out what is all
/// zero: a segment that a timeout closed is mostly that, and what is not
/// written need not reach the disk before PostgreSQL gets its answer. Returns
/// the length in bytes, holes included.
pub fn copy_sparse(from: &mut impl Read, to: &File) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let filled = fill(from, &mut buffer)?;
        let chunk = &buffer[..filled];
        if !is_zero(chunk) {
            to.write_all_at(chunk, length)?;
        }
        length += filled as u64;
        if filled < buffer.len() {
            to.set_len(length)?;
            return Ok(length);
        }
    }
}

/// Whether two files hold the same bytes; both are read from their beginning.
pub fn same_bytes(mut one: &File, mut other: &File) -> io::Result<bool> {
    one.rewind()?;
    other.rewind()?;
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let (filled, others) = (fill(&mut one, &mut left)?, fill(&mut other, &mut right)?);
        if left[..filled] != right[..others] {
            return Ok(false);
        }
        if filled < CHUNK {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether all bytes are zero: the first is, and each equals its neighbour (a
/// comparison that the C library does a vector at a time, and that stops at
/// the first difference).
fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && rest == &bytes[..rest.len()],
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(|name| (directory.unwrap_or(Path::new(".")), name))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))
}
