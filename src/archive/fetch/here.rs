//! The sources on this host: staging, and what was fetched ahead. No runtime
//! and no network: this is what most fetches of a recovery cost.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    FetchError,
    answer::{Answer, Not, Trouble},
    known::Known,
};
use crate::{
    archive::staging::{Staging, StagingError},
    fs::{self, Temporary},
    postgres::{SegmentName, WalFileName},
};

/// The staging directory as a source.
#[derive(Debug)]
pub(super) enum Staged {
    /// Not configured, or not this cluster's, or not in the plan.
    NotAsked,
    /// To be asked.
    Open(Staging),
    /// To be asked, but it cannot be.
    Unable(StagingError),
}

impl Staged {
    /// Puts the staged file in place, if there is one; `None` where staging
    /// is no source. `look_behind`: where it is absent, look for a later
    /// segment.
    pub(super) fn fetch(
        &self,
        name: WalFileName,
        known: &Known,
        look_behind: bool,
        to: &Path,
    ) -> Result<Option<Answer<()>>, FetchError> {
        let staging = match self {
            Staged::NotAsked => return Ok(None),
            Staged::Unable(error) => return Ok(Some(unable(error))),
            Staged::Open(staging) => staging,
        };
        let file = match staging.file(name) {
            Ok(Some(file)) => file,
            Ok(None) => {
                let later = match name {
                    WalFileName::Segment(name) if look_behind => later_segment(staging, name),
                    _ => Ok(None),
                };
                return Ok(Some(match later {
                    Ok(later) => Answer::Not(Not::Absent { later }),
                    Err(error) => unable(&error),
                }));
            }
            Err(error) => return Ok(Some(unable(&error))),
        };
        if let Err(reason) = check(&file, name, known) {
            let path = staging.path(name);
            let reason = format!("\"{}\" is not valid: {reason}", path.display());
            return Ok(Some(Answer::Not(Not::Damaged { reason })));
        }
        copy(file, to)?;
        Ok(Some(Answer::Has(())))
    }

    /// Whether the segment waits in staging, so that it need not be fetched
    /// ahead.
    pub(super) fn holds(&self, name: SegmentName) -> bool {
        match self {
            Staged::Open(staging) => staging.path(name.into()).exists(),
            Staged::NotAsked | Staged::Unable(_) => false,
        }
    }
}

fn unable<T>(error: &StagingError) -> Answer<T> {
    Answer::Not(Not::Unable(Trouble {
        text: error.to_string(),
        passing: false,
    }))
}

fn later_segment(
    staging: &Staging,
    name: SegmentName,
) -> Result<Option<SegmentName>, StagingError> {
    let files = staging.files()?;
    let segments = files.iter().filter_map(|file| match file.name {
        WalFileName::Segment(found) => Some(found),
        _ => None,
    });
    Ok(segments
        .filter(|found| found.timeline == name.timeline && *found > name)
        .min())
}

/// Checks that an open file may be this one by its header, without moving its position.
pub(super) fn check(file: &File, name: WalFileName, known: &Known) -> Result<(), String> {
    let read = || -> io::Result<(Vec<u8>, u64)> {
        let size = file.metadata()?.len();
        let mut head = vec![0; size.min(Known::wanted(name) as u64) as usize];
        file.read_exact_at(&mut head, 0)?;
        Ok((head, size))
    };
    let (head, size) = read().map_err(|error| format!("read it: {error}"))?;
    let checked = known.check(name, &head, size);
    checked.map_err(|refusal| refusal.to_string())
}

/// Puts a file that was fetched ahead in place, if it is there: it was
/// verified when it was written.
pub(super) fn take(
    from: &Path,
    name: WalFileName,
    known: &Known,
    to: &Path,
) -> Result<bool, FetchError> {
    let file = match File::open(from) {
        Ok(file) => file,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!("open \"{}\": {error}", from.display());
            }
            return Ok(false);
        }
    };
    if let Err(reason) = check(&file, name, known) {
        tracing::warn!("fetched ahead, \"{name}\" is not valid ({reason}); fetching it again");
        let _ = std::fs::remove_file(from);
        return Ok(false);
    }
    match fs::place(from, to) {
        Ok(()) => Ok(true),
        // Another fetch was faster, or the prefetcher has ended.
        Err(error) if error.kind() == io::ErrorKind::NotFound && to_exists(to) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(file, to)?;
            let _ = std::fs::remove_file(from);
            Ok(true)
        }
        Err(source) => Err(FetchError::Place {
            path: to.to_owned(),
            source,
        }),
    }
}

/// Whether a file could be put at `to`: the directory for it is there.
fn to_exists(to: &Path) -> bool {
    let directory = to.parent().unwrap_or(Path::new("."));
    directory.as_os_str().is_empty() || directory.is_dir()
}

/// Copies: never links, since PostgreSQL writes over a segment's file when it
/// uses it again.
fn copy(mut from: File, to: &Path) -> Result<(), FetchError> {
    let mut copied = || -> io::Result<()> {
        let size = from.metadata()?.len();
        from.rewind()?;
        let mut temporary = Temporary::beside(to)?;
        let copied = io::copy(&mut from.by_ref().take(size), temporary.file())?;
        if copied != size {
            return Err(io::Error::other("the file shrinks while it is copied"));
        }
        temporary.place(to)
    };
    copied().map_err(|source| FetchError::Place {
        path: to.to_owned(),
        source,
    })
}
