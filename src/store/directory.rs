//! A directory as a store: a NAS, another disk, a test. It gives the same
//! promises as a bucket, by fsync and rename: an object is there whole, under
//! a key that was free, or not at all. It keeps no metadata; what an object
//! says of itself (gzip's extra field) has to do.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    error::StoreErrorKind as Kind,
    object::{Body, ObjectInfo, Put, check_key, is_plain},
    retry::Failure,
    s3::Progress,
};
use crate::{
    codec::digest::Md5Hasher,
    fs::{self, Temporary},
};

/// Where objects are written before they get their key. No key begins with a
/// dot and has no other part.
const TEMPORARIES: &str = ".walkeep-tmp";
const PIECE: usize = 128 << 10;

/// The directory of one store.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: Arc<PathBuf>,
    /// What must be in it.
    anchor: Option<Arc<str>>,
}

impl Directory {
    pub(super) fn open(root: PathBuf) -> Result<Self, Failure> {
        if !root.is_absolute() {
            let detail = format!("path \"{}\" is not absolute", root.display());
            return Err(Failure::new(Kind::Configuration, detail));
        }
        Ok(Directory {
            root: Arc::new(root),
            anchor: None,
        })
    }

    pub(super) fn anchor(&mut self, key: &str) {
        self.anchor = Some(key.into());
    }

    pub(super) async fn put_new(&self, key: &str, body: &Body) -> Result<Put, Failure> {
        self.write(key, body, false).await
    }

    pub(super) async fn replace(&self, key: &str, body: &Body) -> Result<(), Failure> {
        self.write(key, body, true).await.map(|_| ())
    }

    async fn write(&self, key: &str, body: &Body, replace: bool) -> Result<Put, Failure> {
        let (key, body) = (key.to_owned(), body.clone());
        self.blocking(move |this| {
            let path = this.path(&key)?;
            if !replace && let Some(info) = describe(&path, &key)? {
                return Ok(Put::Exists(info));
            }
            let directory = this.root.join(TEMPORARIES);
            fs::create_dir_all(&directory, 0o2770)?;
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent, 0o2770)?;
            }
            // Two puts of one process may be under way at once.
            let unique = format!("{:016x}", fastrand::u64(..));
            let mut temporary = Temporary::create(&directory, &unique)?;
            copy(&body, temporary.file())?;
            if replace {
                temporary.keep(&path)?;
                return Ok(Put::Created);
            }
            match temporary.keep_new(&path) {
                Ok(()) => Ok(Put::Created),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let info = describe(&path, &key)?.ok_or_else(|| {
                        Failure::new(Kind::Server, "the key was taken, and is not any more")
                    })?;
                    Ok(Put::Exists(info))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    pub(super) async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, Failure> {
        let key = key.to_owned();
        self.blocking(move |this| describe(&this.path(&key)?, &key))
            .await
    }

    pub(super) async fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
    ) -> Result<Option<Bytes>, Failure> {
        let key = key.to_owned();
        self.blocking(move |this| {
            let Some(file) = open(&this.path(&key)?)? else {
                return Ok(None);
            };
            let there = file.metadata()?.len().saturating_sub(from).min(length);
            let mut bytes = vec![0; there as usize];
            file.read_exact_at(&mut bytes, from)?;
            Ok(Some(Bytes::from(bytes)))
        })
        .await
    }

    pub(super) async fn download(
        &self,
        key: &str,
        progress: &mut Progress,
        sink: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Result<Option<ObjectInfo>, Failure> {
        let key = key.to_owned();
        let open = self.blocking(move |this| match open(&this.path(&key)?)? {
            Some(file) => Ok(Some((described(&file, &key)?, Arc::new(file)))),
            None => Ok(None),
        });
        // Once for all pieces: the name may be another file's in between.
        let Some((info, file)) = open.await? else {
            return Ok(None);
        };
        while progress.received < info.size {
            let (file, from) = (Arc::clone(&file), progress.received);
            let rest = info.size - from;
            let piece = self.blocking(move |_| {
                let mut piece = vec![0; rest.min(8 * PIECE as u64) as usize];
                file.read_exact_at(&mut piece, from)?;
                Ok(piece)
            });
            let piece = piece.await?;
            sink(&piece)?;
            progress.received += piece.len() as u64;
        }
        Ok(Some(info))
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: u32,
    ) -> Result<(Vec<ObjectInfo>, Option<String>), Failure> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.blocking(move |this| {
            // Nothing outside the prefix's last directory can begin with it.
            let base = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
            let mut keys = Vec::new();
            this.check_root()?;
            // No key begins with what would lead out of the root.
            if base.is_empty() || is_plain(&base[..base.len() - 1]) {
                this.walk(base, &mut keys)?;
            }
            keys.retain(|key| {
                key.starts_with(&prefix) && after.as_ref().is_none_or(|after| key > after)
            });
            keys.sort_unstable();
            let next = (keys.len() > most as usize).then(String::new);
            keys.truncate(most as usize);
            let mut listed = Vec::with_capacity(keys.len());
            for key in keys {
                listed.extend(describe(&this.path(&key)?, &key)?);
            }
            Ok((listed, next))
        })
        .await
    }

    /// Collects the keys below `base`, which is empty or ends in `/`.
    fn walk(&self, base: &str, keys: &mut Vec<String>) -> Result<(), Failure> {
        let entries = match std::fs::read_dir(self.root.join(base)) {
            Err(error) if is_absence(&error) => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // Of what a link leads to, as a GET of the key follows it too.
            let kind = match std::fs::metadata(entry.path()) {
                Err(error) if is_absence(&error) => continue,
                metadata => metadata?,
            };
            if kind.is_dir() && name != TEMPORARIES {
                self.walk(&format!("{base}{name}/"), keys)?;
            } else if kind.is_file() {
                keys.push(format!("{base}{name}"));
            }
        }
        Ok(())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let key = key.to_owned();
        self.blocking(move |this| {
            let path = this.path(&key)?;
            match std::fs::remove_file(&path) {
                // A directory is no object, as for `head`.
                Err(error) if is_absence(&error) || path.is_dir() => Ok(()),
                Err(error) => Err(error.into()),
                Ok(()) => Ok(fs::sync_dir(path.parent().unwrap_or(&this.root))?),
            }
        })
        .await
    }

    /// Where the object called `key` is: below the root, whatever the key.
    fn path(&self, key: &str) -> Result<PathBuf, Failure> {
        check_key(key)?;
        if key.split('/').any(|part| part == TEMPORARIES) {
            let detail = format!("\"{TEMPORARIES}\" is no part of a key");
            return Err(Failure::new(Kind::Unexpected, detail));
        }
        self.check_root()?;
        Ok(self.root.join(key))
    }

    /// A directory that is not there, or not the one that it was, is a volume
    /// that is not mounted: nothing can be said of its objects.
    fn check_root(&self) -> Result<(), Failure> {
        let root = self.root.display();
        if !self.root.is_dir() {
            let detail = format!("\"{root}\" does not exist");
            return Err(Failure::new(Kind::NoSuchDirectory, detail));
        }
        match &self.anchor {
            Some(anchor) if open(&self.root.join(&**anchor))?.is_none() => {
                let detail = format!("the directory \"{root}\" has no \"{anchor}\"");
                Err(Failure::new(Kind::Unclaimed, detail))
            }
            _ => Ok(()),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || work(&this)).await {
            Ok(done) => done,
            Err(error) => Err(Failure::new(Kind::Unexpected, error.to_string())),
        }
    }
}

fn open(path: &Path) -> Result<Option<File>, Failure> {
    match File::open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn describe(path: &Path, key: &str) -> Result<Option<ObjectInfo>, Failure> {
    match open(path)? {
        Some(file) => described(&file, key).map(Some),
        None => Ok(None),
    }
}

fn described(file: &File, key: &str) -> Result<ObjectInfo, Failure> {
    let metadata = file.metadata()?;
    Ok(ObjectInfo {
        key: key.to_owned(),
        size: metadata.len(),
        md5: None,
        modified: Timestamp::try_from(metadata.modified()?).ok(),
        metadata: BTreeMap::new(),
        version: None,
    })
}

/// Writes the body, and checks the bytes as a bucket checks `Content-MD5`.
fn copy(body: &Body, to: &mut File) -> Result<(), Failure> {
    let mut from = body.reader()?;
    let (mut hasher, mut buffer) = (Md5Hasher::default(), vec![0; PIECE]);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
    let written = hasher.finish();
    if written != body.md5 {
        let detail = format!("MD5 {written} was read, {} was to be stored", body.md5);
        return Err(Failure::new(Kind::Damaged, detail));
    }
    Ok(())
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Forbidden,
            _ => Kind::Io,
        };
        Failure::new(kind, error.to_string())
    }
}
