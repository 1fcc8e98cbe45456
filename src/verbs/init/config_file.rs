//! The configuration file: written where there is none, never over one.

use std::{
    collections::BTreeMap,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{
    environment::{self, Found},
    template::{Facts, render},
};
use crate::{
    cli::{Global, Init},
    cluster::{self, Running},
    config::{Config, ConfigError, default_path},
    fs, privileges,
};

/// Tells the process that root's becomes that the file is new.
pub(super) const WROTE: &str = "WALKEEP_INIT_WROTE";

/// Where the configuration is, and what was done about it.
pub(super) struct ConfigFile {
    /// None where the environment alone is the configuration.
    pub(super) path: Option<PathBuf>,
    /// Whether it was written now.
    pub(super) written: bool,
    /// What `--from-env` made of the environment.
    pub(super) found: Option<Found>,
}

/// Writes the configuration file if there is none, and nothing in the
/// environment that does without.
pub(super) fn ensure(global: &Global, args: &Init) -> anyhow::Result<ConfigFile> {
    let path = match &global.config {
        Some(path) => path.clone(),
        None => default_path(global.cluster.as_deref()),
    };
    let path = std::path::absolute(&path).context("read the working directory")?;
    let there = |written| ConfigFile {
        path: Some(path.clone()),
        written,
        found: None,
    };
    if std::env::var_os(WROTE).is_some() {
        return Ok(there(true));
    }
    if path.symlink_metadata().is_ok() {
        if args.from_env {
            let place = format!("\"{}\"", path.display());
            let problem = "is there already, and is not overwritten: move it aside, or name \
                           another file by --config"
                .to_owned();
            return Err(ConfigError::Value { place, problem }.into());
        }
        return Ok(there(false));
    }
    let named = global.config.is_some() || global.cluster.is_some();
    if !named && !args.from_env && Config::load(None, None).is_ok() {
        return Ok(ConfigFile {
            path: None,
            written: false,
            found: None,
        });
    }
    let found = write(&path, global.cluster.as_deref(), args.from_env)?;
    Ok(ConfigFile {
        path: Some(path),
        written: true,
        found,
    })
}

fn write(path: &Path, cluster: Option<&str>, from_env: bool) -> anyhow::Result<Option<Found>> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let data = environment.get("PGDATA").filter(|data| !data.is_empty());
    let mut facts = facts(cluster, data.map(Path::new));
    let mut found = None;
    if from_env {
        found = Some(environment::read(&environment, &mut facts));
        if environment.contains_key("PG_WAL_ARCHIVE_DIR") {
            // Where they are with the environment alone: config's own rule.
            facts.catalog = facts.staging.join("catalog.redb");
            facts.spool = facts.staging.join("spool");
            facts.scratch = facts.staging.join("drill");
        }
    }
    let data = facts.data_directory.as_deref();
    let directories: Vec<&Path> = data.into_iter().chain([&*facts.staging]).collect();
    let user = privileges::successor(facts.user.as_deref(), &directories)?;
    let group = user.map(|user| user.gid.as_raw());

    let directory = path.parent().unwrap_or(Path::new("/"));
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    fs::create_dir_all(directory, 0o755)
        .with_context(|| format!("make the directory \"{}\"", directory.display()))?;
    for store in &mut facts.stores {
        let Some(secret) = &store.secret else {
            continue;
        };
        let name = format!(
            "{}-{}.secret",
            stem.as_deref().unwrap_or("walkeep"),
            store.name
        );
        let file = directory.join(name);
        write_private(&file, format!("{secret}\n").as_bytes(), group)?;
        store.secret_file = Some(file);
    }
    write_private(path, render(&facts).as_bytes(), group)?;
    Ok(found)
}

/// Readable by its owner and, where root wrote it, by the cluster's user. A
/// file that is there already and says the same is fine.
fn write_private(path: &Path, bytes: &[u8], group: Option<u32>) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        match fs::write_new(path, bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return if std::fs::read(path)? == bytes {
                    Ok(())
                } else {
                    Err(error)
                };
            }
            written => written?,
        }
        if group.is_some() {
            chown(path, None, group)?;
        }
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o640))
    };
    written().with_context(|| format!("write \"{}\"", path.display()))
}

/// What this host shows by itself.
fn facts(cluster: Option<&str>, data: Option<&Path>) -> Facts {
    let home = match cluster {
        Some(name) => Path::new("/var/lib/walkeep").join(name),
        None => PathBuf::from("/var/lib/walkeep"),
    };
    let mut facts = Facts {
        name: cluster.unwrap_or("main").to_owned(),
        data_directory: data.map(Path::to_owned),
        bin_directory: None,
        connection: "host=/run/postgresql user=postgres dbname=postgres".to_owned(),
        user: None,
        staging: home.join("staging"),
        catalog: home.join("catalog.redb"),
        spool: home.join("spool"),
        scratch: home.join("drill"),
        ship_concurrency: None,
        fetch_prefetch: None,
        stores: Vec::new(),
    };
    let Some(server) = the_server(data) else {
        return facts;
    };
    // A Nix store path changes with each upgrade: better found each time.
    facts.bin_directory = server
        .bin_directory
        .filter(|bin| !bin.starts_with("/nix/store"));
    facts.data_directory = Some(server.data_directory);
    if let Some(socket) = server.socket_directory {
        let user = server.user.as_deref().unwrap_or("postgres");
        let port = match server.port {
            5432 => String::new(),
            port => format!(" port={port}"),
        };
        let socket = socket.display();
        facts.connection = format!("host={socket}{port} user={user} dbname=postgres");
    }
    facts
}

/// The server that is meant: the one in `PGDATA`, or the only one that runs.
fn the_server(data: Option<&Path>) -> Option<Running> {
    if let Some(data) = data {
        return cluster::running_in(data);
    }
    let mut servers = cluster::running();
    if servers.len() > 1 {
        let directories = servers.iter().map(|server| server.data_directory.display());
        let directories: Vec<String> = directories.map(|path| format!("\"{path}\"")).collect();
        tracing::warn!(
            "several servers run here ({}): set cluster.data_directory and cluster.connection",
            directories.join(", ")
        );
        return None;
    }
    servers.pop()
}

/// As root: makes the directories that the configuration names, for `user`.
/// Those that are there stay as they are.
pub(super) fn prepare(config: &Config, user: &nix::unistd::User) -> anyhow::Result<()> {
    let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    // Scratch clusters are for later; a user who may not make their directory
    // is told when it is needed.
    let scratch = config.drill.scratch.clone();
    for directory in directories(config).into_iter().chain([scratch]) {
        let missing = directory.ancestors().take_while(|path| !path.exists());
        let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        let made = || -> std::io::Result<()> {
            fs::create_dir_all(&directory, 0o2750)?;
            missing.iter().try_for_each(|path| chown(path, uid, gid))
        };
        made().with_context(|| format!("make the directory \"{}\"", directory.display()))?;
    }
    Ok(())
}

/// The directories that must be there: staging's, the catalog's, the spool.
pub(super) fn directories(config: &Config) -> Vec<PathBuf> {
    let catalog = config.catalog.parent().map(Path::to_owned);
    let spool = config.fetch.spool.clone();
    let paths = [config.staging.path.clone(), catalog, Some(spool)];
    paths.into_iter().flatten().collect()
}
