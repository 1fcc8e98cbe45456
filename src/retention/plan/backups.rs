//! Which backups stay.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Backup, Holdings, Kept, Rules, Running, WalFileName, ancestry, is_alive, timelines};
use crate::{
    layout::Generation,
    postgres::{SegmentName, TimelineId, ancestry::Ancestry},
};

/// By generation and id.
pub(super) type KeptBackups = BTreeMap<(Generation, String), Kept>;

/// The backups that stay: those that all stores together have to keep, and
/// those that one has to that is all that is left.
pub(super) fn kept(rules: &Rules, archive: &[Holdings]) -> KeptBackups {
    let mut kept = kept_of(rules, archive);
    let backups = || archive.iter().flat_map(|holdings| &holdings.backups);
    let stores: BTreeSet<usize> = backups().flat_map(|it| it.stores.clone()).collect();
    for store in stores {
        if backups().all(|backup| backup.stores.contains(&store)) {
            continue;
        }
        let mut alone = archive.to_vec();
        for holdings in &mut alone {
            let backups = &mut holdings.backups;
            backups.retain(|backup| backup.stores.contains(&store));
        }
        for (backup, why) in kept_of(rules, &alone) {
            kept.entry(backup).or_insert(why);
        }
    }
    kept
}

fn kept_of(rules: &Rules, archive: &[Holdings]) -> KeptBackups {
    let begin = rules.begin();
    let mut kept = KeptBackups::new();
    let mut keep = |holdings: &Holdings, backup: &Backup, why: Kept| {
        let key = (holdings.generation, backup.id.clone());
        kept.entry(key).or_insert(why);
    };
    for holdings in archive {
        for backup in &holdings.backups {
            if backup.stopped > begin {
                keep(holdings, backup, Kept::InWindow);
            }
        }
    }
    for (holdings, timeline) in in_window(rules, archive) {
        for backup in bases(holdings, timeline, begin) {
            keep(holdings, backup, Kept::Base(timeline));
        }
    }
    for (holdings, backup) in newest(rules.min_backups, archive) {
        keep(holdings, backup, Kept::Minimum);
    }
    for holdings in archive {
        for backup in &holdings.backups {
            if let Some(running) = reuser(backup, holdings, rules.now) {
                keep(holdings, backup, Kept::Running(running.id.clone()));
            }
        }
    }
    kept
}

/// The running backup that may refer to a backup's data.
pub(super) fn reuser<'a>(
    backup: &Backup,
    holdings: &'a Holdings,
    now: Timestamp,
) -> Option<&'a Running> {
    let exists = |id: &String| holdings.backups.iter().any(|other| other.id == *id);
    let alive = holdings.running.iter().filter(|it| is_alive(it, now));
    let mut reusers = alive.filter(|running| match &running.reuses {
        Some(ids) => ids.contains(&backup.id) || !ids.iter().all(exists),
        None => true,
    });
    reusers.next()
}

/// The timelines on which the cluster was at some moment of the window.
///
/// A timeline was left at the latest when its last file was written, or the
/// next one appeared, be it in the next generation: an idle cluster writes
/// nothing, and the end of its WAL is its state all the same. The latest one is
/// never left, nor is, where no backup leads to it, the latest that one does
/// lead to.
fn in_window<'a>(rules: &Rules, archive: &'a [Holdings]) -> Vec<(&'a Holdings, TimelineId)> {
    let mut all: Vec<(&Holdings, TimelineId)> = archive
        .iter()
        .flat_map(|holdings| {
            timelines(holdings)
                .into_iter()
                .map(move |it| (holdings, it))
        })
        .collect();
    all.sort_by_key(|(holdings, timeline)| (holdings.generation, *timeline));
    let left: Vec<_> = (0..all.len())
        .map(|index| {
            let (holdings, timeline) = all[index];
            let next = all.get(index + 1).and_then(|next| appeared(next.0, next.1));
            let own = holdings
                .wal
                .iter()
                .filter(|file| file.name.timeline() == timeline);
            let written = own.map(|file| file.modified).max();
            next.map_or(rules.now, |next| written.map_or(next, |it| it.max(next)))
        })
        .collect();
    let inside = all.into_iter().zip(left);
    let mut live: Vec<_> = Vec::new();
    for (timeline, _) in inside.clone().rev() {
        live.push(timeline);
        let ancestry = ancestry(timeline.0, timeline.1);
        let mut backups = timeline.0.backups.iter();
        if backups.any(|it| ancestry.contains(it.timeline, &(it.start..it.stop))) {
            break;
        }
    }
    inside
        .filter(|(_, left)| *left > rules.begin())
        .map(|(timeline, _)| timeline)
        .chain(live)
        .collect()
}

/// When a timeline was first heard of.
fn appeared(holdings: &Holdings, timeline: TimelineId) -> Option<Timestamp> {
    let history = holdings.histories.get(&timeline).map(|it| it.modified);
    let wal = holdings
        .wal
        .iter()
        .filter(|file| file.name.timeline() == timeline);
    let backups = holdings.backups.iter().filter(|it| it.timeline == timeline);
    let opened = timelines(holdings).first() == Some(&timeline);
    wal.map(|file| file.modified)
        .chain(backups.map(|backup| backup.stopped))
        .chain(history)
        .chain(holdings.opened.filter(|_| opened))
        .min()
}

/// What the window begins with on the way to a timeline: the newest backup that
/// had ended by then. And the newest whose WAL is there, should it not be that
/// one: its WAL may still come.
fn bases(holdings: &Holdings, timeline: TimelineId, begin: Timestamp) -> Vec<&Backup> {
    let ancestry = ancestry(holdings, timeline);
    let early = holdings.backups.iter().filter(|backup| {
        backup.stopped <= begin && ancestry.contains(backup.timeline, &(backup.start..backup.stop))
    });
    let segments = segments(holdings);
    let whole = early
        .clone()
        .filter(|backup| has_own_wal(backup, holdings, &ancestry, &segments));
    let key = |backup: &&Backup| (backup.stop, backup.id.clone());
    whole
        .max_by_key(key)
        .into_iter()
        .chain(early.max_by_key(key))
        .collect()
}

/// The newest backups of all, and the newest of those whose WAL is there.
fn newest(many: usize, archive: &[Holdings]) -> Vec<(&Holdings, &Backup)> {
    let mut all: Vec<(&Holdings, &Backup, bool)> = Vec::new();
    for holdings in archive {
        let segments = segments(holdings);
        for backup in &holdings.backups {
            let ancestry = ancestry(holdings, backup.timeline);
            let whole = has_own_wal(backup, holdings, &ancestry, &segments);
            all.push((holdings, backup, whole));
        }
    }
    all.sort_by_key(|(holdings, backup, _)| {
        std::cmp::Reverse((backup.stopped, holdings.generation, &backup.id))
    });
    let whole = all.iter().filter(|it| it.2).take(many);
    let chosen = whole.chain(all.iter().take(many));
    chosen
        .map(|&(holdings, backup, _)| (holdings, backup))
        .collect()
}

fn segments(holdings: &Holdings) -> BTreeSet<SegmentName> {
    let names = holdings.wal.iter().filter_map(|file| match file.name {
        WalFileName::Segment(segment) => Some(segment),
        _ => None,
    });
    names.collect()
}

/// Whether the segments are there without which a backup never becomes
/// consistent.
fn has_own_wal(
    backup: &Backup,
    holdings: &Holdings,
    ancestry: &Ancestry,
    segments: &BTreeSet<SegmentName>,
) -> bool {
    let size = holdings.segment_size;
    let stretches = ancestry.stretches(size);
    size.numbers(&(backup.start..backup.stop)).all(|number| {
        let stretch = stretches.iter().rfind(|stretch| stretch.first <= number);
        stretch.is_some_and(|stretch| {
            segments.contains(&SegmentName::numbered(number, stretch.timeline, size))
        })
    })
}
