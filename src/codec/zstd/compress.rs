//! Files into frames.

use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

use std::io::Cursor;

use crate::codec::OutOfMemory;

/// One compressor at work; for one thread. It takes up to 14 MiB of memory
/// (level 9; level 3: 1.3 MiB), once for all frames.
pub(in crate::codec) struct Compressor(CCtx<'static>);

impl Compressor {
    /// `level` is zstd's.
    pub(in crate::codec) fn new(level: u32) -> Result<Self, OutOfMemory> {
        let mut context = CCtx::try_create().ok_or(OutOfMemory)?;
        for parameter in [
            CParameter::CompressionLevel(level as i32),
            CParameter::ChecksumFlag(true),
        ] {
            context.set_parameter(parameter).map_err(|_| OutOfMemory)?;
        }
        Ok(Compressor(context))
    }

    /// Appends `raw` as one frame, with its size and its checksum.
    pub(in crate::codec) fn frame(
        &mut self,
        raw: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OutOfMemory> {
        let start = out.len();
        // Memory that is reserved and never written to is never taken.
        out.reserve(compress_bound(raw.len()));
        let mut behind = Cursor::new(out);
        behind.set_position(start as u64);
        // With that room nothing but memory can be missing.
        let made = self.0.compress2(&mut behind, raw);
        made.map(drop).map_err(|_| OutOfMemory)
    }
}
