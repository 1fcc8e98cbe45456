//! What a plan is made from, gathered: which backups and which WAL each source
//! has, and, where planning asks for them, segments' moments. From a bucket
//! alone; no catalog is needed.

mod wal;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, future::join_all, stream};

use super::plan::{self, Archive, Backup, Holder, Known, Request, Source, Step, Streamed};
use crate::{
    archive::{
        claim, histories,
        identity::GenerationFacts,
        moments::{Told, moments},
        place::Place,
        receive::stored::{self, StoredParts},
        staging::{Staging, StagingError},
    },
    backup::{
        Manifest,
        base::{self, BackupError},
    },
    codec::Mapped,
    layout::{BackupId, Format, StreamPart},
    postgres::{
        Moments, SegmentName, TimelineId,
        history::Ancestor,
        record::{self, Walker},
    },
    store::{StoreError, StoreName},
};
use wal::Wal;

/// Questions to stores at a time.
const AT_ONCE: usize = 8;

/// One generation of an archive, as far as it could be seen.
pub struct Gathered {
    /// What a plan is made from.
    pub archive: Archive,
    /// The backups' manifests.
    pub manifests: BTreeMap<BackupId, Manifest>,
    /// Why each of the others was not consulted.
    pub unable: Vec<(StoreName, String)>,
    /// What was streamed of its segments.
    pub parts: StoredParts,
    places: Vec<Place>,
    staging: Option<Staging>,
}

/// What one store has.
struct Seen {
    backups: Vec<BackupId>,
    wal: Wal,
    streamed: Vec<(StreamPart, Format)>,
}

/// Gathering failed on this host.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Staging could not be read.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A history file is damaged everywhere.
    #[error("the history file of timeline {timeline} cannot be read: {reason}")]
    History {
        /// Whose.
        timeline: TimelineId,
        /// Why.
        reason: String,
    },
}

impl Gathered {
    /// Asks every one of `places`, and `staging` where it is this cluster's.
    /// A store that does not answer is not consulted; it is among the
    /// [`unable`](Self::unable).
    pub async fn from(
        places: &[Place],
        facts: &GenerationFacts,
        staging: Option<Staging>,
    ) -> Result<Self, GatherError> {
        let mut seen: Vec<(Place, Seen)> = Vec::new();
        let mut unable = Vec::new();
        let answers = places.iter().map(|place| look(place, facts));
        for (place, answer) in places.iter().zip(join_all(answers).await) {
            match answer {
                Ok(one) => seen.push((place.clone(), one)),
                Err(error) => unable.push((place.name().clone(), error.to_string())),
            }
        }
        let staging = staging.filter(|staging| {
            let marker = staging.marker();
            marker.generation == facts.generation
                && marker.system_identifier == facts.system_identifier
        });
        let mut holders: Vec<Holder> = Vec::new();
        let mut timelines = BTreeSet::new();
        if let Some(staging) = &staging {
            let mut wal = Wal::new(facts.segment_size);
            for file in staging.files()? {
                wal.add(file.name);
            }
            timelines.extend(&wal.histories);
            holders.push(wal.holder(Source::Staging));
        }
        for (place, one) in &seen {
            timelines.extend(&one.wal.histories);
            holders.push(one.wal.holder(source(place)));
        }
        let places: Vec<Place> = seen.iter().map(|(place, _)| place.clone()).collect();
        let mut parts = StoredParts::new(facts.generation);
        for (place, one) in &seen {
            parts.add(place, &one.streamed);
        }
        let mut gathered = Gathered {
            manifests: BTreeMap::new(),
            archive: Archive {
                generation: facts.generation,
                system_identifier: facts.system_identifier,
                segment_size: facts.segment_size,
                backups: Vec::new(),
                histories: BTreeMap::new(),
                holders,
                streamed: Vec::new(),
            },
            unable,
            parts,
            places,
            staging,
        };
        for timeline in timelines {
            let ancestors = gathered.history(timeline).await?;
            gathered.archive.histories.insert(timeline, ancestors);
        }
        gathered.read_backups(&seen).await;
        gathered.follow_streams().await;
        Ok(gathered)
    }

    /// What was streamed behind each timeline's last archived segment. Of a
    /// segment that was not streamed to its end it is read how far it comes:
    /// there is one at most on each timeline.
    async fn follow_streams(&mut self) {
        let size = self.archive.segment_size;
        let mut open: BTreeMap<TimelineId, Vec<SegmentName>> = BTreeMap::new();
        for segment in self.parts.segments() {
            open.entry(segment.timeline).or_default().push(segment);
        }
        for (timeline, segments) in open {
            let ranges = self.archive.holders.iter().flat_map(|it| &it.segments);
            let last = ranges.filter(|range| range.last.timeline == timeline);
            let last = last.map(|range| range.last).max();
            let mut next = last.and_then(|last| last.next(size));
            let behind = segments.into_iter().filter(|it| Some(*it) > last);
            for segment in behind {
                if next.is_some_and(|next| next != segment) {
                    break;
                }
                let mut bytes = u64::from(self.parts.reach(segment));
                let mut until = None;
                if bytes < size.bytes() {
                    let mut walker = Walker::default();
                    let joined = self.walk(segment, &mut walker).await;
                    (bytes, until) = (joined.bytes.into(), joined.until);
                }
                if bytes > 0 {
                    self.archive.streamed.push(Streamed {
                        segment,
                        bytes,
                        until,
                    });
                }
                if bytes < size.bytes() {
                    break;
                }
                next = segment.next(size);
            }
        }
    }

    /// Reads what was streamed of a segment.
    async fn walk(&self, segment: SegmentName, walker: &mut Walker) -> stored::Joined {
        let joined = self.parts.join(segment, |_, bytes| {
            walker.feed(bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(joined) = joined.await;
        for problem in &joined.problems {
            tracing::warn!("what was streamed cannot all be read: {problem}");
        }
        joined
    }

    /// Plans, and learns on the way what planning asks for.
    pub async fn plan(&self, request: &Request) -> Step {
        let mut known = Known::new();
        loop {
            match plan::plan(request, &self.archive, &known) {
                Step::Need(segments) => {
                    let learned = stream::iter(segments).map(|segment| async move {
                        (segment, self.moments(segment).await.map(planned))
                    });
                    let learned: Vec<_> = learned.buffer_unordered(AT_ONCE).collect().await;
                    known.extend(learned);
                }
                settled => return settled,
            }
        }
    }

    /// The stores that were consulted.
    pub fn consulted(&self) -> &[Place] {
        &self.places
    }

    async fn read_backups(&mut self, seen: &[(Place, Seen)]) {
        let mut holders: BTreeMap<BackupId, Vec<&Place>> = BTreeMap::new();
        for (place, one) in seen {
            for &id in &one.backups {
                holders.entry(id).or_default().push(place);
            }
        }
        let generation = self.archive.generation;
        let read = stream::iter(holders).map(|(id, places)| async move {
            let mut holders = Vec::new();
            let mut manifest = None;
            for place in places {
                // One is enough: they are the same in every store.
                if manifest.is_none() {
                    match base::manifest(place, generation, id).await {
                        Ok(read) => manifest = Some(read),
                        Err(error) => {
                            tracing::warn!("{error}");
                            continue;
                        }
                    }
                }
                holders.push(source(place));
            }
            (manifest, holders)
        });
        let read: Vec<_> = read.buffered(AT_ONCE).collect().await;
        for (manifest, holders) in read {
            if let Some(manifest) = manifest {
                self.archive.backups.push(backup(&manifest, holders));
                self.manifests.insert(manifest.id, manifest);
            }
        }
    }

    /// The ancestors that a history file names, from whoever has it.
    async fn history(&self, timeline: TimelineId) -> Result<Vec<Ancestor>, GatherError> {
        let (generation, staging) = (self.archive.generation, self.staging.as_ref());
        let read = histories::read(&self.places, staging, generation, timeline);
        read.await
            .map_err(|reason| GatherError::History { timeline, reason })
    }

    /// The moments of a segment, from whoever can tell.
    async fn moments(&self, segment: SegmentName) -> Option<Moments> {
        if let Some(staging) = &self.staging
            && let Ok(Some(file)) = staging.file(segment.into())
            && let Ok(mapped) = Mapped::open(&file)
            && let Ok((moments, _)) = record::decode(&mapped, None)
        {
            return Some(moments);
        }
        if let Some(streamed) = self
            .archive
            .streamed
            .iter()
            .find(|it| it.segment == segment)
        {
            let mut walker = Walker::default();
            let joined = self.walk(segment, &mut walker).await;
            let whole = u64::from(joined.bytes) == streamed.bytes;
            let found = walker.finish().ok().filter(|_| whole);
            return found.map(|(moments, _)| moments);
        }
        for place in &self.places {
            for format in Format::ALL {
                let key = place.key(self.archive.generation, segment.into(), format);
                match moments(place, &key).await {
                    Ok(Told::Moments(moments)) => return Some(moments),
                    Ok(Told::Nothing | Told::Absent) => {}
                    Err(error) => tracing::debug!("ask for the moments of {segment}: {error}"),
                }
            }
        }
        None
    }
}

async fn look(place: &Place, facts: &GenerationFacts) -> Result<Seen, StoreError> {
    // What an empty place does not have, the archive may.
    let ours = Some(facts.system_identifier);
    claim::confirm(place, facts.generation, ours, true).await?;
    let listed = match base::list(place, facts.generation).await {
        Ok(listed) => listed,
        Err(BackupError::Store(error)) => return Err(error),
        Err(error) => {
            tracing::warn!("{error}");
            Vec::new()
        }
    };
    let complete = listed.iter().filter(|listed| listed.complete);
    Ok(Seen {
        backups: complete.map(|listed| listed.id).collect(),
        // What is streamed is deleted once it is archived: to be asked first.
        streamed: stored::list(place, facts.generation).await?,
        wal: Wal::of(place, facts).await?,
    })
}

fn source(place: &Place) -> Source {
    Source::Store(place.name().to_string())
}

fn backup(manifest: &Manifest, holders: Vec<Source>) -> Backup {
    Backup {
        id: manifest.id.to_string(),
        system_identifier: manifest.system_identifier,
        postgres_major: manifest.postgres_major as u16,
        timeline: manifest.timeline,
        start: manifest.start_lsn,
        stop: manifest.stop_lsn,
        started: manifest.started,
        stopped: manifest.stopped,
        xmax: manifest.stop_xmax,
        raw_bytes: manifest.totals.raw_bytes,
        stored_bytes: manifest.totals.stored_bytes,
        holders,
    }
}

/// As planning knows them.
fn planned(moments: Moments) -> plan::Moments {
    let first = moments.first_commit.map(|commit| commit.time);
    let last = moments.last_commit.map(|commit| commit.time);
    let earliest = [first, moments.first_abort].into_iter().flatten().min();
    let latest = [last, moments.last_abort].into_iter().flatten().max();
    let points = moments.restore_points.into_iter();
    plan::Moments {
        ends: earliest.zip(latest),
        last_commit: moments.last_commit.map(|commit| plan::Commit {
            time: commit.time,
            xid: commit.xid,
        }),
        restore_points: points
            .map(|point| plan::RestorePoint {
                name: point.name,
                lsn: point.lsn,
                time: point.time,
            })
            .collect(),
        more: moments.more,
        cut: moments.cut,
        end: moments.end,
    }
}
