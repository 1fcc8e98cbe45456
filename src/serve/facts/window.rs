//! Which moments can be restored: pure. A moment can be where a base backup
//! ended before it and all WAL from that backup's start on is there.

use jiff::Timestamp;
use serde::Serialize;

use crate::postgres::TimelineId;

/// Moments that can be restored, all of them from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The end of the backup that it begins with, by the server's clock.
    pub from: Timestamp,
    /// The last commit that can be brought back.
    pub to: Timestamp,
}

/// A base backup, by the segments that it needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    pub(super) timeline: TimelineId,
    /// The number of the first segment.
    pub(super) first: u64,
    /// That of the last.
    pub(super) last: u64,
    pub(super) stopped: Timestamp,
}

/// Segments of one timeline without a gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) timeline: TimelineId,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The last commit in it, as far as that is known.
    pub(super) until: Option<Timestamp>,
}

/// The spans of an archive with these backups and this WAL, oldest first.
pub(super) fn spans(backups: &[Base], wal: &[Stretch]) -> Vec<Span> {
    let mut spans: Vec<Span> = backups
        .iter()
        .filter_map(|backup| {
            let to = reach(backup, wal)?.unwrap_or(backup.stopped);
            Some(Span {
                from: backup.stopped,
                to: to.max(backup.stopped),
            })
        })
        .collect();
    spans.sort_by_key(|span| (span.from, span.to));
    spans.dedup_by(|next, before| {
        let touches = next.from <= before.to;
        if touches {
            before.to = before.to.max(next.to);
        }
        touches
    });
    spans
}

/// The last commit that a recovery from `backup` comes to; `None` where not
/// even the backup itself is whole, `Some(None)` where no commit is known.
///
/// A timeline that begins where this one is still there, or just behind its
/// end, is taken for its descendant: a new timeline begins with the number of
/// the segment that it leaves its parent in. Where that is a mistake the
/// parent was left unfinished, and its descendant is another's; `restore`
/// reads the history files and knows.
fn reach(backup: &Base, wal: &[Stretch]) -> Option<Option<Timestamp>> {
    let holds = |it: &Stretch| {
        it.timeline == backup.timeline && it.first <= backup.first && backup.last <= it.last
    };
    let own = wal.iter().position(holds)?;
    let mut until = None;
    let mut seen = vec![false; wal.len()];
    let mut next = vec![(own, backup.first)];
    while let Some((index, from)) = next.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        let one = &wal[index];
        until = until.max(one.until);
        for (index, other) in wal.iter().enumerate() {
            let begins = !wal[..index]
                .iter()
                .any(|earlier| earlier.timeline == other.timeline);
            let follows = (from..=one.last.saturating_add(1)).contains(&other.first);
            if begins && other.timeline > one.timeline && follows {
                next.push((index, other.first));
            }
        }
    }
    Some(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn backup(timeline: u32, first: u64, last: u64, stopped: i64) -> Base {
        Base {
            timeline: TimelineId(timeline),
            first,
            last,
            stopped: at(stopped),
        }
    }

    fn wal(timeline: u32, first: u64, last: u64, until: i64) -> Stretch {
        Stretch {
            timeline: TimelineId(timeline),
            first,
            last,
            until: Some(at(until)),
        }
    }

    fn told(backups: &[Base], wal: &[Stretch]) -> Vec<(i64, i64)> {
        let spans = spans(backups, wal);
        let told = spans
            .iter()
            .map(|span| (span.from.as_second(), span.to.as_second()));
        told.collect()
    }

    #[test]
    fn a_window_begins_with_a_backup_and_ends_with_the_last_commit() {
        let one = [wal(1, 1, 10, 100)];
        assert_eq!(told(&[], &one), []);
        assert_eq!(told(&[backup(1, 3, 4, 40)], &one), [(40, 100)]);
        let two = [backup(1, 7, 7, 70), backup(1, 3, 4, 40)];
        assert_eq!(told(&two, &one), [(40, 100)], "they overlap");
        // Nothing was committed since.
        assert_eq!(told(&[backup(1, 3, 4, 140)], &one), [(140, 140)]);
        // Its own WAL is not there, or not all of it.
        assert_eq!(told(&[backup(1, 9, 11, 40)], &one), []);
        assert_eq!(told(&[backup(2, 3, 4, 40)], &one), []);
    }

    #[test]
    fn a_gap_parts_two_spans() {
        let parts = [wal(1, 1, 10, 100), wal(1, 12, 20, 200)];
        let early = backup(1, 3, 4, 40);
        assert_eq!(told(&[early], &parts), [(40, 100)]);
        let both = [early, backup(1, 15, 15, 150)];
        assert_eq!(told(&both, &parts), [(40, 100), (150, 200)]);
        let across = [early, backup(1, 10, 12, 110)];
        assert_eq!(told(&across, &parts), [(40, 100)]);
    }

    #[test]
    fn a_new_timeline_goes_on_where_the_old_one_was_left() {
        let base = [backup(1, 3, 4, 40)];
        // In the segment behind the last whole one; from an earlier one.
        assert_eq!(
            told(&base, &[wal(1, 1, 10, 100), wal(2, 11, 20, 200)]),
            [(40, 200)]
        );
        assert_eq!(
            told(&base, &[wal(1, 1, 10, 100), wal(2, 6, 8, 200)]),
            [(40, 200)]
        );
        // It began before the backup did, or too far behind the end.
        assert_eq!(
            told(&base, &[wal(1, 1, 10, 100), wal(2, 2, 8, 200)]),
            [(40, 100)]
        );
        assert_eq!(
            told(&base, &[wal(1, 1, 10, 100), wal(2, 12, 20, 200)]),
            [(40, 100)]
        );
        // Only its beginning joins; a second part is behind a gap.
        let broken = [wal(1, 1, 10, 100), wal(2, 11, 12, 120), wal(2, 14, 20, 200)];
        assert_eq!(told(&base, &broken), [(40, 120)]);
        let thrice = [wal(1, 1, 10, 100), wal(2, 11, 20, 200), wal(3, 15, 30, 300)];
        assert_eq!(told(&base, &thrice), [(40, 300)]);
    }
}
