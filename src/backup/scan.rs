//! Walks a data directory, in the order of [`EntryPath`], and finds what
//! belongs into a base backup. Memory is one directory's names for each level.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    vec,
};

use jiff::Timestamp;

use super::{
    listing::EntryPath,
    names::{self, RelationFile, Verdict},
};

/// A file or directory that belongs into the backup.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it is, below the data directory.
    pub path: EntryPath,
    /// Where to open it.
    pub source: PathBuf,
    /// Permissions.
    pub mode: u32,
    /// Of a file; none of a directory.
    pub file: Option<FoundFile>,
}

/// A file, when it was looked at.
#[derive(Debug, Clone, Copy)]
pub struct FoundFile {
    /// In bytes.
    pub size: u64,
    /// When it was last modified.
    pub modified: Timestamp,
    /// Whether it holds a relation's pages.
    pub relation: Option<RelationFile>,
}

/// The size of everything that belongs into a backup of `data`, in bytes.
pub fn size(data: &Path) -> Result<u64, ScanError> {
    let (mut scan, mut bytes) = (Scan::of(data)?, 0);
    while let Some(found) = scan.find_next()? {
        bytes += found.file.map_or(0, |file| file.size);
    }
    Ok(bytes)
}

/// The data directory could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{action} \"{path}\": {cause}")]
pub struct ScanError {
    /// What was tried.
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// The cause.
    pub cause: io::Error,
}

/// A walk under way. What vanishes meanwhile (a dropped table) is passed over:
/// replay drops it as well.
pub struct Scan {
    levels: Vec<Level>,
}

/// What to do with a name in a directory.
type Judge = Box<dyn Fn(&[u8]) -> Verdict + Send>;

struct Level {
    path: Option<EntryPath>,
    source: PathBuf,
    names: vec::IntoIter<Vec<u8>>,
    verdict: Judge,
}

/// The file that is read last, when everything else is (`sendFile` in
/// basebackup.c does the same): on a standby it is what makes the backup
/// consistent.
pub const CONTROL: &[u8] = b"global/pg_control";

impl Scan {
    /// Begins at `data`, the data directory.
    pub fn of(data: &Path) -> Result<Self, ScanError> {
        let names = read_names(data).map_err(failed("list", data))?;
        let top = Level {
            path: None,
            source: data.to_owned(),
            names: names.into_iter(),
            verdict: Box::new(names::at_the_top),
        };
        Ok(Scan { levels: vec![top] })
    }

    /// The next one; none at the end. [`CONTROL`] is not among them.
    pub fn find_next(&mut self) -> Result<Option<Found>, ScanError> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let verdict = (level.verdict)(&name);
            if verdict == Verdict::LeaveOut {
                continue;
            }
            let source = level
                .source
                .join(std::ffi::OsString::from_vec(name.clone()));
            let path = match &level.path {
                Some(directory) => directory.join(&name),
                None => EntryPath::new(name.clone()),
            };
            let path = path.map_err(|error| failed("name", &source)(io::Error::other(error)))?;
            if path.as_bytes() == CONTROL {
                continue;
            }
            if let Some(found) = self.look(path, source, verdict)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn look(
        &mut self,
        path: EntryPath,
        source: PathBuf,
        verdict: Verdict,
    ) -> Result<Option<Found>, ScanError> {
        // Tablespaces are links, `pg_wal` may be one, and so may a
        // configuration file that another program manages.
        let metadata = match fs::metadata(&source) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("look at", &source)(error)),
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_file() {
            let file = found_file(&path, &metadata).map_err(failed("look at", &source))?;
            return Ok(Some(Found {
                path,
                source,
                mode,
                file: Some(file),
            }));
        }
        if !metadata.is_dir() {
            tracing::warn!(
                "\"{}\" is neither a file nor a directory, and not in the backup",
                source.display()
            );
            return Ok(None);
        }
        if !self.enter(&path, &source, verdict)? {
            return Ok(None);
        }
        Ok(Some(Found {
            path,
            source,
            mode,
            file: None,
        }))
    }

    /// Goes into a directory; false where it is gone.
    fn enter(
        &mut self,
        path: &EntryPath,
        source: &Path,
        verdict: Verdict,
    ) -> Result<bool, ScanError> {
        let bytes = path.as_bytes();
        let names = match read_names(source) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("list", source)(error)),
        };
        let verdict: Judge = match verdict {
            // The directories that the server expects in it, and those empty.
            Verdict::KeepEmpty if bytes == b"pg_wal" => Box::new(|name| match name {
                b"archive_status" | b"summaries" => Verdict::KeepEmpty,
                _ => Verdict::LeaveOut,
            }),
            Verdict::KeepEmpty => return Ok(true),
            _ if is_of_relations(bytes) => Box::new(names::of_relations(&names)),
            _ => Box::new(names::anywhere),
        };
        self.levels.push(Level {
            path: Some(path.clone()),
            source: source.to_owned(),
            names: names.into_iter(),
            verdict,
        });
        Ok(true)
    }
}

/// `global`, `base/OID`, `pg_tblspc/OID/PG_…/OID`.
fn is_of_relations(directory: &[u8]) -> bool {
    let parts: Vec<&[u8]> = directory.split(|&byte| byte == b'/').collect();
    match parts[..] {
        [b"global"] | [b"base", _] => true,
        [b"pg_tblspc", _, version, _] => version.starts_with(b"PG_"),
        _ => false,
    }
}

fn found_file(path: &EntryPath, metadata: &Metadata) -> io::Result<FoundFile> {
    let mut parts = path.as_bytes().rsplitn(2, |&byte| byte == b'/');
    let (name, directory) = (parts.next().unwrap_or_default(), parts.next());
    let relation = directory
        .filter(|directory| is_of_relations(directory))
        .and_then(|_| RelationFile::parse(name));
    Ok(FoundFile {
        size: metadata.len(),
        modified: Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?,
        relation,
    })
}

fn read_names(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_vec()));
    let mut names: Vec<Vec<u8>> = names.collect::<io::Result<_>>()?;
    names.sort_unstable();
    Ok(names)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScanError {
    let path = path.to_owned();
    move |cause| ScanError {
        action,
        path,
        cause,
    }
}
