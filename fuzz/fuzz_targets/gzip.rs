//! Any bytes as an object: neither decoder panics or exceeds its limit, both
//! give the same bytes, and what they accept has the facts its header gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walkeep::codec::{DecodeError, Decoder, Format, decode, read_facts};

const LIMIT: u64 = 1 << 20;

fuzz_target!(|stored: &[u8]| Format::ALL
    .into_iter()
    .for_each(|format| check(format, stored)));

fn check(format: Format, stored: &[u8]) {
    let facts = read_facts(format, stored);
    let mut whole = Vec::new();
    let decoded = decode(format, stored, LIMIT, &mut whole);
    assert!(whole.len() as u64 <= LIMIT);

    // The first byte varies where the pieces are cut.
    let piece = stored.first().map_or(1, |&byte| usize::from(byte) + 1);
    let mut pieces = Vec::new();
    let streamed = in_pieces(format, stored, piece, &mut pieces);
    assert!(pieces.len() as u64 <= LIMIT);

    match (&decoded, streamed) {
        (Ok(found), Ok(())) => {
            assert_eq!(*found, facts.expect("a header that was decoded"));
            assert_eq!(whole, pieces);
            if let Some(facts) = found {
                assert_eq!(facts.raw_size, whole.len() as u64);
            }
        }
        (Err(_), Err(_)) => assert!(whole.is_empty()),
        // libdeflate takes code alphabets that are larger than RFC 1951 allows
        // where zlib does not. The CRC-32 matched.
        (Ok(_), Err(DecodeError::Corrupt(_))) if format == Format::Gzip => {}
        // A window that is too large is none where all is in memory.
        (Ok(_), Err(DecodeError::BadHeader(_))) if format == Format::Zstd => {}
        (decoded, streamed) => panic!("in memory {decoded:?}, in pieces {streamed:?}"),
    }
}

fn in_pieces(
    format: Format,
    stored: &[u8],
    size: usize,
    raw: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(format, raw, LIMIT)?;
    for piece in stored.chunks(size) {
        decoder.write(piece)?;
    }
    decoder.finish().map(drop)
}
