//! The PostgreSQL majors found on this machine.
//!
//! Looked for in the directories of `WALKEEP_PG_BINS` (separated by colons),
//! where Debian puts them, in `PATH`, and under `target/postgres/`, which
//! `make postgres-majors` fills. Of two of the same major the first is taken.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crate::support::host;

/// The majors that walkeep supports.
pub const SUPPORTED: std::ops::RangeInclusive<u16> = 13..=18;

/// One major's programs.
#[derive(Debug, Clone)]
pub struct Server {
    pub major: u16,
    /// Where `postgres` and `initdb` are; the server's user can execute them.
    pub bin: PathBuf,
}

/// Every supported major that is here, oldest first.
pub fn installed() -> Vec<Server> {
    INSTALLED.clone()
}

/// The newest major that is here with all of its programs, `pg_basebackup`
/// among them: on Debian, Debian's own.
pub fn default_server() -> Server {
    installed()
        .into_iter()
        .rev()
        .find(|server| server.has("pg_basebackup"))
        .expect("a PostgreSQL server with pg_basebackup; `make deps` installs one")
}

/// The programs of one major; none, with a word on the terminal, when it is
/// not here. Where everything is required its absence fails the test.
pub fn major(major: u16) -> Option<Server> {
    let found = installed().into_iter().find(|server| server.major == major);
    if found.is_none() {
        host::skip(
            &format!("PostgreSQL {major}"),
            "`make postgres-majors` fetches it",
        );
    }
    found
}

/// Every supported major that is here, after a word about those that are not.
/// Where everything is required it is all of them.
pub fn every_major() -> Vec<Server> {
    SUPPORTED.filter_map(major).collect()
}

impl Server {
    /// Whether the program is there: some builds hold the server alone.
    pub fn has(&self, program: &str) -> bool {
        self.bin.join(program).is_file()
    }

    /// One of its programs, to be run as the server's user, knowing nothing of
    /// the `PG…` variables that the tests were started with.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        host::as_server_user(&mut command);
        command
    }
}

static INSTALLED: LazyLock<Vec<Server>> = LazyLock::new(|| {
    let mut servers: Vec<Server> = Vec::new();
    for bin in candidates() {
        let Some(major) = major_of(&bin) else {
            continue;
        };
        if SUPPORTED.contains(&major) && servers.iter().all(|server| server.major != major) {
            let bin = reachable(bin, major);
            servers.push(Server { major, bin });
        }
    }
    servers.sort_by_key(|server| server.major);
    servers
});

fn candidates() -> Vec<PathBuf> {
    let paths = |variable| {
        std::env::var_os(variable)
            .map(|value| std::env::split_paths(&value).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/postgres");
    let mut candidates = paths("WALKEEP_PG_BINS");
    candidates.extend(bins_below(Path::new("/usr/lib/postgresql")));
    candidates.extend(paths("PATH"));
    candidates.extend(bins_below(&built));
    candidates.retain(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file());
    candidates
}

/// `DIRECTORY/*/bin`.
fn bins_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect()
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`: 15. None when
/// the program does not run here.
fn major_of(bin: &Path) -> Option<u16> {
    let output = Command::new(bin.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.strip_prefix("postgres (PostgreSQL) ")?;
    let digits = version.find(|c: char| !c.is_ascii_digit())?;
    version[..digits].parse().ok()
}

/// The programs as they are, or a copy of the tree around them when the
/// server's user may not enter a directory above it (a checkout in /root, say).
fn reachable(bin: PathBuf, major: u16) -> PathBuf {
    if host::server_user_can_execute(&bin.join("postgres")) {
        return bin;
    }
    let tree = bin.parent().expect("a bin directory has a parent");
    host::reachable_copy(tree, &format!("pg{major}")).join("bin")
}
