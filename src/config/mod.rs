//! The configuration: file and environment, read once, checked, and passed on
//! as values that need no further checks. `docs/CONFIGURATION.md` lists every
//! key.

mod alerts;
mod environment;
mod error;
mod file;
mod schedule;
mod serve;
mod stores;
#[cfg(test)]
mod tests;
mod value;

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
/// Where a host with a configuration file keeps what is its own; of
/// `/etc/walkeep/NAME.toml`, in NAME below it.
const HOME: &str = "/var/lib/walkeep";
/// Where its server is asked.
const CONNECTION: &str = "host=/run/postgresql user=postgres dbname=postgres";
/// What the audit trail is called beside the catalog.
const AUDIT: &str = "audit.jsonl";

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
        check(path, text.is_some(), file)
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

fn check(path: &Path, has_file: bool, file: file::File) -> Result<Config, ConfigError> {
    let wrong = |key: &str, problem: String| {
        let place = if has_file {
            format!("{}: {key}", path.display())
        } else {
            key.to_owned()
        };
        Err(ConfigError::Value { place, problem })
    };
    let format = file.compression.format;
    let level = file.compression.level;
    let level = level.unwrap_or(format.default_level());
    if !Format::LEVELS.contains(&level) {
        let default = format.default_level();
        let problem = format!("{level} is not in 1..=9 (for {format}; its default is {default})");
        return wrong("compression.level", problem);
    }
    if !(1..=64).contains(&file.ship.concurrency) {
        return wrong(
            "ship.concurrency",
            format!("{} is not in 1..=64", file.ship.concurrency),
        );
    }
    if file.retention.min_backups == 0 {
        return wrong(
            "retention.min_backups",
            "0 would let the last backup go; keep at least 1".to_owned(),
        );
    }
    if file.audit.keep == 0 {
        return wrong(
            "audit.keep",
            "0 would let each line go; keep at least 1".to_owned(),
        );
    }
    if file.store.is_empty() {
        return wrong(
            "store",
            "name at least one store in a [[store]] table".to_owned(),
        );
    }
    let serve = match serve::check(file.serve) {
        Ok(serve) => serve,
        Err((key, problem)) => return wrong(key, problem),
    };
    let copies = 1..=file.store.len();
    if !copies.contains(&file.staging.min_copies) {
        let stores = file.store.len();
        let problem = format!(
            "{} is not in 1..={stores}, the stores",
            file.staging.min_copies
        );
        return wrong("staging.min_copies", problem);
    }
    let name = file.cluster.name.as_deref();
    let name = name.unwrap_or_else(|| default_name(path)).to_owned();
    // Shorter would be one object after another, longer no better than
    // archive_timeout.
    let intervals = Duration::from_secs(1)..=Duration::from_secs(600);
    if !intervals.contains(&file.stream.interval) {
        let problem = format!("{:?} is not in 1s..=10m", file.stream.interval);
        return wrong("stream.interval", problem);
    }
    let slot = file.stream.slot.unwrap_or_else(|| "walkeep".to_owned());
    if !is_slot(&slot) {
        let problem = format!(
            "\"{slot}\" cannot name a replication slot (expected up to 63 lower-case letters, \
             digits and '_')"
        );
        return wrong("stream.slot", problem);
    }
    let mut stores: Vec<StoreSettings> = Vec::new();
    for (index, store) in file.store.into_iter().enumerate() {
        let key = format!("store[{index}] (\"{}\")", store.name);
        match stores::check(store, &name) {
            Ok(store) if stores.iter().any(|other| other.name() == store.name()) => {
                return wrong(&key, "another store has the same name".to_owned());
            }
            Ok(store) => stores.push(store),
            Err(stores::Wrong { field, problem }) => {
                return wrong(&format!("{key}.{field}"), problem);
            }
        }
    }

    let alerts = match alerts::check(file.alerts, file.staging.max_size) {
        Ok(alerts) => alerts,
        Err(alerts::Wrong { key, problem }) => return wrong(&key, problem),
    };

    // Without a file there is no reason to believe that /var/lib/walkeep
    // exists: everything stays beside staging.
    let beside = file.staging.path.as_deref().filter(|_| !has_file);
    // Two clusters must not share a catalog.
    let home = Path::new(HOME).join(chosen_name(path).unwrap_or_default());
    let own = |name: &str| beside.unwrap_or(&home).join(name);
    let staging = StagingSettings {
        high_water: (file.staging.max_size as f64 * file.staging.high_water) as u64,
        // A file that PostgreSQL was promised in every store is not released
        // from staging before that is true.
        min_copies: match file.staging.acknowledge {
            Acknowledge::AllStores => stores.len(),
            Acknowledge::Staged | Acknowledge::OneStore => file.staging.min_copies,
        },
        path: file.staging.path.clone(),
        max_size: file.staging.max_size,
        acknowledge: file.staging.acknowledge,
    };
    let catalog = file.catalog.path.unwrap_or_else(|| own("catalog.redb"));
    Ok(Config {
        path: has_file.then(|| path.to_owned()),
        cluster: Cluster {
            name,
            is_named: file.cluster.connection.is_some() || file.cluster.data_directory.is_some(),
            data_directory: file.cluster.data_directory,
            bin_directory: file.cluster.bin_directory,
            connection: file
                .cluster
                .connection
                .unwrap_or_else(|| CONNECTION.to_owned()),
            user: file.cluster.user,
        },
        staging,
        audit: AuditSettings {
            path: (file.audit.path).unwrap_or_else(|| catalog.with_file_name(AUDIT)),
            max_size: file.audit.max_size,
            keep: file.audit.keep,
        },
        catalog,
        compression: Compression {
            format,
            kind: file.compression.encoder,
            level,
        },
        ship: ShipSettings {
            concurrency: file.ship.concurrency,
            rate_limit: (file.ship.rate_limit > 0).then_some(file.ship.rate_limit),
        },
        fetch: FetchSettings {
            timeout: file.fetch.timeout,
            spool: file.fetch.spool.unwrap_or_else(|| own("spool")),
            prefetch: file.fetch.prefetch,
        },
        retention: RetentionSettings {
            window: file.retention.window,
            min_backups: file.retention.min_backups,
            local_window: file.retention.local_window,
        },
        schedule: file.schedule.jobs(),
        drill: DrillSettings {
            scratch: file.drill.scratch.unwrap_or_else(|| own("drill")),
            checks: file.drill.checks,
            file: file.drill.file,
            amcheck: file.drill.amcheck,
            timeout: file.drill.timeout,
        },
        serve,
        stream: StreamSettings {
            enabled: file.stream.enabled,
            interval: file.stream.interval,
            slot,
        },
        alerts,
        stores,
    })
}

/// What `ReplicationSlotValidateName` (slot.c) accepts.
fn is_slot(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=63).contains(&name.len()) && name.bytes().all(fits)
}

/// A secret in the file itself is fine as long as nobody else can read it.
fn refuse_exposed(path: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path).map(|metadata| metadata.permissions().mode()) {
        Ok(mode) if mode & 0o007 != 0 => Err(ConfigError::Exposed(path.to_owned())),
        _ => Ok(()),
    }
}
