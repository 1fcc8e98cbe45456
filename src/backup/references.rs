//! Which objects restoring a backup reads.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, stream};

use super::{Manifest, base, listing::StretchAt};
use crate::{
    archive::place::Place,
    codec::Sha256,
    layout::{Generation, Key},
};

/// Questions to stores at a time.
const AT_ONCE: usize = 8;

/// The index objects that each page names.
pub type Pages = HashMap<(Generation, Sha256), Vec<Sha256>>;

/// Reads the pages of these backups, each once: most are in many of them. One
/// that no store can give is not among them.
pub async fn pages<'a>(places: &[Place], manifests: impl Iterator<Item = &'a Manifest>) -> Pages {
    let wanted = manifests.flat_map(|manifest| {
        let pages = manifest.pages.iter();
        pages.map(|page| (manifest.generation, *page))
    });
    let wanted: HashSet<(Generation, Sha256)> = wanted.collect();
    let read = stream::iter(wanted).map(move |(generation, page)| async move {
        let mut reasons = Vec::new();
        for place in places {
            match base::page(place, generation, page).await {
                Ok(entries) => {
                    let files = entries.into_iter().filter_map(|entry| entry.file);
                    let stretches = files.flat_map(|file| file.stretches);
                    return Some(((generation, page), indexes(stretches).collect()));
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let reasons = reasons.join("; ");
        tracing::warn!("nobody knows which index objects are needed, so all stay: {reasons}");
        None
    });
    read.buffer_unordered(AT_ONCE)
        .filter_map(|page| async move { page })
        .collect()
        .await
}

/// Everything that restoring the backup reads; none where a page is missing
/// that would tell.
pub fn of(manifest: &Manifest, pages: &Pages) -> Option<HashSet<Key>> {
    let generation = manifest.generation;
    let index = |digest| Key::Index(generation, digest);
    let mut keys: HashSet<Key> = packs(manifest).collect();
    let control = manifest.control.file.iter();
    let control = control.flat_map(|file| file.stretches.clone());
    keys.extend(indexes(control).map(index));
    for page in &manifest.pages {
        let named = pages.get(&(generation, *page))?;
        keys.insert(index(*page));
        keys.extend(named.iter().copied().map(index));
    }
    Some(keys)
}

/// The packs that hold blocks of it.
pub fn packs(manifest: &Manifest) -> impl Iterator<Item = Key> {
    manifest.packs.iter().flat_map(|set| {
        let key = |number| Key::Pack(manifest.generation, set.backup, number, set.format);
        set.iter().map(key)
    })
}

fn indexes(stretches: impl Iterator<Item = StretchAt>) -> impl Iterator<Item = Sha256> {
    stretches.filter_map(|at| match at {
        StretchAt::Index(digest) => Some(digest),
        StretchAt::Inline(_) => None,
    })
}
