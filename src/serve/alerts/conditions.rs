//! What is not as it should be: pure, from facts and thresholds.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::{SignedDuration, Timestamp};

use super::{Condition, Kind::*, server, stream};
use crate::{
    catalog::{
        EventKind, FlawKind, KnownGap,
        Severity::{Critical, Warning},
    },
    config::{AlertSettings, Config},
    serve::facts::{Facts, StoreView},
};

/// Above these clocks differ too much, in seconds: signatures are of the
/// minute, and stores refuse those of another quarter of an hour.
pub const SKEW_WARNING: i64 = 60;
/// See [`SKEW_WARNING`].
pub const SKEW_CRITICAL: i64 = 5 * 60;

/// From which point on something is not as it should be.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds<'a> {
    /// The `[alerts]` table.
    pub alerts: &'a AlertSettings,
    /// How far back any moment should be restorable.
    pub window: Duration,
}

impl<'a> Thresholds<'a> {
    /// Those of a configuration.
    pub fn of(config: &'a Config) -> Self {
        Thresholds {
            alerts: &config.alerts,
            window: config.retention.window,
        }
    }
}

/// Everything that is not as it should be, in the order in which somebody
/// would look at it.
pub fn conditions(facts: &Facts, thresholds: Thresholds) -> Vec<Condition> {
    let mut found = Vec::new();
    staging(facts, thresholds, &mut found);
    if let Some(problem) = &facts.no_catalog {
        found.push(Condition::new(Catalog, Critical, problem.as_str()).passing());
    }
    if facts.wants_rebuild {
        found.push(Condition::new(
            Catalog,
            Warning,
            "the catalog was begun anew and does not know what the stores held before: run \
             `walkeep catalog rebuild`",
        ));
    }
    found.extend(facts.events.iter().map(|event| tell(&event.kind)));
    server::server(facts, thresholds, &mut found);
    stream::stream(facts, thresholds, &mut found);
    for store in &facts.stores {
        of_store(store, thresholds, &mut found);
    }
    archive(facts, thresholds, &mut found);
    for sink in &facts.sinks {
        if let Some((error, _)) = &sink.failing {
            let message = format!(
                "alerts do not get out by the sink \"{}\": {error}; try `walkeep alerts test {}`",
                sink.name, sink.name
            );
            found.push(Condition::new(Sink, Warning, message).of(&sink.name));
        }
    }
    found
}

fn staging(facts: &Facts, thresholds: Thresholds, found: &mut Vec<Condition>) {
    let staging = match &facts.staging {
        None => return,
        Some(Err(problem)) => {
            return found.push(Condition::new(Staging, Critical, problem.as_str()));
        }
        Some(Ok(staging)) => staging,
    };
    // Copies that every store has make room by themselves.
    if staging.bytes <= thresholds.alerts.staging {
        return;
    }
    let (bytes, most) = (ByteSize(staging.bytes), ByteSize(staging.max_bytes));
    let full = staging.bytes >= staging.max_bytes;
    let message = format!(
        "staging holds {bytes} of {most}: when it is full PostgreSQL keeps its WAL in pg_wal; see \
         which store does not take its files"
    );
    let severity = if full { Critical } else { Warning };
    found.push(Condition::new(StagingFull, severity, message));
}

fn tell(event: &EventKind) -> Condition {
    match event {
        EventKind::Conflict {
            name,
            store,
            expected,
            found,
            ..
        } => {
            let message = format!(
                "split brain: \"{name}\" has SHA-256 {expected}, but \"{store}\" has {found}; \
                 find out which server should write to this archive"
            );
            Condition::new(Conflict, Critical, message).of(format!("{name}/{store}"))
        }
        EventKind::Refused { file, reason } => {
            let message = format!("\"{file}\" in staging is not shipped: {reason}");
            Condition::new(Refused, Critical, message).of(file)
        }
    }
}

fn of_store(view: &StoreView, thresholds: Thresholds, found: &mut Vec<Condition>) {
    let StoreView { name, .. } = view;
    let mut add = |it: Condition| found.push(it.of(name));
    if let Some((error, _)) = &view.failing {
        add(Condition::new(Store, Warning, error.as_str()).passing());
    }
    let lag = view.lag_seconds.unwrap_or(0);
    if Duration::from_secs(lag.unsigned_abs()) > thresholds.alerts.lag {
        let files = counted(view.waiting_files, "staged file", "staged files");
        let lag = span(lag);
        let message =
            format!("store \"{name}\" lacks {files}, the oldest for {lag}: is `walkeep ship` run?");
        add(Condition::new(Lag, Critical, message));
    }
    if view.owed > 0 {
        let files = counted(view.owed, "file is", "files are");
        let message = format!(
            "{files} owed to store \"{name}\": the next `walkeep ship` copies them from another \
             store, once it takes them"
        );
        add(Condition::new(Owed, Warning, message));
    }
    if view.suspect > 0 {
        let objects = counted(view.suspect, "damaged object", "damaged objects");
        let message =
            format!("{objects} in store \"{name}\": run `walkeep verify --deep --repair`");
        add(Condition::new(Damaged, Critical, message));
    }
    let missing = view.flaws.iter().filter(|it| it.kind == FlawKind::Missing);
    let missing = missing.count() as u64;
    let damaged = view.flaws.len() as u64 - missing;
    if missing > 0 {
        let objects = counted(missing, "object", "objects");
        let message = format!(
            "store \"{name}\" lacks {objects} of base backups: run `walkeep verify --repair`"
        );
        add(Condition::new(Missing, Critical, message));
    }
    if damaged > 0 {
        let objects = counted(damaged, "object", "objects");
        let message = format!(
            "{objects} of base backups in store \"{name}\" are damaged: run `walkeep verify --deep \
             --repair`"
        );
        add(Condition::new(DamagedBackup, Critical, message));
    }
    let skew = view.clock_skew_seconds.unwrap_or(0);
    if skew.abs() >= SKEW_WARNING {
        let way = if skew < 0 { "behind" } else { "ahead of" };
        let message = format!(
            "this host's clock is {} {way} that of store \"{name}\": set it (NTP)",
            span(skew.abs())
        );
        let worse = skew.abs() >= SKEW_CRITICAL;
        let severity = if worse { Critical } else { Warning };
        add(Condition::new(Clock, severity, message));
    }
}

/// What can be restored, and whether that was tried.
fn archive(facts: &Facts, thresholds: Thresholds, found: &mut Vec<Condition>) {
    for known in facts.gaps.iter().filter(|known| known.needs_person) {
        found.push(gap(known).of(known.gap.first.to_string()).passing());
    }
    let age = |since: Timestamp| facts.at.duration_since(since);
    // Nothing is too old for an archive that is younger.
    let archive = facts.since.map(age).unwrap_or_default();
    if let Some(limit) = thresholds.alerts.backup_age.map(signed)
        && archive > limit
    {
        match facts.last_backup() {
            None => found.push(Condition::new(
                BackupAge,
                Critical,
                "there is no base backup, without which no WAL can be restored: run `walkeep \
                 backup create`",
            )),
            Some(last) if age(last.stopped) > limit => {
                let message = format!(
                    "the newest base backup, {}, is {} old: run `walkeep backup create`, and see \
                     why it was not",
                    last.id,
                    span(age(last.stopped).as_secs())
                );
                found.push(Condition::new(BackupAge, Warning, message));
            }
            Some(_) => {}
        }
    }
    drills(facts, thresholds, found);
    jobs(facts, found);
    let window = signed(thresholds.window);
    // A cluster's first backup comes some days after its first segment.
    let first = facts.window.first().map(|span| age(span.from));
    if let Some(first) = first.filter(|first| *first < window && archive > window + window / 10) {
        let message = format!(
            "the last {} can be restored, and retention.window asks for {}: see `walkeep backup \
             list` for what became of older backups",
            span(first.as_secs()),
            span(window.as_secs())
        );
        found.push(Condition::new(Window, Warning, message));
    }
}

/// What was scheduled and failed; of a drill its own record says more.
fn jobs(facts: &Facts, found: &mut Vec<Condition>) {
    let failed = facts.jobs.iter().filter(|(_, job)| job.ok == Some(false));
    for (name, job) in failed.filter(|(name, _)| *name != "drill") {
        let error = job.error.as_deref().unwrap_or("it did not say why");
        let at = job.ended.map(|at| format!(" at {at}")).unwrap_or_default();
        let message = format!(
            "the scheduled {name} failed{at}: {error}; run it by hand, or wait for the next time"
        );
        found.push(Condition::new(Job, Warning, message).of(name));
    }
}

fn drills(facts: &Facts, thresholds: Thresholds, found: &mut Vec<Condition>) {
    let age = |since: Timestamp| facts.at.duration_since(since);
    if let Some(last) = facts.last_drill().filter(|last| !last.ok) {
        let error = last.error.as_deref().unwrap_or("it did not pass");
        let message = format!(
            "the last drill, from store \"{}\" at {}, failed: {error}; run `walkeep drill`",
            last.store, last.begun
        );
        found.push(Condition::new(Drill, Critical, message));
    }
    // Who makes none, and asks for none, is not told that they are old.
    let job = facts.jobs.get("drill").map(|job| job.since);
    let first = facts.drills.iter().map(|drill| drill.begun).min();
    let asked = facts.since.filter(|_| thresholds.alerts.expects_drills);
    let Some(begun) = job.into_iter().chain(first).chain(asked).min() else {
        return;
    };
    let Some(limit) = thresholds.alerts.drill_age.map(signed) else {
        return;
    };
    let good = facts.last_good_drill().map(|drill| drill.ended);
    if age(good.unwrap_or(begun)) <= limit {
        return;
    }
    let message = match good {
        Some(good) => format!(
            "the newest successful drill is {} old: run `walkeep drill`",
            span(age(good).as_secs())
        ),
        None => "no drill has succeeded yet, so that nobody knows whether the backups can be \
                 restored: run `walkeep drill`"
            .to_owned(),
    };
    found.push(Condition::new(DrillAge, Warning, message));
}

fn gap(known: &KnownGap) -> Condition {
    let (first, last) = (known.gap.first, known.gap.last);
    let segments = counted(known.gap.segments, "segment is", "segments are");
    let lost = match (known.last_commit_before, known.first_commit_after) {
        (Some(from), Some(to)) => {
            format!(", and with it what was committed between {from} and {to}")
        }
        (Some(from), None) => format!(", and with it what was committed after {from}"),
        _ => String::new(),
    };
    let next = match (&known.acknowledged, known.restorable_from) {
        (None, None) => {
            "run `walkeep verify --repair`; where nobody has it, `walkeep backup create` \
                         and `walkeep gap ack`"
        }
        (None, Some(_)) => {
            "run `walkeep verify --repair`, or `walkeep gap ack` where nobody has it"
        }
        (Some(_), _) => "run `walkeep backup create`, so that every store has a backup behind it",
    };
    let message =
        format!("gap in the WAL: {segments} missing from \"{first}\" to \"{last}\"{lost}; {next}");
    Condition::new(Gap, Critical, message)
}

pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A number of things, in the grammar that the number asks for.
pub fn counted(number: u64, one: &str, more: &str) -> String {
    let words = if number == 1 { one } else { more };
    format!("{number} {words}")
}

/// Some seconds, for people: `1h 20m`.
pub fn span(seconds: i64) -> String {
    // Nobody asks for the seconds of an hour.
    let rounded = match seconds {
        ..600 => seconds,
        600..172_800 => seconds - seconds % 60,
        _ => seconds - seconds % 3600,
    };
    format!("{:#}", SignedDuration::from_secs(rounded))
}

#[cfg(test)]
mod tests;
