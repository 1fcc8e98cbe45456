//! A file, made into an object: header, pieces (gzip's members, zstd's frames),
//! zero tail; SHA-256 of what goes in and MD5 of what comes out.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use jiff::Timestamp;

use super::{
    EncoderError, EncoderKind, Facts, Format, Md5, OutOfMemory, Sha256,
    cut::{Cuts, Rule},
    digest::{Md5Hasher, Sha256Hasher},
    engine::{Compressor, Engine, Position},
    facts::is_valid_name,
    lanes, zeros,
};
use crate::postgres::Moments;

/// Makes objects out of files.
///
/// The same bytes, name, time, moments, format, kind and level give the same
/// object, whatever the number of threads, while the same encoder's version
/// does the work.
#[derive(Debug, Clone)]
pub struct Encoder {
    engine: Engine,
    rule: Rule,
}

/// What an object says about its file, as far as the one who has the file has
/// to say it.
#[derive(Debug, Clone)]
pub struct About<'a> {
    file_name: &'a str,
    modified: Timestamp,
    moments: Option<Moments>,
}

impl<'a> About<'a> {
    /// A file's name without a directory, and when it was last modified.
    pub fn new(file_name: &'a str, modified: Timestamp) -> Self {
        About {
            file_name,
            modified,
            moments: None,
        }
    }

    /// The same file, with the moments of the segment that it is.
    pub fn with_moments(self, moments: Option<Moments>) -> Self {
        About { moments, ..self }
    }
}

/// An object that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// What the object says about its file.
    pub facts: Facts,
    /// The object's size in bytes.
    pub stored_size: u64,
    /// MD5 of the object's bytes.
    pub md5: Md5,
}

/// An object could not be made. Nothing is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error(
        "\"{0}\" cannot be a file's name in an object \
         (expected 1 to 255 printable ASCII characters without \"/\")"
    )]
    FileName(String),
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    #[error("write spool file")]
    Spool(#[from] io::Error),
}

impl Encoder {
    /// Of gzip. `level` is 1 to 9, as `gzip` has it; see [`EncoderKind`] for
    /// what it means to each encoder.
    pub fn new(kind: EncoderKind, level: u32) -> Result<Self, EncoderError> {
        Self::of(Format::Gzip, kind, level)
    }

    /// Of any format. `kind` is gzip's; `level` is 1 to 9, for zstd its own.
    pub fn of(format: Format, kind: EncoderKind, level: u32) -> Result<Self, EncoderError> {
        Ok(Encoder {
            engine: Engine::new(format, kind, level)?,
            rule: Rule::Size,
        })
    }

    /// The format of the objects.
    pub fn format(&self) -> Format {
        self.engine.format()
    }

    /// Cuts files into pieces of 2 MiB, so that several threads share one
    /// segment. The objects are about 0.5 % larger.
    pub fn low_latency(self) -> Self {
        Encoder {
            rule: Rule::Latency,
            ..self
        }
    }

    /// An encoder of single pieces.
    pub fn single_members(&self) -> Result<Members, OutOfMemory> {
        Ok(Members(Compressor::new(self.engine)?))
    }

    /// Appends the object to `out`. `raw` is usually a [`Mapped`] segment;
    /// nothing is copied between the two.
    ///
    /// With one thread all work is done in the calling one. With more, that
    /// many compress while the calling one hashes; a file that makes one
    /// piece has one thread to compress and one to hash.
    ///
    /// On an error `out` is as it was.
    ///
    /// [`Mapped`]: super::Mapped
    pub fn encode(
        &self,
        raw: &[u8],
        about: About<'_>,
        threads: usize,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, EncodeError> {
        let start = out.len();
        let mut facts = unhashed(raw, about)?;
        let header = self.engine.header(&facts);
        let made = self.pieces(raw, &header, threads, out, &mut |_| Ok(()));
        facts.raw_sha256 = made.inspect_err(|_| out.truncate(start))?;
        let header = self.engine.header(&facts);
        let object = &mut out[start..];
        object[..header.len()].copy_from_slice(&header);
        Ok(Encoded {
            facts,
            stored_size: object.len() as u64,
            md5: Md5::of(object),
        })
    }

    /// The same object, written to a file piece by piece, for files over
    /// 32 MiB: memory is a few pieces for each thread, whatever the size of
    /// `raw`. `spool` is empty and open for reading and writing: once the
    /// SHA-256 is known the header is written again, and then the object is
    /// read for its MD5. It is not fsynced.
    pub fn encode_to_file(
        &self,
        raw: &[u8],
        about: About<'_>,
        threads: usize,
        spool: &mut File,
    ) -> Result<Encoded, EncodeError> {
        let mut facts = unhashed(raw, about)?;
        let header = self.engine.header(&facts);
        let mut stored_size = 0;
        let mut piece = Vec::new();
        facts.raw_sha256 = self.pieces(raw, &header, threads, &mut piece, &mut |piece| {
            spool.write_all(piece)?;
            stored_size += piece.len() as u64;
            piece.clear();
            Ok(())
        })?;
        spool.write_all_at(&self.engine.header(&facts), 0)?;
        Ok(Encoded {
            facts,
            stored_size,
            md5: md5_of_file(spool, stored_size, piece)?,
        })
    }

    /// Appends the header and all pieces to `out`, and calls `flush` with it
    /// after each piece.
    fn pieces(
        &self,
        raw: &[u8],
        header: &[u8],
        threads: usize,
        out: &mut Vec<u8>,
        flush: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<Sha256, EncodeError> {
        let (body, tail) = zeros::split(raw);
        let cuts = Cuts::of(body.len(), self.rule);
        let mut hasher = Sha256Hasher::default();
        out.extend_from_slice(header);

        if threads > 1 && cuts.count() > 1 {
            lanes::compress(self.engine, threads, body, cuts, |index, piece| {
                // The calling thread hashes a piece while others compress it.
                hasher.update(&body[cuts.range(index)]);
                piece.wait(out)?;
                Ok(flush(out)?)
            })?;
        } else if threads > 1 && cuts.count() == 1 {
            let mut compressor = Compressor::new(self.engine)?;
            std::thread::scope(|scope| {
                scope.spawn(|| hasher.update(body));
                compressor.piece(body, Position::First, None, out)
            })?;
            flush(out)?;
        } else if raw.is_empty() {
            Compressor::new(self.engine)?.piece(raw, Position::First, None, out)?;
            flush(out)?;
        } else {
            let mut compressor = Compressor::new(self.engine)?;
            for index in 0..cuts.count() {
                let piece = &body[cuts.range(index)];
                compressor.piece(piece, Position::of(index), Some(&mut hasher), out)?;
                flush(out)?;
            }
        }

        if tail > 0 {
            self.engine.zeros(tail, Position::of(cuts.count()), out);
            flush(out)?;
            zeros::feed(tail, |zeros| hasher.update(zeros));
        }
        Ok(hasher.finish())
    }
}

/// Makes single pieces of a larger object: whatever is joined of them,
/// `gunzip` or `zstd -d` opens. For one thread.
pub struct Members(Compressor);

impl Members {
    /// Appends `raw` as a member or frame to `out`. On an error `out` is as it
    /// was.
    pub fn append(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
        let start = out.len();
        let made = self.0.piece(raw, Position::Next, None, out);
        made.inspect_err(|_| out.truncate(start))
    }
}

/// The facts of a file whose SHA-256 is still to come.
fn unhashed(raw: &[u8], about: About<'_>) -> Result<Facts, EncodeError> {
    if !is_valid_name(about.file_name) {
        return Err(EncodeError::FileName(about.file_name.to_owned()));
    }
    Ok(Facts {
        file_name: about.file_name.to_owned(),
        raw_sha256: Sha256([0; 32]),
        raw_size: raw.len() as u64,
        modified: about.modified,
        moments: about.moments,
    })
}

/// Reads back what was just written, which the page cache still has.
fn md5_of_file(file: &File, size: u64, mut buffer: Vec<u8>) -> io::Result<Md5> {
    const PIECE: usize = 128 * 1024;
    buffer.clear();
    buffer.resize(PIECE, 0);
    let mut hasher = Md5Hasher::default();
    let mut offset = 0;
    while offset < size {
        let piece = &mut buffer[..(size - offset).min(PIECE as u64) as usize];
        file.read_exact_at(piece, offset)?;
        hasher.update(piece);
        offset += piece.len() as u64;
    }
    Ok(hasher.finish())
}
