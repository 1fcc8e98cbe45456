//! A writer of WAL, small and after xlogrecord.h, for what a server does not
//! write on demand. `tests/moments` has the real ones.

mod growing;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::postgres::Lsn;

const MIB: usize = 1 << 20;
const PAGE: usize = 8192;
const START: u64 = 0x4_2400_0000;

/// A cluster's WAL in segments of 1 MiB.
struct Wal {
    start: u64,
    bytes: Vec<u8>,
    last: u64,
}

impl Wal {
    fn new() -> Self {
        Wal::from(START)
    }

    fn from(start: u64) -> Self {
        let mut wal = Wal {
            start,
            bytes: Vec::new(),
            last: start - 100,
        };
        wal.header(0, 0);
        wal
    }

    fn header(&mut self, info: u16, rest: usize) {
        let at = self.start + self.bytes.len() as u64;
        let long = self.bytes.len().is_multiple_of(MIB);
        self.bytes.extend(0xD110_u16.to_le_bytes());
        self.bytes
            .extend((info | if long { 2 } else { 0 }).to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(at.to_le_bytes());
        self.bytes.extend((rest as u64).to_le_bytes());
        if long {
            self.bytes.extend(7_u64.to_le_bytes());
            self.bytes.extend((MIB as u32).to_le_bytes());
            self.bytes.extend((PAGE as u32).to_le_bytes());
        }
    }

    fn align(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(8), 0xEE);
        if self.bytes.len().is_multiple_of(PAGE) {
            self.header(0, 0);
        }
    }

    /// Writes a record and returns where it ends.
    fn record(&mut self, manager: u8, info: u8, xid: u32, body: &[u8]) -> Lsn {
        self.align();
        let mut record = Vec::new();
        record.extend((24 + body.len() as u32).to_le_bytes());
        record.extend(xid.to_le_bytes());
        record.extend(self.last.to_le_bytes());
        record.extend([info, manager, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(body), &record);
        record.extend(crc.to_le_bytes());
        record.extend(body);
        self.last = self.start + self.bytes.len() as u64;
        let mut rest = record.as_slice();
        loop {
            let room = PAGE - self.bytes.len() % PAGE;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.bytes.extend(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
            self.header(1, rest.len());
        }
        Lsn(self.start + self.bytes.len().next_multiple_of(8) as u64)
    }

    fn other(&mut self, size: usize) -> Lsn {
        self.record(10, 0, 3, &vec![0x77; size])
    }

    fn commit(&mut self, xid: u32, second: i64) -> Lsn {
        self.record(1, 0, xid, &data(&micros(second)))
    }

    fn restore_point(&mut self, name: &[u8], second: i64) -> Lsn {
        let mut main = micros(second).to_vec();
        main.extend(name);
        main.resize(72, 0);
        self.record(0, 0x70, 0, &data(&main))
    }

    /// Fills up to so many bytes before the end of the page or segment.
    fn fill_to(&mut self, multiple: usize, before: usize) {
        assert!(before > 0, "a page is followed by the next one's header");
        loop {
            self.align();
            let left = multiple - self.bytes.len() % multiple - before;
            if left == 0 {
                return;
            }
            let in_page = PAGE - self.bytes.len() % PAGE;
            // A record of this size ends where it should, unless a page ends.
            let size = if left <= in_page && left >= 24 {
                left - 24
            } else {
                (in_page / 2).clamp(8, 600)
            };
            self.other(size);
        }
    }

    /// All of it, with zeros to the end of the segment.
    fn segments(&self) -> Vec<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len().next_multiple_of(MIB), 0);
        bytes.chunks(MIB).map(<[u8]>::to_vec).collect()
    }
}

fn micros(second: i64) -> [u8; 8] {
    ((second - 946_684_800) * 1_000_000).to_le_bytes()
}

/// Main data behind its chunk's header, and an origin's and a top-level xid's
/// before that.
fn data(main: &[u8]) -> Vec<u8> {
    let mut body = vec![253, 1, 0, 252, 9, 0, 0, 0, 255, main.len() as u8];
    body.extend(main);
    body
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn commits(moments: &Moments) -> Vec<u32> {
    let both = [moments.first_commit, moments.last_commit];
    both.into_iter().flatten().map(|it| it.xid).collect()
}

fn moments(segment: &[u8]) -> Moments {
    let (whole, carried) = decode(segment, None).unwrap();
    // The same in pieces of any size.
    for size in [1, 7, 4096, 100_000] {
        let mut walker = Walker::default();
        for piece in segment.chunks(size) {
            walker.feed(piece);
        }
        let (pieces, also) = walker.finish().unwrap();
        assert_eq!(pieces, whole);
        assert_eq!(also.is_some(), carried.is_some());
    }
    whole
}

#[test]
fn first_and_last_are_by_the_clock() {
    let mut wal = Wal::new();
    for (xid, second) in [
        (10, 1_790_000_005),
        (11, 1_790_000_001),
        (12, 1_790_000_003),
    ] {
        wal.commit(xid, second);
    }
    let end = wal.record(1, 0x20, 13, &data(&micros(1_790_000_009)));
    let found = moments(&wal.segments()[0]);
    assert_eq!(commits(&found), [11, 10]);
    assert_eq!(found.first_commit.unwrap().time, at(1_790_000_001));
    assert_eq!(found.first_abort, Some(at(1_790_000_009)));
    assert_eq!(found.last_abort, found.first_abort);
    assert_eq!((found.end, found.cut, found.more), (end, false, false));
}

#[test]
fn a_segment_without_moments_has_none_and_an_end() {
    let empty = moments(&Wal::new().segments()[0]);
    let none = Moments {
        end: Lsn(START),
        ..Moments::default()
    };
    assert_eq!(empty, none);
    let mut wal = Wal::new();
    wal.other(60);
    wal.record(0, 0x40, 0, &[]);
    wal.commit(10, 1_790_000_000);
    // Behind a switch nothing counts, whatever it looks like.
    let end = Lsn(START + MIB as u64);
    assert_eq!(moments(&wal.segments()[0]), Moments { end, ..none });
}

#[test]
fn what_an_older_use_of_the_file_left_does_not_count() {
    let mut old = Wal::from(START - 8 * MIB as u64);
    for xid in 0..3000 {
        old.commit(xid, 1_700_000_000);
    }
    let mut new = Wal::new();
    new.commit(5, 1_790_000_000);
    let end = new.commit(6, 1_790_000_001);
    new.align();
    let written = new.bytes.len();
    // The old records stand at the very place, with right CRCs.
    let mut segment = old.segments().remove(0);
    segment[..written].copy_from_slice(&new.bytes);
    let found = moments(&segment);
    assert_eq!((commits(&found), found.end), (vec![5, 6], end));

    // So do whole pages, by their position.
    new.fill_to(PAGE, 32);
    new.other(8);
    let mut segment = new.segments().remove(0);
    segment[PAGE..].copy_from_slice(&old.segments()[0][PAGE..]);
    let found = moments(&segment);
    assert_eq!(found.end, Lsn(START + PAGE as u64));
    assert_eq!(commits(&found), [5, 6]);
}

#[test]
fn a_flipped_bit_ends_the_wal_there() {
    let mut wal = Wal::new();
    let before = wal.commit(5, 1_790_000_000);
    wal.align();
    let from = wal.bytes.len();
    wal.commit(6, 1_790_000_001);
    let to = wal.bytes.len();
    wal.commit(7, 1_790_000_002);
    let segment = wal.segments().remove(0);
    assert_eq!(commits(&moments(&segment)), [5, 7]);
    for bit in 8 * from..8 * to {
        let mut segment = segment.clone();
        segment[bit / 8] ^= 1 << (bit % 8);
        let (found, _) = decode(&segment, None).unwrap();
        // Two bytes of the header are padding, but covered as well.
        assert_eq!((commits(&found), found.end), (vec![5, 5], before), "{bit}");
    }
}

#[test]
fn a_record_may_begin_anywhere_before_a_pages_end() {
    for before in (8..160).step_by(8) {
        let mut wal = Wal::new();
        wal.fill_to(PAGE, before);
        let point = wal.restore_point(b"here", 1_790_000_000);
        let end = wal.commit(9, 1_790_000_001);
        let found = moments(&wal.segments()[0]);
        assert_eq!(found.restore_points[0].lsn, point, "{before}");
        assert_eq!((commits(&found), found.end), (vec![9, 9], end));
    }
}

#[test]
fn what_a_segments_end_cuts_off_is_carried_over() {
    for before in (8..=112).step_by(8) {
        let mut wal = Wal::new();
        wal.fill_to(MIB, before);
        let point = wal.restore_point(b"across", 1_790_000_000);
        let end = wal.commit(9, 1_790_000_001);
        let segments = wal.segments();
        // 24 bytes of header, 10 of chunk headers, 72 of data.
        let is_cut = before < 106;
        let (first, carried) = decode(&segments[0], None).unwrap();
        assert_eq!((first.cut, carried.is_some()), (is_cut, is_cut), "{before}");
        let (second, _) = decode(&segments[1], carried.clone()).unwrap();
        let points = [&first, &second].map(|it| it.restore_points.len());
        assert_eq!(points, if is_cut { [0, 1] } else { [1, 0] });
        let found = [first, second].map(|it| it.restore_points).concat();
        assert_eq!((found[0].name.as_str(), found[0].lsn), ("across", point));

        // Without it, it is passed over, and what follows is found.
        let alone = moments(&segments[1]);
        assert!(alone.restore_points.is_empty());
        assert_eq!(alone.end, end);
        // As it is when it comes from elsewhere.
        let (twice, _) = decode(&segments[0], carried).unwrap();
        assert_eq!(twice.restore_points.len(), usize::from(!is_cut));
    }
    // Another kind of record is cut off without a word.
    let mut wal = Wal::new();
    wal.fill_to(MIB, 24);
    wal.other(100);
    let (found, carried) = decode(&wal.segments()[0], None).unwrap();
    assert!(!found.cut && carried.is_some());
}

#[test]
fn a_record_can_span_whole_segments() {
    let mut wal = Wal::new();
    let mut long = micros(1_790_000_000).to_vec();
    long.resize(2 * MIB, 0);
    let mut body = vec![254];
    body.extend((long.len() as u32).to_le_bytes());
    body.extend(long);
    wal.record(1, 0, 8, &body);
    let end = wal.commit(9, 1_790_000_001);
    let mut carried = None;
    let mut found = Vec::new();
    for segment in wal.segments() {
        let (moments, next) = decode(&segment, carried).unwrap();
        carried = next;
        found.push(moments);
    }
    assert!(found[0].cut && found[1].cut);
    assert_eq!(commits(&found[2]), [8, 9]);
    let alone = wal
        .segments()
        .iter()
        .map(|it| moments(it))
        .next_back()
        .unwrap();
    assert_eq!((commits(&alone), alone.end), (vec![9, 9], end));
}

#[test]
fn a_record_that_a_crash_lost_is_none() {
    let mut wal = Wal::new();
    wal.commit(5, 1_790_000_000);
    let last = wal.last;
    wal.fill_to(PAGE, 40);
    let last = if wal.last > last { wal.last } else { last };
    wal.commit(6, 1_790_000_001);
    // The next page begins anew (XLOG_OVERWRITE_CONTRECORD).
    wal.bytes.truncate(PAGE);
    wal.header(8, 0);
    wal.last = last;
    wal.record(0, 0xD0, 0, &data(&[0; 16]));
    let end = wal.commit(7, 1_790_000_002);
    let found = moments(&wal.segments()[0]);
    assert_eq!((commits(&found), found.end), (vec![5, 7], end));
}

#[test]
fn there_is_an_end_to_restore_points() {
    let mut wal = Wal::new();
    for number in 0..50 {
        wal.restore_point(format!("p{number}").as_bytes(), 1_790_000_000);
    }
    let found = moments(&wal.segments()[0]);
    assert_eq!(found.restore_points.len(), 40);
    assert!(found.more);
    assert_eq!(found.restore_points[39].name, "p39");

    let mut wal = Wal::new();
    wal.restore_point(b"\xFFx", 1_790_000_000);
    let found = moments(&wal.segments()[0]);
    assert_eq!(found.restore_points[0].name, "?x");
}

#[test]
fn other_formats_are_refused() {
    let segment = Wal::new().segments().remove(0);
    let with = |at: usize, bytes: &[u8]| {
        let mut segment = segment.clone();
        segment[at..at + bytes.len()].copy_from_slice(bytes);
        decode(&segment, None).unwrap_err()
    };
    assert_eq!(with(0, &[0x19]), Undecodable::Version(0xD119));
    assert_eq!(with(36, &[0, 3]), Undecodable::PageSize(768));
    assert!(matches!(with(0, &[0; 40]), Undecodable::Header(_)));
    for end in 0..40 {
        let short = Undecodable::Header(InvalidHeader::Short(end));
        assert_eq!(decode(&segment[..end], None).unwrap_err(), short);
    }
    assert_eq!(moments(&segment[..40]).end, Lsn(START));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        noise in proptest::collection::vec((0..20_000_usize, any::<u8>()), 0..20),
        end in 0..20_000_usize,
    ) {
        let mut wal = Wal::new();
        for xid in 0..300 {
            wal.commit(xid, 1_790_000_000);
            wal.other(300);
        }
        for (at, byte) in noise {
            wal.bytes[at] = byte;
        }
        if let Ok((_, Some(carried))) = decode(&wal.segments()[0], None) {
            let _ = decode(&wal.bytes, Some(carried));
        }
        let _ = decode(&wal.bytes[..end], None);
    }
}
