//! `[schedule]`: when the daemon does what it does by itself. Pure: when a job
//! is due follows from values.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{
    SignedDuration, Timestamp,
    civil::{Time, Weekday, time},
    tz::TimeZone,
};
use serde::{Deserialize, Deserializer, de::Error};

/// What the daemon can do by itself. A job that more depends on comes first:
/// so they are done where several are due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// `backup create --full`.
    FullBackup,
    /// `backup create`.
    Backup,
    /// `prune --yes`.
    Prune,
    /// `verify`.
    Verify,
    /// `drill`.
    Drill,
    /// `verify --deep`.
    DeepVerify,
}

impl Job {
    /// Every job, in the order in which they are done.
    pub const ALL: [Job; 6] = [
        Job::FullBackup,
        Job::Backup,
        Job::Prune,
        Job::Verify,
        Job::Drill,
        Job::DeepVerify,
    ];

    /// Its key in `[schedule]`, and its name in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Job::FullBackup => "full_backup",
            Job::Backup => "backup",
            Job::Prune => "prune",
            Job::Verify => "verify",
            Job::Drill => "drill",
            Job::DeepVerify => "deep_verify",
        }
    }

    /// The arguments of `walkeep` that do it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Job::FullBackup => &["backup", "create", "--full"],
            Job::Backup => &["backup", "create"],
            Job::Prune => &["prune", "--yes"],
            Job::Verify => &["verify"],
            Job::Drill => &["drill"],
            Job::DeepVerify => &["verify", "--deep"],
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Not at all.
    Never,
    /// So long after it was last begun; at once where it never was.
    Every(Duration),
    /// At each full hour.
    Hourly,
    /// Each day at this time.
    Daily(Time),
    /// Each week on this day at this time.
    Weekly(Weekday, Time),
}

/// Where no time is given: as systemd has `daily` and `weekly`.
const MIDNIGHT: Time = time(0, 0, 0, 0);
const FIRST_DAY: Weekday = Weekday::Monday;

impl Schedule {
    /// When a job is due that was last begun at `last`, or, where it never
    /// was, is scheduled `since` then. `None`: never. A moment that has passed
    /// was missed: the job is due once, at once.
    ///
    /// Times are those of clocks in `zone`. One that a clock skips (in spring)
    /// is the first one behind the gap; one that it shows twice (in autumn) is
    /// the first of the two.
    pub fn due(
        &self,
        since: Timestamp,
        last: Option<Timestamp>,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let after = last.unwrap_or(since);
        match *self {
            Schedule::Never => None,
            Schedule::Every(period) => match last {
                None => Some(since),
                Some(last) => last.checked_add(period).ok(),
            },
            Schedule::Hourly => next_hour(after, zone),
            Schedule::Daily(at) => next_day(after, zone, None, at),
            Schedule::Weekly(day, at) => next_day(after, zone, Some(day), at),
        }
    }
}

/// The first full hour of clocks in `zone` behind `after`.
fn next_hour(after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let mut at = after;
    // Again where a zone's offset changes by a part of an hour in between.
    for _ in 0..3 {
        let clock = at.to_zoned(zone.clone());
        let into = i64::from(clock.minute()) * 60 + i64::from(clock.second());
        let whole = at.checked_sub(SignedDuration::from_nanos(clock.subsec_nanosecond().into()));
        let left = if into == 0 && at > after {
            0
        } else {
            3600 - into
        };
        at = whole
            .ok()?
            .checked_add(SignedDuration::from_secs(left))
            .ok()?;
        if left == 0 {
            break;
        }
    }
    Some(at)
}

/// The first time behind `after` that a clock in `zone` shows `at`, on a `day`
/// of the week or on any.
fn next_day(
    after: Timestamp,
    zone: &TimeZone,
    day: Option<Weekday>,
    at: Time,
) -> Option<Timestamp> {
    // The day before: in it, a clock that is put back comes by again.
    let mut date = zone.to_datetime(after).date().yesterday().ok()?;
    for _ in 0..10 {
        let moment = zone.to_timestamp(date.to_datetime(at)).ok()?;
        if moment > after && day.is_none_or(|day| day == date.weekday()) {
            return Some(moment);
        }
        date = date.tomorrow().ok()?;
    }
    None
}

/// The text says no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a schedule, such as \"daily 02:00\", \"weekly sun 03:00\", \"hourly\", \
     \"every 6h\" or \"never\""
)]
pub struct InvalidSchedule(String);

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let parsed = match words[..] {
            ["never"] => Some(Schedule::Never),
            ["hourly"] => Some(Schedule::Hourly),
            ["daily"] => Some(Schedule::Daily(MIDNIGHT)),
            ["daily", at] => clock(at).map(Schedule::Daily),
            ["weekly"] => Some(Schedule::Weekly(FIRST_DAY, MIDNIGHT)),
            ["weekly", day] => weekday(day).map(|day| Schedule::Weekly(day, MIDNIGHT)),
            ["weekly", day, at] => {
                let both = weekday(day).zip(clock(at));
                both.map(|(day, at)| Schedule::Weekly(day, at))
            }
            ["every", ref period @ ..] => {
                let period = humantime::parse_duration(&period.join(" ")).ok();
                // More often than any job ends.
                let period = period.filter(|period| *period >= Duration::from_secs(1));
                period.map(Schedule::Every)
            }
            _ => None,
        };
        parsed.ok_or_else(|| InvalidSchedule(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// `02:00`.
fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let both = is_number(hour) && is_number(minute);
    (both && (1..=2).contains(&hour.len()) && minute.len() == 2).then_some(())?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// By its first three letters, or all of them.
fn weekday(text: &str) -> Option<Weekday> {
    const DAYS: [(&str, Weekday); 7] = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let named = DAYS
        .iter()
        .find(|(name, _)| text == *name || text == &name[..3]);
    named.map(|(_, day)| *day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(schedule: &str, last: &str, zone: &str) -> String {
        let schedule: Schedule = schedule.parse().unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let last: Timestamp = last.parse().unwrap();
        let since = last.checked_sub(SignedDuration::from_hours(1000)).unwrap();
        let due = schedule.due(since, Some(last), &zone).unwrap();
        // One that was never begun counts from its schedule on.
        let first = match schedule {
            Schedule::Every(_) => last,
            _ => due,
        };
        assert_eq!(schedule.due(last, None, &zone), Some(first));
        assert!(due > last);
        due.to_string()
    }

    #[test]
    fn schedules_are_read_or_refused_with_what_would_do() {
        let parse = |text: &str| text.parse::<Schedule>();
        for (text, expected) in [
            ("never", Schedule::Never),
            ("hourly", Schedule::Hourly),
            ("daily", Schedule::Daily(MIDNIGHT)),
            ("daily 02:00", Schedule::Daily(time(2, 0, 0, 0))),
            ("Daily 9:30", Schedule::Daily(time(9, 30, 0, 0))),
            ("weekly", Schedule::Weekly(Weekday::Monday, MIDNIGHT)),
            ("weekly sun", Schedule::Weekly(Weekday::Sunday, MIDNIGHT)),
            (
                "weekly  saturday 23:59",
                Schedule::Weekly(Weekday::Saturday, time(23, 59, 0, 0)),
            ),
            ("every 6h", Schedule::Every(Duration::from_secs(21_600))),
            ("every 1h 30m", Schedule::Every(Duration::from_secs(5400))),
            ("every 2s", Schedule::Every(Duration::from_secs(2))),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "dayly",
            "daily 24:00",
            "daily 2",
            "daily 02:60",
            "daily +2:00",
            "daily 02:0",
            "weekly 02:00",
            "weekly so",
            "every",
            "every day",
            "every 0s",
            "every 10ms",
            "hourly 5",
            "monthly",
        ] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains("such as \"daily 02:00\""), "{refused}");
        }
    }

    #[test]
    fn days_and_weeks_are_those_of_the_clock() {
        for (schedule, last, expected) in [
            (
                "daily 02:00",
                "2026-11-20T00:59:59Z",
                "2026-11-20T01:00:00Z",
            ),
            (
                "daily 02:00",
                "2026-11-20T01:00:00Z",
                "2026-11-21T01:00:00Z",
            ),
            (
                "daily 02:00",
                "2026-11-20T01:00:07Z",
                "2026-11-21T01:00:00Z",
            ),
            ("daily", "2026-11-20T12:00:00Z", "2026-11-20T23:00:00Z"),
            // A Friday.
            ("weekly", "2026-11-20T12:00:00Z", "2026-11-22T23:00:00Z"),
            (
                "weekly fri 14:00",
                "2026-11-20T12:00:00Z",
                "2026-11-20T13:00:00Z",
            ),
            (
                "weekly fri 13:00",
                "2026-11-20T12:00:00Z",
                "2026-11-27T12:00:00Z",
            ),
            ("hourly", "2026-11-20T12:00:00Z", "2026-11-20T13:00:00Z"),
            ("hourly", "2026-11-20T12:59:59.5Z", "2026-11-20T13:00:00Z"),
            (
                "every 6h",
                "2026-11-20T12:00:00.25Z",
                "2026-11-20T18:00:00.25Z",
            ),
        ] {
            assert_eq!(due(schedule, last, "Europe/Berlin"), expected, "{schedule}");
        }
        // A zone with half an hour.
        let india = due("hourly", "2026-11-20T12:00:00Z", "Asia/Kolkata");
        assert_eq!(india, "2026-11-20T12:30:00Z");
    }

    #[test]
    fn a_clock_that_is_set_neither_skips_a_day_nor_doubles_one() {
        // In Berlin 2026-03-29 has no 02:00 to 03:00, and 2026-10-25 has two.
        for (schedule, last, expected) in [
            (
                "daily 02:30",
                "2026-03-28T01:30:00Z",
                "2026-03-29T01:30:00Z",
            ),
            (
                "daily 02:30",
                "2026-03-29T01:30:00Z",
                "2026-03-30T00:30:00Z",
            ),
            (
                "daily 02:30",
                "2026-10-24T00:30:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "daily 02:30",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
            // Begun late, when the clock shows that time again.
            (
                "daily 02:30",
                "2026-10-25T01:10:00Z",
                "2026-10-26T01:30:00Z",
            ),
            (
                "daily 23:00",
                "2026-03-28T22:00:00Z",
                "2026-03-29T21:00:00Z",
            ),
            (
                "weekly sun 02:00",
                "2026-10-18T00:00:00Z",
                "2026-10-25T00:00:00Z",
            ),
            (
                "weekly sun 02:00",
                "2026-10-25T00:00:00Z",
                "2026-11-01T01:00:00Z",
            ),
            ("hourly", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
            ("hourly", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
            ("every 24h", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
        ] {
            assert_eq!(
                due(schedule, last, "Europe/Berlin"),
                expected,
                "{schedule} {last}"
            );
        }
        // Lord Howe's clocks are set by half an hour.
        let before = "2026-10-03T15:10:00Z";
        assert_eq!(
            due("hourly", before, "Australia/Lord_Howe"),
            "2026-10-03T16:00:00Z"
        );
    }

    #[test]
    fn what_was_missed_is_due_once() {
        let schedule: Schedule = "daily 02:00".parse().unwrap();
        let (last, now) = ("2026-11-01T02:00:03Z", "2026-11-20T14:30:00Z");
        let (last, now): (Timestamp, Timestamp) = (last.parse().unwrap(), now.parse().unwrap());
        let due = schedule.due(last, Some(last), &TimeZone::UTC).unwrap();
        assert_eq!(due.to_string(), "2026-11-02T02:00:00Z");
        assert!(due < now);
        // Begun then, the next one is tomorrow's.
        let next = schedule.due(last, Some(now), &TimeZone::UTC).unwrap();
        assert_eq!(next.to_string(), "2026-11-21T02:00:00Z");
        assert_eq!(Schedule::Never.due(last, None, &TimeZone::UTC), None);
    }
}
