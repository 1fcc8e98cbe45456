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
    ffi::OsStr,
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
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

/// systemd's identifier of one start of a service, whose commands have it in
/// their environment. It stands for the boot's where a service may not read
/// that (`ProcSubset=pid`, as nixpkgs runs PostgreSQL): no other boot has it.
const INVOCATION_ID: &str = "INVOCATION_ID";

/// A spool in which nothing was made or taken for so long, and which has no
/// prefetcher, is of a recovery that is over.
const LEFT_ALONE: Duration = Duration::from_secs(3600);

/// How long a spool's removal may be disturbed.
const REMOVING: Duration = Duration::from_secs(3);

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
        let boot = boot()?;
        let who = who(directory, system_id, plan, &config.stores);
        let root = std::path::absolute(&config.fetch.spool)?;
        let root = root.join(who).join(boot.trim());
        fs::create_dir_all(&root, 0o700)?;
        Ok(Spool { root })
    }

    /// Removes it, whoever uses it: nothing depends on it.
    pub(super) fn remove(&self) {
        let Some(who) = self.root.parent() else {
            return;
        };
        // What a prefetcher puts there meanwhile makes this fail. It looks for
        // its spool every second, and ends.
        let begun = Instant::now();
        while std::fs::remove_dir_all(who).is_err() && who.exists() && begun.elapsed() < REMOVING {
            std::thread::sleep(Duration::from_millis(50));
        }
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
        fs::try_lock(&self.root.join("lock"))
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

    /// Removes what dead prefetchers left: their temporaries here, the spools
    /// of earlier boots, and those of recoveries that are over. For the holder
    /// of the lock.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                std::fs::remove_file(entry.path())?;
            }
        }
        let spools = self.root.parent().and_then(Path::parent);
        for who in spools.into_iter().flat_map(entries) {
            for root in entries(&who) {
                let other = Spool { root };
                if other.root != self.root && other.is_over(self.root.file_name()) {
                    // Another user's it cannot remove, nor need it.
                    let _ = std::fs::remove_dir_all(&other.root);
                }
            }
            // Fails for one that is in use.
            let _ = std::fs::remove_dir(who);
        }
        Ok(())
    }

    /// Whether nobody uses it: it is of another boot, or has been left alone.
    fn is_over(&self, boot: Option<&OsStr>) -> bool {
        let changed = std::fs::metadata(&self.root).and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|time| time.elapsed().ok());
        let left_alone = age.is_some_and(|age| age >= LEFT_ALONE) && !self.is_locked();
        self.root.file_name() != boot || left_alone
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

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
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

fn boot() -> io::Result<String> {
    std::fs::read_to_string(BOOT_ID)
        .or_else(|error| std::env::var(INVOCATION_ID).map_err(|_| error))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_is_left_of_other_recoveries_is_swept_and_what_is_used_is_not() {
        let top = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * LEFT_ALONE;
        let spool = |who: &str, boot: &str| {
            let root = top.path().join(who).join(boot);
            std::fs::create_dir_all(&root).unwrap();
            fs::replace_volatile(&root.join("000000010000000400000024"), b"raw").unwrap();
            Spool { root }
        };
        let ours = spool("ours", "now");
        let lock = ours.lock().unwrap().unwrap();
        assert!(ours.lock().unwrap().is_none() && ours.is_locked_by(&lock));
        let busy = spool("busy", "now");
        let _busy = busy.lock().unwrap().unwrap();
        let fresh = spool("fresh", "now");
        let over = spool("over", "now");
        let crashed = [spool("ours", "before"), spool("others", "before")];
        fs::replace_volatile(&ours.root.join(".NAME.walkeep0"), b"half").unwrap();
        for old in [&busy, &over] {
            let root = File::open(&old.root).unwrap();
            root.set_modified(long_ago).unwrap();
        }
        ours.sweep().unwrap();
        let left = |spool: &Spool| spool.segments().is_ok_and(|segments| segments.len() == 1);
        assert!(left(&ours) && left(&busy) && left(&fresh));
        assert!(!left(&over) && !crashed.iter().any(left));
        assert!(!top.path().join("others").exists());
        assert!(!ours.root.join(".NAME.walkeep0").exists());
    }
}
