//! Where PostgreSQL's programs are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where Debian's packages put one directory for each major.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The directory with `postgres` and `initdb` of the major version `major`,
/// or of any where none is asked for: `configured`, that of the server which
/// runs in `data`, those in `PATH`, what `pg_config` says, Debian's. A
/// configured one is believed.
pub fn bin_directory(
    configured: Option<&Path>,
    data: Option<&Path>,
    major: Option<u32>,
) -> Option<PathBuf> {
    if let Some(configured) = configured {
        return Some(configured.to_owned());
    }
    let running = data.and_then(super::running_in);
    let running = running.and_then(|server| server.bin_directory);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = running
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(pg_config())
        .chain(debian());
    candidates
        .filter(|bin| bin.join("postgres").is_file() && bin.join("initdb").is_file())
        .find(|bin| major.is_none() || major_of(bin) == major)
        .map(behind_links)
}

/// `pg_receivewal`, which streams from servers of its own major or an older
/// one: the one in `bin`, where the server's programs are, else any that will
/// do.
pub fn receiver(bin: Option<&Path>, major: u32) -> Option<PathBuf> {
    const NAME: &str = "pg_receivewal";
    let own = bin
        .map(|bin| bin.join(NAME))
        .filter(|program| program.is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::env::split_paths(&path)
        .chain(pg_config())
        .chain(debian())
        .map(|bin| bin.join(NAME))
        .filter(|program| program.is_file())
        .filter(|program| version_of(program).is_some_and(|its| its >= major));
    own.into_iter().chain(others).next()
}

/// A directory in `PATH` may have links to some of the programs only; the
/// others are where those lead.
fn behind_links(bin: PathBuf) -> PathBuf {
    let real = bin.join("postgres").canonicalize().ok();
    real.and_then(|real| Some(real.parent()?.to_owned()))
        .unwrap_or(bin)
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().into()).filter(|_| output.status.success())
}

/// The newest first.
fn debian() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut majors: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    majors.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    majors.into_iter().map(|(_, bin)| bin).collect()
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, or `18beta1`:
/// 15, or 18.
fn major_of(bin: &Path) -> Option<u32> {
    version_of(&bin.join("postgres"))
}

fn version_of(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    let digits = version.find(|c: char| !c.is_ascii_digit());
    version[..digits.unwrap_or(version.len())].parse().ok()
}
