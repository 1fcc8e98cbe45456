//! What most verbs begin with: the configuration, and what it names.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use crate::{
    archive::{pace::Pace, place::Place, ship::Shipping, staging::Staging},
    catalog::Catalog,
    cli::Global,
    config::{Config, ConfigError, StoreSettings},
    fs,
    layout::Layout,
    privileges::drop_root,
    store::{RetryPolicy, Store, StoreError},
    trail::Trail,
};

/// For verbs that somebody waits for: a store that is down is said so soon.
pub const PROMPT: RetryPolicy = RetryPolicy {
    attempts: 3,
    deadline: Duration::from_secs(15),
    base: Duration::from_millis(300),
    cap: Duration::from_secs(3),
};

/// This host, as the configuration describes it. Nothing is opened before it
/// is asked for.
pub struct Host {
    /// The configuration.
    pub config: Config,
    /// Whether the result is to be JSON.
    pub json: bool,
    /// Whether nothing is to be shown but the result.
    pub quiet: bool,
}

impl Host {
    /// Reads the configuration and, started by root, becomes its user.
    pub fn load(global: &Global) -> anyhow::Result<Self> {
        Self::load_for(global, &[])
    }

    /// As [`load`](Self::load), for a host that has no data directory yet: the
    /// owner of one of `places` may be the user as well.
    pub fn load_for(global: &Global, places: &[&Path]) -> anyhow::Result<Self> {
        let config = Config::load(global.config.as_deref(), global.cluster.as_deref())?;
        let (data, staging) = (&config.cluster.data_directory, &config.staging.path);
        let places = places.iter().copied().filter(|place| !is_roots(place));
        // Staging comes last: it may be the daemon's, whom PostgreSQL's files
        // are none of.
        let directories: Vec<&Path> = (data.as_deref().into_iter())
            .chain(places)
            .chain(staging.as_deref())
            .collect();
        drop_root(config.cluster.user.as_deref(), &directories)?;
        Ok(Host {
            config,
            json: global.json,
            quiet: global.quiet,
        })
    }

    /// Where staging is, whether its volume is mounted or not.
    pub fn staging_path(&self) -> Result<&Path, ConfigError> {
        let path = self.config.staging.path.as_deref();
        path.ok_or_else(|| ConfigError::Value {
            place: "staging.path".to_owned(),
            problem: "not set; name the directory where WAL waits to be shipped".to_owned(),
        })
    }

    /// The staging directory, with its marker.
    pub fn staging(&self) -> anyhow::Result<Staging> {
        Ok(Staging::open(self.staging_path()?)?)
    }

    /// The catalog. Its directory is made where it is missing.
    pub fn catalog(&self) -> anyhow::Result<Catalog> {
        if let Some(directory) = self.config.catalog.parent() {
            fs::create_dir_all(directory, 0o750).with_context(|| {
                format!("make the catalog's directory \"{}\"", directory.display())
            })?;
        }
        Ok(Catalog::at(&self.config.catalog))
    }

    /// Where it is told what was done.
    pub fn trail(&self) -> Trail {
        Trail::of(&self.config)
    }

    /// Everything that `ship` needs. Inside a tokio runtime.
    pub fn shipping(&self, retry: RetryPolicy) -> anyhow::Result<Shipping> {
        let Config {
            compression,
            ship,
            staging,
            retention,
            ..
        } = &self.config;
        let places = self.places(retry)?;
        Ok(Shipping {
            staging: self.staging()?,
            places: places.into_iter().map(Place::claimed).collect(),
            catalog: self.catalog()?,
            encoder: compression.encoder()?,
            concurrency: ship.concurrency,
            pace: Arc::new(Pace::new(ship.rate_limit)),
            high_water: staging.high_water,
            min_copies: staging.min_copies,
            local_window: retention.local_window,
            left_out: Arc::default(),
            trail: self.trail(),
        })
    }

    /// Every store, as patient as `retry`. Inside a tokio runtime.
    pub fn places(&self, retry: RetryPolicy) -> Result<Vec<Place>, StoreError> {
        let stores = self.config.stores.iter();
        stores.map(|settings| self.place(settings, retry)).collect()
    }

    /// One store, as patient as `retry`. Inside a tokio runtime.
    pub fn place(&self, settings: &StoreSettings, retry: RetryPolicy) -> Result<Place, StoreError> {
        Ok(Place {
            store: Store::open(settings.name().clone(), settings.location.clone(), retry)?,
            layout: Layout::new(&settings.prefix),
        })
    }
}

fn is_roots(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == 0)
}

/// Where stores are spoken to.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Runs what needs the network to its end.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    // What still runs is not waited for: the answer is known.
    runtime.shutdown_background();
    done
}
