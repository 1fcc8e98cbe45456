//! Backups in a store, read back: which there are, their manifests, and the
//! parts of those.

use std::collections::BTreeSet;

use super::{
    listing::{Entry, EntryPath, StretchAt, parse_page},
    manifest::{InvalidManifest, Manifest, PackSet},
    stretch::{InvalidStretch, Stretch},
};
use crate::{
    archive::place::Place,
    codec::{DecodeError, Sha256, decode},
    layout::{BackupId, Generation, Key, Layout},
    store::{ObjectInfo, StoreError},
};

/// The largest manifest that is read, in bytes.
const LARGEST_MANIFEST: u64 = 64 << 20;
/// The largest part of one: a page, and a line over its limit.
const LARGEST_INDEX: u64 = 4 << 20;

/// What a store has of a backup could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not have it.
    #[error("{store} has no \"{key}\"")]
    Absent {
        /// The store.
        store: String,
        /// What is missing.
        key: String,
    },
    /// What it has is damaged.
    #[error("\"{key}\" in {store} is damaged: {reason}")]
    Damaged {
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A manifest cannot be used.
    #[error("the manifest \"{key}\" in {store}: {cause}")]
    Manifest {
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// What is wrong.
        cause: InvalidManifest,
    },
}

/// A backup's name in a store, and how far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: BackupId,
    /// Whether it has its manifest: whether it is a backup.
    pub complete: bool,
}

/// The backups of a generation in a store, oldest first: two requests for each
/// at the most, however many objects it has.
pub async fn list(place: &Place, generation: Generation) -> Result<Vec<Listed>, BackupError> {
    let mut listed = Vec::new();
    for id in ids(place, generation).await? {
        let key = place.layout.key(Key::Manifest(generation, id));
        let complete = place.store.head(&key).await?.is_some();
        listed.push(Listed { id, complete });
    }
    Ok(listed)
}

/// The names of whatever backups a generation has anything of in a store,
/// oldest first: a request for each large one, and for many small ones, such as
/// are left when only a few of their packs are still needed.
pub async fn ids(place: &Place, generation: Generation) -> Result<Vec<BackupId>, StoreError> {
    let prefix = place.layout.backup_prefix(generation);
    // Names of backups begin with digits, which come before it.
    let end = place.layout.index_prefix(generation);
    let (mut ids, mut after) = (Vec::new(), prefix.clone());
    loop {
        let page = place.store.list(&prefix, Some(&after)).next_page().await?;
        let Some(last) = page.last() else {
            return Ok(ids);
        };
        after.clone_from(&last.key);
        for info in page {
            if info.key >= end {
                return Ok(ids);
            }
            // What somebody else has put there hides nothing.
            let name = info.key[prefix.len()..].split('/').next();
            let Some(id) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
        if let Some(id) = ids.last() {
            // Behind every key of it: '0' follows '/'.
            after = after.max(format!("{prefix}{id}0"));
        }
    }
}

/// Reads the manifest of a backup.
pub async fn manifest(
    place: &Place,
    generation: Generation,
    id: BackupId,
) -> Result<Manifest, BackupError> {
    let key = place.layout.key(Key::Manifest(generation, id));
    let bytes = object(place, &key, LARGEST_MANIFEST).await?;
    Manifest::parse(&bytes).map_err(|cause| BackupError::Manifest {
        store: place.name().to_string(),
        key,
        cause,
    })
}

/// Reads a part of a manifest, and checks that it is what its name says.
pub async fn index(
    place: &Place,
    generation: Generation,
    digest: Sha256,
) -> Result<Vec<u8>, BackupError> {
    let key = place.layout.key(Key::Index(generation, digest));
    let bytes = object(place, &key, LARGEST_INDEX).await?;
    if Sha256::of(&bytes) != digest {
        return Err(damaged(
            place,
            &key,
            &"it holds other bytes than its name says",
        ));
    }
    Ok(bytes)
}

/// Reads a page: lines of a backup.
pub async fn page(
    place: &Place,
    generation: Generation,
    digest: Sha256,
) -> Result<Vec<Entry>, BackupError> {
    let page = index(place, generation, digest).await?;
    let entries: Result<Vec<Entry>, _> = parse_page(&page).collect();
    entries.map_err(|error| {
        let key = Key::Index(generation, digest);
        damaged(place, &place.layout.key(key), &error)
    })
}

/// Reads a stretch, wherever it is written down.
pub async fn stretch(
    place: &Place,
    generation: Generation,
    at: &StretchAt,
) -> Result<Stretch, BackupError> {
    match at {
        StretchAt::Inline(inline) => inline
            .stretch()
            .map_err(|error: InvalidStretch| damaged(place, "a page of a manifest", &error)),
        StretchAt::Index(digest) => {
            let bytes = index(place, generation, *digest).await?;
            let key = || place.layout.key(Key::Index(generation, *digest));
            Stretch::parse(&bytes).map_err(|error| damaged(place, &key(), &error))
        }
    }
}

async fn object(place: &Place, key: &str, limit: u64) -> Result<Vec<u8>, BackupError> {
    let stored = place.store.get_range(key, 0..limit).await?;
    let stored = stored.ok_or_else(|| BackupError::Absent {
        store: place.name().to_string(),
        key: key.to_owned(),
    })?;
    let mut raw = Vec::new();
    decode(Layout::format(key), &stored, limit, &mut raw)
        .map_err(|error: DecodeError| damaged(place, key, &error))?;
    Ok(raw)
}

fn damaged(place: &Place, key: &str, reason: &dyn std::fmt::Display) -> BackupError {
    BackupError::Damaged {
        store: place.name().to_string(),
        key: key.to_owned(),
        reason: reason.to_string(),
    }
}

/// The lines of a backup, in order, page by page.
pub struct Lines {
    place: Place,
    generation: Generation,
    pages: std::vec::IntoIter<Sha256>,
    page: std::vec::IntoIter<Entry>,
    next: Option<Entry>,
}

impl Lines {
    /// The lines of `manifest`, from `place`.
    pub fn of(place: Place, manifest: &Manifest) -> Self {
        Lines {
            place,
            generation: manifest.generation,
            pages: manifest.pages.clone().into_iter(),
            page: Vec::new().into_iter(),
            next: None,
        }
    }

    /// The pages that are still to be read.
    pub fn pages(&self) -> &[Sha256] {
        self.pages.as_slice()
    }

    /// The next line; none at the end.
    pub async fn next(&mut self) -> Result<Option<Entry>, BackupError> {
        loop {
            if let Some(entry) = self.page.next() {
                return Ok(Some(entry));
            }
            let Some(digest) = self.pages.next() else {
                return Ok(None);
            };
            let entries = page(&self.place, self.generation, digest).await?;
            self.page = entries.into_iter();
        }
    }

    /// The line of `path`, where there is one. Paths must be asked for in their
    /// order.
    pub async fn find(&mut self, path: &EntryPath) -> Result<Option<Entry>, BackupError> {
        loop {
            let entry = match self.next.take() {
                Some(entry) => entry,
                None => match self.next().await? {
                    Some(entry) => entry,
                    None => return Ok(None),
                },
            };
            if entry.path == *path {
                return Ok(Some(entry));
            }
            if entry.path > *path {
                self.next = Some(entry);
                return Ok(None);
            }
        }
    }
}

/// How many bytes the packs have in a store that hold blocks of a backup: what
/// restoring it fetches at the most.
pub async fn stored_size(place: &Place, manifest: &Manifest) -> Result<u64, StoreError> {
    let (generation, mut bytes) = (manifest.generation, 0);
    let wanted: BTreeSet<String> = pack_keys(place, generation, &manifest.packs).collect();
    for set in &manifest.packs {
        let prefix = directory(place, generation, set.backup);
        each(place, &prefix, |info| {
            if wanted.contains(&info.key) {
                bytes += info.size;
            }
        })
        .await?;
    }
    Ok(bytes)
}

/// Of what a backup uses of others, what the store does not have: the keys.
/// One listing of each backup that is used, and one of the index objects.
pub async fn missing(
    place: &Place,
    generation: Generation,
    packs: &[PackSet],
    indexes: &BTreeSet<Sha256>,
) -> Result<Vec<String>, StoreError> {
    let index = |digest: &Sha256| place.layout.key(Key::Index(generation, *digest));
    let mut wanted: BTreeSet<String> = pack_keys(place, generation, packs).collect();
    wanted.extend(indexes.iter().map(index));
    let directories = packs
        .iter()
        .map(|set| directory(place, generation, set.backup));
    let indexes = (!indexes.is_empty()).then(|| place.layout.index_prefix(generation));
    for prefix in directories.chain(indexes) {
        each(place, &prefix, |info| {
            wanted.remove(&info.key);
        })
        .await?;
    }
    Ok(wanted.into_iter().collect())
}

/// What the keys of a backup begin with.
fn directory(place: &Place, generation: Generation, id: BackupId) -> String {
    format!("{}{id}/", place.layout.backup_prefix(generation))
}

fn pack_keys(
    place: &Place,
    generation: Generation,
    packs: &[PackSet],
) -> impl Iterator<Item = String> {
    packs.iter().flat_map(move |set| {
        let key = move |number| Key::Pack(generation, set.backup, number, set.format);
        set.iter().map(move |number| place.layout.key(key(number)))
    })
}

/// Calls `found` for every object below `prefix`.
pub async fn each(
    place: &Place,
    prefix: &str,
    mut found: impl FnMut(ObjectInfo),
) -> Result<(), StoreError> {
    let mut listing = place.store.list(prefix, None);
    loop {
        let page = listing.next_page().await?;
        if page.is_empty() {
            return Ok(());
        }
        page.into_iter().for_each(&mut found);
    }
}
