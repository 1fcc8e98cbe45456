//! A file that is being restored: prepared, written in pieces by several
//! threads, and made durable when the last of them is there.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{RestoreError, reads::Need};
use crate::{
    backup::{
        listing::EntryPath,
        stretch::{BLOCK, Home, STRETCH, STRETCH_BLOCKS, Stretch, block_hash},
    },
    codec::Sha256,
    fs::scattered,
};

/// One read of a file that is compared, in bytes.
const PIECE: usize = 64 * BLOCK;

/// A file that is being restored.
pub(super) struct RestoredFile {
    /// Where it is written.
    pub(super) path: PathBuf,
    /// Where it is below the data directory.
    pub(super) entry: EntryPath,
    /// In bytes.
    pub(super) size: u64,
    /// Pieces that are not there yet; one more as long as some are not known.
    left: AtomicUsize,
}

impl RestoredFile {
    pub(super) fn new(path: PathBuf, entry: EntryPath, size: u64) -> Self {
        RestoredFile {
            path,
            entry,
            size,
            left: AtomicUsize::new(1),
        }
    }

    /// One of its pieces is there, or all of them are known by now. True for
    /// the last one: the file is to be made durable.
    pub(super) fn is_last(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> RestoreError {
        let path = self.path.clone();
        move |cause| RestoreError::Io {
            action,
            path,
            cause,
        }
    }

    /// What is needed for a stretch of it. `compare`: the file may have some
    /// blocks already, which are read and left alone where they are right.
    pub(super) fn needs(
        self: &Arc<Self>,
        number: usize,
        stretch: Stretch,
        compare: bool,
    ) -> Result<Wanted, RestoreError> {
        let first = (number * STRETCH_BLOCKS) as u64;
        let bytes = (self.size - number as u64 * STRETCH).min(STRETCH);
        if stretch.blocks.len() as u64 != bytes.div_ceil(BLOCK as u64) {
            return Err(self.contradiction());
        }
        let mut comparing = compare.then(|| Comparing::open(self)).transpose()?;
        let mut wanted = Wanted {
            needs: Vec::new(),
            bytes: 0,
        };
        let mut chunks: Vec<Vec<(u16, u64)>> = vec![Vec::new(); stretch.chunks.len()];
        for (index, &(hash, home)) in stretch.blocks.iter().enumerate() {
            let block = first + index as u64;
            if let Some(comparing) = &mut comparing {
                let there = comparing.block(block)?;
                if block_hash(Sha256::of(there)) == hash {
                    continue;
                }
                if home == Home::Zero {
                    comparing.clear(block)?;
                }
            }
            let Home::Chunk { chunk, position } = home else {
                continue;
            };
            let chunk = usize::from(chunk);
            let behind = usize::from(position) * BLOCK;
            let length = stretch.chunks[chunk].raw_size as usize - behind;
            if length.min(BLOCK) != self.length_of(block) {
                return Err(self.contradiction());
            }
            wanted.bytes += length.min(BLOCK) as u64;
            chunks[chunk].push((position, block));
        }
        for (chunk, blocks) in stretch.chunks.into_iter().zip(chunks) {
            if !blocks.is_empty() {
                wanted.needs.push(Need {
                    chunk,
                    file: Arc::clone(self),
                    blocks,
                });
            }
        }
        self.left.fetch_add(wanted.needs.len(), Ordering::AcqRel);
        Ok(wanted)
    }

    /// How many bytes a block of it has: the last one may be short.
    fn length_of(&self, block: u64) -> usize {
        let behind = self.size.saturating_sub(block * BLOCK as u64);
        behind.min(BLOCK as u64) as usize
    }

    fn contradiction(&self) -> RestoreError {
        RestoreError::Contradiction(self.entry.clone())
    }

    #[cfg(test)]
    pub(super) fn for_test() -> Self {
        let entry = EntryPath::new(b"base/5/1259".to_vec()).unwrap();
        RestoredFile::new("/nowhere".into(), entry, 0)
    }
}

/// What is needed for a stretch of a file.
pub(super) struct Wanted {
    pub(super) needs: Vec<Need>,
    /// Bytes that are to be written.
    pub(super) bytes: u64,
}

/// A file that may have some of its blocks already, read in order.
struct Comparing<'a> {
    restored: &'a RestoredFile,
    file: File,
    piece: Vec<u8>,
    /// Where the piece begins.
    at: u64,
}

impl<'a> Comparing<'a> {
    fn open(restored: &'a RestoredFile) -> Result<Self, RestoreError> {
        let file = scattered::open(&restored.path).map_err(restored.failed("open"))?;
        Ok(Comparing {
            restored,
            file,
            piece: Vec::new(),
            at: 0,
        })
    }

    fn block(&mut self, block: u64) -> Result<&[u8], RestoreError> {
        use std::os::unix::fs::FileExt;
        let at = block * BLOCK as u64;
        let length = self.restored.length_of(block);
        if at < self.at || at + length as u64 > self.at + self.piece.len() as u64 {
            let rest = self.restored.size - at;
            self.piece.resize(rest.min(PIECE as u64) as usize, 0);
            self.at = at;
            let read = self.file.read_exact_at(&mut self.piece, at);
            read.map_err(self.restored.failed("read"))?;
        }
        let begin = (at - self.at) as usize;
        Ok(&self.piece[begin..begin + length])
    }

    /// Writes zeros.
    fn clear(&self, block: u64) -> Result<(), RestoreError> {
        use std::os::unix::fs::FileExt;
        let zeros = [0; BLOCK];
        let length = self.restored.length_of(block);
        let written = self
            .file
            .write_all_at(&zeros[..length], block * BLOCK as u64);
        written.map_err(self.restored.failed("write"))
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]
mod tests {
    use super::*;
    use crate::backup::stretch::{Chunk, ChunkDigest};

    /// A file of three blocks, the second zero, the third short.
    fn restored(directory: &std::path::Path) -> (Arc<RestoredFile>, Stretch, Vec<u8>) {
        let mut bytes = vec![7; 2 * BLOCK + 100];
        bytes[BLOCK..2 * BLOCK].fill(0);
        let raw = [&bytes[..BLOCK], &bytes[2 * BLOCK..]].concat();
        let chunk = Chunk {
            backup: "20261120T020000Z".parse().unwrap(),
            pack: 1,
            offset: 0,
            stored_size: 50,
            raw_size: raw.len() as u32,
            digest: ChunkDigest::of(&raw),
        };
        let home = |position| Home::Chunk { chunk: 0, position };
        let homes = [home(0), Home::Zero, home(1)];
        let blocks = bytes.chunks(BLOCK).zip(homes);
        let stretch = Stretch {
            chunks: vec![chunk],
            blocks: blocks
                .map(|(block, home)| (block_hash(Sha256::of(block)), home))
                .collect(),
        };
        let path = directory.join("file");
        scattered::prepare(&path, bytes.len() as u64, 0o600).unwrap();
        let entry = EntryPath::new(b"file".to_vec()).unwrap();
        let file = RestoredFile::new(path, entry, bytes.len() as u64);
        (Arc::new(file), stretch, bytes)
    }

    #[test]
    fn only_what_differs_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, stretch, mut bytes) = restored(directory.path());
        let blocks = |compare| {
            let wanted = file.needs(0, stretch.clone(), compare).unwrap();
            let needs = wanted.needs.into_iter().flat_map(|need| need.blocks);
            (needs.collect::<Vec<_>>(), wanted.bytes)
        };
        let all = (vec![(0, 0), (1, 2)], BLOCK as u64 + 100);
        assert_eq!(blocks(false), all);
        assert_eq!(blocks(true), all);
        std::fs::write(&file.path, &bytes).unwrap();
        assert_eq!(blocks(true), (vec![], 0));
        // Zeros that are none are made so at once.
        bytes[BLOCK + 1] = 1;
        bytes[2 * BLOCK] = 1;
        std::fs::write(&file.path, &bytes).unwrap();
        assert_eq!(blocks(true), (vec![(1, 2)], 100));
        let now = std::fs::read(&file.path).unwrap();
        assert!(now[BLOCK..2 * BLOCK].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_stretch_of_another_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (file, mut stretch, _) = restored(directory.path());
        let refused = |stretch: &Stretch| {
            let needs = file.needs(0, stretch.clone(), false);
            matches!(needs, Err(RestoreError::Contradiction(_)))
        };
        assert!(!refused(&stretch));
        stretch.chunks[0].raw_size += 1;
        assert!(refused(&stretch), "a block is too long");
        stretch.chunks[0].raw_size -= 1;
        stretch.blocks.pop();
        assert!(refused(&stretch), "a block is missing");
    }
}
