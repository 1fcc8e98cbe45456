//! Objects there and back, whole and damaged, by every encoder and both
//! decoders.

mod peers;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    codec::{Md5, Sha256},
    postgres::{Lsn, Moments},
};

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
    ];
    encoders.extend(Encoder::new(EncoderKind::Libdeflate, 6));
    encoders
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

fn in_pieces(stored: &[u8], piece: usize, limit: u64) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(Vec::new(), limit)?;
    for piece in stored.chunks(piece) {
        decoder.write(piece)?;
    }
    Ok(decoder.finish()?.0)
}

fn check(encoder: &Encoder, raw: &[u8]) {
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
    assert_eq!(read_facts(head).unwrap().as_ref(), Some(&facts));

    let mut back = b"before".to_vec();
    let found = decode(&object, raw.len() as u64, &mut back).unwrap();
    assert_eq!(found, Some(facts));
    assert!(back.strip_prefix(b"before") == Some(raw));
    assert!(in_pieces(&object, 10_000, raw.len() as u64).unwrap() == raw);

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

/// How many gzip members start at `stored`.
fn members(stored: &[u8]) -> usize {
    let next = header::next();
    1 + stored.windows(next.len()).filter(|at| *at == next).count()
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
fn a_segment_with_a_zero_tail_is_two_members() {
    for encoder in encoders() {
        let mut raw = wal_like(MIB);
        raw.resize(16 * MIB, 0);
        check(&encoder, &raw);
        let (object, encoded) = encode(&encoder, &raw, 1);
        assert_eq!(members(&object), 2);
        let (body, _) = encode(&encoder, &raw[..MIB], 1);
        assert!(encoded.stored_size < body.len() as u64 + 16_000);
    }
}

#[test]
fn a_file_of_zeros_is_one_member() {
    let (object, _) = encode(&encoders()[1], &vec![0; 16 * MIB], 2);
    assert!(members(&object) == 1 && object.len() < 17_000);
}

#[test]
fn a_long_file_is_many_members() {
    let mut raw = wal_like(19 * MIB);
    raw.resize(40 * MIB, 0);
    raw.extend(wal_like(5 * MIB));
    for encoder in encoders() {
        check(&encoder, &raw);
        let many = members(&encode(&encoder, &raw, 1).0);
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
fn failure(stored: &[u8], limit: u64) -> DecodeError {
    let mut out = b"before".to_vec();
    let error = decode(stored, limit, &mut out).unwrap_err();
    assert_eq!(out, b"before");
    assert!(error.is_damage());
    for piece in [1, 7, 1 << 20] {
        // Bytes one by one are slow where there are many.
        if stored.len() / piece < 200_000 {
            let other = in_pieces(stored, piece, limit).unwrap_err();
            assert_eq!(other.to_string(), error.to_string(), "in pieces of {piece}");
        }
    }
    error
}

/// An object of three kinds of member: a body, another, and a zero tail.
fn three_members() -> (Vec<u8>, usize) {
    let mut raw = wal_like(4 * MIB);
    raw.resize(4 * MIB + 100_000, 0);
    let encoder = Encoder::new(EncoderKind::Auto, 1).unwrap().low_latency();
    let (object, _) = encode(&encoder, &raw, 1);
    assert_eq!(members(&object), 3);
    (object, raw.len())
}

#[test]
fn an_object_cut_anywhere_is_truncated() {
    let (object, raw_size) = three_members();
    let (short, _) = encode(&encoders()[1], &wal_like(3000), 1);
    let next = header::next();
    let starts = (0..object.len()).filter(|&at| object[at..].starts_with(&next));
    // Around each member's start: in its header, before it in the trailer.
    let near = starts.flat_map(|start| start - 12..start + 14);
    let cuts = near.chain([object.len() / 3, object.len() - 1]);
    for cut in cuts {
        let error = failure(&object[..cut], raw_size as u64);
        assert!(matches!(error, DecodeError::Truncated), "{cut}: {error}");
    }
    for cut in 0..short.len() {
        let error = failure(&short[..cut], 3000);
        assert!(matches!(error, DecodeError::Truncated), "{cut}: {error}");
    }
}

#[test]
fn what_follows_the_last_member_is_garbage() {
    let (object, raw_size) = three_members();
    for garbage in [b"\0".as_slice(), &[0; 512], b"garbage", b"\x1Fx", b"\x1F"] {
        let error = failure(&[&object, garbage].concat(), raw_size as u64);
        // A first byte of a header may be the beginning of one.
        let cut = garbage == b"\x1F";
        assert_eq!(matches!(error, DecodeError::Truncated), cut, "{error}");
        assert_eq!(matches!(error, DecodeError::TrailingGarbage), !cut);
    }
    let twice = [object.as_slice(), &object].concat();
    let error = failure(&twice, raw_size as u64);
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
    let error = failure(&twice, 2 * raw_size as u64);
    assert!(matches!(error, DecodeError::Corrupt(_)), "{error}");
}

#[test]
fn a_flipped_bit_is_seen_or_changes_no_byte() {
    let raw = wal_like(2000);
    let (object, _) = encode(&encoders()[1], &raw, 1);
    for bit in 0..8 * object.len() {
        let mut flipped = object.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut back = Vec::new();
        match decode(&flipped, 2000, &mut back) {
            // MTIME, XFL and OS; our subfield's identifier and size, without
            // which the object is someone else's; bits that deflate skips.
            Ok(_) => assert!(back == raw, "bit {bit}"),
            Err(_) => drop(failure(&flipped, 2000)),
        }
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let (object, _) = encode(&encoders()[0], &vec![0; 24 * MIB], 1);
    let bare = {
        // Someone else's object, which does not tell its size.
        let mut bare = header::next().to_vec();
        bare.extend_from_slice(&object[header::parse(&object).unwrap().size..]);
        bare
    };
    for stored in [object, bare] {
        for limit in [0, 1, MIB as u64, 24 * MIB as u64 - 1] {
            let error = failure(&stored, limit);
            let DecodeError::TooLarge { limit: told } = error else {
                panic!("{error}");
            };
            assert_eq!(told, limit);
        }
        assert_eq!(
            in_pieces(&stored, MIB, 24 * MIB as u64).unwrap().len(),
            24 * MIB
        );
        let mut out = Vec::new();
        decode(&stored, u64::MAX, &mut out).unwrap();
        assert_eq!(out.len(), 24 * MIB);
    }
}

#[test]
fn a_header_that_lies_about_the_size_gets_no_memory() {
    let raw = wal_like(1000);
    let (object, mut encoded) = encode(&encoders()[1], &raw, 1);
    let size = header::parse(&object).unwrap().size;
    for (told, limit) in [(u64::MAX, u64::MAX), (1 << 50, u64::MAX), (999, 1000)] {
        encoded.facts.raw_size = told;
        let mut lying = header::first(&encoded.facts);
        lying.extend_from_slice(&object[size..]);
        let error = failure(&lying, limit);
        let shorter = matches!(error, DecodeError::Truncated);
        assert_eq!(shorter, told > 1000, "{error}");
        let mut out = Vec::new();
        decode(&lying, limit, &mut out).unwrap_err();
        assert!(out.capacity() < MIB, "{} bytes taken", out.capacity());
    }
}

#[test]
fn a_decoder_that_failed_stays_failed() {
    let (object, _) = encode(&encoders()[0], b"raw", 1);
    let mut decoder = Decoder::new(Vec::new(), 100).unwrap();
    decoder.write(b"garbage").unwrap_err();
    decoder.write(&object).unwrap_err();
    assert!(decoder.finish().is_err());
    assert!(Decoder::new(Vec::new(), 100).unwrap().finish().is_err());

    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut decoder = Decoder::new(Full, 100).unwrap();
    let error = decoder.write(&object).unwrap_err();
    assert!(matches!(error, DecodeError::Sink(_)) && !error.is_damage());
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
        let (mut object, _) = encode(&encoders()[1], &wal_like(5000), 1);
        let at = at.min(object.len());
        let end = (at + garbage.len()).min(object.len());
        object.splice(at..end, garbage);
        let mut out = Vec::new();
        let whole = decode(&object, 5000, &mut out).is_ok();
        prop_assert_eq!(in_pieces(&object, 100, 5000).is_ok(), whole);
    }
}
