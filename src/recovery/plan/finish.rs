//! What is said about a way that was chosen: its legs, who has what of it,
//! what is missing behind the target, and which moments can be reached.

use super::{
    Stop, Target,
    aim::{Aim, Draft},
    answer::{Gap, Leg, Plan, Reach},
    archive::{Backup, Commit, Holder},
    choice::Choice,
    track::Track,
};
use crate::postgres::TimelineId;

impl Aim<'_> {
    /// The plan that a draft comes to.
    pub(super) fn finish(&self, track: &Track, draft: Draft) -> Result<Plan, Stop> {
        let backup = draft.chosen.backup;
        let (first, last) = (track.number(backup.start), draft.last);
        let reach = track.reach(first).unwrap_or(last);
        let immediate = self.request.target == Target::Immediate;
        let (last_commit, gaps) = match immediate {
            true => (None, Vec::new()),
            false => (
                self.last_commit(track, first, reach)?,
                self.gaps(track, reach)?,
            ),
        };
        let streamed = track.streamed(first, last);
        // They are the last ones.
        let count = last + 1 - first - streamed.len() as u64;
        let segments = match count {
            0 => Vec::new(),
            count => track.ranges(first, first + count - 1),
        };
        let holders = self.archive.holders.iter().map(|holder| Holder {
            source: holder.source.clone(),
            segments: track.part(&holder.segments, first, last),
        });
        let timelines = track.ancestry.timelines();
        Ok(Plan {
            generation: self.archive.generation,
            system_identifier: self.archive.system_identifier,
            segment_size: self.archive.segment_size,
            backup: backup.clone(),
            because: because(&self.request.target, self.request.backup.is_some()),
            passed_over: draft.chosen.passed_over,
            timeline: track.timeline(),
            timeline_setting: self.timeline_setting(track.timeline()),
            way: legs(track, backup, last),
            holders: holders.collect(),
            segments,
            count,
            streamed,
            histories: timelines
                .filter(|timeline| self.archive.histories.contains_key(timeline))
                .collect(),
            end: track.end_of(reach),
            last_commit,
            gaps,
            doubts: draft.doubts,
        })
    }

    fn timeline_setting(&self, timeline: TimelineId) -> String {
        let exists = timeline == TimelineId(1) || self.archive.histories.contains_key(&timeline);
        match exists {
            true => timeline.to_string(),
            false => "current".to_owned(),
        }
    }

    /// Everything that is missing on the way behind segment `reach`.
    fn gaps(&self, track: &Track, mut reach: u64) -> Result<Vec<Gap>, Stop> {
        let mut gaps = Vec::new();
        while let Some(next) = track.next(reach) {
            gaps.push(self.gap(track, reach)?);
            reach = track.reach(next).unwrap_or(next);
        }
        Ok(gaps)
    }

    /// The gap behind segment `reach`, and the moments that it costs.
    pub(super) fn gap(&self, track: &Track, reach: u64) -> Result<Gap, Stop> {
        let next = track.next(reach).unwrap_or(reach + 2);
        let leading = self.everyone(track).leading();
        let start = |backup: &Backup| track.number(backup.start);
        let behind = leading.iter().filter(|backup| start(backup) >= next);
        let lost_to = behind.min_by_key(|backup| backup.stop);
        // Nothing of the run before it can be had without a backup in it.
        let run = track.runs().iter().find(|run| run.1 == reach);
        let usable = run.filter(|&&(first, last)| {
            let mut starts = leading.iter().map(|backup| start(backup));
            starts.any(|start| (first..=last).contains(&start))
        });
        let lost_from = match usable {
            Some(&(first, last)) => self.last_commit(track, first, last)?,
            None => None,
        };
        Ok(Gap {
            first: track.name(reach + 1),
            last: track.name(next - 1),
            segments: next - reach - 1,
            lost_from: lost_from.map(|commit| commit.time),
            lost_to: lost_to.map(|backup| backup.stopped),
        })
    }

    /// What can be reached on the way to a timeline, run by run.
    pub(super) fn reachable(&self, track: &Track) -> Result<Vec<Reach>, Stop> {
        let leading = self.everyone(track).leading();
        let mut reachable = Vec::new();
        for &(first, last) in track.runs() {
            let within = leading.iter().filter(|backup| {
                let start = track.number(backup.start);
                (first..=last).contains(&start)
            });
            let Some(backup) = within.min_by_key(|backup| backup.stop) else {
                continue;
            };
            let from = track.number(backup.start);
            reachable.push(Reach {
                timeline: track.timeline(),
                backup: backup.id.clone(),
                from: backup.stop,
                from_time: backup.stopped,
                to: track.end_of(last),
                to_time: self.lookup(track).last_end(from, last)?,
            });
        }
        Ok(reachable)
    }

    fn last_commit(&self, track: &Track, first: u64, last: u64) -> Result<Option<Commit>, Stop> {
        self.lookup(track).last_commit(first, last)
    }

    /// Every backup, whichever was asked for.
    fn everyone<'t>(&self, track: &'t Track) -> Choice<'_, 't> {
        Choice {
            archive: self.archive,
            track,
            asked: None,
            own: false,
        }
    }
}

fn because(target: &Target, asked: bool) -> &'static str {
    if asked {
        return "it was asked for";
    }
    match target {
        Target::Latest | Target::Immediate => "the newest that leads to the timeline",
        Target::Time(_) => "the newest that had ended by then",
        Target::Lsn(_) => "the newest that ends at or before the position",
        Target::Xid(_) => "the newest that ended before the transaction can have",
        Target::Name(_) => "the newest that ends before the restore point",
    }
}

/// The timelines that are replayed up to the end of segment `last`.
fn legs(track: &Track, backup: &Backup, last: u64) -> Vec<Leg> {
    let end = track.end_of(last);
    let mut from = backup.start;
    let mut legs = Vec::new();
    loop {
        let timeline = track.ancestry.owner(from);
        let left_at = track.ancestry.left_at(timeline).filter(|left| *left < end);
        legs.push(Leg {
            timeline,
            from,
            left_at,
        });
        match left_at {
            Some(left) if left > from => from = left,
            _ => return legs,
        }
    }
}
