//! What somebody sees who looks: colours, and how far it has come.

use std::process::Command;

use crate::{
    age, stage,
    support::{
        archive::{Archive, Ran, ran},
        host::as_server_user,
    },
};

/// Runs `walkeep` on a terminal of its own, with variables of the environment.
fn on_terminal(archive: &Archive, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let inner = archive.walkeep(arguments);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_str().expect("UTF-8")))
        .collect();
    let mut command = Command::new("script");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .envs(variables.iter().copied());
    as_server_user(&mut command).args(["-qec", &words.join(" "), "/dev/null"]);
    ran(command.stdin(std::process::Stdio::null()))
}

#[test]
fn status_has_colours_on_a_terminal_and_nowhere_else() {
    let archive = crate::archive(&["a", "b"]);
    let names = stage(&archive, [1]);
    age(&archive.staged(&names[0]), 60);
    let red = "\u{1b}[1m\u{1b}[31m";
    let seen = on_terminal(&archive, &[], &["status"]);
    assert_eq!(seen.code, 1, "{seen:?}");
    assert!(seen.stdout.contains(red), "{seen:?}");
    for variables in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let seen = on_terminal(&archive, &[variables], &["status"]);
        assert!(!seen.stdout.contains('\u{1b}'), "{seen:?}");
        assert!(seen.stdout.contains("1 staged file"), "{seen:?}");
    }
    let piped = archive.run(&["status"]);
    assert!(!piped.stdout.contains('\u{1b}'), "{piped:?}");
}

#[test]
fn ship_shows_on_a_terminal_how_far_it_has_come() {
    let archive = crate::archive(&["a", "b"]);
    stage(&archive, 1..=4);
    let seen = on_terminal(&archive, &[], &["ship"]);
    assert!(seen.stdout.contains("/s, "), "{seen:?}");
    assert!(seen.stdout.contains("4 files"), "{seen:?}");
    stage(&archive, 5..=8);
    let quiet = on_terminal(&archive, &[], &["--quiet", "ship"]);
    assert!(!quiet.stdout.contains("/s, "), "{quiet:?}");
    stage(&archive, 9..=12);
    let piped = archive.run(&["ship"]);
    assert!(!piped.stderr.contains("/s, "), "{piped:?}");
}
