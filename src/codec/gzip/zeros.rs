//! The zero tail's deflate stream: it is *written*, not compressed, since it is
//! known beforehand, and nearly all of it is zero bytes.

use super::bridge::{crc32, crc32_combine};

/// The longest match of deflate (RFC 1951, 3.2.5).
const MATCH: u64 = 258;

/// Appends a raw deflate stream of `count` zeros, at least 1, and returns their
/// CRC-32.
///
/// It is one block with a Huffman code of its own (RFC 1951, 3.2.7): length
/// 258 is `0`, the literal 0 is `10`, the end of the block is `11`, and the one
/// distance, 1, is `0`. So one literal, then two zero bits for each 258 zeros,
/// then literals for the rest: 16 MiB are 16.3 kB, about what `gzip -9` needs.
pub(super) fn append(count: u64, out: &mut Vec<u8>) -> u32 {
    debug_assert!(count > 0);
    let (matches, rest) = ((count - 1) / MATCH, (count - 1) % MATCH);
    let mut bits = Bits {
        out,
        pending: 0,
        count: 0,
    };
    block_header(&mut bits);
    bits.huffman(0b10, 2);
    bits.zeros(2 * matches);
    for _ in 0..rest {
        bits.huffman(0b10, 2);
    }
    bits.huffman(0b11, 2);
    bits.finish();
    crc32_of_zeros(count)
}

/// BFINAL, BTYPE, and the code lengths of the two alphabets, in order: literal
/// 0: 2, 255 unused, end of block: 2, 28 unused, length 258: 1; distance 1: 1.
fn block_header(bits: &mut Bits) {
    bits.number(1, 1);
    bits.number(2, 2);
    bits.number(286 - 257, 5); // HLIT: up to symbol 285, length 258
    bits.number(0, 5); // HDIST: one distance, of which it is one less
    bits.number(18 - 4, 4); // HCLEN: lengths of 18 of the 19 code length codes
    // Those of the symbols that are used: 18 (a run of unused ones) 1 bit, 1
    // and 2 two bits, in RFC 1951's order of the symbols.
    const ORDER: [u8; 18] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1];
    for symbol in ORDER {
        let length = match symbol {
            18 => 1,
            1 | 2 => 2,
            _ => 0,
        };
        bits.number(length, 3);
    }
    let unused = |bits: &mut Bits, run: u32| {
        bits.huffman(0b0, 1);
        bits.number(run - 11, 7);
    };
    bits.huffman(0b11, 2);
    unused(bits, 138);
    unused(bits, 255 - 138);
    bits.huffman(0b11, 2);
    unused(bits, 28);
    bits.huffman(0b10, 2);
    bits.huffman(0b10, 2);
}

/// CRC-32 of `count` zeros, in as many steps as the number has bits.
fn crc32_of_zeros(count: u64) -> u32 {
    let (mut crc, mut size) = (0, 0_u64);
    // The CRC-32 and size of a run of zeros that doubles.
    let (mut run_crc, mut run) = (crc32(0, &[0]), 1_u64);
    loop {
        if count & run != 0 {
            crc = crc32_combine(crc, run_crc, run);
            size += run;
        }
        if size == count {
            return crc;
        }
        run_crc = crc32_combine(run_crc, run_crc, run);
        run *= 2;
    }
}

/// Bits, packed into bytes from the least significant one (RFC 1951, 3.1.1).
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits<'_> {
    /// A number, its least significant bit first.
    fn number(&mut self, value: u32, width: u32) {
        self.pending |= value << self.count;
        self.count += width;
        while self.count >= 8 {
            self.out.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// A Huffman code, its most significant bit first.
    fn huffman(&mut self, code: u32, width: u32) {
        self.number(code.reverse_bits() >> (32 - width), width);
    }

    /// Any number of zero bits.
    fn zeros(&mut self, count: u64) {
        self.number(0, (count % 8) as u32);
        if self.count == 0 {
            self.out.resize(self.out.len() + (count / 8) as usize, 0);
        } else if count >= 8 {
            // The pending bits fill one byte with zeros from the run, which
            // leaves as many pending zeros as there were bits.
            self.out.push(self.pending as u8);
            self.pending = 0;
            self.out
                .resize(self.out.len() + (count / 8) as usize - 1, 0);
        }
    }

    fn finish(self) {
        if self.count > 0 {
            self.out.push(self.pending as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::gzip::bridge::{Inflater, Outcome};

    fn inflate(stream: &[u8], size: usize) -> Vec<u8> {
        let mut raw = Vec::with_capacity(size + 1);
        let step = Inflater::new().unwrap().step(stream, &mut raw, size + 1);
        assert_eq!(
            (step.outcome, step.consumed),
            (Outcome::Ended, stream.len())
        );
        raw
    }

    fn check(count: u64, before: &[u8]) {
        let mut stream = before.to_vec();
        let crc = append(count, &mut stream);
        let raw = inflate(&stream[before.len()..], count as usize);
        assert!(raw.iter().all(|&byte| byte == 0));
        assert_eq!((raw.len() as u64, crc), (count, crc32(0, &raw)));
    }

    #[test]
    fn inflates_to_as_many_zeros_as_asked_for() {
        (1..3000).for_each(|count| check(count, b"before"));
        check(16 << 20, b"");
        let mut stream = Vec::new();
        append(16 << 20, &mut stream);
        assert!(stream.len() < 16_400, "{} bytes", stream.len());
    }

    #[test]
    fn crc32_of_more_zeros_than_memory() {
        // The CRC-32 of 6 GiB of zeros, put together from that of 1 GiB.
        let one = crc32_of_zeros(1 << 30);
        let six = (1..6).fold(one, |crc, _| crc32_combine(crc, one, 1 << 30));
        assert_eq!(crc32_of_zeros(6 << 30), six);
    }

    proptest! {
        #[test]
        fn any_number_of_zeros(count in 1_u64..5_000_000) {
            check(count, b"");
        }
    }
}
