//! The NixOS module, the flake and their documentation, as far as they can be
//! evaluated: without nixpkgs by the stand-in of nixos-module/tests/stub, and
//! where `NIXPKGS` names a nixpkgs (or its lib alone) by that one as well.
//! What this cannot show is in docs/NIXOS.md.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

#[path = "../support/mod.rs"]
mod support;

mod evaluation;
mod reference;
mod role;
mod units;
mod volume;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use evaluation::{evaluate, topic};
use serde_json::Value;

#[test]
fn postgresql_archives_in_its_sandbox_and_is_not_restarted_by_an_upgrade() {
    topic("postgresql");
}

#[test]
fn the_units_are_those_of_packaging_systemd_with_this_hosts_paths() {
    topic("units");
}

#[test]
fn credentials_are_files_that_are_read_at_each_use() {
    topic("credentials");
}

#[test]
fn staging_is_shared_and_may_have_a_volume() {
    topic("staging");
}

#[test]
fn timers_are_data() {
    topic("timers");
}

#[test]
fn clusters_of_other_units_have_everything_of_their_own() {
    topic("clusters");
}

#[test]
fn options_become_the_configuration_file() {
    topic("settings");
}

#[test]
fn the_binary_takes_what_the_options_make() {
    let Some(made) = evaluate("configurations", None) else {
        return;
    };
    let directory = support::host::TempDir::new();
    for (name, settings) in made.as_object().expect("a set of configurations") {
        let path = directory.join(format!("{name}.toml"));
        write(&path, &toml(settings));
        let said = check(&path);
        assert!(said.0, "{name}: {}", said.1);
        // What is no configuration would not be built.
        write(&path, &toml(settings).replace("max_size", "max_sise"));
        let said = check(&path);
        assert!(!said.0 && said.1.contains("max_sise"), "{name}: {}", said.1);
    }
}

#[test]
fn every_output_of_the_flake_evaluates() {
    let Some(outputs) = evaluate("outputs", None) else {
        return;
    };
    for system in ["x86_64-linux", "aarch64-linux"] {
        let version = env!("CARGO_PKG_VERSION");
        let package = format!("walkeep-{version}");
        let of = |output: &str, name: &str| outputs[output][system][name].clone();
        assert_eq!(of("packages", "default"), package.as_str());
        assert_eq!(of("packages", "walkeep-zlib-ng"), package.as_str());
        assert_eq!(of("devShells", "default"), "shell");
        for check in ["clippy", "fmt", "module", "nix", "package"] {
            assert!(of("checks", check).is_string(), "{system}: {check}");
        }
        let program = outputs["apps"][system].as_str().expect("a program");
        assert!(program.ends_with("/bin/walkeep"), "{program}");
    }
    let scenarios = outputs["scenarios"]["x86_64-linux"].as_object();
    let scenarios = scenarios.expect("a set of scenarios");
    let files = fs::read_dir(repository("vm-tests")).expect("list the scenarios");
    for file in files {
        let path = file.expect("list the scenarios").path();
        if path.extension().is_some_and(|it| it == "py") {
            let name = path.file_stem().expect("a name").display();
            let check = format!("vm-test-run-{name}");
            assert!(scenarios.contains_key(&check), "{check} is no check");
        }
    }
    for (scenario, nodes) in scenarios {
        for (node, complaints) in nodes.as_object().expect("a set of nodes") {
            assert_eq!(complaints, &Value::Array(Vec::new()), "{scenario}: {node}");
        }
    }
    for module in ["module", "overlay"] {
        let name = outputs[module].as_str().expect("a package");
        assert!(name.starts_with("walkeep-"), "{module}: {name}");
    }
}

#[test]
fn the_lock_is_of_what_the_flake_asks_for() {
    let Some(outputs) = evaluate("outputs", None) else {
        return;
    };
    let node = &outputs["lock"]["nodes"]["nixpkgs"];
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let original = &node["original"];
    let locked = format!(
        "{}:{}/{}/{}",
        text(&original["type"]),
        text(&original["owner"]),
        text(&original["repo"]),
        text(&original["ref"]),
    );
    assert_eq!(outputs["inputs"]["nixpkgs"]["url"], locked.as_str());
    for field in ["type", "owner", "repo"] {
        assert_eq!(node["locked"][field], original[field], "{field}");
    }
    assert_eq!(text(&node["locked"]["rev"]).len(), 40);
    assert!(text(&node["locked"]["narHash"]).starts_with("sha256-"));
    let inputs = outputs["inputs"].as_object().expect("inputs");
    let roots = outputs["lock"]["nodes"]["root"]["inputs"].as_object();
    assert_eq!(
        inputs.keys().collect::<Vec<_>>(),
        roots.expect("root's inputs").keys().collect::<Vec<_>>()
    );
}

/// `walkeep check --config-only`, as the system's build runs it: whether it
/// takes the file, and what it says.
fn check(path: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_walkeep"))
        .arg("--config")
        .arg(path)
        .args(["check", "--config-only"])
        .env_clear()
        .output()
        .expect("run walkeep");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into(),
    )
}

fn toml(settings: &Value) -> String {
    toml::to_string(settings).expect("settings are TOML")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("write {path:?}: {error}"));
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
