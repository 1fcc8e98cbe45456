//! What people read of the module is made of it.

use std::fs;

use crate::{evaluation::evaluate, repository, write};

#[test]
fn the_options_reference_is_that_of_the_options() {
    let Some(made) = evaluate("reference", None) else {
        return;
    };
    let made = made.as_str().expect("a text");
    let path = repository("docs/NIXOS-OPTIONS.md");
    if std::env::var_os("WALKEEP_WRITE_REFERENCE").is_some() {
        write(&path, made);
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/NIXOS-OPTIONS.md is not what the module has; run `make nix-reference`"
    );
}

#[test]
fn the_readme_shows_the_configuration_that_is_tested() {
    let example = fs::read_to_string(repository("nixos-module/tests/example.nix"));
    let shown = format!("```nix\n{}```\n", example.expect("read the example"));
    let readme = fs::read_to_string(repository("README.md")).expect("read the README");
    assert!(
        readme.contains(&shown),
        "README.md has to show nixos-module/tests/example.nix as it is"
    );
}

#[test]
fn every_option_is_explained_by_whole_sentences() {
    let Some(made) = evaluate("reference", None) else {
        return;
    };
    let options: Vec<&str> = made
        .as_str()
        .expect("a text")
        .split("\n## ")
        .skip(1)
        .collect();
    assert!(options.len() > 50, "the options are found");
    for option in options {
        let explained = option.split("\n\n").nth(1).unwrap_or_default();
        assert!(explained.ends_with('.'), "{option}");
    }
}
