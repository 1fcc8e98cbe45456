//! Directories that are needed for a while. What a killed process left of its
//! own is told from what is in use by a lock.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{create_dir_all, try_lock};

const LOCK: &str = "lock";

/// A directory of this process's own, gone when this is dropped. Beside it
/// stands `NAME.lock`, locked as long as it is in use.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl Scratch {
    /// Makes a directory below `root`, which is made where it is missing.
    pub fn create(root: &Path, name: &str) -> io::Result<Self> {
        create_dir_all(root, 0o700)?;
        loop {
            let name = format!("{name}-{}-{:08x}", std::process::id(), fastrand::u32(..));
            let directory = root.join(name);
            // Locked before it is there: nobody takes it for abandoned.
            let Some(scratch) = Scratch::lock(directory)? else {
                continue;
            };
            match fs::DirBuilder::new().mode(0o700).create(&scratch.directory) {
                Ok(()) => return Ok(scratch),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
    }

    /// Those below `root` that nobody uses any more: what killed processes
    /// left. Dropped, they are gone.
    pub fn abandoned(root: &Path, name: &str) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut abandoned = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_ours = path.extension().is_some_and(|extension| extension == LOCK)
                && path
                    .file_name()
                    .and_then(|file| file.to_str())
                    .is_some_and(|file| file.starts_with(&format!("{name}-")));
            if is_ours {
                abandoned.extend(Scratch::lock(path.with_extension(""))?);
            }
        }
        Ok(abandoned)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn lock(directory: PathBuf) -> io::Result<Option<Self>> {
        let lock = directory.with_extension(LOCK);
        Ok(try_lock(&lock)?.map(|held| Scratch {
            directory,
            lock,
            _held: held,
        }))
    }

    /// Removes it, and says what is in the way.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::remove_file(&self.lock),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is found by the next one.
        if let Err(error) = self.remove()
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("remove \"{}\": {error}", self.directory.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_not_abandoned() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("made");
        assert!(Scratch::abandoned(&root, "one").unwrap().is_empty());
        let scratch = Scratch::create(&root, "one").unwrap();
        fs::create_dir(scratch.path().join("inside")).unwrap();
        assert!(Scratch::abandoned(&root, "one").unwrap().is_empty());
        // As a killed process leaves it.
        let left = root.join("one-1-left");
        fs::create_dir(&left).unwrap();
        fs::create_dir(root.join("one-1-unlocked")).unwrap();
        drop(try_lock(&root.join("one-1-left.lock")).unwrap());
        assert!(Scratch::abandoned(&root, "other").unwrap().is_empty());
        let abandoned = Scratch::abandoned(&root, "one").unwrap();
        assert_eq!(abandoned.len(), 1);
        assert_eq!(abandoned[0].path(), left);
        drop(abandoned);
        drop(scratch);
        let names: Vec<_> = fs::read_dir(&root).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
