//! From what the tables say to what holds: ranges, defaults, and what one value
//! asks of another.

use std::{path::Path, time::Duration};

use super::{
    Acknowledge, AuditSettings, Cluster, Compression, Config, DrillSettings, FetchSettings,
    RetentionSettings, ShipSettings, StagingSettings, StoreSettings, StreamSettings, alerts,
    chosen_name, default_name,
    file::{File, Store},
    serve, stores,
    wrong::{Wrong, wrong},
};
use crate::codec::Format;

/// Where a host with a configuration file keeps what is its own; of
/// `/etc/walkeep/NAME.toml`, in NAME below it.
const HOME: &str = "/var/lib/walkeep";
/// Where its server is asked.
const CONNECTION: &str = "host=/run/postgresql user=postgres dbname=postgres";
/// What the audit trail is called beside the catalog.
const AUDIT: &str = "audit.jsonl";

/// `has_file` says whether there is a file at `path`, or only the environment.
pub(super) fn check(path: &Path, has_file: bool, file: File) -> Result<Config, Wrong> {
    check_ranges(&file)?;
    let name = file.cluster.name.as_deref();
    let name = name.unwrap_or_else(|| default_name(path)).to_owned();
    let stores = check_stores(file.store, &name)?;
    let serve = serve::check(file.serve)?;
    let alerts = alerts::check(file.alerts, file.staging.max_size)?;
    let slot = file.stream.slot.unwrap_or_else(|| "walkeep".to_owned());
    if !is_slot(&slot) {
        let problem = format!(
            "\"{slot}\" cannot name a replication slot (expected up to 63 lower-case letters, \
             digits and '_')"
        );
        return Err(wrong("stream.slot", problem));
    }

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
    let format = file.compression.format;
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
            level: file.compression.level.unwrap_or(format.default_level()),
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

/// What a number alone, or beside the number of stores, may not be.
fn check_ranges(file: &File) -> Result<(), Wrong> {
    let format = file.compression.format;
    if let Some(level) = file.compression.level
        && !Format::LEVELS.contains(&level)
    {
        let default = format.default_level();
        let problem = format!("{level} is not in 1..=9 (for {format}; its default is {default})");
        return Err(wrong("compression.level", problem));
    }
    let concurrency = file.ship.concurrency;
    if !(1..=64).contains(&concurrency) {
        let problem = format!("{concurrency} is not in 1..=64");
        return Err(wrong("ship.concurrency", problem));
    }
    if file.retention.min_backups == 0 {
        let problem = "0 would let the last backup go; keep at least 1";
        return Err(wrong("retention.min_backups", problem));
    }
    if file.audit.keep == 0 {
        let problem = "0 would let each line go; keep at least 1";
        return Err(wrong("audit.keep", problem));
    }
    let stores = file.store.len();
    if stores == 0 {
        let problem = "name at least one store in a [[store]] table";
        return Err(wrong("store", problem));
    }
    let copies = file.staging.min_copies;
    if !(1..=stores).contains(&copies) {
        let problem = format!("{copies} is not in 1..={stores}, the stores");
        return Err(wrong("staging.min_copies", problem));
    }
    // Shorter would be one object after another, longer no better than
    // archive_timeout.
    let interval = file.stream.interval;
    if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&interval) {
        let problem = format!("{interval:?} is not in 1s..=10m");
        return Err(wrong("stream.interval", problem));
    }
    Ok(())
}

fn check_stores(tables: Vec<Store>, cluster: &str) -> Result<Vec<StoreSettings>, Wrong> {
    let mut checked: Vec<StoreSettings> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let place = format!("store[{index}] (\"{}\")", table.name);
        let store = stores::check(table, cluster).map_err(|wrong| wrong.of(&place))?;
        if checked.iter().any(|other| other.name() == store.name()) {
            return Err(wrong(place, "another store has the same name"));
        }
        checked.push(store);
    }
    Ok(checked)
}

/// What `ReplicationSlotValidateName` (slot.c) accepts.
fn is_slot(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=63).contains(&name.len()) && name.bytes().all(fits)
}
