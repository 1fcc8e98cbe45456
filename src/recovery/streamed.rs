//! What was streamed of the last segment, and is in no archived one yet: joined,
//! padded with zeros, and put into `pg_wal` under the segment's name. PostgreSQL
//! reads it there once `restore_command` has said that the archive lacks it.

use std::{
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{RestoreError, plan::Streamed, tree::failed};
use crate::{archive::receive::stored::StoredParts, fs::Temporary, postgres::SegmentSize};

/// What a restore puts into `pg_wal`.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Where it comes from.
    pub parts: StoredParts,
    /// The segments, in order.
    pub segments: Vec<Streamed>,
    /// Their size.
    pub segment_size: SegmentSize,
}

impl Joining {
    /// Writes the segments into `directory`, readable for whom `mode` says.
    pub(super) async fn place(&self, directory: &Path, mode: u32) -> Result<(), RestoreError> {
        for wanted in &self.segments {
            let path = directory.join(wanted.segment.to_string());
            let failed = |error| failed("write the streamed segment", &path)(error);
            let mut file = Temporary::beside(&path).map_err(failed)?;
            let joined = self
                .parts
                .join(wanted.segment, |_, bytes| file.write_all(bytes));
            let joined = joined.await.map_err(failed)?;
            if u64::from(joined.bytes) < wanted.bytes {
                return Err(RestoreError::Streamed {
                    segment: wanted.segment,
                    bytes: joined.bytes.into(),
                    planned: wanted.bytes,
                    reasons: joined.problems.join("; "),
                });
            }
            let mut finish = || -> io::Result<()> {
                let permissions = Permissions::from_mode(mode & 0o777);
                file.file().set_permissions(permissions)?;
                // Real zeros: PostgreSQL writes into it when it goes on there.
                pad(
                    file.file(),
                    self.segment_size.bytes() - u64::from(joined.bytes),
                )
            };
            finish().map_err(failed)?;
            file.keep(&path).map_err(failed)?;
        }
        Ok(())
    }
}

fn pad(file: &mut impl Write, mut missing: u64) -> io::Result<()> {
    let zeros = [0; 64 << 10];
    while missing > 0 {
        let count = missing.min(zeros.len() as u64);
        file.write_all(&zeros[..count as usize])?;
        missing -= count;
    }
    Ok(())
}
