//! Whose archive lies at a place in a store, and making it ours: `init` claims
//! the prefix by `cluster.json` before anything is shipped to it.

use super::{
    identity::{ClusterFile, GenerationFacts, InvalidClusterFile, LARGEST},
    place::Place,
};
use crate::{
    codec::Decoder,
    layout::{Format, Generation, Key, Layout},
    postgres::{
        SegmentSize, SystemId, WalFileName,
        page::{HEADER_SIZE, SegmentHeader},
    },
    store::{Body, Operation, Put, StoreError, StoreErrorKind, StoreName},
};

/// What one store holds at our prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest generation's `cluster.json`; none where nobody claimed the
    /// prefix.
    pub file: Option<ClusterFile>,
    /// Whether there is WAL although nobody claimed the prefix: an older
    /// script's archive.
    pub unclaimed_wal: bool,
}

/// How a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The prefix is ours now, and was nobody's.
    Now,
    /// It was ours already.
    Before,
}

/// Why a prefix cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `cluster.json` cannot be understood.
    #[error("store \"{store}\": read \"{key}\": {reason}")]
    Invalid {
        /// The store.
        store: StoreName,
        /// The key of the file.
        key: String,
        /// Why.
        reason: InvalidClusterFile,
    },
    /// It is another cluster's.
    #[error(
        "store \"{store}\": \"{key}\" says that this is the archive of the cluster \"{name}\" \
         (system identifier {found}), and this cluster is {ours}; nothing was written there. \
         Choose another `prefix` for this cluster; after pg_upgrade run `walkeep init --upgraded`"
    )]
    OtherCluster {
        /// The store.
        store: StoreName,
        /// The key of `cluster.json`.
        key: String,
        /// The other cluster's name.
        name: String,
        /// Its system identifier.
        found: SystemId,
        /// Ours.
        ours: SystemId,
    },
    /// An older script's WAL is another cluster's.
    #[error(
        "store \"{store}\": \"{key}\" is WAL of another cluster (system identifier {found}, this \
         cluster is {ours}); nothing was written there. Choose another `prefix` for this cluster"
    )]
    OtherWal {
        /// The store.
        store: StoreName,
        /// The segment's key.
        key: String,
        /// The system identifier in it.
        found: SystemId,
        /// Ours.
        ours: SystemId,
    },
    /// The next generation of nothing.
    #[error(
        "no store has an archive of this cluster at its prefix, so there is none to go on in; run \
         `walkeep init` without --upgraded"
    )]
    NothingToGoOnIn,
    /// The archive has gone on without this cluster.
    #[error(
        "store \"{store}\": this cluster is generation {ours} of its archive, which has gone on as \
         generation {newest}: is this the server from before pg_upgrade? Stop it, or choose another \
         `prefix` for it"
    )]
    OldGeneration {
        /// The store.
        store: StoreName,
        /// This cluster's generation.
        ours: Generation,
        /// The archive's newest.
        newest: Generation,
    },
    /// The same cluster with segments of another size (`pg_resetwal
    /// --wal-segsize`).
    #[error(
        "store \"{store}\": its archive of this cluster has segments of {found}, the cluster \
         now writes {ours}; nothing was written there. Choose another `prefix`"
    )]
    OtherSegmentSize {
        /// The store.
        store: StoreName,
        /// The archive's size.
        found: SegmentSize,
        /// The cluster's.
        ours: SegmentSize,
    },
}

/// Reads whose archive lies at `place`. `ours` is the cluster that wants it:
/// WAL that nobody claimed is looked at, and refused where it is another's.
pub async fn standing(place: &Place, ours: SystemId) -> Result<Standing, ClaimError> {
    let mut newest = None;
    let mut generation = Generation::FIRST;
    while let Some(file) = read(place, generation).await? {
        newest = Some(file);
        generation = Generation(generation.0 + 1);
    }
    let mut unclaimed_wal = false;
    if newest.is_none() {
        unclaimed_wal = look_at_wal(place, Some(ours)).await?;
    }
    Ok(Standing {
        file: newest,
        unclaimed_wal,
    })
}

/// Which generations the archive has once this cluster is bound to it, the
/// last of them its own. `upgraded`: the next one is to be opened, unless it
/// has been. `ours` says which cluster it is; its number is found here.
pub fn generations(
    standings: &[(&Place, Standing)],
    ours: GenerationFacts,
    upgraded: bool,
) -> Result<Vec<GenerationFacts>, ClaimError> {
    let known = standings
        .iter()
        .filter_map(|(place, standing)| Some((*place, standing.file.as_ref()?)))
        .max_by_key(|(_, file)| file.generations.len());
    let Some((place, file)) = known else {
        if upgraded {
            return Err(ClaimError::NothingToGoOnIn);
        }
        let generation = Generation::FIRST;
        return Ok(vec![GenerationFacts { generation, ..ours }]);
    };
    let mut all = file.generations.clone();
    all.sort_by_key(|one| one.generation);
    let newest = all.last().map_or(Generation::FIRST, |last| last.generation);
    let found = file.generation_of(ours.system_identifier);
    if let Some(found) = found.filter(|found| found.generation < newest) {
        return Err(ClaimError::OldGeneration {
            store: place.name().clone(),
            ours: found.generation,
            newest,
        });
    }
    if found.is_none() && upgraded {
        let generation = Generation(newest.0 + 1);
        all.push(GenerationFacts { generation, ..ours });
    } else if let Some(last) = all.last_mut() {
        // Compared below: another cluster's archive is refused there.
        let generation = last.generation;
        *last = GenerationFacts { generation, ..ours };
    }
    for (place, standing) in standings {
        let there = standing.file.iter();
        for (file, facts) in there.flat_map(|file| all.iter().map(move |facts| (file, facts))) {
            check(place, file, facts)?;
        }
    }
    Ok(all)
}

/// Claims the place for the last of `file`'s generations, and for those before
/// it where that has not happened.
pub async fn claim(place: &Place, file: &ClusterFile) -> Result<Claimed, ClaimError> {
    let mut claimed = Claimed::Before;
    for (index, facts) in file.generations.iter().enumerate() {
        let known = file.generations[..=index].to_vec();
        let body = Body::of(ClusterFile::new(&file.cluster, known).to_json());
        let key = place.layout.key(Key::Cluster(facts.generation));
        match place.store.put_new(&key, &body, &[]).await? {
            Put::Created => claimed = Claimed::Now,
            Put::Exists(_) => {
                // Since it was looked at, or an earlier attempt's of ours.
                let there = read(place, facts.generation).await?;
                if let Some(there) = there {
                    check(place, &there, facts)?;
                }
            }
        }
    }
    Ok(claimed)
}

/// Whether what a store says of a generation is what `ours` says.
pub fn check(place: &Place, file: &ClusterFile, ours: &GenerationFacts) -> Result<(), ClaimError> {
    let same = |facts: &&GenerationFacts| facts.generation == ours.generation;
    let Some(there) = file.generations.iter().find(same) else {
        return Ok(());
    };
    let store = place.name().clone();
    if there.system_identifier != ours.system_identifier {
        return Err(ClaimError::OtherCluster {
            store,
            key: place.layout.key(Key::Cluster(ours.generation)),
            name: file.cluster.clone(),
            found: there.system_identifier,
            ours: ours.system_identifier,
        });
    }
    if there.segment_size != ours.segment_size {
        return Err(ClaimError::OtherSegmentSize {
            store,
            found: there.segment_size,
            ours: ours.segment_size,
        });
    }
    Ok(())
}

/// Reads the `cluster.json` of one generation; `None` where there is none.
pub async fn read(
    place: &Place,
    generation: Generation,
) -> Result<Option<ClusterFile>, ClaimError> {
    let key = place.layout.key(Key::Cluster(generation));
    let Some(bytes) = place.store.get_range(&key, 0..LARGEST).await? else {
        return Ok(None);
    };
    let file = ClusterFile::parse(&bytes).map_err(|reason| ClaimError::Invalid {
        store: place.name().clone(),
        key: key.clone(),
        reason,
    })?;
    if file
        .generations
        .iter()
        .all(|one| one.generation != generation)
    {
        let reason = format!("it does not name generation {generation}");
        return Err(ClaimError::Invalid {
            store: place.name().clone(),
            key,
            reason: InvalidClusterFile::NotReadable(reason),
        });
    }
    Ok(Some(file))
}

/// The generations of the archive at `place`, the first one first; none where
/// there is no archive.
pub async fn known_generations(place: &Place) -> Result<Vec<GenerationFacts>, ClaimError> {
    let mut known: Vec<GenerationFacts> = Vec::new();
    let mut next = Generation::FIRST;
    while let Some(file) = read(place, next).await? {
        for facts in file.generations {
            if known.iter().all(|one| one.generation != facts.generation) {
                known.push(facts);
            }
        }
        next = Generation(next.0 + 1);
    }
    known.sort_by_key(|facts| facts.generation);
    Ok(known)
}

/// Checks that the archive lies at the place, so that what is not there is not
/// in the archive. An empty place is none: its volume is not mounted, or the
/// configuration names another one. `ours`, where it is known, is the cluster;
/// `claimed` says that `init` has been there. Without that an older script's
/// WAL will do.
pub async fn confirm(
    place: &Place,
    generation: Generation,
    ours: Option<SystemId>,
    claimed: bool,
) -> Result<(), StoreError> {
    let key = place.layout.key(Key::Cluster(generation));
    let unclaimed = |detail: String| StoreError {
        store: place.name().clone(),
        operation: Operation::Get,
        key: key.clone(),
        kind: StoreErrorKind::Unclaimed,
        detail,
        attempts: 1,
    };
    let refused = |error: ClaimError| match error {
        ClaimError::Store(error) => error,
        ClaimError::Invalid { reason, .. } => unclaimed(reason.to_string()),
        ClaimError::OtherWal { key, found, .. } => {
            unclaimed(format!("\"{key}\" is WAL of the cluster {found}"))
        }
        other => unclaimed(other.to_string()),
    };
    if let Some(file) = read(place, generation).await.map_err(refused)? {
        let facts = file.generations.iter();
        let mut theirs = facts.filter(|facts| facts.generation == generation);
        return match theirs.find(|facts| ours.is_some_and(|id| id != facts.system_identifier)) {
            None => Ok(()),
            Some(facts) => Err(unclaimed(format!(
                "it is that of the cluster \"{}\", system identifier {}",
                file.cluster, facts.system_identifier
            ))),
        };
    }
    if claimed || generation != Generation::FIRST {
        return Err(unclaimed("it is not there".to_owned()));
    }
    match look_at_wal(place, ours).await.map_err(refused)? {
        true => Ok(()),
        false => Err(unclaimed("it is not there, nor any WAL".to_owned())),
    }
}

/// Whether there is WAL at a prefix that nobody claimed, and whether it may be
/// ours: the first segment tells.
async fn look_at_wal(place: &Place, ours: Option<SystemId>) -> Result<bool, ClaimError> {
    let prefix = place.layout.wal_prefix(Generation::FIRST);
    let page = place.store.list(&prefix, None).next_page().await?;
    let is_segment = |key: &str| {
        matches!(
            place.layout.parse(key),
            Some(Key::Wal(_, WalFileName::Segment(_), _))
        )
    };
    if let Some(first) = page.iter().find(|object| is_segment(&object.key)) {
        let head = place.store.get_range(&first.key, 0..HEAD).await?;
        let format = Layout::format(&first.key);
        let found = head.and_then(|head| system_id(format, &head));
        if let Some((found, ours)) = found.zip(ours).filter(|(found, ours)| found != ours) {
            return Err(ClaimError::OtherWal {
                store: place.name().clone(),
                key: first.key.clone(),
                found,
                ours,
            });
        }
    }
    Ok(!page.is_empty())
}

/// Compressed bytes that surely hold a segment's first forty.
const HEAD: u64 = 64 << 10;

/// The system identifier in a segment of which the compressed beginning is
/// given. `None` for what is no segment: `catalog rebuild` will say so.
fn system_id(format: Format, head: &[u8]) -> Option<SystemId> {
    let mut raw = [0; HEADER_SIZE];
    let mut decoder = Decoder::new(format, &mut raw[..], 1 << 30).ok()?;
    // Cut in the middle, into a sink that is soon full: an error at its end
    // says nothing.
    let _ = decoder.write(head);
    drop(decoder);
    Some(SegmentHeader::parse(&raw).ok()?.system_id)
}
