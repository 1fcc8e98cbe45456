//! PostgreSQL's own `backup_manifest`, so that `pg_verifybackup` can say what a
//! restored directory is worth (docs, "Backup Manifest Format"). Written line
//! by line: a cluster may have a million files.

use std::{
    fs::Permissions,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::RestoreError;
use crate::{
    backup::{Manifest, listing::EntryPath},
    codec::digest::Sha256Hasher,
    fs::Temporary,
};

/// Its name.
pub(super) const NAME: &str = "backup_manifest";
/// What `pg_verifybackup` does not look at, and what restoring changes.
const CHANGED: [&[u8]; 1] = [b"postgresql.auto.conf"];
/// From this major version on it tells whose it is.
const WITH_SYSTEM_IDENTIFIER: u32 = 17;

/// A manifest that is being written.
pub(super) struct BackupManifest {
    out: BufWriter<Temporary>,
    path: PathBuf,
    hasher: Sha256Hasher,
    is_first: bool,
}

impl BackupManifest {
    /// Begins it in `directory`.
    pub(super) fn begin(directory: &Path, manifest: &Manifest) -> Result<Self, RestoreError> {
        let path = directory.join(NAME);
        let begun = Temporary::create(directory, ".backup_manifest");
        let temporary = begun.map_err(|cause| failed(&path, cause))?;
        let mut begun = BackupManifest {
            out: BufWriter::with_capacity(64 << 10, temporary),
            path,
            hasher: Sha256Hasher::default(),
            is_first: true,
        };
        let head = match manifest.postgres_major {
            ..WITH_SYSTEM_IDENTIFIER => {
                "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [".to_owned()
            }
            _ => format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {},\n\
                 \"Files\": [",
                manifest.system_identifier
            ),
        };
        begun.write(&head).map_err(begun.failed())?;
        Ok(begun)
    }

    /// Adds a file.
    pub(super) fn add(
        &mut self,
        path: &EntryPath,
        size: u64,
        modified: Timestamp,
        crc32c: u32,
    ) -> io::Result<()> {
        if CHANGED.contains(&path.as_bytes()) {
            return Ok(());
        }
        let named = match str::from_utf8(path.as_bytes()) {
            Ok(text) => format!("\"Path\": {}", Value::from(text)),
            Err(_) => format!("\"Encoded-Path\": {}", json!(hex::encode(path.as_bytes()))),
        };
        let separator = if self.is_first { "\n" } else { ",\n" };
        self.is_first = false;
        // The checksum's bytes as the server has them in memory.
        self.write(&format!(
            "{separator}{{ {named}, \"Size\": {size}, \"Last-Modified\": \"{}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{}\" }}",
            modified.strftime("%Y-%m-%d %H:%M:%S GMT"),
            hex::encode(crc32c.to_le_bytes())
        ))
    }

    /// Adds a file of these bytes.
    pub(super) fn add_bytes(&mut self, path: &str, bytes: &[u8]) -> Result<(), RestoreError> {
        let entry = EntryPath::new(path.as_bytes().to_vec());
        let entry = entry.map_err(|error| failed(&self.path, io::Error::other(error)))?;
        let now = Timestamp::now();
        let added = self.add(&entry, bytes.len() as u64, now, crc32c::crc32c(bytes));
        added.map_err(self.failed())
    }

    /// Ends it, and gives it its name.
    pub(super) fn finish(mut self, manifest: &Manifest) -> Result<(), RestoreError> {
        let (failed, timeline) = (self.failed(), manifest.timeline);
        let range = format!(
            "\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{}\", \
             \"End-LSN\": \"{}\" }}\n],\n",
            manifest.start_lsn, manifest.stop_lsn
        );
        let ended = self.write(&range).and_then(|()| {
            let checksum = self.hasher.finish();
            writeln!(self.out, "\"Manifest-Checksum\": \"{checksum}\"}}")?;
            let mut temporary = self.out.into_inner().map_err(|error| error.into_error())?;
            temporary
                .file()
                .set_permissions(Permissions::from_mode(0o600))?;
            temporary.keep(&self.path)
        });
        ended.map_err(failed)
    }

    pub(super) fn failed(&self) -> impl FnOnce(io::Error) -> RestoreError + use<> {
        let path = self.path.clone();
        move |cause| failed(&path, cause)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.hasher.update(text.as_bytes());
        self.out.write_all(text.as_bytes())
    }
}

fn failed(path: &Path, cause: io::Error) -> RestoreError {
    RestoreError::Io {
        action: "write",
        path: path.to_owned(),
        cause,
    }
}
