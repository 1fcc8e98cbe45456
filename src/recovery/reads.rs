//! Which parts of which packs are read, for chunks that are needed.

use std::{ops::Range, sync::Arc};

use super::file::RestoredFile;
use crate::{
    backup::stretch::{BLOCK, Chunk},
    layout::{BackupId, PackNumber},
};

/// One read has no more than this, in bytes.
pub(super) const LARGEST: u64 = 8 << 20;
/// What is not needed is read along where it is shorter than this, in bytes: a
/// request costs more.
const GAP: u64 = 256 << 10;

/// A chunk of which blocks are needed.
pub(super) struct Need {
    pub(super) chunk: Chunk,
    pub(super) file: Arc<RestoredFile>,
    /// Which of its blocks go where: their places in the chunk, and in the
    /// file.
    pub(super) blocks: Vec<(u16, u64)>,
}

/// A part of a pack, and the chunks in it.
pub(super) struct Read {
    pub(super) backup: BackupId,
    pub(super) pack: PackNumber,
    pub(super) range: Range<u64>,
    pub(super) needs: Vec<Need>,
}

impl Need {
    /// Where in the pack its chunk is.
    pub(super) fn range(&self) -> Range<u64> {
        let begin = u64::from(self.chunk.offset);
        begin..begin + u64::from(self.chunk.stored_size)
    }

    /// The needed parts of the chunk's bytes, and where in the file each goes.
    pub(super) fn runs<'a>(&'a self, raw: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
        let next = |&(position, block): &(u16, u64)| (position + 1, block + 1);
        let runs = self.blocks.chunk_by(move |one, other| next(one) == *other);
        runs.map(move |run| {
            let (position, block) = run[0];
            let begin = usize::from(position) * BLOCK;
            let end = (begin + run.len() * BLOCK).min(raw.len());
            (block * BLOCK as u64, &raw[begin..end])
        })
    }
}

/// The reads that bring all of them, in the order of the packs.
pub(super) fn reads(mut needs: Vec<Need>) -> Vec<Read> {
    let place = |need: &Need| (need.chunk.backup, need.chunk.pack, need.chunk.offset);
    needs.sort_by_key(place);
    let mut reads: Vec<Read> = Vec::new();
    for need in needs {
        let range = need.range();
        let joined = reads.last_mut().filter(|read| {
            (read.backup, read.pack) == (need.chunk.backup, need.chunk.pack)
                && range.start <= read.range.end + GAP
                && range.end <= read.range.start + LARGEST
        });
        match joined {
            Some(read) => {
                read.range.end = read.range.end.max(range.end);
                read.needs.push(need);
            }
            None => reads.push(Read {
                backup: need.chunk.backup,
                pack: need.chunk.pack,
                range,
                needs: vec![need],
            }),
        }
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Sha256;

    #[test]
    fn neighbours_share_a_read_and_others_do_not() {
        let file = Arc::new(RestoredFile::for_test());
        let need = |pack, offset: u64, stored_size: u64| Need {
            chunk: Chunk {
                backup: "20261120T020000Z".parse().unwrap(),
                pack,
                offset: offset as u32,
                stored_size: stored_size as u32,
                raw_size: 1,
                digest: Sha256([0; 32]),
            },
            file: Arc::clone(&file),
            blocks: Vec::new(),
        };
        let needs = vec![
            need(2, 0, 10),
            need(1, 20, 10),
            need(1, 0, 20),
            need(1, 30 + GAP, 5),
            need(1, 36 + 2 * GAP, 5),
            need(1, LARGEST + GAP, 1 << 20),
        ];
        let reads = reads(needs);
        let seen: Vec<_> = reads
            .iter()
            .map(|read| (read.pack, read.range.clone(), read.needs.len()))
            .collect();
        let far = LARGEST + GAP;
        assert_eq!(
            seen,
            [
                (1, 0..35 + GAP, 3),
                (1, 36 + 2 * GAP..41 + 2 * GAP, 1),
                (1, far..far + (1 << 20), 1),
                (2, 0..10, 1),
            ]
        );
    }
}
