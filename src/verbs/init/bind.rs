//! Binding: staging by its marker, every store by `cluster.json`. Each step
//! can be repeated, and what refuses does so before it has changed anything.

use std::path::PathBuf;

use anyhow::Context;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::config_file::directories;
use crate::{
    archive::{
        claim::{self, Claimed, Standing},
        identity::{ClusterFile, GenerationFacts},
        place::Place,
        ship::copies,
        staging::{self, Marker, Staging, StagingError},
    },
    cluster::Identity,
    fs,
    layout::{Generation, Key},
    verbs::{Host, block_on, setup::PROMPT},
};

/// What the archive is bound to, and where.
pub(super) struct Bound {
    /// This cluster's generation.
    pub(super) generation: Generation,
    /// The staging directory, and whether its marker is new.
    pub(super) staging: (PathBuf, bool),
    /// Every store.
    pub(super) stores: Vec<BoundStore>,
}

/// One store of a bound archive.
pub(super) struct BoundStore {
    pub(super) name: String,
    /// The key of this generation's `cluster.json`.
    pub(super) key: String,
    pub(super) claimed: Claimed,
    /// Whether there is an older script's WAL.
    pub(super) unclaimed_wal: bool,
}

/// Binds staging and stores to the cluster. `upgraded`: to the next
/// generation of the archive.
pub(super) fn bind(host: &Host, cluster: &Identity, upgraded: bool) -> anyhow::Result<Bound> {
    let config = &host.config;
    let root = host.staging_path()?;
    let staged = look_at_staging(host, cluster, upgraded)?;
    let facts = GenerationFacts {
        generation: Generation::FIRST,
        system_identifier: cluster.system_id,
        segment_size: cluster.segment_size,
        postgres_major: Some(cluster.postgres_major),
    };
    block_on(async {
        let places = host.places(PROMPT)?;
        let standings = ask(&places, cluster).await?;
        let generations = claim::generations(&standings, facts, upgraded)?;
        let file = ClusterFile::new(&config.cluster.name, generations);
        let newest = file.generations.last().map(|last| last.generation);
        let generation = newest.unwrap_or(Generation::FIRST);
        check_predecessor(host, cluster, staged.as_ref(), &standings, &file)?;

        let marker = Marker {
            format: staging::FORMAT,
            cluster: config.cluster.name.clone(),
            generation,
            system_identifier: cluster.system_id,
            segment_size: cluster.segment_size,
        };
        match &staged {
            Some(old) if old.marker().system_identifier != cluster.system_id => {
                old.begin_generation(&marker)?;
            }
            _ => {
                if staged.is_none() && standings.iter().all(|(_, there)| there.file.is_some()) {
                    tracing::warn!(
                        "the archive is there already, but \"{0}\" had no marker: if its volume \
                         was not mounted, remove \"{0}/{1}\", mount it and run `walkeep init` again",
                        root.display(),
                        staging::MARKER
                    );
                }
                Staging::create(root, &marker)?;
            }
        }
        for directory in directories(config) {
            fs::create_dir_all(&directory, 0o2770)
                .with_context(|| format!("make the directory \"{}\"", directory.display()))?;
        }
        let is_new = |standing: &Standing| standing.file.is_none() && !standing.unclaimed_wal;
        if standings.iter().all(|(_, standing)| is_new(standing)) {
            begin_catalog(host)?;
        }
        let claims = standings.iter().map(async |(place, standing)| {
            Ok(BoundStore {
                name: place.name().to_string(),
                key: place.layout.key(Key::Cluster(generation)),
                claimed: claim::claim(place, &file).await?,
                unclaimed_wal: standing.unclaimed_wal,
            })
        });
        Ok(Bound {
            generation,
            staging: (root.to_owned(), staged.is_none()),
            stores: all_or_every_reason(join_all(claims).await)?,
        })
    })
}

/// A new archive's catalog is whole from the start: there is nothing in the
/// stores that it could lack.
fn begin_catalog(host: &Host) -> anyhow::Result<()> {
    let catalog = host.catalog()?;
    if !catalog.path().exists() {
        catalog.write(|writer| writer.rebuilt(Timestamp::now()))?;
    }
    Ok(())
}

/// The staging directory if it has a marker, which must be this cluster's, or
/// with `upgraded` may be the one's before.
fn look_at_staging(
    host: &Host,
    cluster: &Identity,
    upgraded: bool,
) -> anyhow::Result<Option<Staging>> {
    let staging = match host.staging() {
        Ok(staging) => staging,
        Err(error) => {
            return match error.downcast_ref() {
                Some(StagingError::NoMarker(_)) => Ok(None),
                Some(StagingError::BadMarker { .. }) => {
                    tracing::warn!("{error}: it is written anew");
                    Ok(None)
                }
                _ => Err(error),
            };
        }
    };
    let marker = staging.marker();
    if marker.system_identifier == cluster.system_id {
        return Ok(Some(staging));
    }
    let root = staging.root().display();
    if !upgraded {
        anyhow::bail!(
            "the staging directory \"{root}\" belongs to the cluster \"{}\" (system identifier \
             {}), and this cluster is {}; nothing was changed. Name another directory in \
             staging.path; after pg_upgrade run `walkeep init --upgraded`",
            marker.cluster,
            marker.system_identifier,
            cluster.system_id
        );
    }
    let stores = host.config.stores.iter().map(|store| store.name());
    let apart = copies::tell_apart(&staging, &host.catalog()?, stores)?;
    let others = copies::release(&staging, &apart.copies)?;
    let waiting = apart.waiting.len() + others.len();
    if waiting > 0 {
        anyhow::bail!(
            "the staging directory \"{root}\" still holds {waiting} files of generation {}; \
             nothing was changed. Run `walkeep ship`, then `walkeep init --upgraded` again",
            marker.generation
        );
    }
    Ok(Some(staging))
}

/// A generation that is opened now must follow this cluster's own past, not a
/// stranger's at a prefix that was mistyped: the marker knows it, or where that
/// is gone the cluster's name has to do.
fn check_predecessor(
    host: &Host,
    cluster: &Identity,
    staged: Option<&Staging>,
    standings: &[(&Place, Standing)],
    file: &ClusterFile,
) -> anyhow::Result<()> {
    let there = standings
        .iter()
        .filter_map(|(place, standing)| Some((*place, standing.file.as_ref()?)));
    let Some((place, known)) = there.max_by_key(|(_, known)| known.generations.len()) else {
        return Ok(());
    };
    let before = known.generations.iter().max_by_key(|one| one.generation);
    let Some(before) = before.filter(|_| known.generations.len() < file.generations.len()) else {
        return Ok(());
    };
    let follows = match staged.map(|staging| staging.marker().system_identifier) {
        Some(id) => id == before.system_identifier || id == cluster.system_id,
        None => known.cluster == host.config.cluster.name,
    };
    if !follows {
        anyhow::bail!(
            "store \"{}\": its archive is that of the cluster \"{}\" (system identifier {}), \
             which this one was not before pg_upgrade; nothing was changed. Choose another `prefix`",
            place.name(),
            known.cluster,
            before.system_identifier
        );
    }
    Ok(())
}

/// What every store holds at our prefix. All of them must answer: one that
/// does not might be another cluster's, or a generation further.
async fn ask<'a>(
    places: &'a [Place],
    cluster: &Identity,
) -> anyhow::Result<Vec<(&'a Place, Standing)>> {
    let asked = places.iter().map(async |place| {
        let standing = claim::standing(place, cluster.system_id).await?;
        Ok((place, standing))
    });
    all_or_every_reason(join_all(asked).await)
}

/// Several stores may fail at once, for reasons of their own.
fn all_or_every_reason<T>(results: Vec<Result<T, claim::ClaimError>>) -> anyhow::Result<Vec<T>> {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() {
        return Ok(done);
    }
    anyhow::bail!("{}", failed.join("\n  and "))
}
