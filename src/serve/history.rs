//! How far behind each store was over the last day, from the catalog's records
//! of when a file was written and when each store had it. Of constant size.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    catalog::{Catalog, CatalogError, FileRecord, Reader, Replica, Select},
    layout::Generation,
    postgres::TimelineId,
};

/// How many steps the day is drawn in.
pub(super) const STEPS: usize = 144;
/// How long one is, in seconds.
pub(super) const STEP: i64 = 600;
/// So many files in a row from before the day end the walk back.
const OLDER: usize = 64;
/// More files of one day are not looked at: what is drawn is then a part of it.
const MOST: usize = 20_000;

/// The last day.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct History {
    /// When its last step ends: on a whole step.
    pub(super) end: Timestamp,
    now: Timestamp,
    /// By store: how far behind it was at the worst in each step, in seconds;
    /// none where nothing was on its way.
    pub(super) lag: BTreeMap<String, Vec<Option<f64>>>,
}

impl History {
    /// Reads the day that ends now. Blocks.
    pub(super) fn read(
        catalog: &Catalog,
        generation: Generation,
        stores: &[&str],
        now: Timestamp,
    ) -> Result<Self, CatalogError> {
        let mut history = History::new(now, stores.iter().copied());
        catalog.read(|reader| history.walk(reader, generation))?;
        Ok(history)
    }

    /// A day of which nothing is known.
    pub(super) fn unknown(stores: &[&str], now: Timestamp) -> Self {
        History::new(now, stores.iter().copied())
    }

    /// Back from each timeline's newest file, as long as they are of the day.
    fn walk(&mut self, reader: &Reader, generation: Generation) -> Result<(), CatalogError> {
        let mut left = MOST;
        let mut timeline = newest(reader, &Select::Generation(generation))?;
        while let Some(this) = timeline {
            let mut older = 0;
            for record in reader.newest_first(&Select::Timeline(generation, this))? {
                older = if self.add(&record?) { 0 } else { older + 1 };
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
                if older >= OLDER {
                    break;
                }
            }
            timeline = newest(reader, &Select::Before(generation, this))?;
        }
        Ok(())
    }

    /// A day that ends now, without files, for these stores.
    fn new<'s>(now: Timestamp, stores: impl IntoIterator<Item = &'s str>) -> Self {
        let end = after(now, STEP);
        History {
            end,
            now,
            lag: stores
                .into_iter()
                .map(|store| (store.to_owned(), vec![None; STEPS]))
                .collect(),
        }
    }

    /// When the first step begins.
    pub(super) fn begin(&self) -> Timestamp {
        self.end - SignedDuration::from_secs(STEPS as i64 * STEP)
    }

    /// Counts a file. Gives whether any of it was within the day.
    fn add(&mut self, record: &FileRecord) -> bool {
        let mut within = record.modified >= self.begin();
        let (begin, now) = (self.begin(), self.now);
        for (store, replica) in &record.replicas {
            let until = match replica {
                Replica::Stored(object) | Replica::Suspect { object, .. } => object.at,
                Replica::Pending { .. } | Replica::Owed { .. } => now,
                Replica::Conflict { .. } => continue,
            };
            if until < begin {
                continue;
            }
            within = true;
            if let Some(steps) = self.lag.get_mut(store) {
                wait(steps, begin, record.modified, until.min(now));
            }
        }
        within
    }
}

/// The timeline of the last file of `select`.
fn newest(reader: &Reader, select: &Select) -> Result<Option<TimelineId>, CatalogError> {
    let newest = reader.newest_first(select)?.next().transpose()?;
    Ok(newest.map(|record| record.name.timeline()))
}

/// A file waited from `since` to `until`: in each step, as long as it had
/// waited by the step's end.
fn wait(steps: &mut [Option<f64>], begin: Timestamp, since: Timestamp, until: Timestamp) {
    let seconds = |time: Timestamp| time.duration_since(begin).as_secs_f64();
    let (since, until) = (seconds(since), seconds(until));
    let step = STEP as f64;
    let first = (since / step).max(0.0) as usize;
    let last = (until.max(0.0) / step) as usize;
    for (index, lag) in steps.iter_mut().enumerate().take(last + 1).skip(first) {
        let end = ((index + 1) as f64 * step).min(until);
        let waited = (end - since).max(0.0);
        *lag = Some(lag.map_or(waited, |known| known.max(waited)));
    }
}

/// The next whole `seconds` after a time.
fn after(time: Timestamp, seconds: i64) -> Timestamp {
    let whole = time.as_second().div_euclid(seconds) + 1;
    Timestamp::from_second(whole * seconds).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Object,
        codec::{Md5, Sha256},
        layout::Generation,
        postgres::SegmentSize,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn record(modified: &str) -> FileRecord {
        FileRecord::new(
            Generation::FIRST,
            "000000010000000400000024".parse().unwrap(),
            SegmentSize::DEFAULT,
            16 << 20,
            Sha256::of(b"raw"),
            at(modified),
        )
    }

    fn stored(time: &str) -> Replica {
        Replica::Stored(Object {
            stored_size: 4 << 20,
            md5: Md5::of(b"stored"),
            at: at(time),
            attempts: 1,
        })
    }

    #[test]
    fn a_store_is_behind_as_long_as_a_file_waits() {
        let mut day = History::new(at("2026-11-20T14:34:00Z"), ["a", "b", "c"]);
        assert_eq!(day.end, at("2026-11-20T14:40:00Z"));
        let record = record("2026-11-20T14:05:00Z")
            .with("a", stored("2026-11-20T14:05:02.5Z"))
            .with("b", Replica::PENDING)
            .with("gone", Replica::PENDING);
        assert!(day.add(&record));
        let last = |store: &str| day.lag[store][STEPS - 4..].to_vec();
        assert_eq!(last("a"), [Some(2.5), None, None, None]);
        assert_eq!(
            last("b"),
            [Some(300.0), Some(900.0), Some(1500.0), Some(1740.0)]
        );
        assert_eq!(last("c"), [None; 4]);
    }

    #[test]
    fn what_was_over_before_the_day_does_not_count() {
        let mut day = History::new(at("2026-11-20T14:34:00Z"), ["a"]);
        assert!(
            !day.add(&record("2026-11-19T10:00:00Z").with("a", stored("2026-11-19T10:00:01Z")))
        );
        // Written before, stored within it: an outage that lasted.
        assert!(day.add(&record("2026-11-19T10:00:00Z").with("a", stored("2026-11-20T01:00:00Z"))));
        assert_eq!(day.lag["a"][0], Some(4.0 * 3600.0 + 2400.0 + 600.0));
    }
}
