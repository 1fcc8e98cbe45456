//! The header of a segment's first page (`XLogLongPageHeaderData`,
//! xlog_internal.h): it says whose WAL this is, and which part.

use super::{Lsn, SegmentName, SegmentSize, SystemId, TimelineId};

/// How many bytes of a segment hold everything this module reads.
pub const HEADER_SIZE: usize = 40;

/// Set in `xlp_info` of a segment's first page (`XLP_LONG_HEADER`).
const LONG_HEADER: u16 = 0x0002;

/// What the first page of a segment says about it.
///
/// The fields are in the byte order of the machine that wrote them; every
/// platform that PostgreSQL packages are made for today is little-endian, and
/// so is this reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// `xlp_magic`: changes with the WAL format of each major version.
    pub magic: u16,
    /// The timeline of the first page: the name's own or an ancestor's, since
    /// a new timeline begins with a copy of the old one's pages.
    pub timeline: TimelineId,
    /// The LSN of the segment's first byte.
    pub start: Lsn,
    /// The cluster that wrote it.
    pub system_id: SystemId,
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
}

/// The bytes do not begin a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// Fewer bytes than the header has.
    #[error("it is {0} bytes long, too short for a page header")]
    Short(usize),
    /// All zero: a segment that was made ahead of its use and never written.
    #[error("its header is all zero")]
    Zero,
    /// Not the magic of any PostgreSQL since 7.1.
    #[error("its first bytes ({0:#06x}) are not those of a WAL page")]
    Magic(u16),
    /// A page header without the part that only a segment's first page has.
    #[error("its first page has no long header")]
    NotFirstPage,
    /// The header names an impossible segment size.
    #[error("its header names a segment size of {0} bytes")]
    SegmentSize(u32),
}

/// The header belongs to another file than the name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongSegment {
    /// The file's size is not the cluster's segment size.
    #[error("it is {actual} bytes long instead of {expected}")]
    Size {
        /// The segment size in the header, in bytes.
        expected: u64,
        /// The file's size, in bytes.
        actual: u64,
    },
    /// The header's position is that of another segment.
    #[error("its header says that it begins at {header}, its name says {name}")]
    Position {
        /// The position in the header.
        header: Lsn,
        /// The position in the name.
        name: Lsn,
    },
    /// The name counts further than segments of this size can.
    #[error("its name does not exist among segments of {0}")]
    Name(SegmentSize),
    /// The header's timeline is younger than the name's, so no ancestor.
    #[error("its header says timeline {header}, its name timeline {name}")]
    Timeline {
        /// The timeline in the header.
        header: TimelineId,
        /// The timeline in the name.
        name: TimelineId,
    },
}

impl SegmentHeader {
    /// Reads the header from the first [`HEADER_SIZE`] bytes of a segment.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidHeader> {
        let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(InvalidHeader::Short(bytes.len()));
        };
        if header.iter().all(|&byte| byte == 0) {
            return Err(InvalidHeader::Zero);
        }
        let magic = u16::from_le_bytes([header[0], header[1]]);
        // 0xD058 (7.1) to 0xD118 (18): the high byte has been 0xD0 or 0xD1
        // ever since. A later major is accepted before its number is known.
        if !matches!(magic >> 8, 0xD0 | 0xD1) {
            return Err(InvalidHeader::Magic(magic));
        }
        if u16::from_le_bytes([header[2], header[3]]) & LONG_HEADER == 0 {
            return Err(InvalidHeader::NotFirstPage);
        }
        let size = word(header, 32);
        Ok(SegmentHeader {
            magic,
            timeline: TimelineId(word(header, 4)),
            start: Lsn(long(header, 8)),
            system_id: SystemId(long(header, 24)),
            segment_size: SegmentSize::new(u64::from(size))
                .map_err(|_| InvalidHeader::SegmentSize(size))?,
        })
    }

    /// Checks that a file with this header, `file_size` bytes long, is the
    /// segment (or the partial one) called `name`.
    pub fn check(&self, name: SegmentName, file_size: u64) -> Result<(), WrongSegment> {
        let expected = self.segment_size.bytes();
        if file_size != expected {
            return Err(WrongSegment::Size {
                expected,
                actual: file_size,
            });
        }
        let position = name
            .start(self.segment_size)
            .ok_or(WrongSegment::Name(self.segment_size))?;
        if position != self.start {
            return Err(WrongSegment::Position {
                header: self.start,
                name: position,
            });
        }
        if self.timeline > name.timeline {
            return Err(WrongSegment::Timeline {
                header: self.timeline,
                name: name.timeline,
            });
        }
        Ok(())
    }
}

fn word(header: &[u8; HEADER_SIZE], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn long(header: &[u8; HEADER_SIZE], at: usize) -> u64 {
    u64::from(word(header, at)) | u64::from(word(header, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 40 bytes of 00000002000000040000003F, as PostgreSQL 15 lays
    /// them out, with timeline 1's pages in front.
    fn header() -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[0..2].copy_from_slice(&0xD110u16.to_le_bytes());
        bytes[2..4].copy_from_slice(&0x0006u16.to_le_bytes());
        bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
        bytes[8..16].copy_from_slice(&0x4_3F00_0000u64.to_le_bytes());
        bytes[24..32].copy_from_slice(&7_300_000_000_000_000_001u64.to_le_bytes());
        bytes[32..36].copy_from_slice(&(16u32 << 20).to_le_bytes());
        bytes[36..40].copy_from_slice(&8192u32.to_le_bytes());
        bytes
    }

    #[test]
    fn reads_a_first_page() {
        let header = SegmentHeader::parse(&header()).unwrap();
        assert_eq!(header.start, Lsn(0x4_3F00_0000));
        assert_eq!(header.system_id, SystemId(7_300_000_000_000_000_001));
        assert_eq!(header.segment_size, SegmentSize::DEFAULT);
    }

    #[test]
    fn an_ancestors_timeline_is_right_and_a_descendants_is_not() {
        let header = SegmentHeader::parse(&header()).unwrap();
        let check = |name: &str, size| header.check(name.parse().unwrap(), size);
        assert_eq!(check("00000002000000040000003F", 16 << 20), Ok(()));
        assert!(matches!(
            check("00000000000000040000003F", 16 << 20),
            Err(WrongSegment::Timeline { .. })
        ));
        assert!(matches!(
            check("00000002000000040000003E", 16 << 20),
            Err(WrongSegment::Position { .. })
        ));
        assert!(matches!(
            check("00000002000000040000013F", 16 << 20),
            Err(WrongSegment::Name(_))
        ));
        assert!(matches!(
            check("00000002000000040000003F", 16),
            Err(WrongSegment::Size { .. })
        ));
    }

    #[test]
    fn refuses_what_begins_no_segment() {
        use InvalidHeader::*;
        let with = |at: usize, value: u8| {
            let mut bytes = header();
            bytes[at] = value;
            SegmentHeader::parse(&bytes)
        };
        assert_eq!(SegmentHeader::parse(&header()[..39]), Err(Short(39)));
        assert_eq!(SegmentHeader::parse(&[0; 8192]), Err(Zero));
        assert_eq!(with(1, 0x1F), Err(Magic(0x1F10)));
        assert_eq!(with(2, 0), Err(NotFirstPage));
        assert_eq!(with(35, 0x60), Err(SegmentSize(0x6000_0000)));
    }
}
