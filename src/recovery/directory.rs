//! Where a cluster is restored to: whether it may, and what says that a restore
//! is under way there.

mod refused;
mod tablespaces;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{refused::Refused, tablespaces::TablespaceAt};
use super::{RestoreError, tree::failed};
use crate::{
    backup::{Manifest, scan::CONTROL},
    cluster,
    fs::{create_dir_all, rename, scattered, sync_dir, write},
    layout::BackupId,
    postgres::{SystemId, control::Control},
};

/// The marker of a restore that has not come to its end.
pub const MARKER: &str = "walkeep.restore.json";
/// Where an old `pg_wal` stands for a moment.
const MOVING: &str = "walkeep.pg_wal";
/// What may stand in an empty directory: a file system's own.
const NOTHING: &str = "lost+found";

/// A directory that a backup may be restored to.
#[derive(Debug)]
pub struct Destination {
    /// The data directory.
    pub directory: PathBuf,
    /// The backup's tablespaces and where they go.
    pub tablespaces: Vec<TablespaceAt>,
    /// What is there.
    pub standing: Standing,
    marker: Marker,
}

/// What stands in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Empty,
    /// What an interrupted restore left.
    Interrupted,
    /// A stopped cluster, of which is kept what is right.
    Cluster,
}

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    /// 1.
    format: u32,
    /// Whose files these are.
    system_identifier: SystemId,
    /// The backup.
    backup: BackupId,
    /// Directories outside that are the restore's, too.
    tablespaces: Vec<TablespaceAt>,
    /// Where the old `pg_wal` of the directory goes; none where there was none.
    aside: Option<PathBuf>,
}

impl Destination {
    /// Looks whether `manifest` may be restored to `directory`. Writes nothing.
    /// `moved`: where tablespaces go that are not to go to where they were.
    /// `delta`: what is right of a stopped cluster is kept.
    pub fn examine(
        directory: &Path,
        delta: bool,
        manifest: &Manifest,
        moved: &BTreeMap<PathBuf, PathBuf>,
    ) -> Result<Self, Refused> {
        let directory = std::path::absolute(directory).map_err(looking(directory))?;
        if let Some(server) = cluster::running_in(&directory) {
            let pid = server.pid;
            return Err(Refused::Running { directory, pid });
        }
        let left = read_marker(&directory)?;
        let ours = manifest.system_identifier;
        let left = left.filter(|marker| marker.system_identifier == ours);
        let standing = match (is_empty(&directory)?, &left) {
            (true, _) => Standing::Empty,
            (false, Some(_)) if !is_cluster(&directory) => Standing::Interrupted,
            (false, _) if delta => {
                check_cluster(&directory, ours)?;
                Standing::Cluster
            }
            (false, Some(_)) => return Err(Refused::Started(directory)),
            (false, None) => return Err(Refused::NotEmpty(directory)),
        };
        let tablespaces = tablespaces::of(manifest, moved)?;
        let marked = left.as_ref().map_or(&[][..], |left| &left.tablespaces);
        for (index, one) in tablespaces.iter().enumerate() {
            let ours = marked.contains(one)
                || standing == Standing::Cluster && one.is_linked_in(&directory);
            let others = &tablespaces[..index];
            one.check(&directory, ours, others)?;
        }
        let aside = match (standing, left.and_then(|left| left.aside)) {
            (Standing::Interrupted, aside) => aside,
            (Standing::Cluster, _) => aside(&directory),
            (Standing::Empty, _) => None,
        };
        Ok(Destination {
            marker: Marker {
                format: 1,
                system_identifier: ours,
                backup: manifest.id,
                tablespaces: tablespaces.clone(),
                aside,
            },
            directory,
            tablespaces,
            standing,
        })
    }

    /// Whether files that are there are compared with the backup's.
    pub fn compares(&self) -> bool {
        self.standing != Standing::Empty
    }

    /// Compares the free space with what is needed: `raw` bytes, of which
    /// `outside` are in each tablespace.
    pub fn check_space(&self, raw: u64, outside: &BTreeMap<u32, u64>) -> Result<(), Refused> {
        let mut needed: BTreeMap<u64, (PathBuf, u64, u64)> = BTreeMap::new();
        let inside = raw.saturating_sub(outside.values().sum());
        let places = self.tablespaces.iter().map(|one| {
            let bytes = outside.get(&one.oid).copied().unwrap_or(0);
            (one.to.as_path(), bytes)
        });
        for (path, bytes) in places.chain([(self.directory.as_path(), inside)]) {
            let existing = path.ancestors().find(|path| path.exists());
            let existing = existing.unwrap_or(Path::new("/"));
            let device = fs::metadata(existing).map_err(looking(existing))?.dev();
            let taken = if self.compares() { allocated(path) } else { 0 };
            let entry = needed
                .entry(device)
                .or_insert_with(|| (existing.into(), 0, 0));
            entry.1 += bytes;
            entry.2 += taken;
        }
        for (path, needed, taken) in needed.into_values() {
            let statistics = nix::sys::statvfs::statvfs(&path);
            let statistics = statistics.map_err(|error| looking(&path)(error.into()))?;
            let free = statistics.blocks_available() * statistics.fragment_size() + taken;
            if free < needed {
                return Err(Refused::Full { path, free, needed });
            }
        }
        Ok(())
    }

    /// Bytes that are free where the data directory goes.
    pub fn free(&self) -> Option<u64> {
        let existing = self.directory.ancestors().find(|path| path.exists())?;
        let statistics = nix::sys::statvfs::statvfs(existing).ok()?;
        Some(statistics.blocks_available() * statistics.fragment_size())
    }

    /// Says that a restore is under way, and takes away what makes the
    /// directory a cluster.
    pub(super) fn begin(&self) -> Result<(), RestoreError> {
        let directory = &self.directory;
        if let Some(parent) = directory.parent() {
            create_dir_all(parent, 0o755).map_err(failed("make the directory", parent))?;
        }
        if !directory.is_dir() {
            let made = scattered::prepare_directory(directory, 0o700);
            made.map_err(failed("make the directory", directory))?;
        }
        let marker = directory.join(MARKER);
        let text = serde_json::to_vec_pretty(&self.marker).unwrap_or_default();
        write(&marker, &text).map_err(failed("write", &marker))?;
        let control = self.control();
        if control.exists() {
            scattered::remove(&control).map_err(failed("remove", &control))?;
            let global = directory.join("global");
            sync_dir(&global).map_err(failed("make durable", &global))?;
        }
        self.move_wal_aside()
    }

    /// The restore has come to its end.
    pub(super) fn end(&self) -> Result<(), RestoreError> {
        let marker = self.directory.join(MARKER);
        let removed = scattered::remove(&marker).and_then(|()| sync_dir(&self.directory));
        removed.map_err(failed("remove", &marker))
    }

    /// Where `pg_control` is.
    pub(super) fn control(&self) -> PathBuf {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        self.directory.join(OsStr::from_bytes(CONTROL))
    }

    /// Where the old `pg_wal` is now, if there was one.
    pub fn old_wal(&self) -> Option<PathBuf> {
        let aside = self.marker.aside.clone()?;
        let inside = self.inside(&aside);
        [aside, inside].into_iter().find(|path| path.exists())
    }

    fn inside(&self, aside: &Path) -> PathBuf {
        let name = aside.file_name().unwrap_or_default();
        self.directory.join("pg_wal").join(name)
    }

    /// It may hold what was never archived. Beside the directory, or, where
    /// that is another file system, inside the new `pg_wal`, where neither the
    /// server nor `pg_verifybackup` looks at it.
    fn move_wal_aside(&self) -> Result<(), RestoreError> {
        let Some(aside) = &self.marker.aside else {
            return Ok(());
        };
        let (wal, moving) = (self.directory.join("pg_wal"), self.directory.join(MOVING));
        let inside = self.inside(aside);
        if aside.symlink_metadata().is_ok() || inside.symlink_metadata().is_ok() {
            return Ok(());
        }
        if moving.symlink_metadata().is_err() {
            if wal.symlink_metadata().is_err() {
                return Ok(());
            }
            rename(&wal, &moving).map_err(failed("move aside", &wal))?;
        }
        if rename(&moving, aside).is_ok() {
            return Ok(());
        }
        let made = scattered::prepare_directory(&wal, 0o700);
        made.map_err(failed("make the directory", &wal))?;
        rename(&moving, &inside).map_err(failed("move aside", &moving))
    }
}

/// Where the `pg_wal` goes that is there now; none where it is empty.
fn aside(directory: &Path) -> Option<PathBuf> {
    let wal = fs::read_dir(directory.join("pg_wal")).ok()?;
    let is_file = |entry: fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    wal.flatten().any(is_file).then_some(())?;
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(format!(".pg_wal.{now}"));
    Some(directory.with_file_name(name))
}

fn read_marker(directory: &Path) -> Result<Option<Marker>, Refused> {
    let path = directory.join(MARKER);
    match fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Refused::NoDirectory(directory.to_owned()))
        }
        Err(error) => Err(looking(&path)(error)),
    }
}

/// Whether the directory is absent, or nothing is in it.
fn is_empty(directory: &Path) -> Result<bool, Refused> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Refused::NoDirectory(directory.to_owned()));
        }
        Err(error) => return Err(looking(directory)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(looking(directory))?;
        if entry.file_name() != NOTHING {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_cluster(directory: &Path) -> bool {
    directory.join("global/pg_control").exists()
}

fn check_cluster(directory: &Path, expected: SystemId) -> Result<(), Refused> {
    let none = |why: String| Refused::NoCluster {
        directory: directory.to_owned(),
        why,
    };
    let read = fs::read(directory.join("global/pg_control"));
    let bytes = read.map_err(|error| none(format!("read global/pg_control: {error}")))?;
    let control = Control::parse(&bytes).map_err(|error| none(error.to_string()))?;
    if control.system_id != expected {
        return Err(Refused::OtherCluster {
            directory: directory.to_owned(),
            found: control.system_id,
            expected,
        });
    }
    Ok(())
}

/// What a tree takes of the disk, in bytes; links are not followed.
fn allocated(path: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += allocated(&entry.path());
        }
    }
    bytes
}

fn looking(path: &Path) -> impl FnOnce(io::Error) -> Refused {
    let path = path.to_owned();
    move |cause| Refused::Look { path, cause }
}
