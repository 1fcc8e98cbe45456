//! Objects of any format, back into their files.

use std::io::{self, Write};

use super::{Facts, Format, gzip, zstd};

/// An object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("not a {0} object")]
    Other(Format),
    #[error("header not valid: {0}")]
    BadHeader(&'static str),
    #[error("the object ends early")]
    Truncated,
    #[error("bytes that are no {0} follow the object's end")]
    TrailingGarbage(Format),
    #[error("the object holds more than the {limit} bytes expected of it")]
    TooLarge {
        /// The most raw bytes that the caller allowed.
        limit: u64,
    },
    #[error("the object is corrupt: {0}")]
    Corrupt(&'static str),
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Only of a [`Decoder`]: what it writes to failed.
    #[error("write raw bytes")]
    Sink(#[source] io::Error),
}

/// Memory for an encoder or a decoder, or for what it makes, could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct OutOfMemory;

impl DecodeError {
    /// The object is at fault: another store's copy may be whole, and reading
    /// this one again is no use.
    pub fn is_damage(&self) -> bool {
        !matches!(self, DecodeError::OutOfMemory(_) | DecodeError::Sink(_))
    }
}

/// Reads the facts from the first bytes of an object. `None`: it is of the
/// format, but not ours (an older script's, or one of a later version that
/// keeps its facts in another way). `Truncated`: the head is too short, ask for
/// more.
pub fn read_facts(format: Format, head: &[u8]) -> Result<Option<Facts>, DecodeError> {
    match format {
        Format::Gzip => gzip::read_facts(head),
        Format::Zstd => zstd::read_facts(head),
    }
}

/// Appends the file's bytes to `out`: all of the object, each of its members or
/// frames checked as the format has it, and altogether against the size in the
/// facts, where it has them. Never more than `limit` bytes, and no more memory
/// than that. The caller compares the SHA-256.
///
/// On an error `out` is as it was.
pub fn decode(
    format: Format,
    stored: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
) -> Result<Option<Facts>, DecodeError> {
    let start = out.len();
    let decoded = match format {
        Format::Gzip => gzip::decode(stored, limit, out),
        Format::Zstd => zstd::decode(stored, limit, out),
    };
    decoded.inspect_err(|_| out.truncate(start))
}

/// Takes an object in pieces of any size and writes the file's bytes to `W`,
/// with the checks of [`decode`]. Memory is about 200 KiB for gzip, and up to
/// 9 MiB for zstd (the window that the object asks for), whatever its size.
///
/// Bytes reach `W` before the member they belong to is checked: they count for
/// nothing until [`finish`](Decoder::finish) has returned `Ok`, and the caller
/// has compared the SHA-256. After an error the decoder refuses all further
/// pieces, and `finish` fails.
pub struct Decoder<W> {
    of: Of<W>,
    failed: bool,
}

enum Of<W> {
    Gzip(gzip::Decoder<W>),
    Zstd(zstd::Decoder<W>),
}

impl<W: Write> Decoder<W> {
    /// The object may hold at most `limit` raw bytes.
    pub fn new(format: Format, sink: W, limit: u64) -> Result<Self, DecodeError> {
        let of = match format {
            Format::Gzip => Of::Gzip(gzip::Decoder::new(sink, limit)?),
            Format::Zstd => Of::Zstd(zstd::Decoder::new(sink, limit)?),
        };
        Ok(Decoder { of, failed: false })
    }

    /// What the object says about its file; known once its header has come.
    pub fn facts(&self) -> Option<&Facts> {
        match &self.of {
            Of::Gzip(decoder) => decoder.facts(),
            Of::Zstd(decoder) => decoder.facts(),
        }
    }

    /// Takes the next piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), DecodeError> {
        if self.failed {
            return Err(DecodeError::Corrupt("an earlier piece was refused"));
        }
        let taken = match &mut self.of {
            Of::Gzip(decoder) => decoder.write(piece),
            Of::Zstd(decoder) => decoder.write(piece),
        };
        self.failed = taken.is_err();
        taken
    }

    /// There are no more pieces: the object is whole, or this fails. The sink
    /// is given back as it is, not flushed.
    pub fn finish(self) -> Result<(W, Option<Facts>), DecodeError> {
        if self.failed {
            return Err(DecodeError::Truncated);
        }
        match self.of {
            Of::Gzip(decoder) => decoder.finish(),
            Of::Zstd(decoder) => decoder.finish(),
        }
    }
}

/// Refuses an object that says itself that it is too large.
pub(super) fn check_size_allowed(facts: &Option<Facts>, limit: u64) -> Result<(), DecodeError> {
    match facts {
        Some(facts) if facts.raw_size > limit => Err(DecodeError::TooLarge { limit }),
        _ => Ok(()),
    }
}

/// Compares the whole with the facts: an object that lost its last members
/// looks whole to `gunzip` and `zstd`.
pub(super) fn check_size(facts: &Option<Facts>, raw_size: u64) -> Result<(), DecodeError> {
    match facts {
        Some(facts) if raw_size < facts.raw_size => Err(DecodeError::Truncated),
        Some(facts) if raw_size > facts.raw_size => Err(DecodeError::Corrupt(
            "it holds more bytes than its header says",
        )),
        _ => Ok(()),
    }
}

pub(super) fn reserve(out: &mut Vec<u8>, size: usize) -> Result<(), DecodeError> {
    out.try_reserve(size).map_err(|_| OutOfMemory.into())
}
