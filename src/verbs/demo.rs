//! `walkeep demo`.

use std::{
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, anyhow};
use bytesize::ByteSize;
use nix::unistd::{Uid, User, chown};

use super::{NO, print_json};
use crate::{
    cli,
    cluster::bin_directory,
    demo::{Summary, run_in},
};

pub(super) fn run(arguments: &cli::Demo, json: bool) -> anyhow::Result<u8> {
    let bin = bin_directory(None, None, None).context(
        "find PostgreSQL's programs (initdb, postgres); on Debian: apt-get install postgresql",
    )?;
    let directory = match &arguments.directory {
        Some(directory) => directory.clone(),
        None => make_directory(arguments.keep.as_deref())?,
    };
    if Uid::effective().is_root() {
        return Err(restart_unprivileged(&directory));
    }
    let mut say = |step: &str| eprintln!("  {step}");
    let summary = run_in(&directory, &bin, arguments.load, &mut say);
    let kept = arguments.keep.is_some() || summary.is_err();
    if kept {
        eprintln!("  everything is kept in \"{}\"", directory.display());
    } else {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("remove \"{}\"", directory.display()))?;
    }
    let summary = summary?;
    if json {
        print_json(&summary)?
    } else {
        print(&summary)?
    }
    Ok(if summary.rows_are_right { 0 } else { NO })
}

/// A new directory: the socket of the server is in it, so its path is short.
fn make_directory(keep: Option<&Path>) -> anyhow::Result<PathBuf> {
    let random = || std::env::temp_dir().join(format!("walkeep-demo-{:08x}", fastrand::u32(..)));
    let directory = keep.map_or_else(random, Path::to_owned);
    std::fs::create_dir(&directory)
        .with_context(|| format!("make the directory \"{}\"", directory.display()))?;
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
    Ok(std::path::absolute(&directory)?)
}

/// PostgreSQL refuses to run as root. The other user may not reach this
/// program where it is (a home directory), so it gets a copy. Returns only
/// when that failed.
fn restart_unprivileged(directory: &Path) -> anyhow::Error {
    let find = |name: &&str| User::from_name(name).ok().flatten();
    let Some(user) = ["postgres", "nobody"].iter().find_map(find) else {
        return anyhow!("there is no user \"postgres\" or \"nobody\" to go on as without root");
    };
    match prepare_restart(directory, &user) {
        Ok(mut command) => command.exec().into(),
        Err(error) => error.context("go on without root"),
    }
}

fn prepare_restart(directory: &Path, user: &User) -> anyhow::Result<Command> {
    chown(directory, Some(user.uid), Some(user.gid))?;
    let program = directory.join("walkeep");
    std::fs::copy(std::env::current_exe()?, &program)?;
    eprintln!("  PostgreSQL refuses root: going on as {}", user.name);
    let mut command = Command::new(&program);
    command
        .args(std::env::args_os().skip(1))
        .arg("--directory")
        .arg(directory);
    command
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .env("HOME", directory);
    command.current_dir(directory);
    Ok(command)
}

fn print(summary: &Summary) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (expected, found) = summary.rows;
    let right = if summary.rows_are_right {
        "exactly the rows of"
    } else {
        "NOT the rows of"
    };
    writeln!(
        out,
        "recovered {found} rows (expected {expected}): {right} {}",
        summary.target
    )?;
    writeln!(
        out,
        "{} segments in each of two stores ({} each), every one checked by SHA-256",
        summary.segments,
        ByteSize(summary.stored_bytes)
    )?;
    let (full, delta) = summary.backup_bytes;
    writeln!(
        out,
        "two base backups in each: {} in full, then {} that changed",
        ByteSize(full),
        ByteSize(delta)
    )?;
    writeln!(
        out,
        "RPO {:.1} s (the last archived transaction before the disaster), RTO {:.1} s",
        summary.rpo_seconds, summary.rto_seconds
    )?;
    Ok(())
}
