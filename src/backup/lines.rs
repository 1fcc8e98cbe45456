//! The lines of a backup, written down: files in the order of the walk, each
//! once all of it was read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    data::{Data, DataError, Pending, Queue},
    listing::{Entry, FileEntry, Inline, Pages, StretchAt},
    manifest::{Damaged, PackSet, ranges},
    packs::Packs,
    read::ReadStretch,
    scan::Found,
    stretch::{STRETCH, Stretch},
};
use crate::{
    codec::{About, EncodeError, Encoder, Sha256},
    layout::{BackupId, Format, Generation, Key, PackNumber},
    store::Body,
};

/// The lines, as they are written down.
pub(super) struct Writing<'a> {
    packs: &'a Packs,
    gzip: &'a Encoder,
    generation: Generation,
    pages: Pages,
    /// Those of the backup before, which every store has.
    before: BTreeSet<Sha256>,
    data: Data,
}

impl<'a> Writing<'a> {
    /// Nothing is written yet.
    pub(super) fn new(
        packs: &'a Packs,
        gzip: &'a Encoder,
        generation: Generation,
        before: BTreeSet<Sha256>,
    ) -> Self {
        Writing {
            packs,
            gzip,
            generation,
            pages: Pages::default(),
            before,
            data: Data::default(),
        }
    }

    /// Writes what is complete at the queue's front.
    pub(super) fn write_complete(&mut self, queue: &mut Queue) -> Result<(), DataError> {
        while let Some(pending) = queue.pop() {
            let entry = self.entry(pending)?;
            self.data.totals.files += 1;
            if let Some(page) = self.pages.add(&entry) {
                self.page(page)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, pending: Pending) -> Result<Entry, DataError> {
        let Found {
            path, mode, file, ..
        } = pending.found;
        let Some(found) = file else {
            return Ok(Entry {
                path,
                mode,
                file: None,
            });
        };
        let mut file = FileEntry {
            size: 0,
            modified: found.modified,
            crc32c: 0,
            stretches: Vec::new(),
        };
        let mut damaged = Vec::new();
        for (read, before) in there(pending.stretches.into_iter().flatten()) {
            file.crc32c = crc32c::crc32c_combine(file.crc32c, read.crc32c, read.size as usize);
            file.size += read.size;
            self.data.totals.changed_bytes += read.changed;
            damaged.extend(read.damaged);
            for chunk in &read.stretch.chunks {
                self.data
                    .packs
                    .entry(chunk.backup)
                    .or_default()
                    .insert(chunk.pack);
            }
            file.stretches.push(self.stretch(&read.stretch, before)?);
        }
        self.data.totals.raw_bytes += file.size;
        if !damaged.is_empty() {
            tracing::warn!("\"{path}\" is damaged: the checksums of pages {damaged:?} are wrong");
            self.data.damaged.push(Damaged {
                path: path.clone(),
                blocks: damaged,
            });
        }
        Ok(Entry {
            path,
            mode,
            file: Some(file),
        })
    }

    /// Writes a stretch down, where that has not been done before.
    fn stretch(
        &mut self,
        stretch: &Stretch,
        before: Option<StretchAt>,
    ) -> Result<StretchAt, DataError> {
        let bytes = stretch.to_bytes();
        if bytes.len() <= Inline::MOST {
            return Ok(StretchAt::Inline(Inline::new(bytes)));
        }
        let digest = Sha256::of(&bytes);
        let at = StretchAt::Index(digest);
        self.data.indexes.insert(digest);
        if before.as_ref() != Some(&at) {
            self.index(&bytes, digest)?;
        }
        Ok(at)
    }

    fn page(&mut self, page: Vec<u8>) -> Result<(), DataError> {
        let digest = Sha256::of(&page);
        self.data.pages.push(digest);
        self.data.indexes.insert(digest);
        if self.before.contains(&digest) {
            return Ok(());
        }
        self.index(&page, digest)
    }

    /// Sends an index object.
    fn index(&mut self, bytes: &[u8], digest: Sha256) -> Result<(), DataError> {
        let object = object(self.gzip, bytes, &digest.to_string())?;
        self.data.totals.index_bytes += object.length;
        let key = Key::Index(self.generation, digest);
        Ok(self.packs.send_object(key, object)?)
    }

    /// The last page.
    pub(super) fn finish(mut self) -> Result<Data, DataError> {
        if let Some(page) = std::mem::take(&mut self.pages).finish() {
            self.page(page)?;
        }
        Ok(self.data)
    }
}

/// The stretches that make up a file. One that was truncated or dropped since
/// it was opened ends in a short stretch, or where one has nothing; what was
/// read behind that is of a file that has grown again.
fn there(
    stretches: impl Iterator<Item = (ReadStretch, Option<StretchAt>)>,
) -> impl Iterator<Item = (ReadStretch, Option<StretchAt>)> {
    let mut ended = false;
    stretches.take_while(move |(read, _)| {
        let there = !ended && read.size > 0;
        ended = read.size < STRETCH;
        there
    })
}

/// A small gzip object, whose bytes depend on nothing but `raw` and `name`.
pub fn object(gzip: &Encoder, raw: &[u8], name: &str) -> Result<Body, EncodeError> {
    let mut bytes = Vec::new();
    let encoded = gzip.encode(raw, About::new(name, Timestamp::UNIX_EPOCH), 1, &mut bytes)?;
    Ok(Body::bytes(bytes.into(), encoded.md5))
}

/// `packs` as a manifest has them. All packs of one backup have one format,
/// which `format_of` knows.
pub fn pack_sets(
    packs: &BTreeMap<BackupId, BTreeSet<PackNumber>>,
    format_of: impl Fn(BackupId) -> Format,
) -> Vec<PackSet> {
    let sets = packs.iter().map(|(&backup, numbers)| PackSet {
        backup,
        format: format_of(backup),
        numbers: ranges(numbers),
    });
    sets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_ends_where_it_was_truncated() {
        let kept = |sizes: &[u64]| {
            let read = |&size| ReadStretch {
                size,
                ..ReadStretch::default()
            };
            let stretches = sizes.iter().map(|size| (read(size), None));
            let sizes = there(stretches).map(|(read, _)| read.size);
            sizes.collect::<Vec<_>>()
        };
        assert_eq!(kept(&[STRETCH, STRETCH, 5]), [STRETCH, STRETCH, 5]);
        // DROP TABLE truncates before it removes.
        assert_eq!(kept(&[0]), [0_u64; 0]);
        assert_eq!(kept(&[STRETCH, 0, STRETCH]), [STRETCH]);
        assert_eq!(kept(&[STRETCH, 7, STRETCH, 5]), [STRETCH, 7]);
        assert_eq!(kept(&[]), [0_u64; 0]);
    }
}
