//! Objects of base backups, read and checked: an index object by its name, a
//! manifest by what it says, a pack by the chunks that the manifests know in it.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{
    archive::place::Place,
    backup::{
        Manifest, base,
        listing::{Entry, StretchAt},
        stretch::{ChunkDigest, Stretch},
    },
    codec::{Decoder, Sha256, decode},
    layout::{Format, Generation, Key},
    store::StoreError,
};

/// The largest object that is read, in bytes: a manifest. A pack has 20 MiB.
pub(super) const LARGEST: u64 = 64 << 20;
/// Questions to stores at a time.
const AT_ONCE: usize = 8;

/// A chunk in a pack. The first bytes of its digest will do, beside the checks
/// of its format: there is one for each 512 KiB of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    offset: u32,
    stored_size: u32,
    raw_size: u32,
    digest: [u8; 8],
}

/// The chunks of packs that the manifests know.
pub(super) type Pieces = HashMap<Key, Vec<Piece>>;

/// What a store has under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Whole(Bytes),
    Damaged(String),
    Gone,
}

impl Found {
    /// The same, for whoever does not need the bytes.
    pub(super) fn without_bytes(self) -> Self {
        match self {
            Found::Whole(_) => Found::Whole(Bytes::new()),
            found => found,
        }
    }
}

/// Reads an object and checks it.
pub(super) async fn check(place: &Place, key: Key, pieces: &Pieces) -> Result<Found, StoreError> {
    let text = place.layout.key(key);
    let Some(stored) = place.store.get_range(&text, 0..LARGEST + 1).await? else {
        return Ok(Found::Gone);
    };
    let pieces = pieces.get(&key).cloned().unwrap_or_default();
    let bytes = stored.clone();
    let checked = tokio::task::spawn_blocking(move || is_whole(key, &bytes, &pieces)).await;
    let checked = checked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    Ok(match checked {
        Ok(()) => Found::Whole(stored),
        Err(reason) => Found::Damaged(reason),
    })
}

/// Whether these bytes are what the key stands for.
fn is_whole(key: Key, stored: &[u8], pieces: &[Piece]) -> Result<(), String> {
    if stored.len() as u64 > LARGEST {
        return Err("it is larger than any object of a base backup".to_owned());
    }
    match key {
        Key::Index(_, digest) => {
            let mut raw = Vec::new();
            decode(Format::Gzip, stored, LARGEST, &mut raw).map_err(|it| it.to_string())?;
            let is_named = Sha256::of(&raw) == digest;
            is_named
                .then_some(())
                .ok_or("it holds other bytes than its name says".to_owned())
        }
        Key::Manifest(..) => manifest(key, stored).map(drop),
        Key::Pack(_, _, _, format) if pieces.is_empty() => {
            let decoder = Decoder::new(format, io::sink(), u64::MAX);
            let mut decoder = decoder.map_err(|it| it.to_string())?;
            decoder.write(stored).map_err(|it| it.to_string())?;
            decoder.finish().map(drop).map_err(|it| it.to_string())
        }
        Key::Pack(_, _, _, format) => {
            let mut raw = Vec::new();
            pieces
                .iter()
                .try_for_each(|piece| piece.is_in(stored, format, &mut raw))
        }
        Key::Cluster(_) | Key::Wal(..) | Key::Stream(..) | Key::Running(..) | Key::Probe => Ok(()),
    }
}

impl Piece {
    fn is_in(&self, stored: &[u8], format: Format, raw: &mut Vec<u8>) -> Result<(), String> {
        let begin = self.offset as usize;
        let member = stored.get(begin..begin + self.stored_size as usize);
        let member = member.ok_or("it ends before a chunk that belongs into it")?;
        raw.clear();
        decode(format, member, u64::from(self.raw_size), raw)
            .map_err(|error| format!("its chunk at byte {begin}: {error}"))?;
        let is_it =
            raw.len() == self.raw_size as usize && ChunkDigest::of(raw).0[..8] == self.digest;
        is_it.then_some(()).ok_or_else(|| {
            format!("its chunk at byte {begin} does not have the SHA-256 that it was stored with")
        })
    }
}

/// The manifest in these bytes, and their raw SHA-256; why there is none, where
/// it is not that of its key.
pub(super) fn manifest(key: Key, stored: &[u8]) -> Result<(Manifest, Sha256), String> {
    let mut raw = Vec::new();
    let facts = decode(Format::Gzip, stored, LARGEST, &mut raw).map_err(|it| it.to_string())?;
    let digest = Sha256::of(&raw);
    if facts.is_some_and(|facts| facts.raw_sha256 != digest) {
        return Err("it does not have the SHA-256 that it was stored with".to_owned());
    }
    let manifest = Manifest::parse(&raw).map_err(|it| it.to_string())?;
    match Key::Manifest(manifest.generation, manifest.id) == key {
        true => Ok((manifest, digest)),
        false => Err(format!("it is the manifest of backup {}", manifest.id)),
    }
}

/// The chunks in packs, or in those of them that are `wanted`, as the manifests
/// have them. What no store can give of a manifest is left out; that it cannot,
/// is said elsewhere.
pub(super) async fn pieces<'a>(
    places: &[Place],
    manifests: impl Iterator<Item = &'a Manifest>,
    wanted: Option<&HashSet<Key>>,
) -> Pieces {
    let mut pieces = Pieces::new();
    if wanted.is_some_and(HashSet::is_empty) {
        return pieces;
    }
    // Most pages and stretches are in many backups.
    let (mut pages, mut indexes) = (HashSet::new(), HashSet::new());
    for manifest in manifests {
        let generation = manifest.generation;
        let formats = manifest.formats();
        let new = manifest
            .pages
            .iter()
            .filter(|it| pages.insert((generation, **it)));
        let new: Vec<Sha256> = new.copied().collect();
        let read = new
            .into_iter()
            .map(|page| entries(places, generation, page));
        let mut read = stream::iter(read).buffer_unordered(AT_ONCE);
        let mut entries = vec![manifest.control.clone()];
        loop {
            let stretches = entries.into_iter().filter_map(|entry| entry.file);
            let stretches = stretches
                .flat_map(|file| file.stretches)
                .filter(|at| match at {
                    StretchAt::Index(digest) => indexes.insert((generation, *digest)),
                    StretchAt::Inline(_) => true,
                });
            let stretches: Vec<StretchAt> = stretches.collect();
            let parsed = stretches
                .into_iter()
                .map(|at| stretch(places, generation, at));
            let mut parsed = stream::iter(parsed).buffer_unordered(AT_ONCE);
            while let Some(stretch) = parsed.next().await {
                for chunk in stretch.into_iter().flat_map(|stretch| stretch.chunks) {
                    let format = formats.get(&chunk.backup).copied().unwrap_or(Format::Gzip);
                    let key = Key::Pack(generation, chunk.backup, chunk.pack, format);
                    if wanted.is_some_and(|wanted| !wanted.contains(&key)) {
                        continue;
                    }
                    let mut digest = [0; 8];
                    digest.copy_from_slice(&chunk.digest.0[..8]);
                    pieces.entry(key).or_default().push(Piece {
                        offset: chunk.offset,
                        stored_size: chunk.stored_size,
                        raw_size: chunk.raw_size,
                        digest,
                    });
                }
            }
            match read.next().await {
                Some(next) => entries = next.unwrap_or_default(),
                None => break,
            }
        }
        // Stretches of several backups have chunks in common.
        for list in pieces.values_mut() {
            list.sort_unstable();
            list.dedup();
        }
    }
    pieces
}

/// The lines of a page, from the first store that can give it.
pub(super) async fn entries(
    places: &[Place],
    generation: Generation,
    page: Sha256,
) -> Option<Vec<Entry>> {
    for place in places {
        match base::page(place, generation, page).await {
            Ok(entries) => return Some(entries),
            Err(error) => tracing::debug!("{error}"),
        }
    }
    None
}

/// A stretch, from the first store that can give it.
pub(super) async fn stretch(
    places: &[Place],
    generation: Generation,
    at: StretchAt,
) -> Option<Stretch> {
    for place in places {
        match base::stretch(place, generation, &at).await {
            Ok(stretch) => return Some(stretch),
            Err(error) => tracing::debug!("{error}"),
        }
    }
    None
}
