//! An object that is all in memory, back into its file. What cannot be held in
//! memory goes through [`Decoder`](super::Decoder).

use super::{
    bridge::{Inflater, Outcome, crc32},
    header,
};
use crate::codec::{
    DecodeError, Facts, OutOfMemory,
    decode::{check_size, check_size_allowed, reserve},
};

/// As [`decode`](crate::codec::decode); on an error `out` has what came before
/// it.
pub(in crate::codec) fn decode(
    stored: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
) -> Result<Option<Facts>, DecodeError> {
    let start = out.len();
    let mut streams = Streams::default();
    let mut rest = stored;
    let mut facts = None;
    loop {
        let first = rest.len() == stored.len();
        let header = header::parse(rest).map_err(|error| match error {
            DecodeError::Other(format) if !first => DecodeError::TrailingGarbage(format),
            error => error,
        })?;
        if first {
            facts = header.facts;
            check_size_allowed(&facts, limit)?;
        }
        rest = &rest[header.size..];

        let done = out.len() - start;
        let room = Room {
            limit,
            left: limit - done as u64,
            likely: facts
                .as_ref()
                .map(|facts| facts.raw_size.saturating_sub(done as u64)),
        };
        let member = out.len();
        let stream_size = streams.inflate(rest, room, out)?;
        let (trailer, after) = rest[stream_size..]
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        check_trailer(
            trailer,
            crc32(0, &out[member..]),
            (out.len() - member) as u64,
        )?;
        if after.is_empty() {
            check_size(&facts, (out.len() - start) as u64)?;
            return Ok(facts);
        }
        rest = after;
    }
}

/// Compares a member's trailer with what was inflated.
pub(super) fn check_trailer(trailer: &[u8; 8], crc: u32, size: u64) -> Result<(), DecodeError> {
    let [a, b, c, d, size_bytes @ ..] = *trailer;
    if u32::from_le_bytes([a, b, c, d]) != crc {
        return Err(DecodeError::Corrupt("a member's CRC-32 does not match"));
    }
    // ISIZE is the size modulo 2^32.
    if u32::from_le_bytes(size_bytes) != size as u32 {
        return Err(DecodeError::Corrupt("a member's size does not match"));
    }
    Ok(())
}

/// How much a member may become.
#[derive(Clone, Copy)]
struct Room {
    limit: u64,
    /// Of the limit, what earlier members left.
    left: u64,
    /// What it becomes at most if the header told the truth.
    likely: Option<u64>,
}

/// The decoders that the members so far needed.
#[derive(Default)]
struct Streams {
    zlib: Option<Inflater>,
    #[cfg(feature = "libdeflate")]
    libdeflate: Option<super::bridge::BlockInflater>,
}

impl Streams {
    /// Inflates the deflate stream at the start of `stored` and returns its
    /// size.
    fn inflate(
        &mut self,
        stored: &[u8],
        room: Room,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecodeError> {
        #[cfg(feature = "libdeflate")]
        if let Some(size) = self.by_libdeflate(stored, room, out)? {
            return Ok(size);
        }
        self.by_zlib(stored, room, out)
    }

    /// `None` leaves it to zlib: of a stream that it refuses libdeflate does
    /// not say whether it is cut short, and zlib decides whether it is valid.
    #[cfg(feature = "libdeflate")]
    fn by_libdeflate(
        &mut self,
        stored: &[u8],
        room: Room,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, DecodeError> {
        let inflater = match &mut self.libdeflate {
            Some(inflater) => inflater,
            none => none.insert(super::bridge::BlockInflater::new()?),
        };
        let most = room.left.min(most_from(stored));
        let mut size = room.likely.unwrap_or(4 * stored.len() as u64).min(most);
        loop {
            let lent = usize::try_from(size).map_err(|_| OutOfMemory)?;
            reserve(out, lent)?;
            let step = inflater.inflate(stored, out, lent);
            match step.outcome {
                Outcome::Ended => return Ok(Some(step.consumed)),
                Outcome::Going if size < most => size = size.saturating_mul(2).max(4096).min(most),
                Outcome::Going | Outcome::Invalid => return Ok(None),
                _ => return Err(OutOfMemory.into()),
            }
        }
    }

    fn by_zlib(
        &mut self,
        stored: &[u8],
        room: Room,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecodeError> {
        const PIECE: u64 = 128 * 1024;
        let inflater = match &mut self.zlib {
            Some(inflater) => {
                inflater.reset()?;
                inflater
            }
            none => none.insert(Inflater::new()?),
        };
        let start = out.len();
        let mut rest = stored;
        if let Some(likely) = room.likely {
            let size = likely.min(room.left).min(most_from(stored));
            reserve(out, usize::try_from(size).map_err(|_| OutOfMemory)?)?;
        }
        loop {
            let left = room.left - (out.len() - start) as u64;
            // Room for one byte too many tells a stream that ends at the limit
            // from one that goes on.
            let lent = left.saturating_add(1).min(PIECE) as usize;
            reserve(out, lent)?;
            let step = inflater.step(rest, out, lent);
            rest = &rest[step.consumed..];
            if step.produced as u64 > left {
                return Err(DecodeError::TooLarge { limit: room.limit });
            }
            match step.outcome {
                Outcome::Ended => return Ok(stored.len() - rest.len()),
                Outcome::Going if step.produced < lent && rest.is_empty() => {
                    return Err(DecodeError::Truncated);
                }
                Outcome::Going => {}
                Outcome::OutOfMemory => return Err(OutOfMemory.into()),
                _ => return Err(DecodeError::Corrupt("not a valid deflate stream")),
            }
        }
    }
}

/// Deflate makes at most 258 bytes of two bits (RFC 1951, 3.2.5), so a small
/// object cannot ask for much memory, whatever its header says.
fn most_from(stored: &[u8]) -> u64 {
    (stored.len() as u64).saturating_mul(4 * 258)
}
