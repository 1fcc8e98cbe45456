//! The bridge to `ffi/gzip.cc`: raw deflate streams and CRC-32, by the
//! system's zlib and by libdeflate. C++ owns the streams; Rust lends slices of
//! input and of room for output for the length of one call.

use std::{mem::MaybeUninit, pin::Pin};

use cxx::{ExternType, UniquePtr, type_id};

use crate::codec::OutOfMemory;
// Nothing of these two crates is called from Rust; naming them links what they
// found or built.
#[cfg(feature = "libdeflate")]
use libdeflate_sys as _;
use libz_sys as _;

#[cxx::bridge(namespace = "walkeep::gzip")]
// zlib's CRC-32 is only checked against libdeflate's where that is built in.
#[cfg_attr(feature = "libdeflate", allow(dead_code))]
mod ffi {
    /// How a call left the stream.
    #[derive(Debug)]
    #[repr(u8)]
    enum Outcome {
        /// It needs more input or more room.
        Going,
        /// It is complete.
        Ended,
        /// The input is no deflate stream (or, libdeflate, is cut short).
        Invalid,
        OutOfMemory,
    }

    struct Step {
        outcome: Outcome,
        /// Bytes of input taken.
        consumed: usize,
        /// Bytes of room written, from its start.
        produced: usize,
    }

    unsafe extern "C++" {
        include!("walkeep/ffi/gzip.h");

        type Room = super::Room;

        type Deflater;
        fn new_deflater(level: i32) -> UniquePtr<Deflater>;
        fn step(self: Pin<&mut Deflater>, input: &[u8], output: &mut [Room], finish: bool) -> Step;
        fn bound(self: Pin<&mut Deflater>, input_size: usize) -> usize;
        fn reset(self: Pin<&mut Deflater>) -> bool;

        type Inflater;
        fn new_inflater() -> UniquePtr<Inflater>;
        fn step(self: Pin<&mut Inflater>, input: &[u8], output: &mut [Room]) -> Step;
        fn reset(self: Pin<&mut Inflater>) -> bool;

        fn zlib_crc32(crc: u32, input: &[u8]) -> u32;
        fn zlib_crc32_combine(first: u32, second: u32, second_size: u64) -> u32;
    }

    #[cfg(feature = "libdeflate")]
    unsafe extern "C++" {
        type BlockDeflater;
        fn new_block_deflater(level: i32) -> UniquePtr<BlockDeflater>;
        fn bound(self: Pin<&mut BlockDeflater>, input_size: usize) -> usize;
        fn deflate(self: Pin<&mut BlockDeflater>, input: &[u8], output: &mut [Room]) -> usize;

        type BlockInflater;
        fn new_block_inflater() -> UniquePtr<BlockInflater>;
        fn inflate(self: Pin<&mut BlockInflater>, input: &[u8], output: &mut [Room]) -> Step;

        fn block_crc32(crc: u32, input: &[u8]) -> u32;
    }
}

pub(super) use ffi::{Outcome, Step};

/// One byte of room for output, which may never have been written: what lets
/// C++ write into a buffer that nobody filled with zeros first.
#[repr(transparent)]
pub(super) struct Room(#[allow(dead_code)] MaybeUninit<u8>);

// SAFETY: C++'s `walkeep::gzip::Room` is a struct of one std::uint8_t, trivial
// to move and to destroy; this is one byte with the same size and alignment.
unsafe impl ExternType for Room {
    type Id = type_id!("walkeep::gzip::Room");
    type Kind = cxx::kind::Trivial;
}

/// Lends the unwritten end of `out`, at most `limit` bytes of it, and keeps
/// what the call says it produced.
fn fill(out: &mut Vec<u8>, limit: usize, call: impl FnOnce(&mut [Room]) -> Step) -> Step {
    let spare = out.spare_capacity_mut();
    let size = spare.len().min(limit);
    // SAFETY: `Room` is a transparent wrapper of `MaybeUninit<u8>`, so the two
    // slices have the same layout and neither promises written bytes; the
    // reborrow ends with `call`.
    let room = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<Room>(), size) };
    let step = call(room);
    assert!(
        step.produced <= size,
        "an encoder wrote past the room it was lent"
    );
    // SAFETY: zlib and libdeflate have written the first `produced` bytes of
    // the room, which starts at the old length and lies within the capacity.
    unsafe { out.set_len(out.len() + step.produced) };
    step
}

/// A raw deflate stream being written by zlib.
pub(in crate::codec) struct Deflater(UniquePtr<ffi::Deflater>);

// SAFETY: the C++ object is a z_stream that it alone owns and that is touched
// only through `&mut`; zlib keeps no thread-local or shared state.
unsafe impl Send for Deflater {}

impl Deflater {
    /// `level` is zlib's, 1 to 9.
    pub(super) fn new(level: u32) -> Result<Self, OutOfMemory> {
        let deflater = ffi::new_deflater(level as i32);
        if deflater.is_null() {
            return Err(OutOfMemory);
        }
        Ok(Deflater(deflater))
    }

    /// The largest size that a stream of `input_size` bytes may have.
    pub(super) fn bound(&mut self, input_size: usize) -> usize {
        self.0.pin_mut().bound(input_size)
    }

    /// Appends to `out` within its capacity. With `finish`, `input` is the
    /// last of the stream, and the outcome is `Ended` once all is written.
    pub(super) fn step(&mut self, input: &[u8], out: &mut Vec<u8>, finish: bool) -> Step {
        let stream: Pin<_> = self.0.pin_mut();
        fill(out, usize::MAX, |room| stream.step(input, room, finish))
    }

    /// Ready for another stream, without allocating.
    pub(super) fn reset(&mut self) -> Result<(), OutOfMemory> {
        self.0.pin_mut().reset().then_some(()).ok_or(OutOfMemory)
    }
}

/// A raw deflate stream being read by zlib.
pub(super) struct Inflater(UniquePtr<ffi::Inflater>);

// SAFETY: as for `Deflater`.
unsafe impl Send for Inflater {}

impl Inflater {
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let inflater = ffi::new_inflater();
        if inflater.is_null() {
            return Err(OutOfMemory);
        }
        Ok(Inflater(inflater))
    }

    /// Appends at most `limit` bytes to `out`, within its capacity.
    pub(super) fn step(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> Step {
        let stream = self.0.pin_mut();
        fill(out, limit, |room| stream.step(input, room))
    }

    /// Ready for another stream, without allocating.
    pub(super) fn reset(&mut self) -> Result<(), OutOfMemory> {
        self.0.pin_mut().reset().then_some(()).ok_or(OutOfMemory)
    }
}

/// libdeflate's compressor: one call for a whole stream.
#[cfg(feature = "libdeflate")]
pub(in crate::codec) struct BlockDeflater(UniquePtr<ffi::BlockDeflater>);

// SAFETY: the compressor is memory that this object alone owns and that is
// touched only through `&mut`; libdeflate's one piece of shared state, the
// features of the CPU, is the same for every thread.
#[cfg(feature = "libdeflate")]
unsafe impl Send for BlockDeflater {}

#[cfg(feature = "libdeflate")]
impl BlockDeflater {
    /// `level` is libdeflate's, 0 to 12.
    pub(super) fn new(level: u32) -> Result<Self, OutOfMemory> {
        let deflater = ffi::new_block_deflater(level as i32);
        if deflater.is_null() {
            return Err(OutOfMemory);
        }
        Ok(BlockDeflater(deflater))
    }

    /// The room that a stream of `input_size` bytes always fits in.
    pub(super) fn bound(&mut self, input_size: usize) -> usize {
        self.0.pin_mut().bound(input_size)
    }

    /// Appends the whole stream to `out` within its capacity, which is at
    /// least `bound(input.len())` more than its length: `Ended`; `Going`, and
    /// nothing appended, when that is not so.
    pub(super) fn deflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step {
        let compressor = self.0.pin_mut();
        fill(out, usize::MAX, |room| {
            let produced = compressor.deflate(input, room);
            let (outcome, consumed) = match produced {
                0 => (Outcome::Going, 0),
                _ => (Outcome::Ended, input.len()),
            };
            Step {
                outcome,
                consumed,
                produced,
            }
        })
    }
}

/// libdeflate's decompressor: one call for a whole stream.
#[cfg(feature = "libdeflate")]
pub(super) struct BlockInflater(UniquePtr<ffi::BlockInflater>);

// SAFETY: as for `BlockDeflater`.
#[cfg(feature = "libdeflate")]
unsafe impl Send for BlockInflater {}

#[cfg(feature = "libdeflate")]
impl BlockInflater {
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let inflater = ffi::new_block_inflater();
        if inflater.is_null() {
            return Err(OutOfMemory);
        }
        Ok(BlockInflater(inflater))
    }

    /// Appends the whole stream at the start of `input` to `out`, at most
    /// `limit` bytes and within its capacity: `Ended`. Otherwise nothing is
    /// appended: `Going` when the room is too small, else `Invalid`.
    pub(super) fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> Step {
        let decompressor = self.0.pin_mut();
        fill(out, limit, |room| decompressor.inflate(input, room))
    }
}

/// CRC-32 (ISO 3309, as in RFC 1952 section 8) of `crc`'s bytes followed by
/// `input`; start with 0. The faster of the two libraries.
pub(in crate::codec) fn crc32(crc: u32, input: &[u8]) -> u32 {
    #[cfg(feature = "libdeflate")]
    return ffi::block_crc32(crc, input);
    #[cfg(not(feature = "libdeflate"))]
    return ffi::zlib_crc32(crc, input);
}

/// CRC-32 of two runs of bytes put together, from the CRC-32 of each and the
/// size of the second.
pub(super) fn crc32_combine(first: u32, second: u32, second_size: u64) -> u32 {
    ffi::zlib_crc32_combine(first, second, second_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_agrees_with_its_check_value() {
        // The check value of CRC-32/ISO-HDLC: of the digits 1 to 9.
        assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(ffi::zlib_crc32(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(0x1234_5678, b""), 0x1234_5678);
        let (first, second) = (crc32(0, b"1234"), crc32(0, b"56789"));
        assert_eq!(crc32_combine(first, second, 5), 0xCBF4_3926);
        assert_eq!(crc32(first, b"56789"), 0xCBF4_3926);
    }

    #[test]
    fn a_stream_needs_room_and_says_so() {
        let raw = [7; 100_000];
        let mut deflater = Deflater::new(9).unwrap();
        let mut stream = Vec::with_capacity(10);
        let step = deflater.step(&raw, &mut stream, true);
        assert_eq!(step.outcome, Outcome::Going);
        assert_eq!((step.produced, stream.len()), (10, 10));
        stream.reserve(deflater.bound(raw.len()));
        let rest = deflater.step(&raw[step.consumed..], &mut stream, true);
        assert_eq!(rest.outcome, Outcome::Ended);

        let mut inflater = Inflater::new().unwrap();
        let mut back = Vec::with_capacity(2 * raw.len());
        let step = inflater.step(&stream, &mut back, 99_999);
        assert_eq!((step.outcome, step.produced), (Outcome::Going, 99_999));
        let step = inflater.step(&stream[step.consumed..], &mut back, 1);
        assert_eq!((step.outcome, back == raw), (Outcome::Ended, true));
    }
}
