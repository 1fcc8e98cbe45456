//! The header of a gzip member (RFC 1952 section 2.3), and what the first one
//! of an object says about the file in it.

use jiff::Timestamp;

use super::{DecodeError, bridge::crc32};
use crate::codec::Sha256;

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

/// The header of an object's first member. Its size depends on the file name
/// alone, so that it can be written again once the SHA-256 is known.
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
    header.extend((4 + FACTS_SIZE as u16).to_le_bytes());
    header.extend(FACTS_ID);
    header.extend((FACTS_SIZE as u16).to_le_bytes());
    header.extend(fields);
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
        (Some(facts), Some(name)) => Some(parse_facts(facts, name)?),
        _ => None,
    };
    Ok(Header {
        size: bytes.len() - rest.len(),
        facts,
    })
}

/// Our subfield among others, which are skipped. An extra field that is not
/// made of subfields is someone else's, and no reason to refuse the object.
fn facts_in(mut extra: &[u8]) -> Option<&[u8; FACTS_SIZE]> {
    loop {
        let [a, b, low, high, rest @ ..] = extra else {
            return None;
        };
        let (data, after) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
        if [*a, *b] == FACTS_ID {
            // A later version keeps this number while it only appends fields.
            let facts = data.first_chunk()?;
            return (facts[0] == FACTS_VERSION).then_some(facts);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_facts() -> Facts {
        Facts {
            file_name: "000000010000000000000023".to_owned(),
            raw_sha256: Sha256::of(b"x"),
            raw_size: 16 << 20,
            modified: Timestamp::from_nanosecond(1_790_000_000_123_456_789).unwrap(),
        }
    }

    #[test]
    fn stands_where_format_md_says() {
        let header = first(&some_facts());
        assert_eq!(header[..4], [0x1F, 0x8B, 8, 0x0C]);
        assert_eq!(header[4..8], 1_790_000_000_u32.to_le_bytes());
        assert_eq!(header[8..12], [0, 3, 61, 0]);
        assert_eq!(header[12..17], [b'W', b'K', 57, 0, 1]);
        assert_eq!(header[17..49], Sha256::of(b"x").0);
        assert_eq!(header[49..57], (16_u64 << 20).to_le_bytes());
        assert_eq!(header[57..65], 1_790_000_000_i64.to_le_bytes());
        assert_eq!(header[65..69], 123_456_789_u32.to_le_bytes());
        assert_eq!(header[73..], *b"000000010000000000000023\0");
        assert_eq!(next(), [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn every_cut_asks_for_more_and_every_flip_is_seen() {
        let header = first(&some_facts());
        for end in 0..header.len() {
            let cut = read_facts(&header[..end]);
            assert!(matches!(cut, Err(DecodeError::Truncated)), "cut at {end}");
        }
        for bit in 0..8 * header.len() {
            let mut flipped = header.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = read_facts(&flipped).ok().flatten();
            // FTEXT, the time in whole seconds, XFL and OS are for others.
            let unused = bit == 24 || (4..10).contains(&(bit / 8));
            assert_eq!(read.is_some(), unused, "bit {bit}");
        }
    }

    #[test]
    fn unknown_subfields_and_later_fields_are_skipped() {
        let header = first(&some_facts());
        let longer = |before: &[u8], after: &[u8], appended: &[u8]| {
            let mut other = header[..10].to_vec();
            let size = FACTS_SIZE + appended.len();
            let whole = 4 + size + before.len() + after.len();
            other.extend((whole as u16).to_le_bytes());
            other.extend(before);
            other.extend(FACTS_ID);
            other.extend((size as u16).to_le_bytes());
            other.extend(&header[16..73]);
            other.extend(appended);
            other.extend(after);
            other.extend(&header[73..]);
            read_facts(&other).unwrap()
        };
        assert_eq!(longer(b"", b"", b""), Some(some_facts()));
        assert_eq!(longer(b"AB\x02\0xy", b"", b""), Some(some_facts()));
        assert_eq!(longer(b"", b"CT\x01\0x", b"more"), Some(some_facts()));
        // Someone else's extra field, not made of subfields.
        assert_eq!(longer(b"AB\xFF\xFFxy", b"", b""), None);
    }

    #[test]
    fn other_programs_headers_are_gzip_but_not_ours() {
        let name_and_comment = b"\x1F\x8B\x08\x18\0\0\0\0\x02\xFFname\0comment\0";
        let parsed = parse(name_and_comment).unwrap();
        assert_eq!((parsed.size, parsed.facts), (name_and_comment.len(), None));
        let plain = b"\x1F\x8B\x08\x00\0\0\0\0\x02\x03";
        let mut with_crc = b"\x1F\x8B\x08\x02\0\0\0\0\x02\x03".to_vec();
        with_crc.extend((crc32(0, &with_crc) as u16).to_le_bytes());
        assert_eq!(read_facts(plain).unwrap(), None);
        assert_eq!(parse(&with_crc).unwrap().size, 12);
        with_crc[4] ^= 1;
        assert!(matches!(
            read_facts(&with_crc),
            Err(DecodeError::BadHeader(_))
        ));
    }

    #[test]
    fn what_is_no_gzip_is_refused() {
        let not_gzip = |bytes: &[u8]| matches!(read_facts(bytes), Err(DecodeError::NotGzip));
        assert!(not_gzip(b"PK\x03\x04") && not_gzip(b"\x1F\x9D") && not_gzip(&[0; 8192]));
        let bad = |bytes: &[u8]| matches!(read_facts(bytes), Err(DecodeError::BadHeader(_)));
        assert!(bad(b"\x1F\x8B\x09\0\0\0\0\0\0\x03"));
        assert!(bad(b"\x1F\x8B\x08\x80\0\0\0\0\0\x03"));
        let mut endless = b"\x1F\x8B\x08\x08\0\0\0\0\0\x03".to_vec();
        endless.resize(MAX_HEADER, b'x');
        assert!(bad(&endless));
    }

    proptest! {
        #[test]
        fn facts_come_back(
            file_name in "[ -.0-~]{1,255}",
            raw_sha256 in any::<[u8; 32]>().prop_map(Sha256),
            raw_size in any::<u64>(),
            time in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond(),
        ) {
            let modified = Timestamp::from_nanosecond(time).unwrap();
            let facts = Facts { file_name, raw_sha256, raw_size, modified };
            let header = first(&facts);
            prop_assert!(header.len() <= HEAD_SIZE);
            prop_assert_eq!(read_facts(&header).unwrap(), Some(facts));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_facts(&bytes);
            bytes.splice(0..0, [0x1F, 0x8B, 8, 0x0C]);
            let _ = read_facts(&bytes);
        }
    }
}
