//! An object that comes in pieces, back into its file.

use std::io::Write;

use super::{
    bridge::{Inflater, Outcome, crc32},
    decode::check_trailer,
    header,
};
use crate::codec::{
    DecodeError, Facts, OutOfMemory,
    decode::{check_size, check_size_allowed},
};

/// As [`Decoder`](crate::codec::Decoder).
pub(in crate::codec) struct Decoder<W> {
    sink: W,
    limit: u64,
    state: State,
    inflater: Inflater,
    /// Of a header or trailer that came in pieces, what has come.
    pending: Vec<u8>,
    /// Inflated bytes on their way to the sink.
    room: Vec<u8>,
    /// Of the member being inflated.
    crc: u32,
    member_size: u64,
    raw_size: u64,
    facts: Option<Facts>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the header of the first member, or of a later one.
    Header {
        first: bool,
    },
    Deflate,
    Trailer,
}

const ROOM: usize = 64 * 1024;
const TRAILER: usize = 8;

impl<W: Write> Decoder<W> {
    pub(in crate::codec) fn new(sink: W, limit: u64) -> Result<Self, DecodeError> {
        Ok(Decoder {
            sink,
            limit,
            state: State::Header { first: true },
            inflater: Inflater::new()?,
            pending: Vec::new(),
            room: Vec::with_capacity(ROOM),
            crc: 0,
            member_size: 0,
            raw_size: 0,
            facts: None,
        })
    }

    pub(in crate::codec) fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    pub(in crate::codec) fn finish(self) -> Result<(W, Option<Facts>), DecodeError> {
        if self.state != (State::Header { first: false }) || !self.pending.is_empty() {
            return Err(DecodeError::Truncated);
        }
        check_size(&self.facts, self.raw_size)?;
        Ok((self.sink, self.facts))
    }

    pub(in crate::codec) fn write(&mut self, mut piece: &[u8]) -> Result<(), DecodeError> {
        while !piece.is_empty() {
            piece = match self.state {
                State::Header { first } => self.header(piece, first)?,
                State::Deflate => self.deflate(piece)?,
                State::Trailer => self.trailer(piece)?,
            };
        }
        Ok(())
    }

    /// Returns what follows the header in the piece.
    fn header<'a>(&mut self, piece: &'a [u8], first: bool) -> Result<&'a [u8], DecodeError> {
        let before = self.pending.len();
        // The parser needs no more than this to refuse a header as too long.
        let most = piece.len().min(header::MAX_HEADER - before);
        self.pending.extend_from_slice(&piece[..most]);
        let header = match header::parse(&self.pending) {
            Ok(header) => header,
            Err(DecodeError::Truncated) => return Ok(&piece[most..]),
            Err(DecodeError::Other(format)) if !first => {
                return Err(DecodeError::TrailingGarbage(format));
            }
            Err(error) => return Err(error),
        };
        if first {
            check_size_allowed(&header.facts, self.limit)?;
            self.facts = header.facts;
        }
        self.pending.clear();
        self.inflater.reset()?;
        (self.crc, self.member_size) = (0, 0);
        self.state = State::Deflate;
        // What was pending did not make a header, so this one ends in `piece`.
        Ok(&piece[header.size - before..])
    }

    fn deflate<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let mut rest = piece;
        loop {
            let left = self.limit - self.raw_size;
            // Room for one byte too many, as in `decode`.
            let lent = left.saturating_add(1).min(ROOM as u64) as usize;
            let step = self.inflater.step(rest, &mut self.room, lent);
            rest = &rest[step.consumed..];
            if step.produced as u64 > left {
                return Err(DecodeError::TooLarge { limit: self.limit });
            }
            self.crc = crc32(self.crc, &self.room);
            self.member_size += step.produced as u64;
            self.raw_size += step.produced as u64;
            self.sink.write_all(&self.room).map_err(DecodeError::Sink)?;
            self.room.clear();
            match step.outcome {
                Outcome::Ended => {
                    self.state = State::Trailer;
                    return Ok(rest);
                }
                Outcome::Going if step.produced < lent && rest.is_empty() => return Ok(rest),
                Outcome::Going => {}
                Outcome::OutOfMemory => return Err(OutOfMemory.into()),
                _ => return Err(DecodeError::Corrupt("not a valid deflate stream")),
            }
        }
    }

    fn trailer<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let missing = TRAILER - self.pending.len();
        let (taken, rest) = piece.split_at(missing.min(piece.len()));
        self.pending.extend_from_slice(taken);
        if let Some(trailer) = self.pending.first_chunk::<TRAILER>() {
            check_trailer(trailer, self.crc, self.member_size)?;
            self.pending.clear();
            self.state = State::Header { first: false };
        }
        Ok(rest)
    }
}
