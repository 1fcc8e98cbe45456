//! Commands that PostgreSQL runs through a shell.

use std::path::PathBuf;

use anyhow::Context;

use crate::{
    cli::Global,
    config::{Config, default_path},
};

/// The command by which PostgreSQL runs `walkeep ARGUMENTS REST`: this program
/// by a path that stays when it is upgraded. `arguments` are quoted, `rest` is
/// as it stands, with PostgreSQL's own `%p` and `%f`.
pub(super) fn command(arguments: &[String], rest: &str) -> anyhow::Result<String> {
    let program = program().context("find this program's path")?;
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(arguments.iter().cloned());
    let quoted: Vec<String> = words.iter().map(|word| shell(word)).collect();
    // PostgreSQL reads %% as %.
    let quoted = quoted.join(" ").replace('%', "%%");
    Ok(format!("{quoted} {rest}"))
}

/// The arguments by which walkeep finds this configuration.
pub(super) fn finding(global: &Global, config: &Config) -> anyhow::Result<Vec<String>> {
    let Some(path) = &config.path else {
        return Ok(Vec::new());
    };
    if let Some(name) = &global.cluster {
        return Ok(vec!["--cluster".to_owned(), name.clone()]);
    }
    if *path == default_path(None) {
        return Ok(Vec::new());
    }
    let path = std::path::absolute(path).context("read the working directory")?;
    Ok(vec![
        "--config".to_owned(),
        path.to_string_lossy().into_owned(),
    ])
}

/// As `PATH` has it, links kept: the file behind them may be one version's
/// alone (Nix's store, Homebrew's cellar).
fn program() -> std::io::Result<PathBuf> {
    let running = std::env::current_exe()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("walkeep"))
        .find(|program| program.canonicalize().is_ok_and(|it| it == running));
    Ok(found.unwrap_or(running))
}

/// A word for a POSIX shell.
pub(super) fn shell(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-=+:,@%".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_through_the_shell_and_the_server() {
        assert_eq!(shell("/usr/bin/walkeep"), "/usr/bin/walkeep");
        assert_eq!(shell("/a b/it's"), r"'/a b/it'\''s'");
        let command = command(&["--plan".to_owned(), "/a b/100%".to_owned()], "%f").unwrap();
        assert!(command.ends_with(" --plan '/a b/100%%' %f"), "{command}");
    }
}
