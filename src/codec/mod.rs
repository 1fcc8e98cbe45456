//! How bytes are packed and how they are recognised: digests of the raw
//! bytes, the formats of the objects, and the memory they are packed in.

pub mod buffers;
pub mod digest;
pub mod gzip;
pub mod mapped;
mod moments;

pub use buffers::{Buffer, BufferPool};
pub use digest::{Md5, Sha256};
pub use gzip::{
    About, DecodeError, Decoder, EncodeError, Encoded, Encoder, EncoderError, EncoderKind, Facts,
    Members, OutOfMemory, decode, read_facts,
};
pub use mapped::Mapped;
