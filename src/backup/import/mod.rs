//! A base backup that `pg_basebackup` has taken, in a directory or in tar files
//! (`backup import`): whether it is a whole one, of which cluster, and when it
//! began and ended. What is read then is read as from a cluster.

mod unpack;
mod verify;
mod wal;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use self::{
    unpack::TarFiles,
    verify::{Verified, is_file, verify},
};
use super::scan::ScanError;
use crate::{
    archive::inspect::Owner,
    cluster,
    fs::Scratch,
    postgres::{
        Lsn, SystemId, TimelineId,
        control::{Control, InvalidControl, Shape},
        label::{BackupLabel, InvalidLabel, parse_tablespace_map, tablespace_map},
        session::{StartedBackup, StoppedBackup},
    },
};

pub use wal::WalWithin;

/// A base backup that is whole, and of the right cluster.
#[derive(Debug)]
pub struct BaseBackup {
    /// Its data directory: its own, or what its tar files became.
    pub data: PathBuf,
    /// The major version of its server.
    pub major: u32,
    /// The timeline that it begins and ends on.
    pub timeline: TimelineId,
    /// What it has of the WAL that it needs.
    pub wal: WalWithin,
    /// Tablespaces that lie in the backup itself, and where; a restore has to
    /// be told where they go.
    pub displaced: Vec<PathBuf>,
    started: StartedBackup,
    stopped: StoppedBackup,
    _unpacked: Option<Scratch>,
}

/// A directory is no base backup that can be imported. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is something else.
    #[error(
        "\"{0}\" is no base backup: it holds neither PG_VERSION nor base.tar; give the directory \
         that pg_basebackup wrote to"
    )]
    NoBackup(PathBuf),
    /// A server's data directory.
    #[error(
        "\"{0}\" is a data directory and no base backup of one: it has no backup_label, and its \
         files are of different moments; take a backup with `walkeep backup create` or pg_basebackup"
    )]
    DataDirectory(PathBuf),
    /// A server runs in it.
    #[error(
        "a server runs in \"{0}\" (process {1}): it is no base backup (any more); take one with \
         `walkeep backup create`"
    )]
    Running(PathBuf, u32),
    /// It has no `backup_manifest`.
    #[error(
        "\"{0}\" has no backup_manifest: pg_basebackup was interrupted, still runs, or was told \
         --no-manifest; take the backup again"
    )]
    Unfinished(PathBuf),
    /// Most of its files are parts.
    #[error(
        "\"{0}\" is an incremental backup; combine it with those before it (pg_combinebackup), \
         and import what that makes"
    )]
    Incremental(PathBuf),
    /// Its tar files are of another format.
    #[error("\"{0}\" is compressed in a way that is not read here; unpack it first, or use gzip")]
    Compressed(PathBuf),
    /// Another cluster's.
    #[error(
        "the backup is of the cluster {found}, and this archive belongs to {expected}; bind \
         another archive for it with `walkeep init`"
    )]
    OtherCluster {
        /// Its system identifier.
        found: SystemId,
        /// The archive's.
        expected: SystemId,
    },
    /// It was promoted while it was taken.
    #[error(
        "the backup needs WAL of {0} timelines: the cluster changed its timeline while it was \
         taken; take another one"
    )]
    Timelines(usize),
    /// The manifest is damaged.
    #[error("\"{0}\" cannot be used: {1}; copy the backup here again, or take another one")]
    Manifest(PathBuf, String),
    /// A file is not what the manifest says.
    #[error(
        "the backup is damaged, or was changed since it was taken: by its backup_manifest, \
         \"{0}\" {1}; copy it here again, or take another one"
    )]
    Differs(String, String),
    /// A file that describes it makes no sense.
    #[error("\"{0}\" makes no sense: {1}; copy the backup here again, or take another one")]
    Invalid(PathBuf, String),
    /// Its tar files could not be unpacked.
    #[error("unpack \"{0}\": {1}")]
    Unpack(PathBuf, io::Error),
    /// It could not be walked.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file could not be read.
    #[error("{action} \"{path}\": {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
}

impl ImportError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| ImportError::Io {
            action,
            path,
            cause,
        }
    }
}

impl BaseBackup {
    /// Looks at what is in `directory`, and checks every file that has a
    /// checksum, by `threads` threads. Tar files are unpacked below `scratch`.
    /// `owner` is whose archive it is for.
    pub fn open(
        directory: &Path,
        scratch: &Path,
        owner: Owner,
        threads: usize,
    ) -> Result<Self, ImportError> {
        let tars = match is_file(&directory.join("PG_VERSION")) {
            true => None,
            false => Some(
                TarFiles::find(directory)?
                    .ok_or_else(|| ImportError::NoBackup(directory.to_owned()))?,
            ),
        };
        if let Some(server) = cluster::running_in(directory) {
            return Err(ImportError::Running(directory.to_owned(), server.pid));
        }
        if tars.is_none() && !is_file(&directory.join("backup_label")) {
            return Err(ImportError::DataDirectory(directory.to_owned()));
        }
        let manifest = directory.join("backup_manifest");
        if !is_file(&manifest) {
            return Err(ImportError::Unfinished(directory.to_owned()));
        }
        let unpacked = tars.map(|tars| tars.unpack(scratch)).transpose()?;
        let data = match &unpacked {
            Some(unpacked) => unpacked.path().join("data"),
            None => directory.to_owned(),
        };
        let opening = Opening { data, owner };
        // Cheap, and what a mix-up shows at.
        let (control, label) = opening.whose()?;
        if label.1.incremental {
            return Err(ImportError::Incremental(directory.to_owned()));
        }
        let verified = verify(&manifest, &opening.data, threads)?;
        opening.finish(&manifest, verified, control, label, unpacked)
    }

    /// As the server would have said it at the start.
    pub(super) fn started(&self) -> StartedBackup {
        self.started.clone()
    }

    /// As the server would have said it at the end.
    pub(super) fn stopped(&self) -> StoppedBackup {
        self.stopped.clone()
    }

    /// The WAL that it needs.
    pub fn needs(&self) -> (Lsn, Lsn) {
        (self.started.start_lsn, self.stopped.stop_lsn)
    }
}

struct Opening {
    data: PathBuf,
    owner: Owner,
}

/// `backup_label`: its text, and what it says.
type Label = (String, BackupLabel);

impl Opening {
    fn whose(&self) -> Result<(Shape, Label), ImportError> {
        let path = self.data.join("global/pg_control");
        let bytes = fs::read(&path).map_err(ImportError::io("read", &path))?;
        let invalid = |error: InvalidControl| self.invalid("global/pg_control", error.to_string());
        let control = Control::parse(&bytes).map_err(invalid)?;
        self.check_owner(control.system_id)?;
        let shape = control.shape(&bytes).filter(|_| Control::is_whole(&bytes));
        let shape = shape.ok_or_else(|| invalid(InvalidControl))?;
        let text = self.text("backup_label")?;
        let label = BackupLabel::parse(&text)
            .map_err(|error: InvalidLabel| self.invalid("backup_label", error.to_string()))?;
        Ok((shape, (text, label)))
    }

    fn check_owner(&self, found: SystemId) -> Result<(), ImportError> {
        let expected = self.owner.system_id;
        match found == expected {
            true => Ok(()),
            false => Err(ImportError::OtherCluster { found, expected }),
        }
    }

    fn finish(
        self,
        manifest: &Path,
        verified: Verified,
        shape: Shape,
        (text, label): Label,
        unpacked: Option<Scratch>,
    ) -> Result<BaseBackup, ImportError> {
        if let Some(id) = verified.system_id {
            self.check_owner(SystemId(id))?;
        }
        let contradiction = |what: &str| {
            let why = format!("it does not say {what}");
            ImportError::Manifest(manifest.to_owned(), why)
        };
        let [range] = verified.ranges[..] else {
            return Err(ImportError::Timelines(verified.ranges.len()));
        };
        if range.timeline != label.timeline || range.start != label.start_lsn {
            return Err(contradiction("what backup_label says"));
        }
        let started = verified
            .started
            .ok_or_else(|| contradiction("when it began"))?;
        let (tablespaces, displaced) = self.tablespaces()?;
        let wal = WalWithin::read(
            &self.data.join("pg_wal"),
            self.owner,
            label.timeline,
            (range.start, range.end),
        );
        // Recovery that stops before a commit in this WAL would stop before
        // the cluster is consistent; whatever comes after is behind the stop.
        let stopped = match wal.reaches_stop {
            true => wal.last,
            // Written when all else was there.
            false => fs::metadata(manifest)
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|time| Timestamp::try_from(time).ok()),
        };
        Ok(BaseBackup {
            major: self.major()?,
            timeline: label.timeline,
            wal,
            displaced,
            started: StartedBackup {
                start_lsn: label.start_lsn,
                time: started,
                data_checksums: shape.data_checksums,
                block_size: shape.block_size,
            },
            stopped: StoppedBackup {
                stop_lsn: range.end,
                time: stopped.unwrap_or(started).max(started),
                xmax: None,
                label: text,
                tablespace_map: tablespaces,
            },
            data: self.data,
            _unpacked: unpacked,
        })
    }

    fn major(&self) -> Result<u32, ImportError> {
        let text = self.text("PG_VERSION")?;
        let parsed = text.trim().parse();
        parsed.map_err(|_| self.invalid("PG_VERSION", format!("\"{}\"", text.trim())))
    }

    /// The `tablespace_map`; in a plain backup that is where the links lead,
    /// which is into the backup itself.
    fn tablespaces(&self) -> Result<(String, Vec<PathBuf>), ImportError> {
        const MAP: &str = "tablespace_map";
        if is_file(&self.data.join(MAP)) {
            let text = self.text(MAP)?;
            let parsed = parse_tablespace_map(&text);
            parsed.map_err(|error| self.invalid(MAP, error.to_string()))?;
            return Ok((text, Vec::new()));
        }
        let directory = self.data.join("pg_tblspc");
        let listed = fs::read_dir(&directory).map_err(ImportError::io("list", &directory))?;
        let mut found = Vec::new();
        for entry in listed {
            let entry = entry.map_err(ImportError::io("list", &directory))?;
            let oid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let (Some(oid), Ok(path)) = (oid, fs::read_link(entry.path())) {
                found.push((oid, path));
            }
        }
        found.sort_unstable();
        let lines: Vec<(u32, String)> = found
            .iter()
            .map(|(oid, path)| (*oid, path.to_string_lossy().into_owned()))
            .collect();
        let map = tablespace_map(lines.iter().map(|(oid, path)| (*oid, path.as_str())));
        Ok((map, found.into_iter().map(|(_, path)| path).collect()))
    }

    fn text(&self, name: &str) -> Result<String, ImportError> {
        let path = self.data.join(name);
        let bytes = fs::read(&path).map_err(ImportError::io("read", &path))?;
        // A label's text is in the server's encoding.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn invalid(&self, name: &str, why: String) -> ImportError {
        ImportError::Invalid(self.data.join(name), why)
    }
}
