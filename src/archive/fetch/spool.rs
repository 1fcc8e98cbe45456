//! The spool of one data directory: what was fetched ahead of PostgreSQL, and
//! the little that one fetch tells the next. Nothing in it is fsynced, so it
//! is of one boot; nothing depends on it.
//!
//! ```text
//! SPOOL/<who>/<boot>/000000010000000400000024  fetched and verified, to be renamed into place
//! SPOOL/<who>/<boot>/lock                      held by the prefetcher; its process id
//! SPOOL/<who>/<boot>/socket                    where it listens
//! SPOOL/<who>/<boot>/speeds.json               how fast the stores are
//! SPOOL/<who>/<boot>/known.json                the archive's generation, once it was asked for
//! ```
//!
//! `<who>` stands for data directory, cluster, plan and archive, so that
//! another cluster's files are never met in it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{known::Known, speed::Speeds};
use crate::{
    archive::plan::FetchPlan,
    codec::Sha256,
    config::{Config, StoreSettings},
    fs,
    layout::Generation,
    postgres::{SegmentName, SegmentSize, SystemId},
    store::Location,
};

/// The kernel's identifier of this boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The spool of one data directory, in this boot.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    root: PathBuf,
}

/// The archive's generation, as a store's `cluster.json` told it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Remembered {
    system_identifier: Option<SystemId>,
    segment_size: Option<SegmentSize>,
    generation: Generation,
}

impl Spool {
    /// Makes, or finds, the spool for the data directory `directory`.
    pub(super) fn open(
        config: &Config,
        directory: &Path,
        system_id: Option<SystemId>,
        plan: Option<&FetchPlan>,
    ) -> io::Result<Self> {
        let boot = std::fs::read_to_string(BOOT_ID)?;
        let who = who(directory, system_id, plan, &config.stores);
        let root = std::path::absolute(&config.fetch.spool)?;
        let root = root.join(who).join(boot.trim());
        fs::create_dir_all(&root, 0o700)?;
        Ok(Spool { root })
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the segment is, if it was fetched ahead.
    pub(super) fn path(&self, name: SegmentName) -> PathBuf {
        self.root.join(name.to_string())
    }

    /// Takes the prefetcher's lock, and leaves the process id in it; `None`
    /// where another one holds it. It is held as long as the file is open.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let Some(mut file) = self.try_lock()? else {
            return Ok(None);
        };
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Some(file))
    }

    /// Whether a prefetcher runs, or is about to.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self.try_lock(), Ok(None))
    }

    /// Whether `lock` is still this spool's: nobody has removed the directory.
    pub(super) fn is_locked_by(&self, lock: &File) -> bool {
        fs::names(&self.root.join("lock"), lock)
    }

    fn try_lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.root.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// The segments that are in it.
    pub(super) fn segments(&self) -> io::Result<Vec<SegmentName>> {
        let mut segments: Vec<SegmentName> = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            segments.extend(
                name.to_str()
                    .and_then(|name| name.parse::<SegmentName>().ok()),
            );
        }
        Ok(segments)
    }

    /// Removes what crashed prefetchers left: their temporaries, and the
    /// spools of earlier boots. For the holder of the lock.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                std::fs::remove_file(entry.path())?;
            }
        }
        let Some(parent) = self.root.parent() else {
            return Ok(());
        };
        for entry in std::fs::read_dir(parent)? {
            let path = entry?.path();
            if path != self.root {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// How fast the stores were.
    pub(super) fn speeds(&self) -> Speeds {
        self.read("speeds.json").unwrap_or_default()
    }

    /// Remembers how fast the stores are.
    pub(super) fn keep_speeds(&self, speeds: &Speeds) {
        self.keep("speeds.json", speeds);
    }

    /// Fills in what a store told an earlier fetch.
    pub(super) fn recall(&self, known: &mut Known) {
        if known.generation.is_none()
            && let Some(found) = self.read::<Remembered>("known.json")
        {
            known.system_id = known.system_id.or(found.system_identifier);
            known.segment_size = known.segment_size.or(found.segment_size);
            known.generation = Some(found.generation);
        }
    }

    /// Remembers what a store told.
    pub(super) fn keep_known(&self, known: &Known) {
        if let Some(generation) = known.generation {
            let remembered = Remembered {
                system_identifier: known.system_id,
                segment_size: known.segment_size,
                generation,
            };
            self.keep("known.json", &remembered);
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = std::fs::read(self.root.join(name)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// It is remembered for speed alone: a failure costs nothing else.
    fn keep(&self, name: &str, what: &impl Serialize) {
        if let Ok(bytes) = serde_json::to_vec(what)
            && let Err(error) = fs::replace_volatile(&self.root.join(name), &bytes)
        {
            tracing::debug!("write \"{name}\" in the spool: {error}");
        }
    }
}

/// A name for a data directory, a cluster, a plan and an archive.
fn who(
    directory: &Path,
    system_id: Option<SystemId>,
    plan: Option<&FetchPlan>,
    stores: &[StoreSettings],
) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut text = directory.as_os_str().as_bytes().to_vec();
    text.extend(format!("\0{:?}", system_id.map(|id| id.0)).bytes());
    text.extend(plan.map(FetchPlan::to_json).unwrap_or_default());
    for store in stores {
        let place = match &store.location {
            Location::S3(s3) => format!("{} {}", s3.endpoint, s3.bucket),
            Location::Directory(path) => path.display().to_string(),
        };
        text.extend(format!("\0{} {place} {}", store.name(), store.prefix).bytes());
    }
    let digest = Sha256::of(&text).to_string();
    digest[..16].to_owned()
}
