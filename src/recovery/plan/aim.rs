//! A target on the way to one timeline: where recovery stops there, and from
//! which backup it comes.

use jiff::Timestamp;

use super::{
    Moments, Request, Stop, Target,
    answer::{Doubt, Reason, Unfit},
    archive::{Archive, Backup, Known},
    choice::{Choice, Chosen},
    lookup::{Found, Lookup},
    track::Track,
};
use crate::postgres::{Lsn, TimelineId};

/// What is asked, of what, with what is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim<'a> {
    pub(super) request: &'a Request,
    pub(super) archive: &'a Archive,
    pub(super) known: &'a Known,
}

/// A plan's decisions.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) chosen: Chosen<'a>,
    /// The number of the last segment that is needed.
    pub(super) last: u64,
    /// Which state it is: two drafts of the same are of the same timeline, and,
    /// where a timeline has several, the same position.
    pub(super) place: (TimelineId, Option<Lsn>),
    pub(super) doubts: Vec<Doubt>,
}

impl<'a> Aim<'a> {
    /// How the target is reached on the way to the track's timeline; `own`
    /// wants a backup of that timeline itself.
    pub(super) fn along(&self, track: &Track, own: bool) -> Result<Draft<'a>, Stop> {
        let choice = Choice {
            archive: self.archive,
            track,
            asked: self.request.backup.as_deref(),
            own,
        };
        match &self.request.target {
            Target::Immediate => {
                let chosen = choice.newest(|_| Ok(()))?;
                Ok(self.draft(track, chosen, 0, Vec::new()))
            }
            Target::Latest => self.latest(track, choice.newest(|_| Ok(()))?),
            Target::Xid(xid) => {
                let chosen = choice.newest(|backup| before_xid(backup, *xid))?;
                self.xid(track, chosen, *xid)
            }
            Target::Lsn(target) => {
                let chosen = choice
                    .newest(|backup| (backup.stop <= *target).then_some(()).ok_or(late(backup)))?;
                self.lsn(track, chosen, *target)
            }
            Target::Time(target) => {
                let in_time = |stopped: Timestamp| match self.request.exclusive {
                    true => stopped < *target,
                    false => stopped <= *target,
                };
                let chosen = choice
                    .newest(|backup| in_time(backup.stopped).then_some(()).ok_or(late(backup)))?;
                self.time(track, chosen, *target)
            }
            Target::Name(name) => self.name(track, &choice, name),
        }
    }

    fn latest(&self, track: &Track, chosen: Chosen<'a>) -> Result<Draft<'a>, Stop> {
        let reach = self.reach(track, chosen.backup);
        self.refuse_without_own_wal(track, reach)?;
        let draft = self.draft(track, chosen, reach, Vec::new());
        if track.next(reach).is_none() {
            return Ok(draft);
        }
        let before = self.finish(track, draft)?;
        Err(Reason::Gap {
            gap: self.gap(track, reach)?,
            before: Some(Box::new(before)),
        }
        .into())
    }

    fn xid(&self, track: &Track, chosen: Chosen<'a>, xid: u64) -> Result<Draft<'a>, Stop> {
        let reach = self.reach(track, chosen.backup);
        self.refuse_without_own_wal(track, reach)?;
        let mut doubts = vec![Doubt::Xid(xid)];
        if track.next(reach).is_some() {
            doubts.push(Doubt::BehindGap);
        }
        Ok(self.draft(track, chosen, reach, doubts))
    }

    /// Recovery stops at the first record that begins at the target or behind
    /// it, so there has to be one.
    fn lsn(&self, track: &Track, chosen: Chosen<'a>, target: Lsn) -> Result<Draft<'a>, Stop> {
        let reach = self.reach(track, chosen.backup);
        let lookup = self.lookup(track);
        // The first segment in which a record ends behind the target, and the
        // first behind it in which one ends at all: the record that begins
        // with the one's end is whole by then, however long the two are.
        let mut behind = None;
        let mut whole = None;
        let mut unknown = false;
        for number in track.number(target)..=reach {
            let Some(moments) = lookup.of(number)? else {
                unknown = true;
                continue;
            };
            // Its beginning stands for none.
            if moments.end == track.start_of(number) {
                continue;
            }
            if behind.is_some() {
                whole = Some(number);
                break;
            }
            behind = (moments.end > target).then_some(number);
        }
        if behind.is_none() && !unknown {
            let runs = track.runs().last();
            let end = track.end_of(runs.map_or(reach, |run| run.1));
            return Err(match track.next(reach) {
                Some(_) if target < end => self.in_gap(track, reach)?,
                Some(_) => Reason::BeyondEnd { end },
                None => Reason::BeyondEnd {
                    end: lookup.of(reach)?.map_or(end, |it| it.end),
                },
            }
            .into());
        }
        let doubts = match whole {
            Some(_) => Vec::new(),
            None => vec![Doubt::EndOfWal(track.name(reach))],
        };
        let mut draft = self.draft(track, chosen, whole.unwrap_or(reach), doubts);
        draft.place = (track.ancestry.owner(target), Some(target));
        Ok(draft)
    }

    /// Recovery stops at the first end of a transaction behind the target, so
    /// there has to be one.
    fn time(
        &self,
        track: &Track,
        chosen: Chosen<'a>,
        target: Timestamp,
    ) -> Result<Draft<'a>, Stop> {
        let passes = |end: Timestamp| match self.request.exclusive {
            true => end >= target,
            false => end > target,
        };
        let first = track.number(chosen.backup.start);
        let reach = self.reach(track, chosen.backup);
        let lookup = self.lookup(track);
        match lookup.first_end(first, reach, passes)? {
            Found::At(number) => {
                let last = (number + 1).min(reach);
                let mut draft = self.draft(track, chosen, last, Vec::new());
                draft.place = (track.name(number).timeline, None);
                Ok(draft)
            }
            Found::Perhaps => Ok(self.draft(track, chosen, reach, vec![Doubt::Unsaid])),
            Found::No(latest) => {
                let mut last = latest;
                if track.next(reach).is_some() {
                    let whole = track.runs().last().copied().unwrap_or((first, reach));
                    match lookup.first_end(whole.0, whole.1, passes)? {
                        Found::No(behind) => last = behind.or(last),
                        _ => return Err(self.in_gap(track, reach)?.into()),
                    }
                }
                Err(Reason::BeyondLastCommit { last }.into())
            }
        }
    }

    /// Recovery stops at the first restore point of this name, wherever one
    /// thought it would.
    fn name(&self, track: &Track, choice: &Choice<'a, '_>, name: &str) -> Result<Draft<'a>, Stop> {
        let newest = choice.newest(|_| Ok(()))?;
        let start = match choice.asked {
            Some(_) => newest.backup.start,
            None => {
                let starts = choice.leading().into_iter().map(|backup| backup.start);
                starts.min().unwrap_or(newest.backup.start)
            }
        };
        let start = track.number(start);
        let runs = track
            .runs()
            .iter()
            .map(|&(first, last)| first.max(start)..=last);
        let numbers = runs.flatten();
        let moments = self.lookup(track).all(numbers)?;
        let points = moments.iter().flatten().flat_map(|it| &it.restore_points);
        let mut places: Vec<Lsn> = points
            .clone()
            .filter(|point| point.name == name)
            .map(|point| point.lsn)
            .collect();
        places.sort_unstable();
        places.dedup();
        let mut refusal = None;
        for &place in places.iter().rev() {
            match self.at_point(track, choice, &places, place) {
                Err(Stop::Refused(reason)) => refusal = refusal.or(Some(reason)),
                settled => return settled,
            }
        }
        if let Some(reason) = refusal {
            return Err(Stop::Refused(reason));
        }
        let unsure = |it: &&Option<_>| it.is_none_or(|it: &Moments| it.more);
        Err(Reason::UnknownName {
            name: name.to_owned(),
            nearest: nearest(name, points.map(|point| point.name.as_str())),
            unsure: moments.iter().filter(unsure).count() as u64,
        }
        .into())
    }

    fn at_point(
        &self,
        track: &Track,
        choice: &Choice<'a, '_>,
        places: &[Lsn],
        place: Lsn,
    ) -> Result<Draft<'a>, Stop> {
        let chosen = choice.newest(|backup| {
            if backup.stop > place {
                return Err(late(backup));
            }
            let sooner = |it: &&Lsn| backup.start < **it && **it < place;
            let sooner = places.iter().find(sooner);
            sooner.map_or(Ok(()), |&lsn| Err(Unfit::NameBefore(lsn)))
        })?;
        let reach = self.reach(track, chosen.backup);
        let number = track.number(Lsn(place.0.saturating_sub(1)));
        if number > reach {
            return Err(self.in_gap(track, reach)?.into());
        }
        let others: Vec<_> = places.iter().copied().filter(|it| *it != place).collect();
        let mut doubts = Vec::new();
        if !others.is_empty() {
            doubts.push(Doubt::SameName(others));
        }
        let lookup = self.lookup(track);
        for number in track.number(chosen.backup.start)..number {
            if lookup.of(number)?.is_none_or(|it| it.cut || it.more) {
                doubts.push(Doubt::Unsaid);
                break;
            }
        }
        let mut draft = self.draft(track, chosen, number, doubts);
        draft.place = (
            track.ancestry.owner(Lsn(place.0.saturating_sub(1))),
            Some(place),
        );
        Ok(draft)
    }

    /// PostgreSQL takes the old timeline's copy of the segment that the new one
    /// begins with, when it does not get the new one's, and replays all of it.
    fn refuse_without_own_wal(&self, track: &Track, reach: u64) -> Result<(), Stop> {
        let Some(number) = track.without_own().filter(|&number| number == reach + 1) else {
            return Ok(());
        };
        let size = self.archive.segment_size;
        let held = |timeline: TimelineId| {
            let ranges = self.archive.holders.iter().flat_map(|it| &it.segments);
            ranges.clone().any(|range| {
                let numbers = (range.first.number(size), range.last.number(size));
                range.first.timeline == timeline
                    && matches!(numbers, (Some(first), Some(last)) if (first..=last).contains(&number))
            })
        };
        // It never goes back to a timeline older than what it read last.
        let read = track.name(reach).timeline;
        let elder = track.ancestry.timelines();
        let elder = elder.filter(|it| (read..track.timeline()).contains(it));
        let Some(parent) = elder.filter(|it| held(*it)).last() else {
            return Ok(());
        };
        Err(Reason::TimelineWithoutWal {
            timeline: track.timeline(),
            parent,
            left_at: track.ancestry.left_at(parent).unwrap_or_default(),
        }
        .into())
    }

    pub(super) fn lookup<'b>(&self, track: &'b Track) -> Lookup<'b>
    where
        'a: 'b,
    {
        let known = self.known;
        Lookup { track, known }
    }

    /// How far the WAL goes without a gap from a backup that was chosen.
    fn reach(&self, track: &Track, backup: &Backup) -> u64 {
        let start = track.number(backup.start);
        track.reach(start).unwrap_or(start)
    }

    fn in_gap(&self, track: &Track, reach: u64) -> Result<Reason, Stop> {
        Ok(Reason::Gap {
            gap: self.gap(track, reach)?,
            before: None,
        })
    }

    /// A backup's own WAL is needed whatever the target.
    fn draft(&self, track: &Track, chosen: Chosen<'a>, last: u64, doubts: Vec<Doubt>) -> Draft<'a> {
        let wal = chosen.backup.start..chosen.backup.stop;
        let last = last.max(*self.archive.segment_size.numbers(&wal).end());
        Draft {
            chosen,
            last,
            place: (track.name(last).timeline, None),
            doubts,
        }
    }
}

fn late(backup: &Backup) -> Unfit {
    Unfit::TooLate {
        stop: backup.stop,
        stopped: backup.stopped,
    }
}

/// Commits are not in the order of their numbers: what had not ended when the
/// backup did is at least its last snapshot's xmax, or was running then, and
/// is left to an older backup. Without its epoch, a number is compared as
/// PostgreSQL does (`TransactionIdPrecedes`, transam.c): it means the half of
/// all numbers that lies ahead.
fn before_xid(backup: &Backup, xid: u64) -> Result<(), Unfit> {
    let xmax = backup.xmax.ok_or(Unfit::NoXmax)?;
    let ahead = match u32::try_from(xid) {
        Ok(xid) => xid.wrapping_sub(xmax as u32) as i32 >= 0,
        Err(_) => xid >= xmax,
    };
    ahead.then_some(()).ok_or(Unfit::XidTooOld(xid))
}

/// The names that are most like the one that is not there, up to five.
fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.sort_by_key(|name| strsim::damerau_levenshtein(wrong, name));
    names.into_iter().take(5).map(str::to_owned).collect()
}
