//! The header of a gzip member (RFC 1952 section 2.3), and what the first one
//! of an object says about the file in it.

use jiff::Timestamp;

use super::{DecodeError, bridge::crc32};
use crate::{
    codec::{Sha256, moments},
    postgres::Moments,
};

/// What an object says about the file in it, in the extra field of its first
/// gzip member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The file's name without a directory; printable ASCII, 1 to 255 bytes.
    pub file_name: String,
    /// SHA-256 of the file's bytes.
    pub raw_sha256: Sha256,
    /// The file's size in bytes.
    pub raw_size: u64,
    /// When the file was last modified, to the nanosecond.
    pub modified: Timestamp,
    /// The moments of the segment that it is, where they are known.
    pub moments: Option<Moments>,
}

/// Enough of an object's beginning, in bytes, for [`read_facts`] on any object
/// that this version writes.
pub const HEAD_SIZE: usize = 4096;

/// Reads the facts from the first bytes of an object. `None`: it is gzip, but
/// not ours (an older script's, or one of a later version that keeps its facts
/// in another way). `Truncated`: the head is too short, ask for more.
pub fn read_facts(head: &[u8]) -> Result<Option<Facts>, DecodeError> {
    Ok(parse(head)?.facts)
}

/// What RFC 1952 allows is unbounded (the name and the comment); this is more
/// than anybody's, and bounds what a reader holds.
pub(super) const MAX_HEADER: usize = 128 * 1024;

/// The file name cannot stand in a header.
pub(super) fn is_valid_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|c| matches!(c, b' '..=b'~') && c != b'/')
}

const MAGIC: [u8; 2] = [0x1F, 0x8B];
const DEFLATE: u8 = 8;
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xE0;
/// "Unix", as gzip writes it there; fixed, so that the output is the same
/// everywhere.
const OS: u8 = 3;
const FIXED_SIZE: usize = 10;

/// The identifier of our subfield; none of those registered (RFC 1952, 2.3.1.1).
const FACTS_ID: [u8; 2] = *b"WK";
const FACTS_VERSION: u8 = 1;
/// Version 1: version, SHA-256, size, seconds, nanoseconds, CRC-32.
const FACTS_SIZE: usize = 1 + 32 + 8 + 8 + 4 + 4;
const NANOSECONDS: i128 = 1_000_000_000;

/// Ours as well: the moments of a segment.
const MOMENTS_ID: [u8; 2] = *b"WM";

// The fixed part, the extra field's size, two subfields, the name.
const _: () = assert!(10 + 2 + 4 + FACTS_SIZE + 4 + moments::LARGEST + 256 <= HEAD_SIZE);

/// The header of an object's first member. Its size does not depend on the
/// SHA-256, so that it can be written again once the SHA-256 is known.
pub(super) fn first(facts: &Facts) -> Vec<u8> {
    let mut fields = Vec::with_capacity(FACTS_SIZE);
    fields.push(FACTS_VERSION);
    fields.extend(facts.raw_sha256.0);
    fields.extend(facts.raw_size.to_le_bytes());
    let time = facts.modified.as_nanosecond();
    let seconds = time.div_euclid(NANOSECONDS) as i64;
    fields.extend(seconds.to_le_bytes());
    fields.extend((time.rem_euclid(NANOSECONDS) as u32).to_le_bytes());
    let crc = crc32(crc32(0, &fields), facts.file_name.as_bytes());
    fields.extend(crc.to_le_bytes());

    // MTIME is 32 bits; 0 says that there is none.
    let mtime = u32::try_from(seconds).unwrap_or(0);
    let mut header = fixed(FEXTRA | FNAME, mtime).to_vec();
    let mut extra = subfield(FACTS_ID, &fields);
    if let Some(moments) = &facts.moments {
        extra.extend(subfield(MOMENTS_ID, &moments::write(moments)));
    }
    header.extend((extra.len() as u16).to_le_bytes());
    header.extend(extra);
    header.extend(facts.file_name.as_bytes());
    header.push(0);
    header
}

fn subfield(id: [u8; 2], data: &[u8]) -> Vec<u8> {
    [&id, (data.len() as u16).to_le_bytes().as_slice(), data].concat()
}

/// The header of every later member.
pub(super) fn next() -> [u8; FIXED_SIZE] {
    fixed(0, 0)
}

fn fixed(flags: u8, mtime: u32) -> [u8; FIXED_SIZE] {
    let [a, b, c, d] = mtime.to_le_bytes();
    [MAGIC[0], MAGIC[1], DEFLATE, flags, a, b, c, d, 0, OS]
}

/// A member's header as read.
pub(super) struct Header {
    /// Its size in bytes; the deflate stream starts there.
    pub(super) size: usize,
    pub(super) facts: Option<Facts>,
}

/// Reads the header at the start of `bytes`. `Truncated` when it goes on after
/// their end.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, DecodeError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(if MAGIC.starts_with(bytes) {
            DecodeError::Truncated
        } else {
            DecodeError::NotGzip
        });
    }
    let header = fields(&bytes[..bytes.len().min(MAX_HEADER)]);
    match header {
        Err(DecodeError::Truncated) if bytes.len() >= MAX_HEADER => {
            Err(DecodeError::BadHeader("longer than 128 KiB"))
        }
        header => header,
    }
}

fn fields(bytes: &[u8]) -> Result<Header, DecodeError> {
    let mut rest = bytes;
    let fixed = take(&mut rest, FIXED_SIZE)?;
    let (method, flags) = (fixed[2], fixed[3]);
    if method != DEFLATE {
        return Err(DecodeError::BadHeader("a method other than deflate"));
    }
    if flags & RESERVED != 0 {
        return Err(DecodeError::BadHeader("reserved flags are set"));
    }
    let mut extra: &[u8] = &[];
    if flags & FEXTRA != 0 {
        let size = take(&mut rest, 2)?;
        extra = take(&mut rest, u16::from_le_bytes([size[0], size[1]]).into())?;
    }
    let mut name = None;
    if flags & FNAME != 0 {
        name = Some(take_text(&mut rest)?);
    }
    if flags & FCOMMENT != 0 {
        take_text(&mut rest)?;
    }
    if flags & FHCRC != 0 {
        let covered = &bytes[..bytes.len() - rest.len()];
        let stored = take(&mut rest, 2)?;
        if crc32(0, covered) as u16 != u16::from_le_bytes([stored[0], stored[1]]) {
            return Err(DecodeError::BadHeader("its CRC-16 does not match"));
        }
    }
    let facts = match (facts_in(extra), name) {
        (Some(facts), Some(name)) => Some(Facts {
            moments: moments_in(extra)?,
            ..parse_facts(facts, name)?
        }),
        _ => None,
    };
    Ok(Header {
        size: bytes.len() - rest.len(),
        facts,
    })
}

fn facts_in(extra: &[u8]) -> Option<&[u8; FACTS_SIZE]> {
    // A later version keeps this number while it only appends fields.
    let facts = find(FACTS_ID, extra)?.first_chunk()?;
    (facts[0] == FACTS_VERSION).then_some(facts)
}

fn moments_in(extra: &[u8]) -> Result<Option<Moments>, DecodeError> {
    const BAD: DecodeError = DecodeError::BadHeader("the moments do not match their CRC-32");
    let Some(data) = find(MOMENTS_ID, extra) else {
        return Ok(None);
    };
    moments::read(data).map_err(|_| BAD)
}

/// Our subfield among others, which are skipped. An extra field that is not
/// made of subfields is someone else's, and no reason to refuse the object.
fn find(id: [u8; 2], mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let [a, b, low, high, rest @ ..] = extra else {
            return None;
        };
        let (data, after) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
        if [*a, *b] == id {
            return Some(data);
        }
        extra = after;
    }
}

fn parse_facts(fields: &[u8; FACTS_SIZE], name: &[u8]) -> Result<Facts, DecodeError> {
    const BAD: DecodeError = DecodeError::BadHeader("the file's facts do not match their CRC-32");
    let mut rest = fields.as_slice();
    let covered = &fields[..FACTS_SIZE - 4];
    take(&mut rest, 1)?;
    let raw_sha256 = Sha256(take_array(&mut rest)?);
    let raw_size = u64::from_le_bytes(take_array(&mut rest)?);
    let seconds = i64::from_le_bytes(take_array(&mut rest)?);
    let nanoseconds = u32::from_le_bytes(take_array(&mut rest)?);
    let crc = u32::from_le_bytes(take_array(&mut rest)?);
    if crc != crc32(crc32(0, covered), name) {
        return Err(BAD);
    }
    let time = i128::from(seconds) * NANOSECONDS + i128::from(nanoseconds);
    let modified = Timestamp::from_nanosecond(time)
        .map_err(|_| DecodeError::BadHeader("the file's time is out of range"))?;
    let file_name = str::from_utf8(name)
        .ok()
        .filter(|name| is_valid_name(name))
        .ok_or(DecodeError::BadHeader("the file's name is not valid"))?
        .to_owned();
    Ok(Facts {
        file_name,
        raw_sha256,
        raw_size,
        modified,
        moments: None,
    })
}

fn take<'a>(rest: &mut &'a [u8], size: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, after) = rest.split_at_checked(size).ok_or(DecodeError::Truncated)?;
    *rest = after;
    Ok(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (taken, after) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *rest = after;
    Ok(*taken)
}

/// Text that a zero byte ends; the zero is taken, not returned.
fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let end = rest
        .iter()
        .position(|&byte| byte == 0)
        .ok_or(DecodeError::Truncated)?;
    Ok(&take(rest, end + 1)?[..end])
}

#[cfg(test)]
mod tests;
