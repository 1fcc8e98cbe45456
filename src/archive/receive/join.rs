//! Which of a segment's streamed parts make the longest run from its beginning.
//! Pure: by what their names say.

use crate::layout::StreamPart;

/// Of `parts` of one segment, the one that leads furthest on from `at`; `None`
/// where there is none, and the run ends.
pub fn next<'a>(parts: impl IntoIterator<Item = &'a StreamPart>, at: u32) -> Option<StreamPart> {
    let parts = parts.into_iter();
    let leading = parts.filter(|part| part.from <= at && part.to > at);
    leading.max_by_key(|part| part.to).copied()
}

/// How far all of them together lead from `at` on without a hole.
pub fn reach<'a>(parts: impl IntoIterator<Item = &'a StreamPart> + Clone, mut at: u32) -> u32 {
    while let Some(part) = next(parts.clone(), at) {
        at = part.to;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part((from, to): (u32, u32)) -> StreamPart {
        StreamPart {
            segment: "000000010000000400000024".parse().unwrap(),
            from,
            to,
        }
    }

    fn parts(ranges: &[(u32, u32)]) -> Vec<StreamPart> {
        ranges.iter().copied().map(part).collect()
    }

    #[test]
    fn parts_may_overlap_and_a_hole_ends_the_run() {
        let some = parts(&[(0, 8), (0, 24), (16, 40), (24, 32), (48, 64)]);
        assert_eq!(next(&some, 0), Some(part((0, 24))));
        assert_eq!(next(&some, 24), Some(part((16, 40))));
        assert_eq!((reach(&some, 0), reach(&some, 48)), (40, 64));
        assert_eq!(reach(&parts(&[(8, 16)]), 0), 0);
        assert_eq!(reach(&[], 0), 0);
    }

    proptest! {
        #[test]
        fn the_run_is_every_byte_up_to_the_first_that_nobody_has(
            ranges in prop::collection::vec((0u32..60, 1u32..20), 0..12),
            at in 0u32..60,
        ) {
            let ranges: Vec<_> = ranges.iter().map(|(from, size)| (*from, from + size)).collect();
            let some = parts(&ranges);
            let held = |byte: u32| ranges.iter().any(|(from, to)| (*from..*to).contains(&byte));
            let first = (at..).find(|byte| !held(*byte)).unwrap();
            prop_assert_eq!(reach(&some, at), first);
        }
    }
}
