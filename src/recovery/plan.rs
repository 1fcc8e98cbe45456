//! What a recovery will do, settled before a disk is touched: which backup,
//! which timelines, which segments, and whether the target can be reached at
//! all. A pure function from what an archive contains to a plan or a refusal.
//!
//! The rules are PostgreSQL's (`validateRecoveryParameters`,
//! `recoveryStopsBefore`, `recoveryStopsAfter`, xlogrecovery.c). What a segment
//! can stop a recovery at, its moments, costs a request to learn from a bare
//! bucket. So planning goes in steps: a step that lacks some names them, and is
//! repeated when they are known.

mod aim;
mod answer;
mod archive;
mod choice;
mod finish;
mod lookup;
mod track;

#[cfg(test)]
pub(crate) mod tests;

use jiff::Timestamp;

use self::{
    aim::{Aim, Draft},
    track::Track,
};
pub use self::{
    answer::{Doubt, Gap, Leg, Plan, Reach, Reason, Refusal, Unfit},
    archive::{Archive, Backup, Commit, Holder, Known, Moments, RestorePoint, Source, Streamed},
};
use crate::postgres::{Lsn, SegmentName, TimelineId};

/// Where recovery stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// At the end of the WAL.
    Latest,
    /// As soon as the backup is consistent.
    Immediate,
    /// By the server's clock, at the end of a transaction.
    Time(Timestamp),
    /// At a position.
    Lsn(Lsn),
    /// At the end of this transaction. With its epoch, or, below 2^32,
    /// without: then the latest transaction of this number.
    Xid(u64),
    /// At a restore point.
    Name(String),
}

/// Which timeline is recovered (`recovery_target_timeline`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelineChoice {
    /// The one with the highest number.
    Latest,
    /// The backup's own.
    Current,
    /// This one.
    Number(TimelineId),
}

/// What is asked of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where it stops.
    pub target: Target,
    /// Whether it stops just before the target, and not just behind it.
    pub exclusive: bool,
    /// On which timeline. `None`: the one that the target is on; the latest
    /// for [`Target::Latest`] and [`Target::Xid`], the newest backup's for
    /// [`Target::Immediate`].
    pub timeline: Option<TimelineChoice>,
    /// From this backup and no other.
    pub backup: Option<String>,
}

/// How far planning has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The moments of these segments are needed: learn them, add them to what
    /// is known (`None` where nobody can say), and plan again.
    Need(Vec<SegmentName>),
    /// The target can be reached.
    Done(Box<Plan>),
    /// It cannot.
    Refused(Refusal),
}

/// One step of planning. It asks for no segment that is `known`, so that it
/// comes to an end.
pub fn plan(request: &Request, archive: &Archive, known: &Known) -> Step {
    let aim = Aim {
        request,
        archive,
        known,
    };
    let refusal = match choose_timeline(&aim) {
        Ok(plan) => return Step::Done(Box::new(plan)),
        Err(Stop::Need(segments)) => return Step::Need(segments),
        Err(Stop::Refused(reason)) => *reason,
    };
    match reachable(&aim) {
        Ok(reachable) => Step::Refused(Refusal {
            reason: refusal,
            reachable,
        }),
        Err(Stop::Need(segments)) => Step::Need(segments),
        Err(Stop::Refused(reason)) => Step::Refused(Refusal {
            reason: *reason,
            reachable: Vec::new(),
        }),
    }
}

/// Why there is no plan yet.
#[derive(Debug)]
enum Stop {
    Need(Vec<SegmentName>),
    Refused(Box<Reason>),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Stop::Refused(Box::new(reason))
    }
}

fn choose_timeline(aim: &Aim) -> Result<Plan, Stop> {
    let choice = aim.request.timeline.or(match aim.request.target {
        Target::Latest | Target::Xid(_) => Some(TimelineChoice::Latest),
        Target::Immediate | Target::Time(_) | Target::Lsn(_) | Target::Name(_) => None,
    });
    let timelines = aim.archive.timelines();
    match choice {
        None if aim.request.target == Target::Immediate => on_any(aim, &timelines),
        None => wherever_it_is(aim, &timelines),
        Some(TimelineChoice::Current) => on_a_backups_own(aim),
        Some(TimelineChoice::Latest) => {
            let latest = timelines.last().copied().unwrap_or(TimelineId(1));
            along(aim, latest, false)
        }
        Some(TimelineChoice::Number(timeline)) if timelines.contains(&timeline) => {
            along(aim, timeline, false)
        }
        Some(TimelineChoice::Number(timeline)) => Err(Reason::UnknownTimeline {
            timeline,
            known: timelines,
        }
        .into()),
    }
}

fn along(aim: &Aim, timeline: TimelineId, own: bool) -> Result<Plan, Stop> {
    let track = Track::to(timeline, aim.archive);
    let draft = aim.along(&track, own)?;
    aim.finish(&track, draft)
}

/// `current`: the newest backup that is early enough says which timeline.
fn on_a_backups_own(aim: &Aim) -> Result<Plan, Stop> {
    let mut backups: Vec<_> = aim.archive.backups.iter().collect();
    backups.sort_by_key(|backup| std::cmp::Reverse((backup.stopped, &backup.id)));
    let asked = aim.request.backup.as_deref();
    backups.retain(|backup| asked.is_none_or(|asked| asked == backup.id));
    let mut tried = Vec::new();
    let mut refusals = Vec::new();
    for backup in backups {
        if tried.contains(&backup.timeline) {
            continue;
        }
        tried.push(backup.timeline);
        match along(aim, backup.timeline, true) {
            Err(Stop::Refused(reason)) if reason.is_about_backups() => {
                refusals.push(*reason);
            }
            settled => return settled,
        }
    }
    match most_telling(refusals) {
        Some(reason) => Err(reason.into()),
        // No backup, or not the one that was asked for: any timeline says so.
        None => along(aim, TimelineId(1), false),
    }
}

/// The end of a backup is on its own timeline. But where the WAL that it needs
/// is missing there, a younger timeline's first segment can stand in for it.
fn on_any(aim: &Aim, timelines: &[TimelineId]) -> Result<Plan, Stop> {
    let own = on_a_backups_own(aim);
    match &own {
        Err(Stop::Refused(reason)) if reason.is_about_backups() => {}
        _ => return own,
    }
    let mut others = timelines.iter().rev();
    let other = others.find_map(|&timeline| along(aim, timeline, false).ok());
    other.map_or(own, Ok)
}

/// No timeline is given: the one on which the target is, if that is one.
fn wherever_it_is(aim: &Aim, timelines: &[TimelineId]) -> Result<Plan, Stop> {
    let mut needed = Vec::new();
    let mut drafts: Vec<(Track, Draft)> = Vec::new();
    let mut refusals = Vec::new();
    for &timeline in timelines.iter().rev() {
        let track = Track::to(timeline, aim.archive);
        match aim.along(&track, false) {
            Ok(draft) => drafts.push((track, draft)),
            Err(Stop::Need(segments)) => needed.extend(segments),
            Err(Stop::Refused(reason)) => refusals.push(*reason),
        }
    }
    if !needed.is_empty() {
        needed.sort_unstable();
        needed.dedup();
        return Err(Stop::Need(needed));
    }
    let mut places: Vec<_> = drafts.iter().map(|(_, draft)| draft.place).collect();
    places.sort_unstable();
    places.dedup();
    if places.len() > 1 {
        let mut timelines: Vec<_> = places.iter().map(|place| place.0).collect();
        timelines.dedup();
        if timelines.len() == 1 {
            timelines = drafts.iter().map(|(track, _)| track.timeline()).collect();
            timelines.sort_unstable();
        }
        return Err(Reason::AmbiguousTimeline { timelines }.into());
    }
    // They agree. The timeline that the target is on makes the new one's
    // history short: PostgreSQL writes the whole way of its target timeline
    // into it, wherever on the way it stopped.
    let own = drafts
        .iter()
        .position(|(track, draft)| track.timeline() == draft.place.0);
    if !drafts.is_empty() {
        let (track, draft) = drafts.swap_remove(own.unwrap_or(0));
        return aim.finish(&track, draft);
    }
    match most_telling(refusals) {
        Some(reason) => Err(reason.into()),
        // There is a first timeline, whatever is archived.
        None => Err(Reason::NoBackups.into()),
    }
}

/// Of several timelines' reasons, the one that says most; the first of those.
fn most_telling(reasons: Vec<Reason>) -> Option<Reason> {
    reasons.into_iter().min_by_key(|reason| reason.rank())
}

/// What could be reached instead, timeline by timeline.
fn reachable(aim: &Aim) -> Result<Vec<Reach>, Stop> {
    let timelines = match aim.request.timeline {
        Some(TimelineChoice::Number(timeline)) if aim.archive.timelines().contains(&timeline) => {
            vec![timeline]
        }
        _ => aim.archive.timelines(),
    };
    let mut reachable = Vec::new();
    for timeline in timelines {
        reachable.extend(aim.reachable(&Track::to(timeline, aim.archive))?);
    }
    Ok(reachable)
}
