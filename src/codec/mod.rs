//! How bytes are packed and how they are recognised: digests of the raw
//! bytes, and the formats of the objects.

pub mod digest;

pub use digest::{Md5, Sha256};
