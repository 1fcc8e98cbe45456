//! Objects there and back, whole and damaged, by every encoder and both
//! decoders.

mod peers;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{engine::Engine, *};
use crate::postgres::{Lsn, Moments};

const MIB: usize = 1 << 20;
const NAME: &str = "0000000100000A2B000000FE";

fn time() -> Timestamp {
    Timestamp::from_nanosecond(1_790_000_000_123_456_789).unwrap()
}

fn moments() -> Moments {
    Moments {
        end: Lsn(0x4_2400_1000),
        cut: true,
        ..Moments::default()
    }
}

fn about() -> About<'static> {
    About::new(NAME, time()).with_moments(Some(moments()))
}

/// Every encoder that is built in.
fn encoders() -> Vec<Encoder> {
    let mut encoders = vec![
        Encoder::new(EncoderKind::Zlib, 1).unwrap(),
        Encoder::new(EncoderKind::Auto, 9).unwrap(),
        Encoder::new(EncoderKind::Auto, 1).unwrap().low_latency(),
        default(Format::Zstd),
        default(Format::Zstd).low_latency(),
        Encoder::of(Format::Zstd, EncoderKind::Auto, 9).unwrap(),
    ];
    encoders.extend(Encoder::new(EncoderKind::Libdeflate, 6));
    encoders
}

fn default(format: Format) -> Encoder {
    Encoder::of(format, EncoderKind::Auto, format.default_level()).unwrap()
}

/// What an object with these facts begins with.
fn header(format: Format, facts: &Facts) -> Vec<u8> {
    let engine = Engine::new(format, EncoderKind::Auto, 1).unwrap();
    engine.header(facts)
}

/// Bytes that compress about as WAL does: runs that recur, and numbers.
fn wal_like(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(size as u64);
    let mut raw = Vec::with_capacity(size + 64);
    while raw.len() < size {
        raw.extend((raw.len() as u64).to_le_bytes());
        raw.extend(random.u32(..).to_le_bytes());
        raw.extend([0; 12]);
        raw.extend_from_slice(b"a tuple of the table \"accounts\"");
    }
    raw.truncate(size);
    raw
}

fn encode(encoder: &Encoder, raw: &[u8], threads: usize) -> (Vec<u8>, Encoded) {
    let mut out = b"before".to_vec();
    let encoded = encoder.encode(raw, about(), threads, &mut out).unwrap();
    let object = out.split_off(6);
    assert_eq!(out, b"before");
    (object, encoded)
}

fn in_pieces(
    format: Format,
    stored: &[u8],
    piece: usize,
    limit: u64,
) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(format, Vec::new(), limit)?;
    for piece in stored.chunks(piece) {
        decoder.write(piece)?;
    }
    Ok(decoder.finish()?.0)
}

fn check(encoder: &Encoder, raw: &[u8]) {
    let format = encoder.format();
    let (object, encoded) = encode(encoder, raw, 1);
    assert_eq!(encoded.stored_size, object.len() as u64);
    assert_eq!(encoded.md5, Md5::of(&object));
    let facts = Facts {
        file_name: NAME.to_owned(),
        raw_sha256: Sha256::of(raw),
        raw_size: raw.len() as u64,
        modified: time(),
        moments: Some(moments()),
    };
    assert_eq!(encoded.facts, facts);
    let head = &object[..object.len().min(HEAD_SIZE)];
    assert_eq!(read_facts(format, head).unwrap().as_ref(), Some(&facts));

    let mut back = b"before".to_vec();
    let found = decode(format, &object, raw.len() as u64, &mut back).unwrap();
    assert_eq!(found, Some(facts));
    assert!(back.strip_prefix(b"before") == Some(raw));
    assert!(in_pieces(format, &object, 10_000, raw.len() as u64).unwrap() == raw);

    for threads in [2, 3] {
        assert!(encode(encoder, raw, threads) == (object.clone(), encoded.clone()));
    }
    let mut spool = tempfile::tempfile().unwrap();
    for threads in [1, 3] {
        spool.set_len(0).unwrap();
        spool.rewind().unwrap();
        let spooled = encoder
            .encode_to_file(raw, about(), threads, &mut spool)
            .unwrap();
        assert_eq!(spooled, encoded);
        assert!(contents(&mut spool) == object);
    }
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The header of every gzip member but the first.
const NEXT_MEMBER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3];

/// Where the pieces of an object begin but for the first.
fn starts(format: Format, object: &[u8]) -> Vec<usize> {
    match format {
        Format::Gzip => (0..object.len())
            .filter(|&at| object[at..].starts_with(&NEXT_MEMBER))
            .collect(),
        Format::Zstd => {
            let frame = |at: &usize| {
                let rest = &object[*at..];
                let size = ::zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
                Some(at + size).filter(|&end| end < object.len())
            };
            // The first one has the facts.
            std::iter::successors(Some(0), frame).skip(2).collect()
        }
    }
}

/// How many members or frames with data an object has.
fn pieces(format: Format, object: &[u8]) -> usize {
    1 + starts(format, object).len()
}

#[test]
fn every_size_comes_back_from_every_encoder() {
    for encoder in encoders() {
        for size in [0, 1, 8191, 8192, 3 * 8192 + 5, MIB] {
            check(&encoder, &wal_like(size));
            check(&encoder, &vec![0; size]);
        }
    }
}

#[test]
fn a_segment_with_a_zero_tail_is_two_pieces() {
    for encoder in encoders() {
        let mut raw = wal_like(MIB);
        raw.resize(16 * MIB, 0);
        check(&encoder, &raw);
        let (object, encoded) = encode(&encoder, &raw, 1);
        assert_eq!(pieces(encoder.format(), &object), 2);
        let (body, _) = encode(&encoder, &raw[..MIB], 1);
        assert!(encoded.stored_size < body.len() as u64 + 16_000);
    }
}

#[test]
fn a_file_of_zeros_is_one_piece() {
    for format in Format::ALL {
        let (object, _) = encode(&default(format), &vec![0; 16 * MIB], 2);
        assert!(pieces(format, &object) == 1 && object.len() < 17_000);
    }
}

#[test]
fn a_long_file_is_many_pieces() {
    let mut raw = wal_like(19 * MIB);
    raw.resize(40 * MIB, 0);
    raw.extend(wal_like(5 * MIB));
    for encoder in encoders() {
        check(&encoder, &raw);
        let many = pieces(encoder.format(), &encode(&encoder, &raw, 1).0);
        assert!(many == 11 || many == 22, "{many}");
    }
}

#[test]
fn a_name_that_a_header_cannot_hold_is_refused() {
    let encoder = &encoders()[0];
    for name in ["", "a/b", "a\0b", "ü", &"x".repeat(256)] {
        let mut out = b"before".to_vec();
        let refused = encoder.encode(b"raw", About::new(name, time()), 1, &mut out);
        assert!(matches!(refused, Err(EncodeError::FileName(_))));
        assert_eq!(out, b"before");
    }
}

/// Both decoders fail in the same way, and `decode` leaves its buffer alone.
fn failure(format: Format, stored: &[u8], limit: u64) -> DecodeError {
    let mut out = b"before".to_vec();
    let error = decode(format, stored, limit, &mut out).unwrap_err();
    assert_eq!(out, b"before");
    assert!(error.is_damage());
    for piece in [1, 7, 1 << 20] {
        // Bytes one by one are slow where there are many.
        if stored.len() / piece < 200_000 {
            let other = in_pieces(format, stored, piece, limit).unwrap_err();
            assert_eq!(other.to_string(), error.to_string(), "in pieces of {piece}");
        }
    }
    error
}

/// An object of three kinds of piece: a body, another, and a zero tail.
fn three_pieces(format: Format) -> (Vec<u8>, usize) {
    let mut raw = wal_like(4 * MIB);
    raw.resize(4 * MIB + 100_000, 0);
    let encoder = Encoder::of(format, EncoderKind::Auto, 1).unwrap();
    let (object, _) = encode(&encoder.low_latency(), &raw, 1);
    assert_eq!(pieces(format, &object), 3);
    (object, raw.len())
}

#[test]
fn an_object_cut_anywhere_is_truncated() {
    for format in Format::ALL {
        let (object, raw_size) = three_pieces(format);
        let (short, _) = encode(&default(format), &wal_like(3000), 1);
        // Around each piece's start: in its header, before it in the trailer.
        let near = starts(format, &object).into_iter();
        let near = near.flat_map(|start| start - 12..start + 14);
        let cuts = near.chain([object.len() / 3, object.len() - 1]);
        for cut in cuts {
            let error = failure(format, &object[..cut], raw_size as u64);
            assert!(matches!(error, DecodeError::Truncated), "{cut}: {error}");
        }
        for cut in 0..short.len() {
            let error = failure(format, &short[..cut], 3000);
            assert!(matches!(error, DecodeError::Truncated), "{cut}: {error}");
        }
    }
}

#[test]
fn what_follows_the_last_piece_is_garbage() {
    for format in Format::ALL {
        let (object, raw_size) = three_pieces(format);
        // The second may be the beginning of another piece.
        let (begun, wrong) = match format {
            Format::Gzip => (b"\x1F", b"\x1Fx"),
            Format::Zstd => (b"\x28", b"\x28x"),
        };
        for garbage in [b"\0".as_slice(), &[0; 512], b"garbage", wrong, begun] {
            let error = failure(format, &[&object, garbage].concat(), raw_size as u64);
            let cut = garbage == begun;
            assert_eq!(matches!(error, DecodeError::Truncated), cut, "{error}");
            assert_eq!(matches!(error, DecodeError::TrailingGarbage(_)), !cut);
        }
        let twice = [object.as_slice(), &object].concat();
        let error = failure(format, &twice, raw_size as u64);
        assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
        let error = failure(format, &twice, 2 * raw_size as u64);
        assert!(matches!(error, DecodeError::Corrupt(_)), "{error}");
    }
}

#[test]
fn an_object_of_the_other_format_is_refused() {
    for format in Format::ALL {
        let (object, _) = encode(&default(format), b"raw", 1);
        for other in format.others() {
            let error = failure(other, &object, 100);
            assert_eq!(error.to_string(), format!("not a {other} object"));
            read_facts(other, &object).unwrap_err();
        }
    }
}

#[test]
fn a_flipped_bit_is_seen_or_changes_no_byte() {
    let raw = wal_like(2000);
    for format in Format::ALL {
        let (object, _) = encode(&default(format), &raw, 1);
        for bit in 0..8 * object.len() {
            let mut flipped = object.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut back = Vec::new();
            match decode(format, &flipped, 2000, &mut back) {
                // What is for others (MTIME, XFL and OS); our subfields'
                // identifiers and sizes, and the number of our frame, without
                // which the object is someone else's; bits that decoders skip.
                Ok(_) => assert!(back == raw, "bit {bit}"),
                Err(_) => drop(failure(format, &flipped, 2000)),
            }
        }
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    for format in Format::ALL {
        let (object, encoded) = encode(&default(format), &vec![0; 24 * MIB], 1);
        // Someone else's object, which does not tell its size.
        let start = match format {
            Format::Gzip => NEXT_MEMBER.as_slice(),
            Format::Zstd => b"",
        };
        let body = &object[header(format, &encoded.facts).len()..];
        let mut bombs = vec![[start, body].concat(), object];
        if format == Format::Zstd {
            // No frame tells its size either.
            bombs.push(::zstd::encode_all(&vec![0; 24 * MIB][..], 3).unwrap());
        }
        for stored in bombs {
            for limit in [0, 1, MIB as u64, 24 * MIB as u64 - 1] {
                let error = failure(format, &stored, limit);
                let DecodeError::TooLarge { limit: told } = error else {
                    panic!("{error}");
                };
                assert_eq!(told, limit);
                let mut out = Vec::new();
                decode(format, &stored, limit, &mut out).unwrap_err();
                assert!(out.capacity() <= 2 * limit as usize + MIB);
            }
            assert_eq!(
                in_pieces(format, &stored, MIB, 24 * MIB as u64)
                    .unwrap()
                    .len(),
                24 * MIB
            );
            let mut out = Vec::new();
            decode(format, &stored, u64::MAX, &mut out).unwrap();
            assert_eq!(out.len(), 24 * MIB);
        }
    }
}

#[test]
fn a_header_that_lies_about_the_size_gets_no_memory() {
    let raw = wal_like(1000);
    for format in Format::ALL {
        let (object, mut encoded) = encode(&default(format), &raw, 1);
        let size = header(format, &encoded.facts).len();
        for (told, limit) in [(u64::MAX, u64::MAX), (1 << 50, u64::MAX), (999, 1000)] {
            encoded.facts.raw_size = told;
            let mut lying = header(format, &encoded.facts);
            lying.extend_from_slice(&object[size..]);
            let error = failure(format, &lying, limit);
            let shorter = matches!(error, DecodeError::Truncated);
            assert_eq!(shorter, told > 1000, "{error}");
            let mut out = Vec::new();
            decode(format, &lying, limit, &mut out).unwrap_err();
            assert!(out.capacity() < MIB, "{} bytes taken", out.capacity());
        }
    }
}

#[test]
fn a_decoder_that_failed_stays_failed() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in Format::ALL {
        let (object, _) = encode(&default(format), b"raw", 1);
        let mut decoder = Decoder::new(format, Vec::new(), 100).unwrap();
        decoder.write(b"garbage").unwrap_err();
        decoder.write(&object).unwrap_err();
        assert!(decoder.finish().is_err());
        let nothing = Decoder::new(format, Vec::new(), 100).unwrap();
        assert!(nothing.finish().is_err());

        let mut decoder = Decoder::new(format, Full, 100).unwrap();
        let error = decoder.write(&object).unwrap_err();
        assert!(matches!(error, DecodeError::Sink(_)) && !error.is_damage());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_bytes_come_back(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..3000),
                (0_usize..200_000).prop_map(|size| vec![0; size]),
                (0_usize..200_000).prop_map(wal_like),
            ],
            0..6,
        ),
    ) {
        let raw = pieces.concat();
        for encoder in encoders() {
            check(&encoder, &raw);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        garbage in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..500,
    ) {
        for format in Format::ALL {
            let (mut object, _) = encode(&default(format), &wal_like(5000), 1);
            let at = at.min(object.len());
            let end = (at + garbage.len()).min(object.len());
            object.splice(at..end, garbage.clone());
            let mut out = Vec::new();
            let whole = decode(format, &object, 5000, &mut out).is_ok();
            prop_assert_eq!(in_pieces(format, &object, 100, 5000).is_ok(), whole);
        }
    }
}
