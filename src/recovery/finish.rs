//! What stands in a restored directory besides the backup's own files: labels,
//! settings, the plan, configuration from elsewhere, PostgreSQL's manifest.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    RestoreError, Settings, backup_manifest::BackupManifest, directory::Destination, tree::failed,
};
use crate::{
    backup::{Manifest, listing::EntryPath},
    fs::{Temporary, scattered, sync_dir},
    postgres::{control::Limits, label::tablespace_map},
};

/// The plan for `wal fetch --plan`.
pub const PLAN: &str = "walkeep.plan.json";
/// Configuration files from outside the data directory, under the paths that
/// they had.
pub const CONFIGURATION: &str = "walkeep.configuration";
const AUTO: &str = "postgresql.auto.conf";

/// A directory that has everything but these.
pub(super) struct Finishing<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) destination: &'a Destination,
    pub(super) verifiable: BackupManifest,
    /// What the files of the cluster are readable for.
    pub(super) mode: u32,
}

impl Finishing<'_> {
    /// Writes them, and makes every name durable.
    pub(super) fn run(
        mut self,
        settings: &Settings,
        plan: Option<&[u8]>,
        limits: Option<Limits>,
    ) -> Result<(), RestoreError> {
        let Manifest {
            backup_label,
            tablespaces,
            ..
        } = self.manifest;
        self.add("backup_label", backup_label.as_bytes())?;
        if !tablespaces.is_empty() {
            let at = self.destination.tablespaces.iter();
            let paths: Vec<(u32, String)> = at
                .map(|one| (one.oid, one.to.to_string_lossy().into_owned()))
                .collect();
            let map = tablespace_map(paths.iter().map(|(oid, path)| (*oid, path.as_str())));
            self.add("tablespace_map", map.as_bytes())?;
        }
        self.configuration()?;
        if let Some(plan) = plan {
            self.add(PLAN, plan)?;
        }
        let auto = self.path(AUTO);
        let text = match fs::read_to_string(&auto) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed("read", &auto)(error)),
        };
        let text = settings.append_to(&text, limits);
        self.write(AUTO, text.as_bytes())?;
        let signal = match settings.standby {
            true => "standby.signal",
            false => "recovery.signal",
        };
        self.write(signal, b"")?;
        let directory = &self.destination.directory;
        self.verifiable.finish(self.manifest)?;
        let mode = match self.mode & 0o040 {
            0 => 0o700,
            _ => 0o750,
        };
        let permitted = fs::set_permissions(directory, Permissions::from_mode(mode));
        permitted.map_err(failed("set the permissions of", directory))?;
        sync_tree(directory)?;
        for tablespace in &self.destination.tablespaces {
            sync_tree(&tablespace.to)?;
        }
        Ok(())
    }

    /// Writes a file that `pg_verifybackup` is to look at.
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), RestoreError> {
        self.write(name, bytes)?;
        self.verifiable.add_bytes(name, bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RestoreError> {
        let path = self.path(name);
        write(&path, bytes, self.mode).map_err(failed("write", &path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.destination.directory.join(name)
    }

    fn configuration(&mut self) -> Result<(), RestoreError> {
        for file in &self.manifest.configuration {
            let Some(below) = configuration_path(&file.path) else {
                tracing::warn!(
                    "\"{}\" cannot be put beside: it is no plain path",
                    file.path
                );
                continue;
            };
            let mut directory = PathBuf::new();
            for part in Path::new(&below).parent().into_iter().flatten() {
                directory.push(part);
                let path = self.destination.directory.join(&directory);
                let made = scattered::prepare_directory(&path, 0o700);
                made.map_err(failed("make the directory", &path))?;
            }
            self.add(&below, file.text.as_bytes())?;
        }
        Ok(())
    }
}

/// Where the copy of a configuration file stands below the data directory.
pub fn configuration_path(path: &str) -> Option<String> {
    let below = format!("{CONFIGURATION}/{}", path.trim_start_matches('/'));
    EntryPath::new(below.clone().into_bytes())
        .ok()
        .map(|_| below)
}

/// Writes a file durably, with these permissions from the start.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = Temporary::beside(path)?;
    let permissions = Permissions::from_mode(mode & 0o777);
    temporary.file().set_permissions(permissions)?;
    temporary.file().write_all(bytes)?;
    temporary.keep(path)
}

/// Makes every name in a tree durable; links are not followed.
fn sync_tree(directory: &Path) -> Result<(), RestoreError> {
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
    for entry in entries {
        let entry = entry.map_err(failed("list", directory))?;
        let kind = entry.file_type().map_err(failed("list", directory))?;
        let foreign = entry.file_name() == "lost+found";
        if kind.is_dir() && !foreign {
            sync_tree(&entry.path())?;
        }
    }
    sync_dir(directory).map_err(failed("make durable", directory))
}
