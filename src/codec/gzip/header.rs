//! The header of a gzip member (RFC 1952 section 2.3), and what the first one
//! of an object says about the file in it.

use super::bridge::crc32;
use crate::codec::{
    DecodeError, Facts, Format,
    facts::{self, HEAD_SIZE},
};

/// As [`read_facts`](crate::codec::read_facts).
pub(in crate::codec) fn read_facts(head: &[u8]) -> Result<Option<Facts>, DecodeError> {
    Ok(parse(head)?.facts)
}

/// What RFC 1952 allows is unbounded (the name and the comment); this is more
/// than anybody's, and bounds what a reader holds.
pub(super) const MAX_HEADER: usize = 128 * 1024;

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

// The fixed part, the extra field's size, the subfields, the name.
const _: () = assert!(FIXED_SIZE + 2 + facts::LARGEST + 256 <= HEAD_SIZE);

/// The header of an object's first member. Its size does not depend on the
/// SHA-256, so that it can be written again once the SHA-256 is known.
pub(in crate::codec) fn first(facts: &Facts) -> Vec<u8> {
    // MTIME is 32 bits; 0 says that there is none.
    let mtime = u32::try_from(facts::seconds(facts.modified)).unwrap_or(0);
    let mut header = fixed(FEXTRA | FNAME, mtime).to_vec();
    let extra = facts::subfields(facts);
    header.extend((extra.len() as u16).to_le_bytes());
    header.extend(extra);
    header.extend(facts.file_name.as_bytes());
    header.push(0);
    header
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
            DecodeError::Other(Format::Gzip)
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
    let facts = facts::read(extra, name)?;
    Ok(Header {
        size: bytes.len() - rest.len(),
        facts,
    })
}

fn take<'a>(rest: &mut &'a [u8], size: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, after) = rest.split_at_checked(size).ok_or(DecodeError::Truncated)?;
    *rest = after;
    Ok(taken)
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
