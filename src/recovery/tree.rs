//! The tree of a restored cluster: directories, files and the links to
//! tablespaces, made line by line in the order of the backup. What stands there
//! and is not in the backup is removed on the way; a link is never followed.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::symlink,
    },
    path::{Path, PathBuf},
    vec,
};

use super::RestoreError;
use crate::{
    backup::listing::{Entry, EntryPath},
    fs::{create_dir_all, scattered},
};

/// The tree, as far as it has been made.
pub(super) struct Tree {
    /// Where the links of `pg_tblspc` lead, by their names.
    tablespaces: BTreeMap<Vec<u8>, PathBuf>,
    /// Names at the top that stay, whether the backup has them or not.
    kept: Vec<&'static str>,
    levels: Vec<Level>,
    removed: u64,
}

struct Level {
    /// None for the top.
    entry: Option<EntryPath>,
    path: PathBuf,
    /// What stands there, in order; nothing where all of it stays.
    there: vec::IntoIter<Vec<u8>>,
    next: Option<Vec<u8>>,
}

/// A file that was prepared.
pub(super) struct Placed {
    pub(super) path: PathBuf,
    /// Whether it was there before.
    pub(super) found: bool,
}

impl Tree {
    /// In `root`, which exists. `tablespaces` are those of the backup with
    /// where they go.
    pub(super) fn new(
        root: &Path,
        tablespaces: impl Iterator<Item = (u32, PathBuf)>,
        kept: Vec<&'static str>,
    ) -> Result<Self, RestoreError> {
        let named = tablespaces.map(|(oid, path)| (oid.to_string().into_bytes(), path));
        let mut tree = Tree {
            tablespaces: named.collect(),
            kept,
            levels: Vec::new(),
            removed: 0,
        };
        let top = Level::open(None, root.to_owned(), true)?;
        tree.levels.push(top);
        Ok(tree)
    }

    /// Makes a line's directory, or prepares its file.
    pub(super) fn place(&mut self, entry: &Entry) -> Result<Option<Placed>, RestoreError> {
        let bytes = entry.path.as_bytes();
        let (directory, name) = match bytes.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Some(&bytes[..slash]), &bytes[slash + 1..]),
            None => (None, bytes),
        };
        // Back up to the directory that it is in.
        let place = |level: &Level| level.entry.as_ref().map(EntryPath::as_bytes) == directory;
        while self.levels.last().is_some_and(|level| !place(level)) {
            self.leave()?;
        }
        // A directory stands before what is in it.
        let Some(level) = self.levels.last_mut() else {
            return Err(RestoreError::Contradiction(entry.path.clone()));
        };
        let removed = level.pass(name, &self.kept)?;
        self.removed += removed;
        let path = level.path.join(OsStr::from_bytes(name));
        let Some(file) = &entry.file else {
            let level = match self.tablespaces.get(name) {
                Some(target) if directory == Some(b"pg_tblspc") => {
                    let target = target.clone();
                    link(&path, &target, entry.mode)?;
                    // Another server's tablespace may be beside.
                    Level::open(Some(entry.path.clone()), target, false)?
                }
                _ => {
                    let made = scattered::prepare_directory(&path, entry.mode);
                    let found = made.map_err(failed("make the directory", &path))?;
                    // The old one was put aside, perhaps in here.
                    let sweep = found && bytes != b"pg_wal";
                    Level::open(Some(entry.path.clone()), path, sweep)?
                }
            };
            self.levels.push(level);
            return Ok(None);
        };
        let prepared = scattered::prepare(&path, file.size, entry.mode);
        let found = prepared.map_err(failed("make the file", &path))?;
        Ok(Some(Placed { path, found }))
    }

    /// Ends it: says how many names were removed.
    pub(super) fn finish(mut self) -> Result<u64, RestoreError> {
        while !self.levels.is_empty() {
            self.leave()?;
        }
        Ok(self.removed)
    }

    fn leave(&mut self) -> Result<(), RestoreError> {
        if let Some(mut level) = self.levels.pop() {
            self.removed += level.pass_all(&self.kept)?;
        }
        Ok(())
    }
}

impl Level {
    fn open(entry: Option<EntryPath>, path: PathBuf, sweep: bool) -> Result<Self, RestoreError> {
        let mut there = Vec::new();
        if sweep {
            let entries = fs::read_dir(&path).map_err(failed("list", &path))?;
            for found in entries {
                let found = found.map_err(failed("list", &path))?;
                there.push(found.file_name().into_vec());
            }
            there.sort_unstable();
        }
        Ok(Level {
            entry,
            path,
            there: there.into_iter(),
            next: None,
        })
    }

    /// Removes what stands before `name`, and leaves `name` itself alone.
    fn pass(&mut self, name: &[u8], kept: &[&str]) -> Result<u64, RestoreError> {
        let mut removed = 0;
        while let Some(there) = self.next.take().or_else(|| self.there.next()) {
            match there.as_slice().cmp(name) {
                std::cmp::Ordering::Less => removed += self.remove(there, kept)?,
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Greater => {
                    self.next = Some(there);
                    break;
                }
            }
        }
        Ok(removed)
    }

    fn pass_all(&mut self, kept: &[&str]) -> Result<u64, RestoreError> {
        let mut removed = 0;
        while let Some(there) = self.next.take().or_else(|| self.there.next()) {
            removed += self.remove(there, kept)?;
        }
        Ok(removed)
    }

    fn remove(&self, name: Vec<u8>, kept: &[&str]) -> Result<u64, RestoreError> {
        let at_the_top = self.entry.is_none();
        if at_the_top && kept.iter().any(|kept| kept.as_bytes() == name) {
            return Ok(0);
        }
        let path = self.path.join(OsString::from_vec(name));
        scattered::remove(&path).map_err(failed("remove", &path))?;
        tracing::debug!("removed \"{}\", which is not in the backup", path.display());
        Ok(1)
    }
}

/// Makes a tablespace's directory and the link that leads to it.
fn link(path: &Path, target: &Path, mode: u32) -> Result<(), RestoreError> {
    let parent = target.parent().unwrap_or(target);
    create_dir_all(parent, 0o700).map_err(failed("make the directory", parent))?;
    // A link to the directory, as an administrator makes, is as good.
    if !target.is_dir() {
        let made = scattered::prepare_directory(target, mode);
        made.map_err(failed("make the directory", target))?;
    }
    match fs::symlink_metadata(path) {
        Ok(_) if fs::read_link(path).is_ok_and(|there| there == target) => return Ok(()),
        Ok(_) => scattered::remove(path).map_err(failed("remove", path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at", path)(error)),
    }
    symlink(target, path).map_err(failed("link", path))
}

pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |cause| RestoreError::Io {
        action,
        path,
        cause,
    }
}
