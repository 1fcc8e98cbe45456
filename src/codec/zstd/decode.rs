//! An object that is all in memory, back into its file. What cannot be held in
//! memory goes through [`Decoder`](super::Decoder).

use zstd::zstd_safe::{
    DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, get_frame_content_size,
    zstd_sys::ZSTD_ErrorCode,
};

use super::frame::{self, BLOCK, Next, PRELUDE};
use crate::codec::{
    DecodeError, Facts, OutOfMemory,
    decode::{check_size, check_size_allowed, reserve},
};

/// As [`decode`](crate::codec::decode); on an error `out` has what came before
/// it.
pub(in crate::codec) fn decode(
    stored: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
) -> Result<Option<Facts>, DecodeError> {
    let start = out.len();
    let mut context = new_context()?;
    let (mut rest, mut facts, mut first) = (stored, None, true);
    while first || !rest.is_empty() {
        match frame::next(rest, first)? {
            Next::Skippable {
                size,
                facts: may_be,
            } => {
                let behind = &rest[PRELUDE..];
                let (content, after) = behind
                    .split_at_checked(size)
                    .ok_or(DecodeError::Truncated)?;
                if may_be {
                    facts = frame::facts_in(content)?;
                    check_size_allowed(&facts, limit)?;
                }
                rest = after;
            }
            Next::Data => {
                let left = limit - (out.len() - start) as u64;
                rest = frame(&mut context, rest, (limit, left), out)?;
            }
        }
        first = false;
    }
    check_size(&facts, (out.len() - start) as u64)?;
    Ok(facts)
}

/// Decodes the frame at the start of `stored` and returns what is behind it.
/// Where there is room for all that it says to hold, zstd decodes straight into
/// `out`.
fn frame<'a>(
    context: &mut DCtx<'_>,
    stored: &'a [u8],
    (limit, left): (u64, u64),
    out: &mut Vec<u8>,
) -> Result<&'a [u8], DecodeError> {
    const PIECE: u64 = 128 << 10;
    let start = out.len();
    let told = get_frame_content_size(stored).ok().flatten();
    // A small frame cannot ask for much memory, whatever its header says.
    let most = (stored.len() as u64 / 4).saturating_mul(BLOCK).min(left);
    let likely = told.unwrap_or(PIECE).min(most);
    reserve(out, usize::try_from(likely).map_err(|_| OutOfMemory)?)?;
    let mut input = InBuffer::around(stored);
    loop {
        let produced = (out.len() - start) as u64;
        if produced > left {
            return Err(DecodeError::TooLarge { limit });
        }
        // One byte too many tells a frame that ends at the limit from one that
        // goes on.
        if out.len() == out.capacity() {
            reserve(out, (left - produced).saturating_add(1).min(PIECE) as usize)?;
        }
        let (before, taken) = (out.len(), input.pos());
        let position = out.len();
        let mut output = OutBuffer::around_pos(out, position);
        let hint = context.decompress_stream(&mut output, &mut input);
        if hint.map_err(refused)? == 0 {
            let produced = (out.len() - start) as u64;
            return if produced > left {
                Err(DecodeError::TooLarge { limit })
            } else {
                Ok(&stored[input.pos()..])
            };
        }
        if out.len() == before && input.pos() == taken && out.len() < out.capacity() {
            return Err(DecodeError::Truncated);
        }
    }
}

/// A decoder that refuses a window of more than 8 MiB, as RFC 8878 (3.1.1.1.2)
/// advises: it would have to be held in memory.
pub(super) fn new_context() -> Result<DCtx<'static>, OutOfMemory> {
    let mut context = DCtx::try_create().ok_or(OutOfMemory)?;
    let bounded = context.set_parameter(DParameter::WindowLogMax(23));
    bounded.map_err(|_| OutOfMemory)?;
    Ok(context)
}

/// Why zstd refuses a frame.
pub(super) fn refused(code: ErrorCode) -> DecodeError {
    let is = |error: ZSTD_ErrorCode| code == (error as usize).wrapping_neg();
    if is(ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
        OutOfMemory.into()
    } else if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
        DecodeError::BadHeader("it asks for a window of more than 8 MiB")
    } else if is(ZSTD_ErrorCode::ZSTD_error_checksum_wrong) {
        DecodeError::Corrupt("a frame's checksum does not match")
    } else {
        DecodeError::Corrupt("not a valid zstd frame")
    }
}
