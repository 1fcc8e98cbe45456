//! How far the bytes of a segment that is still being written are WAL.

use std::io;

use super::{Carried, Undecodable, Walker};

/// How much is read at a time, in bytes.
const STEP: usize = 64 << 10;

/// Follows a segment that grows, such as the `.partial` of `pg_receivewal`,
/// which is made of zeros and filled from its beginning.
///
/// What it says is exact without asking the server: every byte up to there
/// belongs to a record that is whole, by its CRC-32C, and so has been flushed
/// by the server that sent it. Such bytes never change. What is behind may: a
/// server that crashes inside a record writes another one there.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Has taken nothing but bytes that are proved, as a later look has shown.
    sure: Walker,
    proved: u64,
}

/// Looking failed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The bytes could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// They are none that can be followed.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

impl Extent {
    /// For a segment from its beginning. `carried` is what the segment before
    /// carried over: without it a record that began there counts only once
    /// another one follows.
    pub fn after(carried: Option<Carried>) -> Self {
        Extent {
            sure: Walker::after(carried),
            proved: 0,
        }
    }

    /// How far it is, in bytes from the segment's beginning. `read` fills a
    /// buffer from an offset on, as `read_at` does.
    pub fn look(
        &mut self,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<usize>,
    ) -> Result<u64, LookError> {
        let mut walker = self.sure.clone();
        // As the walker was when it had taken less: what it had is sure as soon
        // as a record ends behind that.
        let mut before: Option<Walker> = None;
        let mut bytes = vec![0; STEP];
        while !walker.is_over() {
            let count = read(walker.taken(), &mut bytes)?;
            if count == 0 {
                break;
            }
            let begun = before.get_or_insert_with(|| walker.clone());
            walker.feed(&bytes[..count]);
            if walker.proved() >= begun.taken() {
                self.sure = before.take().unwrap_or_default();
            }
        }
        match walker.problem() {
            // Its header has not come yet, or not all of it.
            None | Some(Undecodable::Header(_) | Undecodable::PageSize(0)) => {}
            Some(problem) => return Err(problem.clone().into()),
        }
        self.proved = walker.proved();
        Ok(self.proved)
    }

    /// What [`look`](Self::look) said last.
    pub fn proved(&self) -> u64 {
        self.proved
    }

    /// The segment is complete: what it carries over into the next one.
    pub fn carried(
        self,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Option<Carried>> {
        let mut walker = self.sure;
        let mut bytes = vec![0; STEP];
        while !walker.is_over() {
            let count = read(walker.taken(), &mut bytes)?;
            if count == 0 {
                break;
            }
            walker.feed(&bytes[..count]);
        }
        Ok(walker.finish().ok().and_then(|(_, carried)| carried))
    }
}
