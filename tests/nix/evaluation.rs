//! Nix, which evaluates and builds nothing.

use std::{
    env, iter,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{repository, support::host};

/// The nixpkgs that `NIXPKGS` names, or its lib alone.
fn nixpkgs() -> Option<PathBuf> {
    env::var_os("NIXPKGS")
        .filter(|it| !it.is_empty())
        .map(PathBuf::from)
}

/// Every sentence of a topic of nixos-module/tests is true: by the stand-in,
/// and by `NIXPKGS` where that is given.
pub fn topic(name: &str) {
    for nixpkgs in iter::once(None).chain(nixpkgs().map(Some)) {
        let Some(sentences) = evaluate(&format!("topics.{name}"), nixpkgs) else {
            return;
        };
        let sentences = sentences.as_object().expect("a set of sentences").clone();
        assert!(sentences.len() > 5, "the sentences are found");
        let wrong: Vec<String> = sentences
            .iter()
            .filter(|(_, one)| one["ok"] != true)
            .map(|(sentence, one)| {
                format!(
                    "{sentence}\n  is     {}\n  should {}",
                    one["is"], one["should"]
                )
            })
            .collect();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

/// An attribute of nixos-module/tests/run.nix; none where Nix is missing.
pub fn evaluate(attribute: &str, nixpkgs: Option<PathBuf>) -> Option<Value> {
    let mut command = Command::new("nix-instantiate");
    command
        .args(["--eval", "--strict", "--json", "--attr", attribute])
        .arg(repository("nixos-module/tests/run.nix"))
        // Nothing is built, so no store is needed.
        .env("NIX_REMOTE", "dummy://");
    if let Some(path) = nixpkgs {
        let path = path.canonicalize();
        let path = path.unwrap_or_else(|error| panic!("NIXPKGS: {error}"));
        command.args(["--arg", "nixpkgs"]).arg(path);
    }
    let output = run(command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{attribute}:\n{said}");
    Some(serde_json::from_slice(&output.stdout).expect("Nix writes JSON"))
}

fn run(mut command: Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            host::skip("nix-instantiate", "install nix-bin");
            None
        }
        Err(error) => panic!("run nix-instantiate: {error}"),
    }
}
