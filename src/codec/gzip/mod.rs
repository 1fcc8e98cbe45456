//! Objects in gzip's format (RFC 1952), which `gunzip` opens: the framing is
//! ours, the deflate streams are the system zlib's or libdeflate's. What is
//! written is described in `docs/FORMAT.md`, "Objects: gzip".

mod bridge;
mod decode;
mod engine;
mod header;
mod member;
mod stream;
mod zeros;

pub(super) use bridge::crc32;
pub(super) use decode::decode;
pub(super) use engine::{Compressor, Engine};
pub use engine::{EncoderError, EncoderKind};
pub(super) use header::{first as first_header, read_facts};
pub(super) use member::zeros;
pub(super) use stream::Decoder;
