//! The day in some lines: pure, from facts. For a mail, and for `walkeep
//! report`.

use std::fmt;

use bytesize::ByteSize;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    alerts::{Condition, counted, span},
    facts::{Facts, Span},
};
use crate::{catalog::Severity, layout::BackupId};

/// A day.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What a day came to. Sizes in bytes, durations in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// When it was made.
    pub at: Timestamp,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The last 24 hours, in whole hours.
    pub day: Day,
    /// Each store.
    pub stores: Vec<StoreDay>,
    /// Which moments can be restored.
    pub window: Vec<Span>,
    /// How many base backups there are.
    pub backups: u64,
    /// How many of them were taken on this day.
    pub backups_of_the_day: u64,
    /// The newest one.
    pub newest_backup: Option<BackupId>,
    /// How old that is.
    pub newest_backup_age: Option<i64>,
    /// The last drill.
    pub drill: Option<DrillDay>,
    /// What is open, as sentences, the worst first.
    pub open: Vec<String>,
    /// How many alerts were resolved on this day.
    pub resolved: u64,
}

/// What was archived in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Day {
    /// Files.
    pub files: u64,
    /// Their raw size.
    pub raw_bytes: u64,
    /// What they take in a store.
    pub stored_bytes: u64,
}

/// A store's day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreDay {
    /// Its name.
    pub store: String,
    /// What it holds.
    pub stored_bytes: u64,
    /// What it is behind now, and what it is owed: files.
    pub behind_files: u64,
    /// The same in raw bytes.
    pub behind_bytes: u64,
    /// For how long.
    pub lag_seconds: Option<i64>,
    /// The longest that a file of this day took to get there.
    pub slowest_seconds: Option<i64>,
}

/// The last drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillDay {
    /// From which store.
    pub store: String,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether it succeeded.
    pub ok: bool,
    /// How long it took until the cluster answered.
    pub rto_seconds: Option<f64>,
}

impl Report {
    /// The report of the day before `facts` were gathered.
    pub fn of(facts: &Facts, conditions: &[Condition]) -> Self {
        let begin = facts.at - DAY;
        let hours = || facts.hours.iter().filter(|hour| hour.begins >= begin);
        let mut day = Day::default();
        for hour in hours() {
            day.files += hour.files;
            day.raw_bytes += hour.raw_bytes;
            day.stored_bytes += hour.stored_bytes;
        }
        let stores = facts.stores.iter().map(|store| StoreDay {
            store: store.name.clone(),
            stored_bytes: store.stored_bytes + store.backup_bytes,
            behind_files: store.waiting_files + store.owed,
            behind_bytes: store.waiting_bytes + store.owed_bytes,
            lag_seconds: store.lag_seconds,
            slowest_seconds: hours()
                .filter_map(|hour| hour.delays.get(&store.name).copied())
                .max(),
        });
        let last = facts.last_backup();
        let mut open: Vec<&Condition> = conditions.iter().collect();
        open.sort_by_key(|it| std::cmp::Reverse(it.severity));
        let today = |at: Timestamp| at >= begin;
        let resolved = facts.resolved.iter().filter_map(|alert| alert.resolved);
        Report {
            at: facts.at,
            cluster: facts.cluster.clone(),
            day,
            stores: stores.collect(),
            window: facts.window.clone(),
            backups: facts.backups.len() as u64,
            backups_of_the_day: facts.backups.iter().filter(|it| today(it.stopped)).count() as u64,
            newest_backup: last.map(|backup| backup.id),
            newest_backup_age: last.map(|backup| seconds(facts.at, backup.stopped)),
            drill: facts.last_drill().map(|drill| DrillDay {
                store: drill.store.clone(),
                ended: drill.ended,
                ok: drill.ok,
                rto_seconds: drill.rto_seconds,
            }),
            open: open.iter().map(|it| it.message.clone()).collect(),
            resolved: resolved.filter(|at| today(*at)).count() as u64,
        }
    }

    /// One line: whether all is well.
    pub fn verdict(conditions: &[Condition]) -> &'static str {
        match conditions.iter().map(|it| it.severity).max() {
            None => "all is well",
            Some(Severity::Warning) => "something needs you",
            Some(Severity::Critical) => "something needs you now",
        }
    }
}

fn seconds(now: Timestamp, then: Timestamp) -> i64 {
    now.duration_since(then).as_secs().max(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Day {
            files,
            raw_bytes,
            stored_bytes,
        } = self.day;
        let share = match raw_bytes {
            0 => String::new(),
            raw => format!(" ({} %)", stored_bytes * 100 / raw),
        };
        writeln!(
            f,
            "shipped   {} in 24 hours: {} of WAL, stored as {}{share}",
            counted(files, "file", "files"),
            ByteSize(raw_bytes),
            ByteSize(stored_bytes)
        )?;
        for store in &self.stores {
            write!(f, "{:<9} {}", store.store, ByteSize(store.stored_bytes))?;
            match store.behind_files {
                0 => write!(f, ", nothing to go")?,
                files => write!(
                    f,
                    ", {} to go ({})",
                    counted(files, "file", "files"),
                    ByteSize(store.behind_bytes)
                )?,
            }
            if let Some(lag) = store.lag_seconds {
                write!(f, ", {} behind", span(lag))?;
            }
            if let Some(slowest) = store.slowest_seconds {
                write!(f, ", the slowest file took {}", span(slowest))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "restore   {}", window_line(&self.window))?;
        match (self.newest_backup, self.newest_backup_age) {
            (Some(newest), Some(age)) => writeln!(
                f,
                "backups   {}, {} of this day, the newest {newest}, {} old",
                self.backups,
                self.backups_of_the_day,
                span(age)
            )?,
            _ => writeln!(f, "backups   none")?,
        }
        writeln!(f, "drill     {}", drill_line(self.drill.as_ref(), self.at))?;
        let resolved = match self.resolved {
            0 => String::new(),
            number => format!("; {number} resolved in 24 hours"),
        };
        match self.open.as_slice() {
            [] => writeln!(f, "alerts    none is open{resolved}")?,
            open => {
                writeln!(f, "alerts    {} open{resolved}", open.len())?;
                for message in open {
                    writeln!(f, "! {message}")?;
                }
            }
        }
        Ok(())
    }
}

/// Which moments can be restored, for people.
pub fn window_line(window: &[Span]) -> String {
    let (Some(first), Some(last)) = (window.first(), window.last()) else {
        return "nothing yet: there is no base backup with its WAL".to_owned();
    };
    let long = span(last.to.duration_since(first.from).as_secs());
    let time = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let gaps = match window.len() - 1 {
        0 => String::new(),
        gaps => format!(", but for {}", counted(gaps as u64, "gap", "gaps")),
    };
    format!(
        "any moment from {} to {} UTC ({long}){gaps}",
        time(first.from),
        time(last.to)
    )
}

fn drill_line(drill: Option<&DrillDay>, now: Timestamp) -> String {
    let Some(drill) = drill else {
        return "none yet".to_owned();
    };
    let ago = span(seconds(now, drill.ended));
    match (drill.ok, drill.rto_seconds) {
        (true, Some(rto)) => format!(
            "the last one {ago} ago from \"{}\": {} until the cluster answered",
            drill.store,
            span(rto.round() as i64)
        ),
        (true, None) => format!("the last one {ago} ago from \"{}\" succeeded", drill.store),
        (false, _) => format!("the last one {ago} ago from \"{}\" FAILED", drill.store),
    }
}
