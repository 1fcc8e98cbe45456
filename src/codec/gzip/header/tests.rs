//! What is written is read, and what is flipped or cut is seen.

use proptest::prelude::*;

use jiff::Timestamp;

use super::*;
use crate::codec::{
    Sha256,
    facts::{FACTS_ID, FACTS_SIZE},
};
use crate::postgres::{
    Lsn, Moments,
    moments::{Commit, MOST_RESTORE_POINTS, RestorePoint},
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
    let time = Timestamp::from_microsecond(1_790_000_000_123_456).unwrap();
    let point = RestorePoint {
        name: "x".repeat(63),
        lsn: Lsn(0x98),
        time,
    };
    Facts {
        moments: Some(Moments {
            last_commit: Some(Commit { time, xid: 7 }),
            first_commit: Some(Commit { time, xid: 7 }),
            restore_points: vec![point; MOST_RESTORE_POINTS],
            ..Moments::default()
        }),
        ..some_facts()
    }
}

#[test]
fn stands_where_format_md_says() {
    let header = first(&some_facts());
    assert_eq!(header[..4], [0x1F, 0x8B, 8, 0x0C]);
    assert_eq!(header[4..8], 1_790_000_000_u32.to_le_bytes());
    assert_eq!(header[8..12], [0, 3, 61, 0]);
    assert_eq!(header[12..17], [b'W', b'K', 57, 0, 1]);
    assert_eq!(header[17..49], Sha256::of(b"x").0);
    assert_eq!(header[49..57], (16_u64 << 20).to_le_bytes());
    assert_eq!(header[57..65], 1_790_000_000_i64.to_le_bytes());
    assert_eq!(header[65..69], 123_456_789_u32.to_le_bytes());
    assert_eq!(header[73..], *b"000000010000000000000023\0");
    assert_eq!(next(), [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]);
}

#[test]
fn every_cut_asks_for_more_and_every_flip_is_seen() {
    let header = first(&some_facts());
    for end in 0..header.len() {
        let cut = read_facts(&header[..end]);
        assert!(matches!(cut, Err(DecodeError::Truncated)), "cut at {end}");
    }
    for bit in 0..8 * header.len() {
        let mut flipped = header.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = read_facts(&flipped).ok().flatten();
        // FTEXT, the time in whole seconds, XFL and OS are for others.
        let unused = bit == 24 || (4..10).contains(&(bit / 8));
        assert_eq!(read.is_some(), unused, "bit {bit}");
    }
}

#[test]
fn moments_stand_behind_the_facts() {
    let facts = with_moments();
    let header = first(&facts);
    assert!(header.len() <= HEAD_SIZE);
    assert_eq!(header[69 + 4..69 + 6], *b"WM");
    assert_eq!(read_facts(&header).unwrap().as_ref(), Some(&facts));
    // Without them it is what it has been from the first version on.
    let start = first(&some_facts());
    assert_eq!(
        (&header[..10], &header[12..73]),
        (&start[..10], &start[12..73])
    );
    for end in 0..header.len() {
        let cut = read_facts(&header[..end]);
        assert!(matches!(cut, Err(DecodeError::Truncated)), "cut at {end}");
    }
    for bit in (8 * 77..8 * (header.len() - 25)).step_by(13) {
        let mut flipped = header.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = read_facts(&flipped);
        let is_later = bit / 8 == 77
            && read
                .as_ref()
                .is_ok_and(|facts| facts.as_ref().is_some_and(|facts| facts.moments.is_none()));
        let is_bad = matches!(read, Err(DecodeError::BadHeader(_)));
        assert!(is_later || is_bad, "bit {bit}");
    }
}

#[test]
fn unknown_subfields_and_later_fields_are_skipped() {
    let header = first(&some_facts());
    let longer = |before: &[u8], after: &[u8], appended: &[u8]| {
        let mut other = header[..10].to_vec();
        let size = FACTS_SIZE + appended.len();
        let whole = 4 + size + before.len() + after.len();
        other.extend((whole as u16).to_le_bytes());
        other.extend(before);
        other.extend(FACTS_ID);
        other.extend((size as u16).to_le_bytes());
        other.extend(&header[16..73]);
        other.extend(appended);
        other.extend(after);
        other.extend(&header[73..]);
        read_facts(&other).unwrap()
    };
    assert_eq!(longer(b"", b"", b""), Some(some_facts()));
    assert_eq!(longer(b"AB\x02\0xy", b"", b""), Some(some_facts()));
    assert_eq!(longer(b"", b"CT\x01\0x", b"more"), Some(some_facts()));
    // Someone else's extra field, not made of subfields.
    assert_eq!(longer(b"AB\xFF\xFFxy", b"", b""), None);
}

#[test]
fn other_programs_headers_are_gzip_but_not_ours() {
    let name_and_comment = b"\x1F\x8B\x08\x18\0\0\0\0\x02\xFFname\0comment\0";
    let parsed = parse(name_and_comment).unwrap();
    assert_eq!((parsed.size, parsed.facts), (name_and_comment.len(), None));
    let plain = b"\x1F\x8B\x08\x00\0\0\0\0\x02\x03";
    let mut with_crc = b"\x1F\x8B\x08\x02\0\0\0\0\x02\x03".to_vec();
    with_crc.extend((crc32(0, &with_crc) as u16).to_le_bytes());
    assert_eq!(read_facts(plain).unwrap(), None);
    assert_eq!(parse(&with_crc).unwrap().size, 12);
    with_crc[4] ^= 1;
    assert!(matches!(
        read_facts(&with_crc),
        Err(DecodeError::BadHeader(_))
    ));
}

#[test]
fn what_is_no_gzip_is_refused() {
    let not_gzip =
        |bytes: &[u8]| matches!(read_facts(bytes), Err(DecodeError::Other(Format::Gzip)));
    assert!(not_gzip(b"PK\x03\x04") && not_gzip(b"\x1F\x9D") && not_gzip(&[0; 8192]));
    let bad = |bytes: &[u8]| matches!(read_facts(bytes), Err(DecodeError::BadHeader(_)));
    assert!(bad(b"\x1F\x8B\x09\0\0\0\0\0\0\x03"));
    assert!(bad(b"\x1F\x8B\x08\x80\0\0\0\0\0\x03"));
    let mut endless = b"\x1F\x8B\x08\x08\0\0\0\0\0\x03".to_vec();
    endless.resize(MAX_HEADER, b'x');
    assert!(bad(&endless));
}

proptest! {
    #[test]
    fn facts_come_back(
        file_name in "[ -.0-~]{1,255}",
        raw_sha256 in any::<[u8; 32]>().prop_map(Sha256),
        raw_size in any::<u64>(),
        time in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond(),
    ) {
        let modified = Timestamp::from_nanosecond(time).unwrap();
        let facts = Facts { file_name, raw_sha256, raw_size, modified, moments: None };
        let header = first(&facts);
        prop_assert!(header.len() <= HEAD_SIZE);
        prop_assert_eq!(read_facts(&header).unwrap(), Some(facts));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_facts(&bytes);
        bytes.splice(0..0, [0x1F, 0x8B, 8, 0x0C]);
        let _ = read_facts(&bytes);
    }
}
