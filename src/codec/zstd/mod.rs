//! Objects in zstd's format (RFC 8878), which `zstd -d` opens: frames by the
//! `zstd` crate, behind a skippable frame with the file's facts. What is
//! written is described in `docs/FORMAT.md`, "Objects: zstd".

mod compress;
mod decode;
mod frame;
mod stream;

pub(super) use compress::Compressor;
pub(super) use decode::decode;
pub(super) use frame::{facts as facts_frame, read_facts, zeros};
pub(super) use stream::Decoder;
