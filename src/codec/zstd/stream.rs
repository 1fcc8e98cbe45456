//! An object that comes in pieces, back into its file.

use std::io::Write;

use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::{
    decode::{new_context, refused},
    frame::{self, Next},
};
use crate::codec::{
    DecodeError, Facts,
    decode::{check_size, check_size_allowed},
};

/// As [`Decoder`](crate::codec::Decoder).
pub(in crate::codec) struct Decoder<W> {
    sink: W,
    limit: u64,
    state: State,
    context: DCtx<'static>,
    /// Of a prelude, or of the facts, what has come.
    pending: Vec<u8>,
    /// Decoded bytes on their way to the sink.
    room: Vec<u8>,
    raw_size: u64,
    facts: Option<Facts>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a frame, the first one or a later one, or in its prelude.
    Between {
        first: bool,
    },
    /// In a skippable frame, with so many bytes to come.
    Skipping {
        left: usize,
        facts: bool,
    },
    Data,
}

const ROOM: usize = 64 * 1024;

impl<W: Write> Decoder<W> {
    pub(in crate::codec) fn new(sink: W, limit: u64) -> Result<Self, DecodeError> {
        Ok(Decoder {
            sink,
            limit,
            state: State::Between { first: true },
            context: new_context()?,
            pending: Vec::new(),
            room: Vec::with_capacity(ROOM),
            raw_size: 0,
            facts: None,
        })
    }

    pub(in crate::codec) fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    pub(in crate::codec) fn finish(self) -> Result<(W, Option<Facts>), DecodeError> {
        if self.state != (State::Between { first: false }) || !self.pending.is_empty() {
            return Err(DecodeError::Truncated);
        }
        check_size(&self.facts, self.raw_size)?;
        Ok((self.sink, self.facts))
    }

    pub(in crate::codec) fn write(&mut self, mut piece: &[u8]) -> Result<(), DecodeError> {
        while !piece.is_empty() {
            piece = match self.state {
                State::Between { first } => self.prelude(piece, first)?,
                State::Skipping { left, facts } => self.skip(piece, left, facts)?,
                State::Data => self.data(piece)?,
            };
        }
        Ok(())
    }

    /// Returns what follows the prelude in the piece.
    fn prelude<'a>(&mut self, piece: &'a [u8], first: bool) -> Result<&'a [u8], DecodeError> {
        let before = self.pending.len();
        let most = piece.len().min(frame::PRELUDE - before);
        self.pending.extend_from_slice(&piece[..most]);
        match frame::next(&self.pending, first) {
            Err(DecodeError::Truncated) => Ok(&piece[most..]),
            Err(error) => Err(error),
            Ok(Next::Data) => {
                self.state = State::Data;
                // zstd wants the magic number too. It makes nothing of less
                // than a header, so that these bytes are all taken.
                let begun = std::mem::take(&mut self.pending);
                self.data(&begun)?;
                Ok(&piece[most..])
            }
            Ok(Next::Skippable { size, facts }) => {
                self.pending.clear();
                self.state = match size {
                    0 => State::Between { first: false },
                    left => State::Skipping { left, facts },
                };
                Ok(&piece[most..])
            }
        }
    }

    fn skip<'a>(
        &mut self,
        piece: &'a [u8],
        left: usize,
        facts: bool,
    ) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = piece.split_at(left.min(piece.len()));
        if facts {
            self.pending.extend_from_slice(taken);
        }
        let left = left - taken.len();
        if left > 0 {
            self.state = State::Skipping { left, facts };
            return Ok(rest);
        }
        if facts {
            self.facts = frame::facts_in(&self.pending)?;
            check_size_allowed(&self.facts, self.limit)?;
        }
        self.pending.clear();
        self.state = State::Between { first: false };
        Ok(rest)
    }

    /// Returns what follows the frame in the piece.
    fn data<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let mut input = InBuffer::around(piece);
        loop {
            self.room.clear();
            let mut output = OutBuffer::around(&mut self.room);
            let hint = self.context.decompress_stream(&mut output, &mut input);
            let hint = hint.map_err(refused)?;
            let produced = self.room.len() as u64;
            if produced > self.limit - self.raw_size {
                return Err(DecodeError::TooLarge { limit: self.limit });
            }
            self.raw_size += produced;
            self.sink.write_all(&self.room).map_err(DecodeError::Sink)?;
            let rest = &piece[input.pos()..];
            if hint == 0 {
                self.state = State::Between { first: false };
                return Ok(rest);
            }
            // A full room may leave more behind it.
            if rest.is_empty() && self.room.len() < self.room.capacity() {
                return Ok(rest);
            }
        }
    }
}
