//! What an object says about the file in it, as subfields in its first bytes:
//! gzip's extra field has them, and zstd's first frame (docs/FORMAT.md).

use jiff::Timestamp;

use super::{DecodeError, Sha256, gzip::crc32, moments};
use crate::postgres::Moments;

/// What an object says about the file in it.
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

/// Enough of an object's beginning, in bytes, for
/// [`read_facts`](super::read_facts) on any object that this version writes.
pub const HEAD_SIZE: usize = 4096;

/// What a subfield's identifier and size take.
pub(super) const SUBFIELD: usize = 4;

/// The identifier of our subfield; none of those registered (RFC 1952, 2.3.1.1).
pub(super) const FACTS_ID: [u8; 2] = *b"WK";
const FACTS_VERSION: u8 = 1;
/// Version 1: version, SHA-256, size, seconds, nanoseconds, CRC-32.
pub(super) const FACTS_SIZE: usize = 1 + 32 + 8 + 8 + 4 + 4;
const NANOSECONDS: i128 = 1_000_000_000;

/// Ours as well: the moments of a segment.
const MOMENTS_ID: [u8; 2] = *b"WM";

/// The most that [`subfields`] makes, in bytes.
pub(super) const LARGEST: usize = SUBFIELD + FACTS_SIZE + SUBFIELD + moments::LARGEST;

/// The file name can stand in an object.
pub(super) fn is_valid_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|c| matches!(c, b' '..=b'~') && c != b'/')
}

/// The facts but for the name, which the formats put elsewhere. Their size does
/// not depend on the SHA-256.
pub(super) fn subfields(facts: &Facts) -> Vec<u8> {
    let mut fields = Vec::with_capacity(FACTS_SIZE);
    fields.push(FACTS_VERSION);
    fields.extend(facts.raw_sha256.0);
    fields.extend(facts.raw_size.to_le_bytes());
    fields.extend(seconds(facts.modified).to_le_bytes());
    let nanoseconds = facts.modified.as_nanosecond().rem_euclid(NANOSECONDS);
    fields.extend((nanoseconds as u32).to_le_bytes());
    let crc = crc32(crc32(0, &fields), facts.file_name.as_bytes());
    fields.extend(crc.to_le_bytes());

    let mut subfields = subfield(FACTS_ID, &fields);
    if let Some(moments) = &facts.moments {
        subfields.extend(subfield(MOMENTS_ID, &moments::write(moments)));
    }
    subfields
}

/// Whole seconds since 1970, rounded down.
pub(super) fn seconds(time: Timestamp) -> i64 {
    time.as_nanosecond().div_euclid(NANOSECONDS) as i64
}

pub(super) fn subfield(id: [u8; 2], data: &[u8]) -> Vec<u8> {
    [&id, (data.len() as u16).to_le_bytes().as_slice(), data].concat()
}

/// The facts among subfields. `None`: there are none, or those of a later
/// version that keeps them in another way.
pub(super) fn read(subfields: &[u8], name: Option<&[u8]>) -> Result<Option<Facts>, DecodeError> {
    // A later version keeps this number while it only appends fields.
    let fields = find(FACTS_ID, subfields).and_then(|fields| fields.first_chunk());
    let fields = fields.filter(|fields: &&[u8; FACTS_SIZE]| fields[0] == FACTS_VERSION);
    let (Some(fields), Some(name)) = (fields, name) else {
        return Ok(None);
    };
    Ok(Some(Facts {
        moments: moments_in(subfields)?,
        ..parse(fields, name)?
    }))
}

fn moments_in(subfields: &[u8]) -> Result<Option<Moments>, DecodeError> {
    const BAD: DecodeError = DecodeError::BadHeader("the moments do not match their CRC-32");
    let Some(data) = find(MOMENTS_ID, subfields) else {
        return Ok(None);
    };
    moments::read(data).map_err(|_| BAD)
}

/// Our subfield among others, which are skipped. Bytes that are not made of
/// subfields are someone else's, and no reason to refuse the object.
pub(super) fn find(id: [u8; 2], mut subfields: &[u8]) -> Option<&[u8]> {
    loop {
        let [a, b, low, high, rest @ ..] = subfields else {
            return None;
        };
        let (data, after) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
        if [*a, *b] == id {
            return Some(data);
        }
        subfields = after;
    }
}

fn parse(fields: &[u8; FACTS_SIZE], name: &[u8]) -> Result<Facts, DecodeError> {
    let mut rest = &fields[1..];
    let raw_sha256 = Sha256(take(&mut rest)?);
    let raw_size = u64::from_le_bytes(take(&mut rest)?);
    let seconds = i64::from_le_bytes(take(&mut rest)?);
    let nanoseconds = u32::from_le_bytes(take(&mut rest)?);
    let covered = &fields[..FACTS_SIZE - rest.len()];
    if u32::from_le_bytes(take(&mut rest)?) != crc32(crc32(0, covered), name) {
        return Err(MISMATCH);
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

const MISMATCH: DecodeError = DecodeError::BadHeader("the file's facts do not match their CRC-32");

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (taken, after) = rest.split_first_chunk().ok_or(MISMATCH)?;
    *rest = after;
    Ok(*taken)
}
