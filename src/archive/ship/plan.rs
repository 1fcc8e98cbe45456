//! `retention.local_window`: how long staging keeps what every store has.

use std::time::Duration;

use jiff::Timestamp;

use crate::{archive::staging::Staged, postgres::WalFileName};

/// Which of these files, all of which every store has, may leave the staging
/// volume, the oldest first: those that were written before the window. Where
/// the volume must give up `wanted` bytes, younger ones too until it has, since
/// they would be in the way of what is in no store yet.
pub(super) fn leaves_staging<'a>(
    now: Timestamp,
    window: Duration,
    wanted: u64,
    copies: impl IntoIterator<Item = &'a Staged>,
) -> Vec<WalFileName> {
    let begin = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    let mut copies: Vec<_> = copies.into_iter().collect();
    copies.sort_by_key(|file| (file.modified, file.name));
    let mut freed = 0;
    let leaving = copies.into_iter().take_while(|file| {
        // A clock that was set back must not keep what nothing asks for.
        let leaves = window.is_zero() || file.modified <= begin || freed < wanted;
        freed += file.allocated;
        leaves
    });
    leaving.map(|file| file.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{SegmentName, SegmentSize, TimelineId};

    const DAY: i64 = 24 * 60 * 60;

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(number * DAY).unwrap()
    }

    #[test]
    fn staging_keeps_its_window_unless_it_needs_the_room() {
        let segment =
            |number: i64| SegmentName::numbered(number as u64, TimelineId(1), SegmentSize::DEFAULT);
        let files = [5, 4, 2, 6].map(|number| Staged {
            name: segment(number).into(),
            size: 16,
            allocated: 10,
            modified: day(number),
        });
        let leaves = |today, window: u64, wanted| {
            let window = Duration::from_secs(window * DAY as u64);
            leaves_staging(day(today), window, wanted, &files)
        };
        let names = |numbers: &[i64]| -> Vec<WalFileName> {
            numbers.iter().map(|&it| segment(it).into()).collect()
        };
        assert_eq!(leaves(6, 0, 0), names(&[2, 4, 5, 6]));
        assert_eq!(leaves(3, 0, 0), names(&[2, 4, 5, 6]));
        assert_eq!(leaves(6, 2, 0), names(&[2, 4]));
        assert_eq!(leaves(6, 9, 0), names(&[]));
        assert_eq!(leaves(6, 9, 11), names(&[2, 4]));
        assert_eq!(leaves(6, 9, 1000), names(&[2, 4, 5, 6]));
    }
}
