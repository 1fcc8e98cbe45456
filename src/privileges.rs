//! Whom walkeep runs as. Files that root made in staging would lock
//! PostgreSQL out of its own archive, so a walkeep that root started becomes
//! the cluster's user before it touches a file.

use std::{
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::Command,
};

use nix::unistd::{Uid, User};

/// Why the user could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The configured user does not exist.
    #[error("cluster.user: there is no user \"{0}\" on this host")]
    NoSuchUser(String),
    /// The operating system refused.
    #[error("become the user \"{user}\": {cause}")]
    Change {
        /// The user's name.
        user: String,
        /// The cause.
        cause: io::Error,
    },
}

/// Started by root, starts this program again as `user`, or where that is not
/// given as the owner of the first of `directories` that exists, and does not
/// return. Returns where nothing is to be changed.
pub fn drop_root(user: Option<&str>, directories: &[&Path]) -> Result<(), PrivilegeError> {
    match successor(user, directories)? {
        Some(user) => Err(restart_as(user, &[])),
        None => Ok(()),
    }
}

/// Whom a process that root started is to become; `None` where this is not
/// root, or root's own.
pub fn successor(
    user: Option<&str>,
    directories: &[&Path],
) -> Result<Option<User>, PrivilegeError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let target = match user {
        Some(name) => {
            let found = User::from_name(name).ok().flatten();
            Some(found.ok_or_else(|| PrivilegeError::NoSuchUser(name.to_owned()))?)
        }
        None => directories.iter().find_map(|directory| owner(directory)),
    };
    Ok(target.filter(|user| !user.uid.is_root()))
}

fn owner(directory: &Path) -> Option<User> {
    let uid = std::fs::metadata(directory).ok()?.uid();
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

/// By exec rather than by setuid in place: every thread, saved id and group
/// is the new user's, without a race. The process keeps its id. `variables`
/// are added to its environment. Returns only where that failed.
pub fn restart_as(user: User, variables: &[(&str, &str)]) -> PrivilegeError {
    let cause = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .env("HOME", &user.dir)
            .env("USER", &user.name)
            .envs(variables.iter().copied())
            .exec(),
        Err(error) => error,
    };
    PrivilegeError::Change {
        user: user.name,
        cause,
    }
}
