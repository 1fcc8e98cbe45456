//! How bytes are packed and how they are recognised: digests of the raw
//! bytes, the formats of the objects, and the memory they are packed in.
//!
//! An object is made of pieces that stand for themselves: gzip's members,
//! zstd's frames. What is written is described in `docs/FORMAT.md`, "Objects".

pub mod buffers;
mod cut;
mod decode;
pub mod digest;
mod encode;
mod engine;
mod facts;
mod format;
mod gzip;
mod lanes;
pub mod mapped;
mod moments;
#[cfg(test)]
mod tests;
mod zeros;
mod zstd;

pub use buffers::{Buffer, BufferPool};
pub use decode::{DecodeError, Decoder, OutOfMemory, decode, read_facts};
pub use digest::{Md5, Sha256};
pub use encode::{About, EncodeError, Encoded, Encoder, Members};
pub use facts::{Facts, HEAD_SIZE};
pub use format::Format;
pub use gzip::{EncoderError, EncoderKind};
pub use mapped::Mapped;
