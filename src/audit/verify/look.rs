//! What one store lists: one listing of all its keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::Verifying;
use crate::{
    archive::{claim, place::Place},
    backup::base,
    codec::Md5,
    layout::{BackupId, Format, Generation, Key},
    postgres::WalFileName,
    store::{ObjectInfo, StoreError},
};

/// A listed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) size: u64,
    /// Where the store tells.
    pub(super) md5: Option<Md5>,
    pub(super) modified: Option<Timestamp>,
}

/// A file of the WAL, and its objects: two where two hosts stored it at once in
/// two formats.
pub(super) type WalListing = BTreeMap<(Generation, WalFileName), Vec<(Format, Listed)>>;

/// What a store lists.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) wal: WalListing,
    /// Packs and index objects.
    pub(super) data: HashMap<Key, Listed>,
    pub(super) manifests: BTreeMap<(Generation, BackupId), Listed>,
    /// Backups that are being made, or died.
    pub(super) running: BTreeSet<(Generation, BackupId)>,
    pub(super) foreign: u64,
    pub(super) bytes: u64,
}

/// Lists everything below the archive's prefix.
pub(super) async fn look(place: &Place, verifying: &Verifying) -> Result<Seen, StoreError> {
    let marker = verifying.staging.as_ref().map(|staging| staging.marker());
    let generation = marker.map_or(Generation::FIRST, |it| it.generation);
    let ours = marker.map(|it| it.system_identifier);
    // An empty place is no archive that has lost all its files.
    claim::confirm(place, generation, ours, marker.is_some()).await?;
    let mut seen = Seen::default();
    base::each(place, place.layout.root(), |info| {
        seen.add(place.layout.parse(&info.key), &info);
    })
    .await?;
    Ok(seen)
}

impl Seen {
    fn add(&mut self, key: Option<Key>, info: &ObjectInfo) {
        let listed = Listed {
            size: info.size,
            md5: info.md5,
            modified: info.modified,
        };
        match key {
            Some(Key::Wal(generation, name, format)) => {
                let objects = self.wal.entry((generation, name)).or_default();
                objects.push((format, listed));
            }
            Some(key @ (Key::Pack(..) | Key::Index(..))) => drop(self.data.insert(key, listed)),
            Some(Key::Manifest(generation, id)) => {
                self.manifests.insert((generation, id), listed);
            }
            Some(Key::Running(generation, id)) => drop(self.running.insert((generation, id))),
            // Parts of a segment go once all of it is stored.
            Some(Key::Cluster(_) | Key::Stream(..) | Key::Probe) => {}
            None => self.foreign += 1,
        }
        if matches!(
            key,
            Some(Key::Wal(..) | Key::Pack(..) | Key::Index(..) | Key::Manifest(..))
        ) {
            self.bytes += info.size;
        }
    }
}
