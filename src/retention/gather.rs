//! What a decision is made from: everything that every store holds. What stays
//! is decided from all of them together, so one that does not answer ends it:
//! its backups may need what the others hold, and theirs may be the only copy
//! that is left.

mod look;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt, future::join_all, stream};
use jiff::Timestamp;

use super::{
    delete::{Held, Stored},
    plan::{Backup, Data, History, Holdings, Object, ObjectId, Running, Streamed, WalFile},
};
use crate::{
    archive::{
        histories,
        identity::GenerationFacts,
        place::Place,
        ship::copies::Apart,
        staging::{Staged, Staging},
    },
    backup::{Manifest, base, references},
    layout::{BackupId, Generation, Key, StreamPart},
    postgres::{SegmentName, TimelineId, WalFileName},
    store::StoreName,
};
use look::{Seen, look};

/// Questions to stores at a time.
const AT_ONCE: usize = 8;

/// Everything that the stores hold.
pub struct Gathered {
    /// What they hold together, the first generation first.
    pub archive: Vec<Holdings>,
    /// What each of them holds.
    pub held: Vec<Held>,
    /// The backups whose manifests nobody can read, and why. They are not among
    /// the backups of the archive.
    pub unreadable: BTreeMap<(Generation, BackupId), String>,
    data: Vec<Key>,
}

/// Nothing can be decided.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Stores that did not answer, and why.
    #[error(
        "what stays is decided from what all stores hold, so nothing was deleted in any of them: \
         {}", list(.0)
    )]
    Unseen(Vec<(StoreName, String)>),
    /// A history file is damaged everywhere.
    #[error(
        "the history file of timeline {timeline} cannot be read ({reason}), so nobody knows which \
         backups need which WAL: nothing was deleted"
    )]
    History {
        /// Whose.
        timeline: TimelineId,
        /// Why.
        reason: String,
    },
}

fn list(reasons: &[(StoreName, String)]) -> String {
    let reasons: Vec<&str> = reasons.iter().map(|(_, reason)| &**reason).collect();
    reasons.join("; ")
}

/// Asks every one of `places` for everything that it holds. `apart` is what is
/// in `staging`.
pub async fn gather(
    places: &[Place],
    staging: &Staging,
    apart: &Apart,
) -> Result<Gathered, GatherError> {
    let (mut seen, mut unseen) = (Vec::new(), Vec::new());
    let looks = places.iter().map(|place| look(place, staging.marker()));
    for (place, looked) in places.iter().zip(join_all(looks).await) {
        match looked {
            Ok(one) => seen.push(one),
            Err(error) => unseen.push((place.name().clone(), error.to_string())),
        }
    }
    if !unseen.is_empty() {
        return Err(GatherError::Unseen(unseen));
    }
    let mut facts: BTreeMap<Generation, GenerationFacts> = BTreeMap::new();
    for one in seen.iter().flat_map(|seen| &seen.generations) {
        facts.entry(one.generation).or_insert(*one);
    }
    let mut gathering = Gathering {
        places,
        staging,
        apart,
        seen: &seen,
        numbers: HashMap::new(),
        unreadable: BTreeMap::new(),
    };
    let mut archive = Vec::new();
    for facts in facts.values() {
        archive.push(gathering.holdings(facts).await?);
    }
    let Gathering {
        numbers,
        unreadable,
        ..
    } = gathering;
    let held = places.iter().zip(&seen);
    let held = held.map(|(place, seen)| held_by(place, seen, &numbers));
    let held = held.collect();
    let mut numbered: Vec<(Key, ObjectId)> = numbers.into_iter().collect();
    numbered.sort_by_key(|(_, id)| *id);
    Ok(Gathered {
        archive,
        held,
        unreadable,
        data: numbered.into_iter().map(|(key, _)| key).collect(),
    })
}

impl Gathered {
    /// What an object of data is.
    pub fn data(&self, id: ObjectId) -> Option<Key> {
        self.data.get(id.0 as usize).copied()
    }
}

struct Gathering<'a> {
    places: &'a [Place],
    staging: &'a Staging,
    apart: &'a Apart,
    seen: &'a [Seen],
    numbers: HashMap<Key, ObjectId>,
    unreadable: BTreeMap<(Generation, BackupId), String>,
}

impl Gathering<'_> {
    async fn holdings(&mut self, facts: &GenerationFacts) -> Result<Holdings, GatherError> {
        let generation = facts.generation;
        let parts = self.seen.iter().map(|seen| &seen.parts[&generation]);
        let opened = parts.filter_map(|part| part.opened).min();
        let data = self.data(generation);
        let running = self.running(generation);
        let backups = self.backups(generation, &data).await;
        Ok(Holdings {
            generation,
            opened,
            segment_size: facts.segment_size,
            histories: self.histories(generation).await?,
            backups,
            data,
            running,
            wal: self.wal(generation),
            streamed: self.streamed(generation),
        })
    }

    fn number(&mut self, key: Key) -> ObjectId {
        let next = ObjectId(self.numbers.len() as u32);
        *self.numbers.entry(key).or_insert(next)
    }

    fn data(&mut self, generation: Generation) -> Vec<Data> {
        let mut data: BTreeMap<ObjectId, Data> = BTreeMap::new();
        for seen in self.seen {
            for (key, info) in &seen.parts[&generation].data {
                let id = self.number(*key);
                // Where nobody says when, it is not taken for a leftover.
                let modified = info.modified.unwrap_or_else(Timestamp::now);
                let one = data.entry(id).or_insert(Data {
                    id,
                    modified,
                    shared: matches!(key, Key::Index(..)),
                });
                one.modified = one.modified.max(modified);
            }
        }
        data.into_values().collect()
    }

    fn running(&self, generation: Generation) -> Vec<Running> {
        let mut running: BTreeMap<BackupId, Running> = BTreeMap::new();
        for seen in self.seen {
            for marker in &seen.parts[&generation].markers {
                let one = running.entry(marker.id).or_insert_with(|| Running {
                    id: marker.id.to_string(),
                    start: None,
                    heartbeat: marker.heartbeat,
                    reuses: Some(Vec::new()),
                });
                one.heartbeat = one.heartbeat.max(marker.heartbeat);
                one.reuses = one.reuses.take().zip(marker.reuses.clone()).map(|(a, b)| {
                    let b = b.into_iter().map(|id| id.to_string());
                    a.into_iter().chain(b).collect()
                });
            }
        }
        running.into_values().collect()
    }

    async fn backups(&mut self, generation: Generation, data: &[Data]) -> Vec<Backup> {
        let mut holders: BTreeMap<BackupId, BTreeSet<usize>> = BTreeMap::new();
        for (store, seen) in self.seen.iter().enumerate() {
            for (id, _) in &seen.parts[&generation].manifests {
                holders.entry(*id).or_default().insert(store);
            }
        }
        let places = self.places;
        let read = stream::iter(holders).map(move |(id, stores)| async move {
            let manifest = manifest(places, generation, id, &stores).await;
            (id, stores, manifest)
        });
        let read: Vec<_> = read.buffered(AT_ONCE).collect().await;
        let mut manifests: Vec<(Manifest, BTreeSet<usize>)> = Vec::new();
        for (id, stores, manifest) in read {
            match manifest {
                Ok(manifest) => manifests.push((manifest, stores)),
                Err(reason) => drop(self.unreadable.insert((generation, id), reason)),
            }
        }
        let pages = references::pages(places, manifests.iter().map(|(manifest, _)| manifest));
        let pages = pages.await;
        let mut backups = Vec::new();
        for (manifest, stores) in manifests {
            let objects = match references::of(&manifest, &pages) {
                Some(keys) => keys.into_iter().map(|key| self.number(key)).collect(),
                // Nobody knows which: any of them may be one.
                None => {
                    let packs = references::packs(&manifest);
                    let packs = packs.map(|key| self.number(key));
                    let packs: Vec<ObjectId> = packs.collect();
                    let shared = data.iter().filter(|data| data.shared);
                    packs.into_iter().chain(shared.map(|it| it.id)).collect()
                }
            };
            backups.push(Backup {
                id: manifest.id.to_string(),
                timeline: manifest.timeline,
                start: manifest.start_lsn,
                stop: manifest.stop_lsn,
                stopped: manifest.stopped,
                objects,
                stores,
            });
        }
        backups
    }

    /// What is staged of a generation.
    fn staged(&self, generation: Generation) -> impl Iterator<Item = (&Staged, bool)> {
        let ours = self.staging.marker().generation == generation;
        let waiting = self.apart.waiting.iter().map(|staged| (staged, true));
        let copies = self.apart.copies.iter();
        let copies = copies.map(|copy| (&copy.staged, false));
        waiting.chain(copies).filter(move |_| ours)
    }

    /// A file was last written before any store took it.
    fn wal_by_name(&self, generation: Generation) -> BTreeMap<WalFileName, WalFile> {
        let mut wal: BTreeMap<WalFileName, WalFile> = BTreeMap::new();
        for seen in self.seen {
            for (name, info) in &seen.parts[&generation].wal {
                let modified = info.modified.unwrap_or_else(Timestamp::now);
                let file = wal.entry(*name).or_insert(WalFile {
                    name: *name,
                    modified,
                    waits: false,
                });
                file.modified = file.modified.min(modified);
            }
        }
        for (staged, waits) in self.staged(generation) {
            let file = wal.entry(staged.name).or_insert(WalFile {
                name: staged.name,
                modified: staged.modified,
                waits,
            });
            file.waits = waits;
        }
        wal
    }

    fn wal(&self, generation: Generation) -> Vec<WalFile> {
        let wal = self.wal_by_name(generation).into_values();
        wal.filter(|file| !matches!(file.name, WalFileName::History(_)))
            .collect()
    }

    fn streamed(&self, generation: Generation) -> Vec<Streamed> {
        let mut streamed: BTreeMap<StreamPart, Streamed> = BTreeMap::new();
        for seen in self.seen {
            let held = &seen.parts[&generation];
            let whole = held.wal.iter().filter_map(|(name, _)| match name {
                WalFileName::Segment(segment) => Some(*segment),
                _ => None,
            });
            let whole: BTreeSet<SegmentName> = whole.collect();
            for (part, info) in &held.streamed {
                let modified = info.modified.unwrap_or_else(Timestamp::now);
                let one = streamed.entry(*part).or_insert(Streamed {
                    part: *part,
                    modified,
                    is_whole: true,
                });
                one.modified = one.modified.max(modified);
                one.is_whole &= whole.contains(&part.segment);
            }
        }
        streamed.into_values().collect()
    }

    async fn histories(
        &self,
        generation: Generation,
    ) -> Result<BTreeMap<TimelineId, History>, GatherError> {
        let staging = self.staging;
        let staging = (staging.marker().generation == generation).then_some(staging);
        let mut histories = BTreeMap::new();
        for file in self.wal_by_name(generation).into_values() {
            let WalFileName::History(timeline) = file.name else {
                continue;
            };
            let read = histories::read(self.places, staging, generation, timeline);
            let ancestors = read
                .await
                .map_err(|reason| GatherError::History { timeline, reason })?;
            let modified = file.modified;
            histories.insert(
                timeline,
                History {
                    ancestors,
                    modified,
                },
            );
        }
        Ok(histories)
    }
}

/// A manifest from the first of `stores` that can give it.
async fn manifest(
    places: &[Place],
    generation: Generation,
    id: BackupId,
    stores: &BTreeSet<usize>,
) -> Result<Manifest, String> {
    let mut reasons = Vec::new();
    for &store in stores {
        match base::manifest(&places[store], generation, id).await {
            Ok(manifest) => return Ok(manifest),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join("; "))
}

fn held_by(place: &Place, seen: &Seen, numbers: &HashMap<Key, ObjectId>) -> Held {
    let mut held = Held::new(place.clone());
    for (&generation, part) in &seen.parts {
        let mut add = |what, key: &str, bytes| {
            let key = key.to_owned();
            held.add(generation, what, Stored { key, bytes });
        };
        for (id, info) in &part.manifests {
            add(Object::Manifest(id.to_string()), &info.key, info.size);
        }
        for (key, info) in &part.data {
            add(Object::Data(numbers[key]), &info.key, info.size);
        }
        for (name, info) in &part.wal {
            add(Object::Wal(*name), &info.key, info.size);
        }
        for (streamed, info) in &part.streamed {
            add(Object::Streamed(*streamed), &info.key, info.size);
        }
        for marker in &part.markers {
            let what = Object::Marker(marker.id.to_string());
            add(what, &marker.key, marker.bytes);
        }
        held.known.insert(generation, part.ids.clone());
    }
    held
}
