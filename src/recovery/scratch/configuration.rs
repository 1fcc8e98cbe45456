//! A scratch cluster's configuration: its own, of which nothing leads to the
//! living cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{ScratchCluster, ScratchError, failed};
use crate::{
    backup::Manifest,
    fs::write,
    recovery::settings::{self, quoted},
};

const AUTO: &str = "postgresql.auto.conf";
const PRELOAD: &str = "shared_preload_libraries";

impl ScratchCluster {
    /// Writes it, and says which file the server is to read. What the cluster
    /// had stays unread, but for the settings of its recovery.
    pub(super) fn configure(&self, preloaded: &[String]) -> Result<PathBuf, ScratchError> {
        let put = |path: PathBuf, text: &str| {
            let written = write(&path, text.as_bytes());
            written.map_err(failed("write", &path)).map(|()| path)
        };
        let scratch = self.scratch.path();
        // Its directory is this user's alone.
        let hba = put(scratch.join("pg_hba.conf"), "local all all trust\n")?;
        let ident = put(scratch.join("pg_ident.conf"), "")?;
        let path = |path: &Path| path.display().to_string();
        let mut text = String::new();
        for (name, value) in [
            ("data_directory", path(&self.data())),
            ("hba_file", path(&hba)),
            ("ident_file", path(&ident)),
            ("listen_addresses", String::new()),
            (
                "unix_socket_directories",
                format!("\"{}\"", path(self.socket())),
            ),
            ("unix_socket_permissions", "0700".to_owned()),
            ("port", super::PORT.to_string()),
            // Nobody is let in before recovery has ended.
            ("hot_standby", "off".to_owned()),
            ("archive_mode", "off".to_owned()),
            ("archive_command", String::new()),
            (PRELOAD, preloaded.join(", ")),
            ("jit", "off".to_owned()),
            // In the data directory: what a killed server leaves goes with it.
            ("dynamic_shared_memory_type", "mmap".to_owned()),
            // Nothing of it is to survive.
            ("fsync", "off".to_owned()),
            ("autovacuum", "off".to_owned()),
            ("cluster_name", "walkeep".to_owned()),
        ] {
            text.push_str(&format!("{name} = '{}'\n", quoted(&value)));
        }
        let auto = self.data().join(AUTO);
        let read = fs::read_to_string(&auto).map_err(failed("read", &auto))?;
        put(auto, settings::block_in(&read))?;
        put(scratch.join("postgresql.conf"), &text)
    }
}

/// The libraries that the cluster preloads, as far as they are on this host.
pub(super) fn preloaded(bin: &Path, data: &Path, manifest: &Manifest) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap_or_default();
    let beside = manifest.configuration.iter();
    let mut texts: Vec<String> = vec![read("postgresql.conf")];
    texts.extend(beside.map(|file| file.text.clone()));
    texts.push(read(AUTO));
    let set = |text: &String| settings::value_in(text, PRELOAD);
    let Some(wanted) = texts.iter().rev().find_map(set) else {
        return Vec::new();
    };
    let directories = library_directories(bin);
    let names = wanted.split(',').map(|name| name.trim().trim_matches('"'));
    let mut here = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        let file = name.strip_prefix("$libdir/").unwrap_or(name);
        let is_here = |directory: &PathBuf| {
            directory.join(file).is_file() || directory.join(format!("{file}.so")).is_file()
        };
        match directories.iter().any(is_here) {
            true => here.push(format!("\"{name}\"")),
            false => tracing::warn!("the library \"{name}\" is not on this host: not preloaded"),
        }
    }
    here
}

/// `$libdir`, as `pg_config` says, and where builds have it beside `bin`.
fn library_directories(bin: &Path) -> Vec<PathBuf> {
    let asked = Command::new(bin.join("pg_config"))
        .arg("--pkglibdir")
        .output();
    let asked = asked.ok().filter(|output| output.status.success());
    let asked = asked.and_then(|output| String::from_utf8(output.stdout).ok());
    let beside = ["../lib", "../lib/postgresql"].map(|way| bin.join(way));
    asked
        .map(|text| PathBuf::from(text.trim()))
        .into_iter()
        .chain(beside)
        .collect()
}
