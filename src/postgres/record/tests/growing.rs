//! A segment that is still being written: `Extent` against every place where
//! the bytes that have come may end.

use super::*;

/// `bytes` as a file of one segment, of which the first `come` bytes have come.
fn look(extent: &mut Extent, bytes: &[u8], come: usize) -> u64 {
    let looked = extent.look(|at, buffer| {
        let at = (at as usize).min(MIB);
        let count = buffer.len().min(MIB - at);
        for (place, byte) in buffer[..count].iter_mut().enumerate() {
            let at = at + place;
            *byte = if at < come { bytes[at] } else { 0 };
        }
        Ok(count)
    });
    looked.unwrap()
}

/// Two segments, and the ends of the records in the second.
fn second_segment(sizes: &[usize], before_the_end: usize) -> (Vec<Vec<u8>>, Vec<usize>) {
    let mut wal = Wal::new();
    wal.fill_to(MIB, before_the_end);
    wal.commit(5, 1_790_000_000);
    let mut ends = vec![wal.bytes.len()];
    for size in sizes {
        wal.other(*size);
        ends.push(wal.bytes.len());
    }
    ends.retain(|end| *end > MIB);
    (wal.segments(), ends.iter().map(|end| end - MIB).collect())
}

/// Where the last record ends of which all bytes have come, but for zeros.
fn whole(segment: &[u8], ends: &[usize], come: usize) -> usize {
    let missing = |end: usize| segment[come.min(end)..end].iter().any(|byte| *byte != 0);
    let whole = ends.iter().rfind(|end| !missing(**end));
    whole.copied().unwrap_or(0)
}

fn carried(first: &[u8]) -> Option<Carried> {
    decode(first, None).unwrap().1
}

#[test]
fn every_byte_that_comes_is_weighed() {
    let (segments, ends) = second_segment(&[8, 100, 9000, 3, 1], 40);
    let mut with = Extent::after(carried(&segments[0]));
    let mut without = Extent::after(None);
    for come in 0..=ends[5] + 100 {
        let whole = whole(&segments[1], &ends, come);
        let found = look(&mut with, &segments[1], come);
        assert_eq!(found, whole as u64, "{come}");
        // The commit that the first segment's end cuts off is not proved
        // before the next record has come.
        let found = look(&mut without, &segments[1], come);
        let later = if whole > ends[0] { whole } else { 0 };
        assert_eq!(found, later as u64, "{come}");
    }
}

#[test]
fn what_a_switch_leaves_is_not_there_before_the_segment_is_complete() {
    let mut wal = Wal::new();
    wal.other(100);
    wal.record(0, 0x40, 0, &[]);
    let end = wal.bytes.len();
    let segment = &wal.segments()[0];
    assert_eq!(look(&mut Extent::after(None), segment, end), end as u64);
    assert_eq!(look(&mut Extent::after(None), segment, MIB), end as u64);
}

#[test]
fn what_is_no_wal_is_said() {
    let zeros = vec![0; MIB];
    assert_eq!(look(&mut Extent::after(None), &zeros, MIB), 0);
    let mut newer = Wal::new().segments().remove(0);
    newer[0] = 0x77;
    let looked = Extent::after(None).look(|at, buffer| {
        let rest = &newer[at as usize..];
        let count = buffer.len().min(rest.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    });
    let problem = Undecodable::Version(0xD177);
    assert!(matches!(looked, Err(LookError::Undecodable(it)) if it == problem));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn looks_in_steps_find_what_one_look_finds(
        sizes in prop::collection::vec(prop_oneof![8usize..300, 60_000usize..200_000], 1..6),
        before in prop::sample::select(vec![8usize, 32, 40, 4096]),
        mut steps in prop::collection::vec(0usize..MIB, 1..12),
    ) {
        let (segments, ends) = second_segment(&sizes, before);
        prop_assume!(segments.len() == 2 && ends.iter().all(|end| *end < MIB));
        steps.sort_unstable();
        let mut growing = Extent::after(carried(&segments[0]));
        for come in steps {
            let found = look(&mut growing, &segments[1], come);
            let once = look(&mut Extent::after(carried(&segments[0])), &segments[1], come);
            let whole = whole(&segments[1], &ends, come);
            prop_assert_eq!((found, once), (whole as u64, whole as u64));
        }
        let carries = decode(&segments[1], carried(&segments[0])).unwrap().1.is_some();
        let kept = growing.carried(|at, buffer| {
            let rest = &segments[1][(at as usize).min(MIB)..];
            let count = buffer.len().min(rest.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        });
        prop_assert_eq!(kept.unwrap().is_some(), carries);
    }
}
