//! The servers that run on this host, found without connecting to them: root
//! is not let in by peer authentication, and which socket to ask is the
//! question.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User};

/// A running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The postmaster's process id.
    pub pid: u32,
    /// PGDATA.
    pub data_directory: PathBuf,
    /// Where its program is.
    pub bin_directory: Option<PathBuf>,
    /// Whom it runs as.
    pub user: Option<String>,
    /// The first directory with its socket; none where it has no socket.
    pub socket_directory: Option<PathBuf>,
    /// Its port, which is in the socket's name as well.
    pub port: u16,
}

/// Every server on this host that this process may look at: all of them for
/// root, this user's own for others. Those in containers have their data
/// directories elsewhere, and are not seen.
pub fn running() -> Vec<Running> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut servers: Vec<Running> = processes
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let program = std::fs::read_link(entry.path().join("exe")).ok()?;
            let name = program.file_name()?.to_str()?;
            // Nix wraps it: `.postgres-wrapped`.
            if !name.trim_start_matches('.').starts_with("postgres") {
                return None;
            }
            // A server's processes all work in its data directory.
            let data = std::fs::read_link(entry.path().join("cwd")).ok()?;
            running_in(&data).filter(|server| server.pid == pid)
        })
        .collect();
    servers.sort_by(|one, other| one.data_directory.cmp(&other.data_directory));
    servers
}

/// The server that runs in this data directory, if one does.
/// `postmaster.pid`: process id, data directory, start time, port, socket
/// directory, address, shared memory, state, a line each (`pidfile.h`).
pub fn running_in(data: &Path) -> Option<Running> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let pid: u32 = lines.first()?.parse().ok()?;
    let process = PathBuf::from(format!("/proc/{pid}"));
    // A crashed server leaves the file, and its number may be another's now.
    let works_in = std::fs::read_link(process.join("cwd")).ok()?;
    if std::fs::canonicalize(data).ok()? != works_in {
        return None;
    }
    let program = std::fs::read_link(process.join("exe")).ok();
    let owner = std::fs::metadata(&process).ok()?.uid();
    let user = User::from_uid(Uid::from_raw(owner)).ok().flatten();
    let socket = lines.get(4).filter(|path| !path.is_empty());
    Some(Running {
        pid,
        data_directory: works_in,
        bin_directory: program.and_then(|program| Some(program.parent()?.to_owned())),
        user: user.map(|user| user.name),
        socket_directory: socket.map(PathBuf::from),
        port: lines.get(3)?.parse().ok()?,
    })
}
