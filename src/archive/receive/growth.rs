//! How far what `pg_receivewal` writes is WAL, looked at again and again.

use std::{collections::BTreeMap, io, os::unix::fs::FileExt};

use super::directory::{Directory, Received};
use crate::{
    archive::inspect::{Owner, Refusal, inspect},
    postgres::{
        SegmentName,
        record::{Carried, Extent, LookError},
    },
};

/// A received segment, and how many of its bytes are final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grown {
    pub(super) received: Received,
    pub(super) to: u32,
}

/// Follows all segments in the directory.
#[derive(Debug)]
pub(super) struct Growth {
    directory: Directory,
    owner: Owner,
    following: BTreeMap<SegmentName, Extent>,
}

/// A segment that cannot be shipped in parts.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Look(#[from] LookError),
}

impl Growth {
    pub(super) fn new(directory: Directory, owner: Owner) -> Self {
        Growth {
            directory,
            owner,
            following: BTreeMap::new(),
        }
    }

    /// What there is now, in the order of the WAL; and what of it is none, with
    /// the reason.
    #[allow(clippy::type_complexity, reason = "two lists, for one caller")]
    pub(super) fn look(&mut self) -> io::Result<(Vec<Grown>, Vec<(SegmentName, Unfit)>)> {
        let segments = self.directory.segments()?;
        let (mut grown, mut unfit) = (Vec::new(), Vec::new());
        for received in &segments {
            match self.measure(received, &segments) {
                Ok(Some(to)) => grown.push(Grown {
                    received: received.clone(),
                    to,
                }),
                Ok(None) => {}
                Err(why) => unfit.push((received.segment, why)),
            }
        }
        let is_partial = |name: &SegmentName| {
            let mut partial = segments.iter().filter(|it| !it.complete);
            partial.any(|it| it.segment == *name)
        };
        self.following.retain(|name, _| is_partial(name));
        Ok((grown, unfit))
    }

    /// How many bytes are final; `None` where there are none yet.
    fn measure(&mut self, it: &Received, all: &[Received]) -> Result<Option<u32>, Unfit> {
        let Some(file) = self.directory.file(it.file_name())? else {
            return Ok(None);
        };
        if it.complete {
            inspect(&file, it.file_name(), &self.owner)?;
            return Ok(Some(self.owner.segment_size.bytes() as u32));
        }
        if !self.following.contains_key(&it.segment) {
            let carried = self.carried_into(it, all)?;
            self.following.insert(it.segment, Extent::after(carried));
        }
        let Some(extent) = self.following.get_mut(&it.segment) else {
            return Ok(None);
        };
        let to = extent.look(|at, bytes| file.read_at(bytes, at))?;
        if to == 0 {
            return Ok(None);
        }
        inspect(&file, it.file_name(), &self.owner)?;
        Ok(Some(to as u32))
    }

    /// What the segment before this one carries over, if that is here: of the
    /// same timeline, or of the one that this one left.
    fn carried_into(&mut self, it: &Received, all: &[Received]) -> io::Result<Option<Carried>> {
        let before = all.iter().filter(|before| {
            before.complete
                && before.number + 1 == it.number
                && before.segment.timeline <= it.segment.timeline
        });
        let Some(before) = before.max_by_key(|before| before.segment.timeline) else {
            return Ok(None);
        };
        let Some(file) = self.directory.file(before.file_name())? else {
            return Ok(None);
        };
        let followed = self.following.remove(&before.segment);
        let followed = followed.unwrap_or_else(|| Extent::after(None));
        followed.carried(|at, bytes| file.read_at(bytes, at))
    }
}
