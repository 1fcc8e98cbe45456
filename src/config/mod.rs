//! The configuration: file and environment, read once, checked, and passed on
//! as values that need no further checks. `docs/CONFIGURATION.md` lists every
//! key.

mod alerts;
mod check;
mod environment;
mod error;
mod file;
mod schedule;
mod serve;
mod stores;
#[cfg(test)]
mod tests;
mod value;
mod wrong;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use alerts::{AlertSettings, Hook, SinkSettings, Smtp, SmtpTls, Way, callable};
pub use error::{ConfigError, Invalid};
pub use file::Acknowledge;
pub use schedule::{InvalidSchedule, Job, Schedule};
pub use serve::{Listen, ServeSettings};
pub use stores::StoreSettings;

use crate::codec::{Encoder, EncoderError, EncoderKind, Format};

/// Where the configuration is looked for.
const DIRECTORY: &str = "/etc/walkeep";

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The file it comes from; none where the environment alone gave it.
    pub path: Option<PathBuf>,
    /// The PostgreSQL cluster.
    pub cluster: Cluster,
    /// Where files wait until they are shipped.
    pub staging: StagingSettings,
    /// The catalog's file.
    pub catalog: PathBuf,
    /// How objects are compressed.
    pub compression: Compression,
    /// How they are shipped.
    pub ship: ShipSettings,
    /// How they are fetched.
    pub fetch: FetchSettings,
    /// What stays of it, and for how long.
    pub retention: RetentionSettings,
    /// Where it is told what was done.
    pub audit: AuditSettings,
    /// What the daemon does by itself, and when.
    pub schedule: BTreeMap<Job, Schedule>,
    /// How drills are held.
    pub drill: DrillSettings,
    /// Where the daemon answers HTTP.
    pub serve: ServeSettings,
    /// How the segment that is still being written is shipped.
    pub stream: StreamSettings,
    /// When somebody is told, and how.
    pub alerts: AlertSettings,
    /// Where they are kept; at least one.
    pub stores: Vec<StoreSettings>,
}

/// The PostgreSQL cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What people call it; the default of every store's prefix.
    pub name: String,
    /// PGDATA.
    pub data_directory: Option<PathBuf>,
    /// Where PostgreSQL's programs are.
    pub bin_directory: Option<PathBuf>,
    /// A libpq connection string.
    pub connection: String,
    /// Whether the configuration says which cluster it is, by `connection` or
    /// `data_directory`: then its server is expected to run.
    pub is_named: bool,
    /// Whom a walkeep that root started becomes.
    pub user: Option<String>,
}

/// The staging volume.
#[derive(Debug)]
pub struct StagingSettings {
    /// The directory; none on a host that only restores.
    pub path: Option<PathBuf>,
    /// How much may wait, in bytes on the disk.
    pub max_size: u64,
    /// Above how many bytes files are released that `min_copies` stores hold.
    pub high_water: u64,
    /// In how many stores a file must be before it is released early.
    pub min_copies: usize,
    /// When PostgreSQL is told that a file is archived.
    pub acknowledge: Acknowledge,
}

/// How objects are compressed.
#[derive(Debug)]
pub struct Compression {
    /// Of what is written from now on; every format is read.
    pub format: Format,
    /// Which gzip encoder.
    pub kind: EncoderKind,
    /// The format's level, 1 to 9.
    pub level: u32,
}

impl Compression {
    /// For WAL and the data of backups.
    pub fn encoder(&self) -> Result<Encoder, EncoderError> {
        Encoder::of(self.format, self.kind, self.level)
    }

    /// For what is gzip whatever the format: manifests and their parts.
    pub fn gzip(&self) -> Result<Encoder, EncoderError> {
        let level = match self.format {
            Format::Gzip => self.level,
            Format::Zstd => Format::Gzip.default_level(),
        };
        Encoder::new(self.kind, level)
    }
}

/// How files are shipped.
#[derive(Debug)]
pub struct ShipSettings {
    /// Files at once, for each store.
    pub concurrency: usize,
    /// Bytes per second over all stores; none is no limit.
    pub rate_limit: Option<u64>,
}

/// How files are fetched.
#[derive(Debug)]
pub struct FetchSettings {
    /// How long an unreachable store is asked again.
    pub timeout: Duration,
    /// Where files fetched ahead wait.
    pub spool: PathBuf,
    /// How many are fetched ahead.
    pub prefetch: usize,
}

/// What stays, and for how long.
#[derive(Debug)]
pub struct RetentionSettings {
    /// Any moment of so long before now can be restored.
    pub window: Duration,
    /// So many backups stay, however old; at least one.
    pub min_backups: usize,
    /// How long staging keeps what every store has.
    pub local_window: Duration,
}

/// Where it is told what was done.
#[derive(Debug)]
pub struct AuditSettings {
    /// The log.
    pub path: PathBuf,
    /// Above how many bytes it becomes the one before.
    pub max_size: u64,
    /// How many of those are kept; at least one.
    pub keep: u32,
}

/// How drills are held.
#[derive(Debug)]
pub struct DrillSettings {
    /// Where clusters and files are made that are needed for a while: by
    /// drills, by `extract`, by `backup import`.
    pub scratch: PathBuf,
    /// SQL that a recovered cluster has to answer.
    pub checks: Vec<String>,
    /// A file of SQL that it has to run.
    pub file: Option<PathBuf>,
    /// Whether its tables and indexes are examined where the extension is at
    /// hand.
    pub amcheck: bool,
    /// After how long a drill has failed.
    pub timeout: Duration,
}

/// How the segment that is still being written is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Whether it is.
    pub enabled: bool,
    /// How often what is new of it goes to the stores.
    pub interval: Duration,
    /// The replication slot that keeps PostgreSQL from removing what was not
    /// received yet.
    pub slot: String,
}

impl Config {
    /// Reads the configuration: the file that the command line names, else
    /// `/etc/walkeep/walkeep.toml` (or `CLUSTER.toml`) where it exists, and the
    /// environment over it. The environment alone will do.
    pub fn load(file: Option<&Path>, cluster: Option<&str>) -> Result<Self, ConfigError> {
        let path = match (file, cluster) {
            (Some(file), _) => file.to_owned(),
            (None, cluster) => default_path(cluster),
        };
        let named = file.is_some() || cluster.is_some();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => None,
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        Self::build(&path, text.as_deref(), &|name| std::env::var(name).ok())
    }

    /// As [`load`](Self::load), from the file's text and a given environment.
    fn build(
        path: &Path,
        text: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut file: file::File = match text {
            Some(text) => toml::from_str(text)
                .map_err(|error| ConfigError::Invalid(Invalid::new(path, text, &error)))?,
            None => file::File::default(),
        };
        let in_store = |store: &file::Store| store.secret_access_key.is_some();
        if file.store.iter().any(in_store) || file.alerts.holds_secret() {
            refuse_exposed(path)?;
        }
        environment::apply(&mut file, environment);
        if text.is_none() && file.store.is_empty() {
            return Err(ConfigError::Missing(path.to_owned()));
        }
        check::check(path, text.is_some(), file)
            .map_err(|wrong| wrong.in_file(text.is_some().then_some(path)))
    }
}

#[cfg(test)]
impl Config {
    /// Everything at its default, with one directory as a store.
    pub(crate) fn defaults_for_tests() -> Self {
        let text = "[[store]]\nname = \"nas\"\ntype = \"directory\"\npath = \"/mnt/nas\"\n";
        Self::build(Path::new("walkeep.toml"), Some(text), &|_| None)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Where the configuration of `cluster` is, where it is not told.
pub fn default_path(cluster: Option<&str>) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{}.toml", cluster.unwrap_or("walkeep")))
}

/// What a cluster is called whose configuration does not say: `--cluster NAME`
/// and `--config /etc/walkeep/NAME.toml` are one file, and have one name.
fn default_name(path: &Path) -> &str {
    chosen_name(path).unwrap_or("main")
}

/// NAME of `/etc/walkeep/NAME.toml`: one of several clusters of this host.
fn chosen_name(path: &Path) -> Option<&str> {
    let name = path.file_stem().and_then(|stem| stem.to_str());
    let chosen = path.parent() == Some(Path::new(DIRECTORY)) && path != default_path(None);
    name.filter(|_| chosen)
}

/// A secret in the file itself is fine as long as nobody else can read it.
fn refuse_exposed(path: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path).map(|metadata| metadata.permissions().mode()) {
        Ok(mode) if mode & 0o007 != 0 => Err(ConfigError::Exposed(path.to_owned())),
        _ => Ok(()),
    }
}
