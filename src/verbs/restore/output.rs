//! What `restore` says.

use std::{fs, io::Write, path::Path};

use bytesize::ByteSize;
use serde::Serialize;

use super::{shown::Shown, start};
use crate::{
    backup::Manifest,
    layout::BackupId,
    recovery::{Destination, Restored, Settings},
    verbs::{Host, print_json},
};

/// What `restore` answers.
#[derive(Serialize)]
struct Answer<'a> {
    directory: &'a Path,
    backup: BackupId,
    /// Bytes.
    written: u64,
    fetched: u64,
    removed: u64,
    old_wal: Option<OldWal>,
    /// The command that starts it.
    start: String,
    plan: Shown<'a>,
}

/// The WAL of the directory that was restored over.
#[derive(Serialize)]
struct OldWal {
    directory: String,
    /// Files that the server had not archived yet.
    not_archived: Vec<String>,
}

/// The restore has come to its end.
pub(super) fn done(
    host: &Host,
    manifest: &Manifest,
    destination: &Destination,
    settings: &Settings,
    restored: &Restored,
    plan: Shown,
) -> anyhow::Result<()> {
    let directory = &destination.directory;
    let overrides = start::overrides(directory, manifest);
    let answer = Answer {
        directory,
        backup: manifest.id,
        written: restored.written,
        fetched: restored.fetched,
        removed: restored.removed,
        old_wal: restored.old_wal.as_deref().map(old_wal),
        start: start::command(directory, &overrides),
        plan,
    };
    if host.json {
        return print_json(&answer);
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "restored  {} to \"{}\": {} written, {} fetched",
        manifest.id,
        directory.display(),
        ByteSize(restored.written),
        ByteSize(restored.fetched)
    )?;
    if restored.removed > 0 {
        let removed = restored.removed;
        writeln!(out, "removed   {removed} names that are not in the backup")?;
    }
    if let Some(old) = &answer.old_wal {
        writeln!(
            out,
            "old WAL   the pg_wal that was there is in \"{}\"",
            old.directory
        )?;
        if let (Some(first), Some(last)) = (old.not_archived.first(), old.not_archived.last()) {
            let count = old.not_archived.len();
            writeln!(
                out,
                "          {count} files of it were never archived, {first} to {last}: to replay them \
                 too, `walkeep wal push` each,\n          `walkeep ship`, and restore again with \
                 --delta"
            )?;
        }
    }
    if let Some(beside) = start::beside(manifest) {
        writeln!(
            out,
            "beside    configuration from outside the data directory is in \"{}\"",
            directory.join(beside).display()
        )?;
    }
    writeln!(
        out,
        "archiving is off (archive_mode = off): until `walkeep init --rearm`, what this cluster \
         writes is not archived"
    )?;
    if settings.standby {
        writeln!(
            out,
            "standby   set primary_conninfo for it to follow a primary"
        )?;
        if let Ok(staging) = host.staging_path()
            && host.staging().is_err()
        {
            writeln!(
                out,
                "          and run `walkeep init` here before it is promoted: staging \"{}\" is bound \
                 to no archive yet",
                staging.display()
            )?;
        }
    }
    if host.config.path.is_none() {
        let where_from = "its restore_command needs the same environment as this walkeep had";
        writeln!(out, "note      {where_from}")?;
    }
    writeln!(out, "start     {}", answer.start)?;
    Ok(())
}

fn old_wal(directory: &Path) -> OldWal {
    let status = fs::read_dir(directory.join("archive_status"));
    let names = status.into_iter().flatten().flatten();
    let ready = names.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(".ready")?.to_owned())
    });
    let mut not_archived: Vec<String> = ready.collect();
    not_archived.sort_unstable();
    OldWal {
        directory: directory.display().to_string(),
        not_archived,
    }
}
