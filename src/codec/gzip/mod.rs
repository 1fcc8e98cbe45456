//! Objects in gzip's format (RFC 1952), which `gunzip` opens: the framing is
//! ours, the deflate streams are the system zlib's or libdeflate's. What is
//! written is described in `docs/FORMAT.md`, "Objects: gzip".

mod bridge;
mod cut;
mod decode;
mod encode;
mod engine;
mod header;
mod lanes;
mod stream;
#[cfg(test)]
mod tests;
mod zeros;

pub use bridge::OutOfMemory;
pub(super) use bridge::crc32;
pub use decode::{DecodeError, decode};
pub use encode::{About, EncodeError, Encoded, Encoder, Members};
pub use engine::{EncoderError, EncoderKind};
pub use header::{Facts, HEAD_SIZE, read_facts};
pub use stream::Decoder;
