//! What one store holds.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::AT_ONCE;
use crate::{
    archive::{
        claim::{self, ClaimError},
        identity::GenerationFacts,
        place::Place,
        staging,
    },
    backup::{base, running},
    layout::{BackupId, Generation, Key, StreamPart},
    postgres::WalFileName,
    store::{ObjectInfo, StoreError},
};

/// What one store holds.
pub(super) struct Seen {
    pub(super) generations: Vec<GenerationFacts>,
    /// By generation; also of those that only other stores know.
    pub(super) parts: Parts,
}

/// What a store holds, by generation; nothing of one that it does not know.
#[derive(Default)]
pub(super) struct Parts {
    known: BTreeMap<Generation, Part>,
    empty: Part,
}

/// What a store holds of one generation.
#[derive(Default)]
pub(super) struct Part {
    pub(super) opened: Option<Timestamp>,
    /// Packs and index objects.
    pub(super) data: Vec<(Key, ObjectInfo)>,
    /// Every backup that anything was stored of.
    pub(super) ids: BTreeSet<BackupId>,
    pub(super) markers: Vec<Marker>,
    pub(super) manifests: Vec<(BackupId, ObjectInfo)>,
    pub(super) wal: Vec<(WalFileName, ObjectInfo)>,
    pub(super) streamed: Vec<(StreamPart, ObjectInfo)>,
}

/// The marker of a backup that is running, or died.
pub(super) struct Marker {
    pub(super) id: BackupId,
    pub(super) key: String,
    pub(super) bytes: u64,
    /// By the store's clock.
    pub(super) heartbeat: Timestamp,
    /// The backups that it may refer to; none where it does not say.
    pub(super) reuses: Option<Vec<BackupId>>,
}

impl std::ops::Index<&Generation> for Parts {
    type Output = Part;

    fn index(&self, generation: &Generation) -> &Part {
        self.known.get(generation).unwrap_or(&self.empty)
    }
}

impl<'a> IntoIterator for &'a Parts {
    type Item = (&'a Generation, &'a Part);
    type IntoIter = std::collections::btree_map::Iter<'a, Generation, Part>;

    fn into_iter(self) -> Self::IntoIter {
        self.known.iter()
    }
}

/// Lists everything. `ours` is the cluster whose archive it must be.
pub(super) async fn look(place: &Place, ours: &staging::Marker) -> Result<Seen, ClaimError> {
    // An empty place is no archive that holds nothing.
    let system_id = Some(ours.system_identifier);
    claim::confirm(place, ours.generation, system_id, true).await?;
    let generations = claim::known_generations(place).await?;
    let mut parts = Parts::default();
    for facts in &generations {
        let part = look_at(place, facts.generation).await?;
        parts.known.insert(facts.generation, part);
    }
    Ok(Seen { generations, parts })
}

/// Data first, then each backup's marker, then its manifest: a backup that
/// begins or ends meanwhile is seen by the one or the other, and what it has
/// stored by then is not taken for a leftover.
async fn look_at(place: &Place, generation: Generation) -> Result<Part, StoreError> {
    let cluster = place.layout.key(Key::Cluster(generation));
    let cluster = place.store.head(&cluster).await?;
    let mut part = Part {
        opened: cluster.and_then(|info| info.modified),
        ..Part::default()
    };
    let prefix = place.layout.backup_prefix(generation);
    base::each(place, &prefix, |info| match place.layout.parse(&info.key) {
        Some(key @ (Key::Pack(..) | Key::Index(..))) => part.data.push((key, info)),
        Some(Key::Manifest(_, id) | Key::Running(_, id)) => drop(part.ids.insert(id)),
        _ => {}
    })
    .await?;
    part.ids.extend(base::ids(place, generation).await?);
    let backups = stream::iter(part.ids.clone())
        .map(|id| async move {
            let marker = marker(place, generation, id).await?;
            let manifest = place.layout.key(Key::Manifest(generation, id));
            let manifest = place.store.head(&manifest).await?;
            Ok::<_, StoreError>((id, marker, manifest))
        })
        .buffered(AT_ONCE);
    let backups: Vec<_> = backups.try_collect().await?;
    for (id, marker, manifest) in backups {
        part.markers.extend(marker);
        part.manifests.extend(manifest.map(|info| (id, info)));
    }
    let mut streamed = Vec::new();
    // Before the segments: one that becomes whole meanwhile is seen as such.
    let prefix = place.layout.stream_prefix(generation);
    base::each(place, &prefix, |info| {
        if let Some(Key::Stream(_, part, _)) = place.layout.parse(&info.key) {
            streamed.push((part, info));
        }
    })
    .await?;
    let prefix = place.layout.wal_prefix(generation);
    base::each(place, &prefix, |info| {
        if let Some(Key::Wal(_, name, _)) = place.layout.parse(&info.key) {
            part.wal.push((name, info));
        }
    })
    .await?;
    part.streamed = streamed;
    Ok(part)
}

async fn marker(
    place: &Place,
    generation: Generation,
    id: BackupId,
) -> Result<Option<Marker>, StoreError> {
    let key = place.layout.key(Key::Running(generation, id));
    let Some(info) = place.store.head(&key).await? else {
        return Ok(None);
    };
    let said = running::read(place, generation, id).await?;
    // One that makes no sense may refer to anything.
    let reuses = said.as_ref().map(|said| Vec::from_iter(said.based_on));
    let said = said.map(|said| said.heartbeat);
    Ok(Some(Marker {
        id,
        bytes: info.size,
        heartbeat: info.modified.or(said).unwrap_or_else(Timestamp::now),
        reuses,
        key,
    }))
}
