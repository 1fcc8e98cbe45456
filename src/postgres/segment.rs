//! Segments: their names, numbers and sizes, and whose cluster they are of.

use std::{
    fmt,
    ops::{Range, RangeInclusive},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::Lsn;

/// A timeline's number (`TimeLineID`). It names a branch; which branch it
/// left, and where, is in the timeline's history file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimelineId(pub u32);

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timeline {}", self.0)
    }
}

/// A cluster's system identifier, chosen by `initdb` (`ControlFileData`,
/// pg_control.h) and repeated in the first page of every segment. Serialized
/// as a decimal string: JSON readers lose digits of a 64-bit number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SystemId(pub u64);

impl FromStr for SystemId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(SystemId)
    }
}

impl TryFrom<String> for SystemId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SystemId> for String {
    fn from(id: SystemId) -> Self {
        id.0.to_string()
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The size of a cluster's segments in bytes: a power of two from 1 MiB to
/// 1 GiB (`IsValidWalSegSize`, xlog_internal.h), fixed by `initdb
/// --wal-segsize`. 16 MiB is the default and never assumed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SegmentSize(u32);

/// The number is no power of two from 1 MiB to 1 GiB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a segment size (expected a power of two from 1 MiB to 1 GiB)")]
pub struct InvalidSegmentSize(u64);

impl SegmentSize {
    /// What `initdb` chooses when it is not told: 16 MiB.
    pub const DEFAULT: SegmentSize = SegmentSize(16 << 20);

    /// Checks a size in bytes.
    pub fn new(bytes: u64) -> Result<Self, InvalidSegmentSize> {
        let valid = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        u32::try_from(bytes)
            .ok()
            .filter(|_| valid)
            .map(SegmentSize)
            .ok_or(InvalidSegmentSize(bytes))
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0)
    }

    /// The numbers of the segments that hold this WAL; at least the one that
    /// it begins in.
    pub fn numbers(self, wal: &Range<Lsn>) -> RangeInclusive<u64> {
        let last = wal.end.0.saturating_sub(1).max(wal.start.0);
        wal.start.0 / self.bytes()..=last / self.bytes()
    }

    /// How many segments share the middle eight digits of a name
    /// (`XLogSegmentsPerXLogId`, xlog_internal.h).
    fn segments_per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

impl TryFrom<u32> for SegmentSize {
    type Error = InvalidSegmentSize;

    fn try_from(bytes: u32) -> Result<Self, Self::Error> {
        SegmentSize::new(u64::from(bytes))
    }
}

impl From<SegmentSize> for u32 {
    fn from(size: SegmentSize) -> Self {
        size.0
    }
}

impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x4000_0000 => f.write_str("1 GiB"),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

impl fmt::Debug for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A segment's name: 24 upper-case hexadecimal digits, of which the first
/// eight are the timeline (`XLogFileName`, xlog_internal.h). Names of one
/// timeline sort in the order of the WAL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentName {
    /// The timeline whose file this is. Its first pages may carry an ancestor's.
    pub timeline: TimelineId,
    log: u32,
    segment: u32,
}

/// The text is not 24 upper-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a segment name (expected 24 upper-case hexadecimal digits)")]
pub struct InvalidSegmentName(String);

impl SegmentName {
    /// The segment of `timeline` that holds the byte at `lsn`.
    pub fn containing(lsn: Lsn, timeline: TimelineId, size: SegmentSize) -> Self {
        Self::numbered(lsn.0 / size.bytes(), timeline, size)
    }

    /// The segment with the number `number` (`XLogSegNo`), counted from LSN 0.
    pub fn numbered(number: u64, timeline: TimelineId, size: SegmentSize) -> Self {
        let per_log = size.segments_per_log();
        SegmentName {
            timeline,
            log: (number / per_log) as u32,
            segment: (number % per_log) as u32,
        }
    }

    /// The segment's number, counted from LSN 0, or `None` where a cluster
    /// with segments of this size has no such name (its last eight digits
    /// count further than 4 GiB).
    pub fn number(self, size: SegmentSize) -> Option<u64> {
        let per_log = size.segments_per_log();
        (u64::from(self.segment) < per_log)
            .then(|| u64::from(self.log) * per_log + u64::from(self.segment))
    }

    /// The LSN of the segment's first byte, under the same condition as
    /// [`number`](Self::number).
    pub fn start(self, size: SegmentSize) -> Option<Lsn> {
        self.number(size).map(|number| Lsn(number * size.bytes()))
    }

    /// The segment after this one on the same timeline.
    pub fn next(self, size: SegmentSize) -> Option<Self> {
        Some(Self::numbered(
            self.number(size)?.checked_add(1)?,
            self.timeline,
            size,
        ))
    }

    /// The first sixteen digits, timeline and log: 4 GiB of WAL share them.
    pub fn stem(self) -> String {
        format!("{:08X}{:08X}", self.timeline.0, self.log)
    }
}

impl FromStr for SegmentName {
    type Err = InvalidSegmentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() == 24 && text.bytes().all(is_upper_hex);
        let digits = |range| {
            valid
                .then(|| u32::from_str_radix(&text[range], 16).ok())
                .flatten()
        };
        match (digits(0..8), digits(8..16), digits(16..24)) {
            (Some(timeline), Some(log), Some(segment)) => Ok(SegmentName {
                timeline: TimelineId(timeline),
                log,
                segment,
            }),
            _ => Err(InvalidSegmentName(text.to_owned())),
        }
    }
}

/// PostgreSQL writes its file names in upper case and looks for nothing else.
pub(super) fn is_upper_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)
}

impl TryFrom<String> for SegmentName {
    type Error = InvalidSegmentName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SegmentName> for String {
    fn from(name: SegmentName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:08X}{:08X}{:08X}",
            self.timeline.0, self.log, self.segment
        )
    }
}

impl fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_segment_size() {
        let name: SegmentName = "00000001000000040000003F".parse().unwrap();
        assert_eq!(name.start(SegmentSize::DEFAULT), Some(Lsn(0x4_3F00_0000)));
        assert_eq!(
            name.start(SegmentSize::new(64 << 20).unwrap()),
            Some(Lsn(0x4_FC00_0000))
        );
        assert_eq!(name.start(SegmentSize::new(128 << 20).unwrap()), None);
        let next = name.next(SegmentSize::new(64 << 20).unwrap()).unwrap();
        assert_eq!(next.to_string(), "000000010000000500000000");
        assert_eq!(name.stem(), "0000000100000004");
    }

    #[test]
    fn refuses_other_names() {
        for wrong in [
            "",
            "00000001000000040000003f",
            "00000001000000040000003",
            "+0000001000000040000003F",
        ] {
            assert!(
                wrong.parse::<SegmentName>().is_err(),
                "{wrong:?} was accepted"
            );
        }
    }

    #[test]
    fn sizes_are_powers_of_two_from_one_mib_to_one_gib() {
        for wrong in [0, 1 << 19, 3 << 20, 1 << 31, u64::MAX] {
            assert!(SegmentSize::new(wrong).is_err(), "{wrong} was accepted");
        }
        assert_eq!(SegmentSize::new(1 << 30).unwrap().to_string(), "1 GiB");
    }

    proptest! {
        #[test]
        fn every_position_is_in_the_segment_named_for_it(
            timeline in 1u32.., lsn in 0..u64::MAX / 2, power in 20u32..=30,
        ) {
            let size = SegmentSize::new(1 << power).unwrap();
            let name = SegmentName::containing(Lsn(lsn), TimelineId(timeline), size);
            let start = name.start(size).unwrap().0;
            prop_assert!(start <= lsn && lsn - start < size.bytes());
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }
    }
}
