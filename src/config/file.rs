//! The configuration file as it is written: TOML tables, before anything in
//! them is believed.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    alerts::Alerts,
    schedule::{Job, Schedule},
    value,
};
use crate::codec::{EncoderKind, Format};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub cluster: Cluster,
    pub staging: Staging,
    pub catalog: Catalog,
    pub compression: Compression,
    pub ship: Ship,
    pub fetch: Fetch,
    pub retention: Retention,
    pub stream: Stream,
    pub audit: Audit,
    pub schedule: Schedules,
    pub drill: Drill,
    pub serve: Serve,
    pub alerts: Alerts,
    pub store: Vec<Store>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cluster {
    pub name: Option<String>,
    pub data_directory: Option<PathBuf>,
    pub bin_directory: Option<PathBuf>,
    pub connection: Option<String>,
    pub user: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Staging {
    pub path: Option<PathBuf>,
    #[serde(deserialize_with = "value::size")]
    pub max_size: u64,
    #[serde(deserialize_with = "value::share")]
    pub high_water: f64,
    pub min_copies: usize,
    pub acknowledge: Acknowledge,
}

impl Default for Staging {
    fn default() -> Self {
        Staging {
            path: None,
            max_size: 20 << 30,
            high_water: 0.8,
            min_copies: 1,
            acknowledge: Acknowledge::Staged,
        }
    }
}

/// When PostgreSQL is told that a file is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// As soon as it would survive a power cut of this host.
    Staged,
    /// When one store holds it as well.
    OneStore,
    /// When every store holds it as well.
    AllStores,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Catalog {
    pub path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Compression {
    pub format: Format,
    pub encoder: EncoderKind,
    /// None: the format's default.
    pub level: Option<u32>,
}

impl Default for Compression {
    fn default() -> Self {
        Compression {
            format: Format::Gzip,
            encoder: EncoderKind::Auto,
            level: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ship {
    pub concurrency: usize,
    #[serde(deserialize_with = "value::size")]
    pub rate_limit: u64,
}

impl Default for Ship {
    fn default() -> Self {
        Ship {
            concurrency: 2,
            rate_limit: 0,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fetch {
    #[serde(deserialize_with = "value::duration")]
    pub timeout: Duration,
    pub spool: Option<PathBuf>,
    pub prefetch: usize,
}

impl Default for Fetch {
    fn default() -> Self {
        Fetch {
            timeout: Duration::from_secs(300),
            spool: None,
            prefetch: 8,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retention {
    #[serde(deserialize_with = "value::duration")]
    pub window: Duration,
    pub min_backups: usize,
    #[serde(deserialize_with = "value::duration")]
    pub local_window: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            window: Duration::from_secs(30 * 24 * 60 * 60),
            min_backups: 2,
            local_window: Duration::ZERO,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    pub path: Option<PathBuf>,
    #[serde(deserialize_with = "value::size")]
    pub max_size: u64,
    pub keep: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Audit {
            path: None,
            max_size: 16 << 20,
            keep: 8,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Schedules {
    backup: Option<Schedule>,
    full_backup: Option<Schedule>,
    verify: Option<Schedule>,
    deep_verify: Option<Schedule>,
    drill: Option<Schedule>,
    prune: Option<Schedule>,
}

impl Schedules {
    /// What is named.
    pub(super) fn jobs(&self) -> BTreeMap<Job, Schedule> {
        let of = |job: Job| match job {
            Job::Backup => self.backup,
            Job::FullBackup => self.full_backup,
            Job::Verify => self.verify,
            Job::DeepVerify => self.deep_verify,
            Job::Drill => self.drill,
            Job::Prune => self.prune,
        };
        let named = Job::ALL.into_iter().filter_map(|job| Some((job, of(job)?)));
        named.collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stream {
    pub enabled: bool,
    #[serde(deserialize_with = "value::duration")]
    pub interval: Duration,
    pub slot: Option<String>,
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            enabled: false,
            interval: Duration::from_secs(10),
            slot: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drill {
    pub scratch: Option<PathBuf>,
    pub checks: Vec<String>,
    pub file: Option<PathBuf>,
    pub amcheck: bool,
    #[serde(deserialize_with = "value::duration")]
    pub timeout: Duration,
}

impl Default for Drill {
    fn default() -> Self {
        Drill {
            scratch: None,
            checks: Vec::new(),
            file: None,
            amcheck: true,
            timeout: Duration::from_secs(24 * 60 * 60),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Serve {
    pub listen: String,
    pub token_file: Option<PathBuf>,
}

impl Default for Serve {
    fn default() -> Self {
        Serve {
            listen: "127.0.0.1:9847".to_owned(),
            token_file: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoreType {
    R2,
    B2,
    S3,
    Directory,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: StoreType,
    pub account_id: Option<String>,
    pub jurisdiction: Option<String>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub path: Option<PathBuf>,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    pub access_key_id: Option<String>,
    pub access_key_id_file: Option<PathBuf>,
    pub secret_access_key: Option<secrecy::SecretString>,
    pub secret_access_key_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub allow_http: bool,
    pub price_storage: Option<f64>,
}

impl Store {
    /// A store of which only name and type are known.
    pub(super) fn named(name: &str, kind: StoreType) -> Self {
        Store {
            name: name.to_owned(),
            kind,
            account_id: None,
            jurisdiction: None,
            region: None,
            endpoint: None,
            path: None,
            bucket: None,
            prefix: None,
            access_key_id: None,
            access_key_id_file: None,
            secret_access_key: None,
            secret_access_key_file: None,
            ca_file: None,
            allow_http: false,
            price_storage: None,
        }
    }
}
