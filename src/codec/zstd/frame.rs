//! What stands around compressed blocks (RFC 8878, 3.1): the magic numbers, the
//! skippable frame with the file's facts, and a frame of zeros.

use crate::codec::{
    DecodeError, Facts, Format,
    facts::{self, HEAD_SIZE, SUBFIELD},
};

/// The magic number of a frame with data.
const DATA: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// That of a skippable frame ends so; its first byte is 50 to 5F.
const SKIPPABLE: [u8; 3] = [0x2A, 0x4D, 0x18];
/// The first byte of ours: "W". Others' frames are told by what is in them.
const OURS: u8 = b'W';
/// The magic number and, of a skippable frame, the size.
pub(super) const PRELUDE: usize = 8;

/// The subfield with the file's name.
const NAME_ID: [u8; 2] = *b"WN";

/// A longer first frame is no frame with facts, and is not held in memory.
const MAX_FACTS: usize = 128 * 1024;

// The prelude, the facts, the name.
const _: () = assert!(PRELUDE + facts::LARGEST + SUBFIELD + 255 <= HEAD_SIZE);

/// The frame that an object begins with. Its size does not depend on the
/// SHA-256, so that it can be written again once the SHA-256 is known.
pub(in crate::codec) fn facts(facts: &Facts) -> Vec<u8> {
    let mut content = facts::subfields(facts);
    content.extend(facts::subfield(NAME_ID, facts.file_name.as_bytes()));
    let mut frame = vec![OURS];
    frame.extend(SKIPPABLE);
    frame.extend((content.len() as u32).to_le_bytes());
    frame.extend(content);
    frame
}

/// As [`read_facts`](crate::codec::read_facts).
pub(in crate::codec) fn read_facts(head: &[u8]) -> Result<Option<Facts>, DecodeError> {
    match next(head, true)? {
        Next::Skippable { size, facts: true } => {
            let content = head[PRELUDE..].get(..size).ok_or(DecodeError::Truncated)?;
            facts_in(content)
        }
        _ => Ok(None),
    }
}

/// The facts in a skippable frame's content; `None` where it is someone else's.
pub(super) fn facts_in(content: &[u8]) -> Result<Option<Facts>, DecodeError> {
    facts::read(content, facts::find(NAME_ID, content))
}

/// Which frame it is that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// One with data: its first byte is the magic number's.
    Data,
    /// One to be skipped: behind its prelude it has so many bytes.
    Skippable {
        size: usize,
        /// Whether they may be the file's facts.
        facts: bool,
    },
}

/// Looks at the start of a frame, the `first` of an object or a later one.
/// `Truncated` where its prelude goes on behind `bytes`.
pub(super) fn next(bytes: &[u8], first: bool) -> Result<Next, DecodeError> {
    let foreign = match first {
        true => DecodeError::Other(Format::Zstd),
        false => DecodeError::TrailingGarbage(Format::Zstd),
    };
    let known = &bytes[..bytes.len().min(4)];
    if DATA.starts_with(known) {
        return if known.len() == 4 {
            Ok(Next::Data)
        } else {
            Err(DecodeError::Truncated)
        };
    }
    if !(0x50..=0x5F).contains(&known[0]) || !SKIPPABLE.starts_with(&known[1..]) {
        return Err(foreign);
    }
    let Some([_, _, _, _, size @ ..]) = bytes.first_chunk::<PRELUDE>() else {
        return Err(DecodeError::Truncated);
    };
    let size = u32::from_le_bytes(*size) as usize;
    Ok(Next::Skippable {
        size,
        facts: first && bytes[0] == OURS && size <= MAX_FACTS,
    })
}

/// Blocks hold at most so many bytes (RFC 8878, 3.1.1.2.3).
pub(super) const BLOCK: u64 = 128 << 10;

/// Appends a frame of `count` zeros, at least 1, written and not compressed:
/// blocks that say "the same byte, so often". 16 MiB are 525 bytes.
pub(in crate::codec) fn zeros(count: u64, out: &mut Vec<u8>) {
    /// The content's size in 8 bytes, no checksum, no dictionary.
    const DESCRIPTOR: u8 = 3 << 6;
    /// A window of 128 KiB: 2^(10 + 7), which the largest block takes.
    const WINDOW: u8 = 7 << 3;
    const RLE: u32 = 1 << 1;
    out.extend(DATA);
    out.extend([DESCRIPTOR, WINDOW]);
    out.extend(count.to_le_bytes());
    let mut left = count;
    while left > 0 {
        let size = left.min(BLOCK);
        left -= size;
        let header = u32::from(left == 0) | RLE | (size as u32) << 3;
        out.extend(&header.to_le_bytes()[..3]);
        out.push(0);
    }
}

#[cfg(test)]
mod tests;
