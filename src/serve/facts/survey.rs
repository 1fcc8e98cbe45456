//! What takes a walk over all files of the catalog: unbroken runs of segments
//! in each store and in all of them, gaps, timelines, volume by the hour.
//!
//! A walk over 100,000 files takes half a second, so that it is not made anew
//! while the catalog is as it was, nor as often as would cost more than a
//! hundredth of the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    archive::staging::Staging,
    catalog::{Catalog, CatalogError, FileRecord, KnownGap, Reader, Replica, Runs, Select},
    layout::Generation,
    postgres::{SegmentName, SegmentSize, TimelineId, WalFileName},
};

/// A walk may take this part of the time.
const SHARE: u32 = 100;
/// It is made at least so often, where the catalog has changed.
const OFTEN_ENOUGH: Duration = Duration::from_secs(3600);
/// For so long hours are remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(31 * 24);
/// A commit is looked for in so many segments from the end of a run.
const LOOK_BACK: u64 = 64;

/// A timeline that is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// Of which cluster.
    pub generation: Generation,
    /// Its number.
    pub timeline: TimelineId,
    /// Its first segment that is archived.
    pub first: SegmentName,
    /// When that was written last.
    pub since: Timestamp,
}

/// An hour's WAL, by when the server wrote it last. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// When it began.
    pub begins: Timestamp,
    /// How many files.
    pub files: u64,
    /// Their raw size.
    pub raw_bytes: u64,
    /// Their size in a store, compressed; the largest where stores differ.
    pub stored_bytes: u64,
    /// By store: how many seconds after it was written the latest of them
    /// was there.
    pub delays: BTreeMap<String, i64>,
}

/// What the walk found.
#[derive(Debug, Clone, Default)]
pub(super) struct Survey {
    /// When a store took the oldest file.
    pub(super) since: Option<Timestamp>,
    pub(super) generations: BTreeMap<Generation, Held>,
    pub(super) gaps: Vec<KnownGap>,
    pub(super) timelines: Vec<Timeline>,
    pub(super) hours: BTreeMap<Timestamp, Hour>,
}

/// One generation's segments.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) size: SegmentSize,
    /// In any store.
    pub(super) anywhere: Runs,
    /// In each store.
    pub(super) stores: BTreeMap<String, Runs>,
    /// The last commit of each run that ends with this segment, where it is
    /// known.
    pub(super) commits: BTreeMap<SegmentName, Timestamp>,
}

/// The last survey, and what it cost.
#[derive(Debug, Default)]
pub(super) struct Kept {
    survey: Option<Survey>,
    /// The catalog's file as it was before.
    of: Option<(SystemTime, u64)>,
    made: Option<Instant>,
    took: Duration,
}

impl Kept {
    /// The survey as it is now, or was shortly ago.
    pub(super) fn survey(
        &mut self,
        catalog: &Catalog,
        staging: Option<&Staging>,
        stores: &[&str],
    ) -> Result<&Survey, CatalogError> {
        let now = fs::metadata(catalog.path()).ok();
        let now = now.and_then(|file| Some((file.modified().ok()?, file.len())));
        let rests = self.made.is_some_and(|made| {
            made.elapsed() < (self.took * SHARE).min(OFTEN_ENOUGH) || self.of == now
        });
        if self.survey.is_none() || !rests {
            let begun = Instant::now();
            self.survey = Some(Survey::make(catalog, staging, stores)?);
            (self.of, self.made, self.took) = (now, Some(Instant::now()), begun.elapsed());
        }
        Ok(self.survey.get_or_insert_default())
    }
}

impl Survey {
    fn make(
        catalog: &Catalog,
        staging: Option<&Staging>,
        stores: &[&str],
    ) -> Result<Self, CatalogError> {
        // First: what leaves staging meanwhile is in the catalog by then.
        let staged = staged(staging);
        let mut survey = Survey::default();
        for (generation, cluster) in catalog.read(|reader| reader.clusters())? {
            let held = Held::new(cluster.segment_size);
            survey.generations.insert(generation, held);
        }
        let remembered = Timestamp::now() - REMEMBERED;
        for record in catalog.files(Select::All) {
            survey.add(&record?, remembered);
        }
        let (gaps, commits) =
            catalog.read(|reader| Ok((reader.gaps(stores)?, survey.ends(reader)?)))?;
        survey.gaps = gaps;
        survey.gaps.retain(|known| {
            // On its way, or it was when we began to look.
            let first = known.gap.first;
            let waits = |staging: &Staging| {
                staging.marker().generation == known.generation
                    && (staged.contains(&first) || staging.path(first.into()).exists())
            };
            !staging.is_some_and(waits)
        });
        for (generation, commits) in commits {
            if let Some(held) = survey.generations.get_mut(&generation) {
                held.commits = commits;
            }
        }
        Ok(survey)
    }

    fn add(&mut self, record: &FileRecord, remembered: Timestamp) {
        let stored = record.replicas.iter().filter_map(|(store, replica)| {
            let Replica::Stored(object) = replica else {
                return None;
            };
            Some((store, object))
        });
        let objects: Vec<_> = stored.collect();
        let taken = objects.iter().map(|(_, object)| object.at).min();
        self.since = self.since.into_iter().chain(taken).min();
        if record.modified > remembered {
            self.add_to_hour(record);
        }
        let WalFileName::Segment(segment) = record.name else {
            return;
        };
        if objects.is_empty() {
            return;
        }
        let held = self.generations.entry(record.generation);
        let held = held.or_insert_with(|| {
            Held::new(SegmentSize::new(record.raw_size).unwrap_or(SegmentSize::DEFAULT))
        });
        held.anywhere.add(segment);
        for (store, _) in objects {
            let runs = held.stores.entry(store.clone());
            let runs = runs.or_insert_with(|| Runs::new(held.size));
            runs.add(segment);
        }
        let known = self.timelines.last();
        let is_known = known.is_some_and(|known| {
            (known.generation, known.timeline) == (record.generation, segment.timeline)
        });
        if !is_known {
            self.timelines.push(Timeline {
                generation: record.generation,
                timeline: segment.timeline,
                first: segment,
                since: record.modified,
            });
        }
    }

    fn add_to_hour(&mut self, record: &FileRecord) {
        let second = record.modified.as_second();
        let Ok(begins) = Timestamp::from_second(second - second.rem_euclid(3600)) else {
            return;
        };
        let hour = self.hours.entry(begins).or_insert_with(|| Hour {
            begins,
            files: 0,
            raw_bytes: 0,
            stored_bytes: 0,
            delays: BTreeMap::new(),
        });
        hour.files += 1;
        hour.raw_bytes += record.raw_size;
        let mut largest = 0;
        for (store, replica) in &record.replicas {
            let Replica::Stored(object) = replica else {
                continue;
            };
            largest = largest.max(object.stored_size);
            let delay = object.at.duration_since(record.modified).as_secs().max(0);
            let latest = hour.delays.entry(store.clone()).or_insert(0);
            *latest = (*latest).max(delay);
        }
        hour.stored_bytes += largest;
    }

    /// The last commit of every run.
    fn ends(
        &self,
        reader: &Reader,
    ) -> Result<BTreeMap<Generation, BTreeMap<SegmentName, Timestamp>>, CatalogError> {
        let mut all = BTreeMap::new();
        for (&generation, held) in &self.generations {
            let mut commits = BTreeMap::new();
            let runs = held.stores.values().chain([&held.anywhere]);
            for last in runs.flat_map(|runs| runs.iter().map(|run| run.last)) {
                if !commits.contains_key(&last)
                    && let Some(commit) = last_commit(reader, generation, held.size, last)?
                {
                    commits.insert(last, commit);
                }
            }
            all.insert(generation, commits);
        }
        Ok(all)
    }
}

impl Held {
    fn new(size: SegmentSize) -> Self {
        Held {
            size,
            anywhere: Runs::new(size),
            stores: BTreeMap::new(),
            commits: BTreeMap::new(),
        }
    }
}

fn staged(staging: Option<&Staging>) -> BTreeSet<SegmentName> {
    let files = staging.and_then(|staging| staging.files().ok());
    let files = files.unwrap_or_default().into_iter();
    files
        .filter_map(|file| match file.name {
            WalFileName::Segment(segment) => Some(segment),
            _ => None,
        })
        .collect()
}

/// The last commit in the WAL up to `last`; where the catalog does not know
/// what is in it, when it was written last.
fn last_commit(
    reader: &Reader,
    generation: Generation,
    size: SegmentSize,
    last: SegmentName,
) -> Result<Option<Timestamp>, CatalogError> {
    let Some(number) = last.number(size) else {
        return Ok(None);
    };
    for number in (number.saturating_sub(LOOK_BACK)..=number).rev() {
        let name = SegmentName::numbered(number, last.timeline, size);
        let Some(record) = reader.file(generation, name.into())? else {
            return Ok(None);
        };
        match reader.moments_of(&record)? {
            None => return Ok(Some(record.modified)),
            Some(moments) if moments.last_commit.is_some() => {
                return Ok(moments.last_commit.map(|commit| commit.time));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}
