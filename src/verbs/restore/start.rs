//! How a restored cluster is started, where that is not just by naming its
//! directory: configuration that lived elsewhere, or leads elsewhere.

use std::{fs, path::Path};

use crate::{
    backup::Manifest,
    recovery::{
        finish::{CONFIGURATION, configuration_path},
        settings::value_in,
    },
    verbs::command::shell,
};

/// Settings that name files, and would lead a copy of a cluster to the living
/// one's.
const ELSEWHERE: [&str; 4] = [
    "data_directory",
    "hba_file",
    "ident_file",
    "external_pid_file",
];

/// The `-c` arguments that the server needs to be this cluster's.
pub(super) fn overrides(directory: &Path, manifest: &Manifest) -> Vec<(&'static str, String)> {
    let mut overrides = Vec::new();
    let beside = |setting: &str| {
        let named = |name: &Option<String>| name.as_deref() == Some(setting);
        let file = manifest
            .configuration
            .iter()
            .find(|file| named(&file.setting))?;
        let below = configuration_path(&file.path)?;
        Some(directory.join(below).display().to_string())
    };
    let mut texts: Vec<String> = ["postgresql.conf", "postgresql.auto.conf"]
        .iter()
        .filter_map(|name| fs::read_to_string(directory.join(name)).ok())
        .collect();
    if !directory.join("postgresql.conf").exists()
        && let Some(config_file) = beside("config_file")
    {
        overrides.push(("config_file", config_file));
    }
    texts.extend(manifest.configuration.iter().map(|file| file.text.clone()));
    let set = |name: &str| texts.iter().any(|text| value_in(text, name).is_some());
    for name in ELSEWHERE {
        let copy = beside(name);
        if copy.is_none() && !set(name) && overrides.is_empty() {
            continue;
        }
        let inside = match name {
            "data_directory" => Some(directory.display().to_string()),
            "hba_file" => Some(directory.join("pg_hba.conf").display().to_string()),
            "ident_file" => Some(directory.join("pg_ident.conf").display().to_string()),
            _ => set(name).then(String::new),
        };
        if let Some(value) = copy.or(inside) {
            overrides.push((name, value));
        }
    }
    overrides
}

/// The command that starts it.
pub(super) fn command(directory: &Path, overrides: &[(&'static str, String)]) -> String {
    let directory = shell(&directory.display().to_string());
    if overrides.is_empty() {
        return format!("pg_ctl -D {directory} start");
    }
    let arguments = overrides
        .iter()
        .map(|(name, value)| shell(&format!("{name}={value}")));
    let arguments: Vec<String> = arguments.map(|word| format!(" -c {word}")).collect();
    format!("postgres -D {directory}{}", arguments.concat())
}

/// Whether there are configuration files beside.
pub(super) fn beside(manifest: &Manifest) -> Option<&'static str> {
    (!manifest.configuration.is_empty()).then_some(CONFIGURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_cluster_is_started_plainly() {
        let plain = command(Path::new("/srv/a b"), &[]);
        assert_eq!(plain, "pg_ctl -D '/srv/a b' start");
        let other = command(
            Path::new("/srv/x"),
            &[("data_directory", "/srv/x".to_owned())],
        );
        assert_eq!(other, "postgres -D /srv/x -c data_directory=/srv/x");
    }
}
