//! What makes the pieces of an object, whatever its format: gzip's members,
//! zstd's frames.

use super::{
    EncoderError, EncoderKind, Facts, Format, OutOfMemory, digest::Sha256Hasher, gzip, zstd,
};

/// An encoder that can be had, and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Gzip(gzip::Engine),
    Zstd(u32),
}

impl Engine {
    pub(super) fn new(format: Format, kind: EncoderKind, level: u32) -> Result<Self, EncoderError> {
        if !Format::LEVELS.contains(&level) {
            return Err(EncoderError::Level(level));
        }
        match format {
            Format::Gzip => Ok(Engine::Gzip(gzip::Engine::new(kind, level)?)),
            Format::Zstd => Ok(Engine::Zstd(level)),
        }
    }

    pub(super) fn format(self) -> Format {
        match self {
            Engine::Gzip(_) => Format::Gzip,
            Engine::Zstd(_) => Format::Zstd,
        }
    }

    /// What an object begins with. Its size does not depend on the SHA-256.
    pub(super) fn header(self, facts: &Facts) -> Vec<u8> {
        match self {
            Engine::Gzip(_) => gzip::first_header(facts),
            Engine::Zstd(_) => zstd::facts_frame(facts),
        }
    }

    /// Appends a piece of `count` zeros, at least 1, without compressing them.
    pub(super) fn zeros(self, count: u64, at: Position, out: &mut Vec<u8>) {
        match self {
            Engine::Gzip(_) => gzip::zeros(count, at, out),
            Engine::Zstd(_) => zstd::zeros(count, out),
        }
    }
}

/// Where a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// Right behind the object's header.
    First,
    /// Behind another piece, or in no object of its own.
    Next,
}

impl Position {
    pub(super) fn of(index: usize) -> Self {
        match index {
            0 => Position::First,
            _ => Position::Next,
        }
    }
}

/// One encoder at work; for one thread.
pub(super) enum Compressor {
    Gzip(gzip::Compressor),
    Zstd(zstd::Compressor),
}

impl Compressor {
    pub(super) fn new(engine: Engine) -> Result<Self, OutOfMemory> {
        Ok(match engine {
            Engine::Gzip(engine) => Compressor::Gzip(gzip::Compressor::new(engine)?),
            Engine::Zstd(level) => Compressor::Zstd(zstd::Compressor::new(level)?),
        })
    }

    /// Appends `raw` as one piece. `hasher` is given the same bytes on the way.
    /// On an error `out` is as it was, but for a part of the piece.
    pub(super) fn piece(
        &mut self,
        raw: &[u8],
        at: Position,
        hasher: Option<&mut Sha256Hasher>,
        out: &mut Vec<u8>,
    ) -> Result<(), OutOfMemory> {
        match self {
            Compressor::Gzip(compressor) => compressor.member(raw, at, hasher, out),
            Compressor::Zstd(compressor) => {
                if let Some(hasher) = hasher {
                    hasher.update(raw);
                }
                compressor.frame(raw, out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_one_to_nine() {
        for format in Format::ALL {
            for level in [0, 10] {
                assert_eq!(
                    Engine::new(format, EncoderKind::Auto, level),
                    Err(EncoderError::Level(level))
                );
            }
            assert!(Engine::new(format, EncoderKind::Zlib, 9).is_ok());
            assert!(Format::LEVELS.contains(&format.default_level()));
        }
    }
}
