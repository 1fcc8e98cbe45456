//! A base backup over SQL and file copies alone, which works with the builds
//! that lack pg_basebackup.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::Cluster;
use crate::support::host::hand_over;

/// What the server said about a base copy.
#[derive(Debug, Clone)]
pub struct BaseCopy {
    /// Where its WAL starts and stops, like `0/3000028`.
    pub start_lsn: String,
    pub stop_lsn: String,
    /// The last segment without which the copy is of no use. The stop switched
    /// away from it, so it is archived soon.
    pub stop_segment: String,
}

/// Directories that come as empty ones: their contents are the running
/// server's (backup.sgml, "Backing Up the Data Directory").
const EMPTY: [&str; 9] = [
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
    "pgsql_tmp",
];

impl Cluster {
    /// Copies the running cluster to `destination`, a new directory of the
    /// server's user, without the WAL it needs. It has no tablespaces.
    pub fn base_copy(&self, destination: &Path) -> BaseCopy {
        // pg_backup_start's session must last until pg_backup_stop.
        let mut session = self.client().expect("connect");
        let (start, stop) = if self.server().major >= 15 {
            (
                "SELECT pg_backup_start('base copy', true)::text",
                "SELECT lsn::text, labelfile, pg_walfile_name(lsn) FROM pg_backup_stop(false)",
            )
        } else {
            (
                "SELECT pg_start_backup('base copy', true, false)::text",
                "SELECT lsn::text, labelfile, pg_walfile_name(lsn) FROM pg_stop_backup(false, false)",
            )
        };
        let start_lsn = session
            .query_one(start, &[])
            .expect("start the copy")
            .get(0);
        copy_directory(self.data(), destination)
            .unwrap_or_else(|error| panic!("copy {:?}: {error}", self.data()));
        let row = session.query_one(stop, &[]).expect("stop the copy");

        fs::create_dir(destination.join("pg_wal/archive_status")).expect("create archive_status");
        fs::write(
            destination.join("backup_label"),
            row.get::<_, String>("labelfile"),
        )
        .expect("write backup_label");
        hand_over(destination);
        BaseCopy {
            start_lsn,
            stop_lsn: row.get(0),
            stop_segment: row.get(2),
        }
    }
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().expect("PostgreSQL's names are ASCII");
        if ["postmaster.pid", "postmaster.opts"].contains(&name) {
            continue;
        }
        let copied = if EMPTY.contains(&name) {
            fs::create_dir(to.join(name)).and_then(|()| {
                fs::set_permissions(to.join(name), fs::Permissions::from_mode(0o700))
            })
        } else {
            copy_entry(&entry.path(), &to.join(name))
        };
        match copied {
            // A relation that was dropped meanwhile: its WAL says so too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn copy_entry(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if kind.is_dir() {
        copy_directory(from, to)
    } else {
        fs::copy(from, to).map(drop)
    }
}
