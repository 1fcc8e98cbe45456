//! The records of a segment (`XLogRecord`, xlogrecord.h), walked for its
//! moments. PostgreSQL 13 to 18.
//!
//! A segment can hold more than its own WAL: PostgreSQL reuses its files, and
//! what is behind the end of a `.partial` segment (or of one that a crash
//! ended) is an older segment's. What belongs here is proved as PostgreSQL's
//! own reader proves it (`ValidXLogRecordHeader`, `ValidXLogRecord`,
//! `XLogReaderValidatePageHeader`, xlogreader.c): each page says its own
//! position, each record names the one before it (`xl_prev`) and matches its
//! CRC-32C. The first record that does not is the end of the WAL.
//!
//! The first record that begins in a segment has nothing before it to be held
//! against; its predecessor must begin in an earlier segment. It stands on a
//! page whose position was right, so only that page's torn write could fool
//! this, and then its CRC-32C would have to match as well.

mod content;
mod extent;
mod walker;

pub use extent::{Extent, LookError};
pub use walker::{Carried, Walker};

use super::{moments::Moments, page::InvalidHeader};

/// A segment whose records cannot be read. Nothing is wrong with archiving it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It is none.
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    /// Another major's; what is the same in all of those that are known may
    /// have changed.
    #[error("its WAL format ({0:#06x}) is none of PostgreSQL 13 to 18")]
    Version(u16),
    /// `xlp_xlog_blcksz` is no power of two from 1 KiB to 64 KiB.
    #[error("its header names a page size of {0} bytes")]
    PageSize(u32),
}

/// The moments of a segment that is all in memory, and what it carries over
/// into the next one: the beginning of a record that its end cuts off.
///
/// `carried` is what the segment before carried over, where that is at hand.
/// Without it a record that began there is passed over; see
/// [`Moments::cut`]. What comes from another place than the one before this
/// segment is ignored.
pub fn decode(
    segment: &[u8],
    carried: Option<Carried>,
) -> Result<(Moments, Option<Carried>), Undecodable> {
    let mut walker = Walker::after(carried);
    walker.feed(segment);
    walker.finish()
}

#[cfg(test)]
mod tests;
