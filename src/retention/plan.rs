//! What may be deleted: a pure function from what an archive holds to what
//! goes, in order, and what stays, both with reasons. Whoever deletes only
//! obeys.
//!
//! Retention is by recoverability. A moment can be restored when a backup that
//! ended before it is there, and all WAL from that backup's start to the moment
//! on the way through the timelines. So nothing is kept or deleted by its name
//! or its age alone, but that nothing younger than the window ever goes.

mod archive;
mod backups;
mod decision;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

pub use self::{
    archive::{Backup, Data, History, Holdings, ObjectId, Rules, Running, Streamed, WalFile},
    decision::{Decision, Deletion, Gone, Kept, KeptBackup, KeptWal, Object},
};
use crate::postgres::{TimelineId, WalFileName, ancestry::Ancestry};

/// A running backup that was not heard of for so long is dead, and what was
/// stored more recently than that is not taken for a leftover.
pub const SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// What `prune` may delete of an archive's generations.
pub fn prune(rules: &Rules, archive: &[Holdings]) -> Decision {
    let kept = backups::kept(rules, archive);
    let mut decision = Decision::default();
    for holdings in archive {
        let kept = of_generation(&kept, holdings);
        decide_manifests(holdings, &kept, &Gone::Expired, &mut decision);
    }
    for holdings in archive {
        let kept = of_generation(&kept, holdings);
        decide_data(rules, holdings, &kept, true, &mut decision);
    }
    for holdings in archive {
        let kept = of_generation(&kept, holdings);
        decide_wal(rules, holdings, &kept, &mut decision);
    }
    for holdings in archive {
        for dead in holdings
            .running
            .iter()
            .filter(|it| !is_alive(it, rules.now))
        {
            decision.delete.push(Deletion {
                generation: holdings.generation,
                what: Object::Marker(dead.id.clone()),
                why: Gone::Silent(dead.heartbeat),
            });
        }
    }
    decision
}

/// What `backup delete` may delete for these ids of one generation: them, and
/// the data that no other backup refers to. A backup that a running one may
/// refer to stays, as [`Decision::backups`] says. WAL is left to the next
/// [`prune`].
pub fn delete_backups(rules: &Rules, holdings: &Holdings, ids: &[String]) -> Decision {
    let mut kept = BTreeMap::new();
    for backup in &holdings.backups {
        if let Some(running) = backups::reuser(backup, holdings, rules.now) {
            kept.insert(backup.id.clone(), Kept::Running(running.id.clone()));
        } else if !ids.contains(&backup.id) {
            kept.insert(backup.id.clone(), Kept::NotAsked);
        }
    }
    let mut decision = Decision::default();
    decide_manifests(holdings, &kept, &Gone::Asked, &mut decision);
    decide_data(rules, holdings, &kept, false, &mut decision);
    decision
}

/// The backups of one generation that stay, by id, each with the reason.
type KeptIds = BTreeMap<String, Kept>;

fn of_generation(kept: &backups::KeptBackups, holdings: &Holdings) -> KeptIds {
    let all = kept.iter();
    all.filter(|((generation, _), _)| *generation == holdings.generation)
        .map(|((_, id), why)| (id.clone(), why.clone()))
        .collect()
}

fn is_alive(running: &Running, now: Timestamp) -> bool {
    now.duration_since(running.heartbeat).unsigned_abs() <= SILENCE || running.heartbeat > now
}

fn decide_manifests(holdings: &Holdings, kept: &KeptIds, gone: &Gone, decision: &mut Decision) {
    let mut backups: Vec<_> = holdings.backups.iter().collect();
    backups.sort_by_key(|backup| (backup.stopped, &backup.id));
    for backup in backups {
        let (generation, id) = (holdings.generation, backup.id.clone());
        match kept.get(&id) {
            Some(why) => decision.backups.push(KeptBackup {
                generation,
                id,
                why: why.clone(),
            }),
            None => decision.delete.push(Deletion {
                generation,
                what: Object::Manifest(id),
                why: gone.clone(),
            }),
        }
    }
}

fn decide_data(
    rules: &Rules,
    holdings: &Holdings,
    kept: &KeptIds,
    leftovers: bool,
    decision: &mut Decision,
) {
    let (stay, go): (Vec<_>, Vec<_>) = holdings
        .backups
        .iter()
        .partition(|backup| kept.contains_key(&backup.id));
    let objects = |backups: Vec<&Backup>| -> BTreeSet<ObjectId> {
        let objects = backups.into_iter().flat_map(|backup| &backup.objects);
        objects.copied().collect()
    };
    let (used, unused) = (objects(stay), objects(go));
    let running = holdings.running.iter().any(|it| is_alive(it, rules.now));
    let young = rules.now.checked_sub(SILENCE).unwrap_or(Timestamp::MIN);
    for data in &holdings.data {
        let why = if used.contains(&data.id) || (running && data.shared) {
            continue;
        } else if unused.contains(&data.id) {
            Gone::Unused
        } else if leftovers && !running && data.modified <= young {
            Gone::Leftover
        } else {
            continue;
        };
        decision.delete.push(Deletion {
            generation: holdings.generation,
            what: Object::Data(data.id),
            why,
        });
    }
}

fn decide_wal(rules: &Rules, holdings: &Holdings, kept: &KeptIds, decision: &mut Decision) {
    let mut files: Vec<_> = holdings.wal.iter().collect();
    files.sort_by_key(|file| (file.name.timeline(), file.name.segment(), file.name));
    let needs = Needs::of(rules, holdings, kept);
    let mut gone = Vec::new();
    for file in files {
        let Some(segment) = file.name.segment() else {
            continue;
        };
        let generation = holdings.generation;
        let number = segment.number(holdings.segment_size);
        let why = match needs.keeps(file, number) {
            Ok(why) => why,
            Err(why) => {
                let what = Object::Wal(file.name);
                gone.push((
                    number,
                    Deletion {
                        generation,
                        what,
                        why,
                    },
                ));
                continue;
            }
        };
        match decision.wal.last_mut() {
            Some(run)
                if run.why == why
                    && run.generation == generation
                    && run.first.timeline() == file.name.timeline() =>
            {
                run.last = file.name;
                run.files += 1;
            }
            _ => decision.wal.push(KeptWal {
                generation,
                first: file.name,
                last: file.name,
                files: 1,
                why,
            }),
        }
    }
    decide_streamed(holdings, &needs, decision);
    // All timelines' oldest first. The sort is stable.
    gone.sort_by_key(|(number, _)| *number);
    decision.delete.extend(gone.into_iter().map(|(_, it)| it));
}

/// What was streamed of a segment is needed as long as the segment would be, and
/// is not there as a whole: a timeline's last one never is.
fn decide_streamed(holdings: &Holdings, needs: &Needs, decision: &mut Decision) {
    for streamed in &holdings.streamed {
        let segment = streamed.part.segment;
        let file = WalFile {
            name: WalFileName::Segment(segment),
            modified: streamed.modified,
            waits: false,
        };
        let why = match needs.keeps(&file, segment.number(holdings.segment_size)) {
            _ if streamed.is_whole => Gone::Whole,
            Ok(_) => continue,
            Err(why) => why,
        };
        decision.delete.push(Deletion {
            generation: holdings.generation,
            what: Object::Streamed(streamed.part),
            why,
        });
    }
}

/// From where on WAL is needed, and why.
struct Needs {
    begin: Timestamp,
    /// The first segment's number that a running backup may need, of any
    /// timeline, and the backup's id.
    running: Option<(u64, String)>,
    /// Of each timeline the first and the last number that a backup that stays
    /// needs, on the way to this timeline or through it to another one.
    backups: BTreeMap<TimelineId, Vec<(u64, u64, String)>>,
    /// The timelines that have a backup of any kind.
    replayable: BTreeSet<TimelineId>,
    /// The timelines whose ancestors nobody knows.
    unknown: BTreeSet<TimelineId>,
}

impl Needs {
    fn of(rules: &Rules, holdings: &Holdings, kept: &KeptIds) -> Self {
        let number = |lsn: crate::postgres::Lsn| lsn.0 / holdings.segment_size.bytes();
        let running = holdings.running.iter().filter(|it| is_alive(it, rules.now));
        let running = running.map(|it| (it.start.map_or(0, number), it.id.clone()));
        let mut needs = Needs {
            begin: rules.begin(),
            running: running.min(),
            backups: BTreeMap::new(),
            replayable: BTreeSet::new(),
            unknown: BTreeSet::new(),
        };
        for timeline in timelines(holdings) {
            let ancestry = ancestry(holdings, timeline);
            let on_it = holdings
                .backups
                .iter()
                .filter(|it| ancestry.contains(it.timeline, &(it.start..it.stop)));
            if on_it.clone().next().is_some() {
                needs.replayable.insert(timeline);
            }
            let stay = on_it.filter(|backup| kept.contains_key(&backup.id));
            let first = stay
                .map(|backup| (number(backup.start), backup.id.clone()))
                .min();
            if let Some((start, id)) = first {
                for stretch in ancestry.stretches(holdings.segment_size) {
                    let needed = needs.backups.entry(stretch.timeline).or_default();
                    needed.push((stretch.first.max(start), stretch.last, id.clone()));
                }
            } else if timeline > TimelineId(1) && !holdings.histories.contains_key(&timeline) {
                needs.unknown.insert(timeline);
            }
        }
        needs
    }

    /// Why a file stays, or why it may go.
    fn keeps(&self, file: &WalFile, number: Option<u64>) -> Result<Kept, Gone> {
        let timeline = file.name.timeline();
        // A name that a cluster of this segment size has not is nobody's.
        let from = |first: u64| number.is_some_and(|number| number >= first);
        let to = |last: u64| number.is_some_and(|number| number <= last);
        let mut needed = self.backups.get(&timeline).into_iter().flatten();
        if let Some((_, _, id)) = needed.find(|(first, last, _)| from(*first) && to(*last)) {
            return Ok(Kept::Needed(id.clone()));
        }
        if file.waits {
            return Ok(Kept::Waits);
        }
        if let Some((_, id)) = self.running.as_ref().filter(|(first, _)| from(*first)) {
            return Ok(Kept::Running(id.clone()));
        }
        if file.modified > self.begin {
            return Ok(Kept::InWindow);
        }
        if self.unknown.contains(&timeline) {
            return Ok(Kept::NoHistory(timeline));
        }
        match self.replayable.contains(&timeline) {
            true => Err(Gone::BelowBackups),
            false => Err(Gone::WithoutBackup),
        }
    }
}

/// The timelines that something is known of.
fn timelines(holdings: &Holdings) -> BTreeSet<TimelineId> {
    let wal = holdings.wal.iter().map(|file| file.name.timeline());
    let backups = holdings.backups.iter().map(|backup| backup.timeline);
    let histories = holdings.histories.keys().copied();
    wal.chain(backups).chain(histories).collect()
}

fn ancestry(holdings: &Holdings, timeline: TimelineId) -> Ancestry {
    let history = holdings.histories.get(&timeline);
    Ancestry::of(timeline, history.map_or(&[][..], |it| &it.ancestors))
}
