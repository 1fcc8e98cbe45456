//! Where the blocks of one stretch of a file live: the leaf of a manifest.
//! docs/FORMAT.md, "Stretches", has the bytes.

use crate::{
    codec::{Sha256, digest::Sha256Hasher},
    layout::{BackupId, PackNumber},
};

/// What is compared, and stored anew when it changed: PostgreSQL's page, in
/// bytes (`BLCKSZ`; of a cluster built with another, a part or a multiple).
pub const BLOCK: usize = 8192;
/// How many blocks are compressed together.
pub const CHUNK_BLOCKS: usize = 64;
/// How many blocks of a file one stretch has.
pub const STRETCH_BLOCKS: usize = 4096;
/// A stretch in bytes: 32 MiB.
pub const STRETCH: u64 = (STRETCH_BLOCKS * BLOCK) as u64;

/// The first bytes of a block's SHA-256: enough to tell that it did not change
/// (one in 2^96 would be missed), and short, since there is one for every 8 KiB
/// of a cluster.
pub type BlockHash = [u8; 12];

/// Blocks that were compressed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// In which backup's packs it is.
    pub backup: BackupId,
    /// In which of them.
    pub pack: PackNumber,
    /// Where in the pack its bytes begin.
    pub offset: u32,
    /// How many there are.
    pub stored_size: u32,
    /// How many they become.
    pub raw_size: u32,
    /// What they become: SHA-256 of the SHA-256s of its blocks, in order.
    pub digest: Sha256,
}

/// Where a block is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// All its bytes are zero.
    Zero,
    /// In a chunk.
    Chunk {
        /// Its place in [`Stretch::chunks`].
        chunk: u16,
        /// Which of the chunk's blocks it is.
        position: u16,
    },
}

/// A stretch of a file. Its blocks have [`BLOCK`] bytes, but for the file's
/// last one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stretch {
    /// Where its blocks are.
    pub chunks: Vec<Chunk>,
    /// Each block: what it is, and where.
    pub blocks: Vec<(BlockHash, Home)>,
}

/// The bytes are no stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the manifest cannot be read: {0}")]
pub struct InvalidStretch(&'static str);

const VERSION: u8 = 1;
const HEAD: usize = 7;
const CHUNK_SIZE: usize = 64;
const BLOCK_SIZE: usize = 16;
/// The chunk's place of a block of zeros.
const ZERO: u16 = u16::MAX;

impl Stretch {
    /// Its bytes. Fields of a kind stand together, which is what makes them
    /// small when they are compressed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let size = HEAD + self.chunks.len() * CHUNK_SIZE + self.blocks.len() * BLOCK_SIZE;
        let mut bytes = Vec::with_capacity(size);
        bytes.push(VERSION);
        bytes.extend((self.blocks.len() as u32).to_le_bytes());
        bytes.extend((self.chunks.len() as u16).to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend(chunk.backup.to_string().as_bytes());
            for number in [chunk.pack, chunk.offset, chunk.stored_size, chunk.raw_size] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(chunk.digest.0);
        }
        let (chunk, position) = (
            |home| match home {
                Home::Zero => ZERO,
                Home::Chunk { chunk, .. } => chunk,
            },
            |home| match home {
                Home::Zero => 0,
                Home::Chunk { position, .. } => position,
            },
        );
        bytes.extend(self.blocks.iter().flat_map(|(hash, _)| *hash));
        bytes.extend(
            self.blocks
                .iter()
                .flat_map(|block| chunk(block.1).to_le_bytes()),
        );
        bytes.extend(
            self.blocks
                .iter()
                .flat_map(|block| position(block.1).to_le_bytes()),
        );
        bytes
    }

    /// Reads them back.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidStretch> {
        const SHORT: InvalidStretch = InvalidStretch("it ends early");
        let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(SHORT)?;
        let [version, b0, b1, b2, b3, c0, c1] = *head;
        if version != VERSION {
            return Err(InvalidStretch("a newer walkeep wrote it; install that one"));
        }
        let blocks = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
        let chunks = usize::from(u16::from_le_bytes([c0, c1]));
        if blocks > STRETCH_BLOCKS {
            return Err(InvalidStretch("it has more blocks than a stretch"));
        }
        if rest.len() != chunks * CHUNK_SIZE + blocks * BLOCK_SIZE {
            return Err(InvalidStretch("its size is not that of its parts"));
        }
        let (listed, rest) = rest.split_at(chunks * CHUNK_SIZE);
        let chunks: Result<Vec<Chunk>, _> = listed
            .as_chunks::<CHUNK_SIZE>()
            .0
            .iter()
            .map(parse_chunk)
            .collect();
        let chunks = chunks?;

        let (hashes, rest) = rest.split_at(blocks * 12);
        let (places, positions) = rest.split_at(blocks * 2);
        let places = places
            .as_chunks::<2>()
            .0
            .iter()
            .zip(positions.as_chunks::<2>().0);
        let home = |(place, position): (&[u8; 2], &[u8; 2])| {
            let (place, position) = (u16::from_le_bytes(*place), u16::from_le_bytes(*position));
            if place == ZERO {
                return Ok(Home::Zero);
            }
            let chunk = chunks.get(usize::from(place));
            let holds = chunk.is_some_and(|chunk| usize::from(position) < chunk.block_count());
            holds
                .then_some(Home::Chunk {
                    chunk: place,
                    position,
                })
                .ok_or(InvalidStretch("a block is in no chunk"))
        };
        let blocks: Result<Vec<_>, _> = hashes
            .as_chunks::<12>()
            .0
            .iter()
            .zip(places)
            .map(|(hash, place)| Ok((*hash, home(place)?)))
            .collect();
        let blocks = blocks?;
        Ok(Stretch { chunks, blocks })
    }
}

fn parse_chunk(bytes: &[u8; CHUNK_SIZE]) -> Result<Chunk, InvalidStretch> {
    let (id, rest) = bytes.split_at(BackupId::LENGTH);
    let (numbers, digest) = rest.split_at(16);
    let backup = str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    let number = |index: usize| {
        let bytes = numbers.as_chunks::<4>().0[index];
        u32::from_le_bytes(bytes)
    };
    let chunk = Chunk {
        backup: backup.ok_or(InvalidStretch("a chunk is of no backup"))?,
        pack: number(0),
        offset: number(1),
        stored_size: number(2),
        raw_size: number(3),
        digest: Sha256(
            *digest
                .first_chunk()
                .ok_or(InvalidStretch("it ends early"))?,
        ),
    };
    let sane = chunk.pack > 0
        && (1..=CHUNK_BLOCKS * BLOCK).contains(&(chunk.raw_size as usize))
        && chunk.offset.checked_add(chunk.stored_size).is_some();
    sane.then_some(chunk)
        .ok_or(InvalidStretch("a chunk's place makes no sense"))
}

impl Chunk {
    /// How many blocks it has; the last may be short.
    pub fn block_count(&self) -> usize {
        (self.raw_size as usize).div_ceil(BLOCK)
    }

    /// Whether `raw` is what it becomes.
    pub fn is(&self, raw: &[u8]) -> bool {
        raw.len() == self.raw_size as usize && ChunkDigest::of(raw) == self.digest
    }
}

/// Computes a chunk's digest as its blocks come.
#[derive(Clone, Default)]
pub struct ChunkDigest(Sha256Hasher);

impl ChunkDigest {
    /// Adds the next block by its SHA-256.
    pub fn add(&mut self, block: Sha256) {
        self.0.update(&block.0);
    }

    /// The digest.
    pub fn finish(self) -> Sha256 {
        self.0.finish()
    }

    /// The digest of a chunk's raw bytes.
    pub fn of(raw: &[u8]) -> Sha256 {
        let mut digest = ChunkDigest::default();
        for block in raw.chunks(BLOCK) {
            digest.add(Sha256::of(block));
        }
        digest.finish()
    }
}

/// What stands in a stretch for a block of this SHA-256.
pub fn block_hash(block: Sha256) -> BlockHash {
    let mut hash = BlockHash::default();
    hash.copy_from_slice(&block.0[..12]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch() -> Stretch {
        let chunk = |pack, raw_size| Chunk {
            backup: "20261120T020000Z".parse().unwrap(),
            pack,
            offset: 77,
            stored_size: 1000,
            raw_size,
            digest: Sha256::of(&[pack as u8]),
        };
        let block = |n: u8, home| (block_hash(Sha256::of(&[n])), home);
        let home = |chunk, position| Home::Chunk { chunk, position };
        Stretch {
            chunks: vec![chunk(1, 2 * BLOCK as u32), chunk(2, 100)],
            blocks: vec![
                block(1, home(0, 1)),
                block(2, Home::Zero),
                block(3, home(1, 0)),
            ],
        }
    }

    #[test]
    fn comes_back_and_every_cut_is_refused() {
        let bytes = stretch().to_bytes();
        assert_eq!(Stretch::parse(&bytes), Ok(stretch()));
        for end in 0..bytes.len() {
            assert!(Stretch::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
        let empty = Stretch::default();
        assert_eq!(Stretch::parse(&empty.to_bytes()), Ok(empty));
    }

    #[test]
    fn what_points_nowhere_is_refused() {
        let mut wrong = stretch();
        wrong.blocks[0].1 = Home::Chunk {
            chunk: 1,
            position: 1,
        };
        assert!(Stretch::parse(&wrong.to_bytes()).is_err());
        let mut wrong = stretch();
        wrong.chunks[0].raw_size = 1 + (CHUNK_BLOCKS * BLOCK) as u32;
        assert!(Stretch::parse(&wrong.to_bytes()).is_err());
    }

    #[test]
    fn a_chunk_is_known_by_its_blocks() {
        let raw = vec![7; BLOCK + 5];
        let mut chunk = stretch().chunks.remove(0);
        chunk.raw_size = raw.len() as u32;
        chunk.digest = ChunkDigest::of(&raw);
        assert!(chunk.is(&raw) && chunk.block_count() == 2);
        assert!(!chunk.is(&raw[1..]) && !chunk.is(&vec![8; BLOCK + 5]));
    }

    #[test]
    fn a_full_stretch_is_a_sixth_of_a_percent() {
        let home = |at: usize| Home::Chunk {
            chunk: (at / CHUNK_BLOCKS) as u16,
            position: (at % CHUNK_BLOCKS) as u16,
        };
        let chunk = Chunk {
            raw_size: (CHUNK_BLOCKS * BLOCK) as u32,
            ..stretch().chunks.remove(0)
        };
        let full = Stretch {
            chunks: vec![chunk; STRETCH_BLOCKS / CHUNK_BLOCKS],
            blocks: (0..STRETCH_BLOCKS)
                .map(|at| (block_hash(Sha256::of(&at.to_le_bytes())), home(at)))
                .collect(),
        };
        let incompressible = STRETCH_BLOCKS * 12 + full.chunks.len() * 32;
        assert!((incompressible as u64) < STRETCH / 600);
        assert_eq!(Stretch::parse(&full.to_bytes()), Ok(full));
    }
}
