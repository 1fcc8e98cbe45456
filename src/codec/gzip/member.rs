//! Members around deflate streams (RFC 1952, 2.3).

use super::{engine::Compressor, header, zeros::append};
use crate::codec::{OutOfMemory, digest::Sha256Hasher, engine::Position};

impl Compressor {
    /// Appends `raw` as a member. `hasher` is given the same bytes on the way.
    pub(in crate::codec) fn member(
        &mut self,
        raw: &[u8],
        at: Position,
        hasher: Option<&mut Sha256Hasher>,
        out: &mut Vec<u8>,
    ) -> Result<(), OutOfMemory> {
        begin(at, out);
        let crc = self.deflate(raw, hasher, out)?;
        finish(out, crc, raw.len() as u64);
        Ok(())
    }
}

/// Appends a member of `count` zeros, at least 1.
pub(in crate::codec) fn zeros(count: u64, at: Position, out: &mut Vec<u8>) {
    begin(at, out);
    let crc = append(count, out);
    finish(out, crc, count);
}

/// The first member's header is the object's, which is there.
fn begin(at: Position, out: &mut Vec<u8>) {
    if at == Position::Next {
        out.extend_from_slice(&header::next());
    }
}

/// A member's trailer (2.3.1): CRC-32, and the size modulo 2^32.
fn finish(out: &mut Vec<u8>, crc: u32, size: u64) {
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&(size as u32).to_le_bytes());
}
