//! Which cluster a data directory holds.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::postgres::{
    SegmentName, SegmentSize, SystemId,
    control::{Control, InvalidControl},
    page::{HEADER_SIZE, SegmentHeader},
};

/// What makes a cluster this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its system identifier.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// The major version of its server.
    pub postgres_major: u32,
}

/// Why a data directory does not tell.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file could not be read.
    #[error("read \"{}\": {cause}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// `global/pg_control` makes no sense.
    #[error("\"{}\": {cause}", path.display())]
    Control {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: InvalidControl,
    },
    /// `PG_VERSION` is not a major version.
    #[error("\"{}\" says \"{found}\", which is no major version", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its text.
        found: String,
    },
    /// No file in `pg_wal` is a segment of this cluster.
    #[error(
        "\"{}\" holds no segment that tells the cluster's segment size; start the server once",
        .0.display()
    )]
    NoSegment(PathBuf),
}

/// Reads which cluster `data` holds: `global/pg_control` for the system
/// identifier, `PG_VERSION` for the major version, and the first page of any
/// segment for the segment size (in `pg_control` its place differs from one
/// major to the next).
pub fn read_identity(data: &Path) -> Result<Identity, ClusterError> {
    let path = data.join("global/pg_control");
    let bytes = std::fs::read(&path).map_err(reading(&path))?;
    let control = Control::parse(&bytes).map_err(|cause| ClusterError::Control { path, cause })?;
    Ok(Identity {
        system_id: control.system_id,
        segment_size: segment_size(&data.join("pg_wal"), control.system_id)?,
        postgres_major: major(data)?,
    })
}

fn major(data: &Path) -> Result<u32, ClusterError> {
    let path = data.join("PG_VERSION");
    let text = std::fs::read_to_string(&path).map_err(reading(&path))?;
    let found = text.trim();
    found.parse().map_err(|_| ClusterError::Version {
        path,
        found: found.to_owned(),
    })
}

/// A recycled segment still has the header of its earlier life; one made
/// ahead of its use has none yet.
fn segment_size(wal: &Path, system_id: SystemId) -> Result<SegmentSize, ClusterError> {
    for entry in std::fs::read_dir(wal).map_err(reading(wal))? {
        let entry = entry.map_err(reading(wal))?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_none_or(|name| name.parse::<SegmentName>().is_err())
        {
            continue;
        }
        let path = entry.path();
        let mut head = Vec::new();
        let file = File::open(&path).map_err(reading(&path))?;
        file.take(HEADER_SIZE as u64)
            .read_to_end(&mut head)
            .map_err(reading(&path))?;
        match SegmentHeader::parse(&head) {
            Ok(header) if header.system_id == system_id => return Ok(header.segment_size),
            _ => {}
        }
    }
    Err(ClusterError::NoSegment(wal.to_owned()))
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |cause| ClusterError::Read { path, cause }
}
