//! The units that the module makes, examined by systemd. How NixOS writes a
//! unit's file is NixOS' own; nixos-module/tests/stub/rendered.nix does it alike.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    evaluation::evaluate,
    support::host::{TempDir, systemd_analyze},
};

/// As `systemd-analyze security` takes it, in tenths: 2.0.
const MOST_EXPOSED: &str = "20";

#[test]
fn systemd_understands_the_units_that_the_module_makes() {
    let place = TempDir::new();
    let Some(units) = written(&place) else {
        return;
    };
    assert!(units.len() > 30, "{units:?}");
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(units.iter().map(|unit| unit.to_str().expect("UTF-8")));
    let Some(output) = systemd_analyze(&arguments) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // It warns of unknown settings, and ends well.
    assert!(!said.contains("walkeep"), "{said}");
}

#[test]
fn on_nixos_too_the_daemon_is_exposed_to_little() {
    let place = TempDir::new();
    if written(&place).is_none() {
        return;
    }
    for unit in ["walkeep.service", "walkeep@orders.service"] {
        let path = place.join(unit);
        let threshold = format!("--threshold={MOST_EXPOSED}");
        let path = path.to_str().expect("UTF-8");
        let arguments = ["security", "--offline=true", "--no-pager", &threshold, path];
        let Some(output) = systemd_analyze(&arguments) else {
            return;
        };
        assert!(output.status.success(), "{output:?}");
        // A threshold that nothing was held against would pass as well.
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

/// The module's units as files; none where Nix is missing.
fn written(place: &Path) -> Option<Vec<PathBuf>> {
    let units = evaluate("units", None)?;
    let units = units.as_object().expect("a set of units");
    let ours = units.iter().filter(|(name, _)| name.contains("walkeep"));
    let paths = ours.map(|(name, unit)| {
        let path = place.join(name);
        let text = unit["text"].as_str().expect("a unit's text");
        let lines = text.lines().map(here).collect::<Vec<_>>();
        fs::write(&path, lines.join("\n")).expect("write a unit");
        path
    });
    Some(paths.collect())
}

/// A line whose command is in Nix's store, or a script of the system's, with
/// one of this machine in its place.
fn here(line: &str) -> String {
    let Some((key, command)) = line.split_once('=') else {
        return line.to_owned();
    };
    let elsewhere = ["/nix/store/", "/etc/scripts/"];
    if !key.starts_with("Exec") || !elsewhere.iter().any(|place| command.starts_with(place)) {
        return line.to_owned();
    }
    let arguments = command.split_once(' ').map(|(_, rest)| rest);
    format!(
        "{key}={} {}",
        env!("CARGO_BIN_EXE_walkeep"),
        arguments.unwrap_or_default()
    )
}
