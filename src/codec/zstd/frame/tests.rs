//! What is written is read, and what is flipped or cut is seen.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    codec::Sha256,
    postgres::{
        Moments,
        moments::{MOST_RESTORE_POINTS, RestorePoint},
    },
};

fn some_facts() -> Facts {
    Facts {
        file_name: "000000010000000000000023".to_owned(),
        raw_sha256: Sha256::of(b"x"),
        raw_size: 16 << 20,
        modified: Timestamp::from_nanosecond(1_790_000_000_123_456_789).unwrap(),
        moments: None,
    }
}

fn with_moments() -> Facts {
    let point = RestorePoint {
        name: "x".repeat(63),
        lsn: crate::postgres::Lsn(0x98),
        time: Timestamp::from_second(1_790_000_000).unwrap(),
    };
    Facts {
        file_name: "x".repeat(255),
        moments: Some(Moments {
            restore_points: vec![point; MOST_RESTORE_POINTS],
            ..Moments::default()
        }),
        ..some_facts()
    }
}

#[test]
fn stands_where_format_md_says() {
    let frame = facts(&some_facts());
    assert_eq!(frame[..4], [0x57, 0x2A, 0x4D, 0x18]);
    assert_eq!(frame[4..8], 89_u32.to_le_bytes());
    assert_eq!(frame[8..13], [b'W', b'K', 57, 0, 1]);
    assert_eq!(frame[13..45], Sha256::of(b"x").0);
    assert_eq!(frame[45..53], (16_u64 << 20).to_le_bytes());
    assert_eq!(frame[53..61], 1_790_000_000_i64.to_le_bytes());
    assert_eq!(frame[61..65], 123_456_789_u32.to_le_bytes());
    assert_eq!(frame[69..73], [b'W', b'N', 24, 0]);
    assert_eq!(frame[73..], *b"000000010000000000000023");
}

#[test]
fn every_cut_asks_for_more_and_every_flip_is_seen() {
    for written in [some_facts(), with_moments()] {
        let frame = facts(&written);
        assert!(frame.len() <= HEAD_SIZE);
        assert_eq!(read_facts(&frame).unwrap(), Some(written));
        for end in 0..frame.len() {
            let cut = read_facts(&frame[..end]);
            assert!(matches!(cut, Err(DecodeError::Truncated)), "cut at {end}");
        }
    }
    let frame = facts(&some_facts());
    for bit in 0..8 * frame.len() {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = read_facts(&flipped).ok().flatten();
        assert_eq!(read, None, "bit {bit}");
    }
}

#[test]
fn other_programs_frames_are_zstd_but_not_ours() {
    let foreign = |first: u8, content: &[u8]| {
        let mut frame = vec![first, 0x2A, 0x4D, 0x18];
        frame.extend((content.len() as u32).to_le_bytes());
        frame.extend(content);
        read_facts(&frame)
    };
    // pzstd's, the seekable format's, and somebody else's under our number.
    assert_eq!(foreign(0x50, &[0; 4]).unwrap(), None);
    assert_eq!(foreign(0x5E, b"WK").unwrap(), None);
    assert_eq!(foreign(OURS, b"what they say").unwrap(), None);
    assert_eq!(foreign(OURS, b"").unwrap(), None);
    assert_eq!(foreign(OURS, &vec![0; MAX_FACTS + 1]).unwrap(), None);
    assert_eq!(read_facts(&DATA).unwrap(), None);
    for bytes in [
        b"PK\x03\x04".as_slice(),
        b"\x28\xB5\x2Fx",
        b"\x50\x2B",
        &[0; 9],
    ] {
        let read = read_facts(bytes);
        assert!(matches!(read, Err(DecodeError::Other(Format::Zstd))));
    }
}

#[test]
fn any_number_of_zeros_is_what_zstd_reads() {
    let counts = (1..3000).chain([BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 16 << 20]);
    for count in counts {
        let mut frame = Vec::new();
        zeros(count, &mut frame);
        let raw = zstd::decode_all(&frame[..]).unwrap();
        assert!(raw.len() as u64 == count && raw.iter().all(|&byte| byte == 0));
    }
    let mut frame = Vec::new();
    zeros(16 << 20, &mut frame);
    assert_eq!(frame.len(), 526);
}

proptest! {
    #[test]
    fn facts_come_back(
        file_name in "[ -.0-~]{1,255}",
        raw_sha256 in any::<[u8; 32]>().prop_map(Sha256),
        raw_size in any::<u64>(),
        time in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond(),
        appended: Vec<u8>,
    ) {
        let modified = Timestamp::from_nanosecond(time).unwrap();
        let written = Facts { file_name, raw_sha256, raw_size, modified, moments: None };
        let mut frame = facts(&written);
        frame.extend(appended);
        prop_assert_eq!(read_facts(&frame).unwrap(), Some(written));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_facts(&bytes);
        bytes.splice(0..0, [0x57, 0x2A, 0x4D, 0x18, 40, 0, 0, 0, b'W', b'K', 57, 0, 1]);
        let _ = read_facts(&bytes);
    }
}
