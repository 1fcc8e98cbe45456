//! The two gzip encoders behind one face, and what the config's level means to
//! each.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

#[cfg(feature = "libdeflate")]
use super::bridge::BlockDeflater;
use super::bridge::{Deflater, Outcome, crc32};
use crate::codec::{OutOfMemory, digest::Sha256Hasher};

/// Which gzip encoder the config asks for; `auto`, `zlib` or `libdeflate` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EncoderKind {
    /// libdeflate where it is built in, else zlib.
    #[default]
    Auto,
    /// The system's zlib. The level is zlib's own.
    Zlib,
    /// The level says whose size is wanted: that of `gzip` at this level, by
    /// the cheapest of libdeflate's settings that reaches it on WAL.
    Libdeflate,
}

/// The config asks for an encoder that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncoderError {
    #[error("level {0} is out of range (1 to 9)")]
    Level(u32),
    #[error(
        "encoder \"libdeflate\" is not built into this walkeep; use \"auto\" or \"zlib\", \
         or build it with --features libdeflate"
    )]
    NotBuiltIn,
    #[error("\"{0}\" is not an encoder (expected \"auto\", \"zlib\" or \"libdeflate\")")]
    Unknown(String),
}

impl EncoderKind {
    fn name(self) -> &'static str {
        match self {
            EncoderKind::Auto => "auto",
            EncoderKind::Zlib => "zlib",
            EncoderKind::Libdeflate => "libdeflate",
        }
    }
}

impl fmt::Display for EncoderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EncoderKind {
    type Err = EncoderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            EncoderKind::Auto,
            EncoderKind::Zlib,
            EncoderKind::Libdeflate,
        ]
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| EncoderError::Unknown(text.to_owned()))
    }
}

impl TryFrom<String> for EncoderKind {
    type Error = EncoderError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<EncoderKind> for String {
    fn from(kind: EncoderKind) -> Self {
        kind.name().to_owned()
    }
}

/// An encoder that can be had, and its own level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) enum Engine {
    Zlib(u32),
    #[cfg(feature = "libdeflate")]
    Libdeflate(u32),
}

impl Engine {
    /// `level` is 1 to 9.
    pub(in crate::codec) fn new(kind: EncoderKind, level: u32) -> Result<Self, EncoderError> {
        match kind {
            EncoderKind::Zlib => Ok(Engine::Zlib(level)),
            #[cfg(feature = "libdeflate")]
            EncoderKind::Auto | EncoderKind::Libdeflate => {
                Ok(Engine::Libdeflate(libdeflate_level(level)))
            }
            #[cfg(not(feature = "libdeflate"))]
            EncoderKind::Auto => Ok(Engine::Zlib(level)),
            #[cfg(not(feature = "libdeflate"))]
            EncoderKind::Libdeflate => Err(EncoderError::NotBuiltIn),
        }
    }
}

/// libdeflate's cheapest level that reaches the size of `gzip` at `level`, on
/// WAL (docs/BENCHMARKS.md). Above 6 gzip's own levels differ by less than they
/// vary from one segment to the next, and libdeflate's 7 to 9 cost two to seven
/// times the CPU of 6 for half a percent.
#[cfg(feature = "libdeflate")]
fn libdeflate_level(level: u32) -> u32 {
    match level {
        ..=3 => 1,
        4 => 2,
        5 => 5,
        _ => 6,
    }
}

/// Pieces in which raw bytes are hashed, by one digest after the other, while
/// the CPU's cache still has them: SHA-256 and CRC-32 in two passes over a
/// segment cost a third more.
const PIECE: usize = 64 * 1024;

/// One encoder at work; for one thread.
pub(in crate::codec) enum Compressor {
    Zlib(Deflater),
    #[cfg(feature = "libdeflate")]
    Libdeflate(BlockDeflater),
}

impl Compressor {
    pub(in crate::codec) fn new(engine: Engine) -> Result<Self, OutOfMemory> {
        match engine {
            Engine::Zlib(level) => Ok(Compressor::Zlib(Deflater::new(level)?)),
            #[cfg(feature = "libdeflate")]
            Engine::Libdeflate(level) => Ok(Compressor::Libdeflate(BlockDeflater::new(level)?)),
        }
    }

    /// Appends `raw` as one raw deflate stream and returns its CRC-32. `hasher`
    /// is given the same bytes on the way.
    pub(super) fn deflate(
        &mut self,
        raw: &[u8],
        hasher: Option<&mut Sha256Hasher>,
        out: &mut Vec<u8>,
    ) -> Result<u32, OutOfMemory> {
        match self {
            Compressor::Zlib(deflater) => zlib(deflater, raw, hasher, out),
            #[cfg(feature = "libdeflate")]
            Compressor::Libdeflate(deflater) => libdeflate(deflater, raw, hasher, out),
        }
    }
}

fn zlib(
    deflater: &mut Deflater,
    raw: &[u8],
    mut hasher: Option<&mut Sha256Hasher>,
    out: &mut Vec<u8>,
) -> Result<u32, OutOfMemory> {
    deflater.reset()?;
    // Memory that is reserved and never written to is never taken.
    out.reserve(deflater.bound(raw.len()));
    let mut crc = 0;
    let mut offset = 0;
    loop {
        let end = raw.len().min(offset + PIECE);
        let mut piece = &raw[offset..end];
        crc = crc32(crc, piece);
        if let Some(hasher) = hasher.as_deref_mut() {
            hasher.update(piece);
        }
        let last = end == raw.len();
        loop {
            let step = deflater.step(piece, out, last);
            piece = &piece[step.consumed..];
            match step.outcome {
                Outcome::Ended => return Ok(crc),
                Outcome::Going if piece.is_empty() && !last => break,
                Outcome::Going => out.reserve(PIECE),
                _ => return Err(OutOfMemory),
            }
        }
        offset = end;
    }
}

#[cfg(feature = "libdeflate")]
fn libdeflate(
    deflater: &mut BlockDeflater,
    raw: &[u8],
    mut hasher: Option<&mut Sha256Hasher>,
    out: &mut Vec<u8>,
) -> Result<u32, OutOfMemory> {
    let mut crc = 0;
    for piece in raw.chunks(PIECE) {
        crc = crc32(crc, piece);
        if let Some(hasher) = hasher.as_deref_mut() {
            hasher.update(piece);
        }
    }
    // Memory that is reserved and never written to is never taken.
    let mut room = deflater.bound(raw.len());
    loop {
        out.reserve(room);
        if deflater.deflate(raw, out).outcome == Outcome::Ended {
            return Ok(crc);
        }
        // libdeflate.h promises that the bound is enough.
        room *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_in_the_config() {
        for kind in ["auto", "zlib", "libdeflate"] {
            let parsed: EncoderKind = serde_json::from_value(kind.into()).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), kind);
            assert_eq!(parsed.to_string(), kind);
        }
        let error = "gzip".parse::<EncoderKind>().unwrap_err().to_string();
        assert!(error.starts_with("\"gzip\" is not an encoder"), "{error}");
        assert_eq!(EncoderKind::default(), EncoderKind::Auto);
    }

    #[cfg(feature = "libdeflate")]
    #[test]
    fn auto_is_libdeflate_at_the_cheapest_level_that_does() {
        for (level, own) in [(1, 1), (3, 1), (4, 2), (5, 5), (6, 6), (9, 6)] {
            for kind in [EncoderKind::Auto, EncoderKind::Libdeflate] {
                assert_eq!(Engine::new(kind, level), Ok(Engine::Libdeflate(own)));
            }
        }
    }

    #[cfg(not(feature = "libdeflate"))]
    #[test]
    fn without_libdeflate_auto_is_zlib() {
        assert_eq!(Engine::new(EncoderKind::Auto, 9), Ok(Engine::Zlib(9)));
        let error = Engine::new(EncoderKind::Libdeflate, 9).unwrap_err();
        assert_eq!(error, EncoderError::NotBuiltIn);
    }
}
