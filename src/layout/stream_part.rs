//! `00000000-0002A3F8`: which bytes of a segment an object below `stream/` has.

use std::fmt;

use crate::postgres::SegmentName;

/// Bytes of a segment, by their offsets in it; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPart {
    /// The segment.
    pub segment: SegmentName,
    /// The offset of the first byte.
    pub from: u32,
    /// The offset behind the last one.
    pub to: u32,
}

impl StreamPart {
    /// Reads what [`Display`](fmt::Display) has written of a part of
    /// `segment`; each part has one spelling.
    pub(super) fn parse(segment: SegmentName, range: &str) -> Option<Self> {
        let (from, to) = range.split_once('-')?;
        let from = u32::from_str_radix(from, 16).ok()?;
        let to = u32::from_str_radix(to, 16).ok()?;
        let part = StreamPart { segment, from, to };
        (from < to && part.to_string() == range).then_some(part)
    }

    /// How many bytes it has.
    pub fn length(&self) -> u32 {
        self.to - self.from
    }

    /// What its bytes are called in the object: `SEGMENT.FROM-TO`.
    pub fn file_name(&self) -> String {
        format!("{}.{self}", self.segment)
    }
}

/// The offsets, eight hexadecimal digits each, so that parts sort by where they
/// begin.
impl fmt::Display for StreamPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}-{:08X}", self.from, self.to)
    }
}
