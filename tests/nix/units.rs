//! The units that the module makes, examined by systemd. How NixOS writes a
//! unit's file is NixOS' own; here each setting is a line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::{
    evaluation::evaluate,
    support::host::{TempDir, systemd_analyze},
};

/// As `systemd-analyze security` takes it, in tenths: 2.0.
const MOST_EXPOSED: &str = "20";

/// What [Unit] says and NixOS has names of its own for.
const NAMED: [(&str, &str); 5] = [
    ("after", "After"),
    ("before", "Before"),
    ("onFailure", "OnFailure"),
    ("requires", "Requires"),
    ("wants", "Wants"),
];

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
    let mut paths = Vec::new();
    let mut put = |name: String, text: String| {
        let path = place.join(name);
        fs::write(&path, text).expect("write a unit");
        paths.push(path);
    };
    for (kind, section) in [("service", "Service"), ("timer", "Timer")] {
        for (name, unit) in object(&units[format!("{kind}s")]) {
            if name.starts_with("walkeep") {
                let mut settings = object(&unit[format!("{kind}Config")]).clone();
                if unit["script"].as_str().is_some_and(|it| !it.is_empty()) {
                    settings.insert("ExecStart".into(), "/bin/true".into());
                }
                put(format!("{name}.{kind}"), text(unit, section, &settings));
            }
        }
    }
    for mount in units["mounts"].as_array().expect("a list of mounts") {
        let settings = [
            ("what", "What"),
            ("where", "Where"),
            ("type", "Type"),
            ("options", "Options"),
        ]
        .map(|(name, key)| (key.to_owned(), mount[name].clone()));
        let at = mount["where"]
            .as_str()
            .expect("a path")
            .trim_start_matches('/');
        let name = format!("{}.mount", at.replace('/', "-"));
        put(name, text(mount, "Mount", &Map::from_iter(settings)));
    }
    Some(paths)
}

fn text(unit: &Value, section: &str, settings: &Map<String, Value>) -> String {
    let words = |key: &str| {
        let list = unit[key].as_array().expect("a list of units");
        let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
        words.join(" ")
    };
    let mut text = format!(
        "[Unit]\nDescription={}\n",
        unit["description"].as_str().unwrap()
    );
    for (name, key) in NAMED {
        text += &format!("{key}={}\n", words(name));
    }
    text += &lines(object(&unit["unitConfig"]));
    text += &format!("[{section}]\n{}", lines(settings));
    text
}

fn lines(settings: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in settings {
        let values = value.as_array().cloned().unwrap_or(vec![value.clone()]);
        for value in values {
            let value = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            text += &format!("{key}={}\n", here(&value));
        }
    }
    text
}

/// A command of Nix's store as one of this machine.
fn here(value: &str) -> String {
    match value.strip_prefix("/nix/store/") {
        Some(rest) => {
            let arguments = rest.split_once(' ').map(|(_, rest)| rest);
            format!(
                "{} {}",
                env!("CARGO_BIN_EXE_walkeep"),
                arguments.unwrap_or_default()
            )
        }
        None => value.to_owned(),
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("a set")
}
