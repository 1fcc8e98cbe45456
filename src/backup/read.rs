//! Reads a stretch of a file: each block is hashed and compared with the one
//! of the backup before; what changed is compressed in chunks and goes into
//! the packs. For one thread; PostgreSQL writes to the files meanwhile, and
//! replay mends what is torn.

use std::{fs::File, io, os::unix::fs::FileExt, thread, time::Duration};

use super::{
    packs::{GivenUp, Packs},
    stretch::{
        BLOCK, BlockHash, CHUNK_BLOCKS, Chunk, ChunkDigest, Home, STRETCH, Stretch, block_hash,
    },
};
use crate::{
    codec::{Members, OutOfMemory, Sha256},
    postgres::{
        Lsn,
        checksum::{self, PAGE, PageState},
    },
};

/// A run of compressed chunks goes into a pack at this size, in bytes.
const RUN: usize = 2 << 20;
/// An old chunk of whose blocks fewer than one in so many are still needed is
/// not used any more: restoring reads whole chunks.
const SPARSE: usize = 4;
/// How often a page whose checksum is wrong is read again: the server may be
/// writing it.
const READ_AGAIN: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// One read, in bytes.
const PIECE: usize = CHUNK_BLOCKS * BLOCK;

/// A stretch could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing takes the data.
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
    /// It could not be compressed.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Pages are checked: those of a relation's file in a cluster with checksums.
#[derive(Debug, Clone, Copy)]
pub struct PageCheck {
    /// The number of the file's first page in its relation's fork.
    pub first_page: u64,
    /// Where the backup began.
    pub start_lsn: Lsn,
}

/// What a stretch turned out to be.
#[derive(Debug, Default)]
pub struct ReadStretch {
    /// Where its blocks are.
    pub stretch: Stretch,
    /// How many bytes were read: fewer than a stretch's at the file's end.
    pub size: u64,
    /// CRC-32C of them.
    pub crc32c: u32,
    /// Of them, how many were stored anew.
    pub changed: u64,
    /// Pages of the file whose checksums are wrong.
    pub damaged: Vec<u64>,
}

/// Reads stretches.
pub struct Reader<'a> {
    packs: &'a Packs,
    members: Members,
    /// What was read last.
    piece: Vec<u8>,
    /// Changed blocks that are not compressed yet.
    chunk: Vec<u8>,
    digest: ChunkDigest,
    /// Compressed chunks that are in no pack yet.
    run: Vec<u8>,
}

/// A stretch that is being read.
struct Reading {
    before: Stretch,
    blocks: Vec<(BlockHash, Where)>,
    /// Their places are within the run, until it is in a pack.
    chunks: Vec<Chunk>,
    /// How many of them are in packs.
    placed: usize,
    read: ReadStretch,
}

/// Where a block is to be had.
#[derive(Clone, Copy)]
enum Where {
    Zero,
    /// In a chunk of the backup before.
    Before(Home),
    /// In one of this backup.
    Now(Home),
}

impl<'a> Reader<'a> {
    /// Puts what changed into `packs`.
    pub fn new(packs: &'a Packs, members: Members) -> Self {
        Reader {
            packs,
            members,
            piece: vec![0; PIECE],
            chunk: Vec::with_capacity(PIECE),
            digest: ChunkDigest::default(),
            run: Vec::new(),
        }
    }

    /// Reads the stretch of `file` that begins behind `offset` bytes.
    /// `before` is where its blocks are by the backup before.
    pub fn read(
        &mut self,
        file: &File,
        offset: u64,
        before: Option<Stretch>,
        check: Option<PageCheck>,
    ) -> Result<ReadStretch, ReadError> {
        let mut reading = Reading {
            before: before.unwrap_or_default(),
            blocks: Vec::new(),
            chunks: Vec::new(),
            placed: 0,
            read: ReadStretch::default(),
        };
        self.run.clear();
        while reading.read.size < STRETCH {
            let at = offset + reading.read.size;
            let size = read_full(file, &mut self.piece, at)?;
            if let Some(check) = check {
                let piece = &mut self.piece[..size];
                check_pages(file, piece, at, check, &mut reading.read.damaged)?;
            }
            let piece = &self.piece[..size];
            reading.read.crc32c = crc32c::crc32c_append(reading.read.crc32c, piece);
            reading.read.size += size as u64;
            self.take(size, &mut reading)?;
            if size < PIECE {
                break;
            }
        }
        self.end_chunk(&mut reading)?;
        self.renew_sparse(file, offset, &mut reading)?;
        self.end_run(&mut reading)?;
        Ok(reading.finish())
    }

    /// Looks at the blocks of the piece that was read.
    fn take(&mut self, size: usize, reading: &mut Reading) -> Result<(), ReadError> {
        for from in (0..size).step_by(BLOCK) {
            let block = &self.piece[from..size.min(from + BLOCK)];
            if block.iter().all(|byte| *byte == 0) {
                reading.blocks.push((BlockHash::default(), Where::Zero));
                continue;
            }
            let digest = Sha256::of(block);
            let hash = block_hash(digest);
            let home = match reading.before.blocks.get(reading.blocks.len()) {
                Some((before, home @ Home::Chunk { .. })) if *before == hash => {
                    Where::Before(*home)
                }
                _ => {
                    let position = (self.chunk.len() / BLOCK) as u16;
                    self.chunk.extend_from_slice(block);
                    self.digest.add(digest);
                    reading.read.changed += block.len() as u64;
                    Where::Now(reading.next_home(position))
                }
            };
            reading.blocks.push((hash, home));
            if self.chunk.len() >= PIECE {
                self.end_chunk(reading)?;
            }
        }
        Ok(())
    }

    /// Stores blocks anew that are nearly alone in their old chunks.
    fn renew_sparse(
        &mut self,
        file: &File,
        offset: u64,
        reading: &mut Reading,
    ) -> Result<(), ReadError> {
        let sparse = reading.sparse_chunks();
        if !sparse.contains(&true) {
            return Ok(());
        }
        for index in 0..reading.blocks.len() {
            let (hash, Where::Before(Home::Chunk { chunk, .. })) = reading.blocks[index] else {
                continue;
            };
            if !sparse[usize::from(chunk)] {
                continue;
            }
            let at = offset + (index * BLOCK) as u64;
            let size = read_full(file, &mut self.piece[..BLOCK], at)?;
            let block = &self.piece[..size];
            let digest = Sha256::of(block);
            // The server wrote to it meanwhile: the old one will do.
            if block_hash(digest) != hash {
                continue;
            }
            let position = (self.chunk.len() / BLOCK) as u16;
            self.chunk.extend_from_slice(block);
            self.digest.add(digest);
            reading.read.changed += block.len() as u64;
            reading.blocks[index].1 = Where::Now(reading.next_home(position));
            if self.chunk.len() >= PIECE {
                self.end_chunk(reading)?;
            }
        }
        self.end_chunk(reading)
    }

    /// Compresses the open chunk.
    fn end_chunk(&mut self, reading: &mut Reading) -> Result<(), ReadError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let offset = self.run.len();
        self.members.append(&self.chunk, &mut self.run)?;
        reading.chunks.push(Chunk {
            backup: self.packs.id(),
            pack: 0,
            offset: offset as u32,
            stored_size: (self.run.len() - offset) as u32,
            raw_size: self.chunk.len() as u32,
            digest: std::mem::take(&mut self.digest).finish(),
        });
        self.chunk.clear();
        if self.run.len() >= RUN {
            self.end_run(reading)?;
        }
        Ok(())
    }

    /// Puts the run into a pack.
    fn end_run(&mut self, reading: &mut Reading) -> Result<(), ReadError> {
        if self.run.is_empty() {
            return Ok(());
        }
        let at = self.packs.add(&self.run)?;
        for chunk in &mut reading.chunks[reading.placed..] {
            chunk.pack = at.pack;
            chunk.offset += at.offset;
        }
        reading.placed = reading.chunks.len();
        self.run.clear();
        Ok(())
    }
}

impl Reading {
    /// Where the next block of the open chunk will be.
    fn next_home(&self, position: u16) -> Home {
        Home::Chunk {
            chunk: self.chunks.len() as u16,
            position,
        }
    }

    /// Of each old chunk, whether too few of its blocks are still needed.
    fn sparse_chunks(&self) -> Vec<bool> {
        let mut needed = vec![0; self.before.chunks.len()];
        for (_, home) in &self.blocks {
            if let Where::Before(Home::Chunk { chunk, .. }) = home {
                needed[usize::from(*chunk)] += 1;
            }
        }
        let chunks = self.before.chunks.iter().zip(needed);
        chunks
            .map(|(chunk, needed)| needed > 0 && needed * SPARSE < chunk.block_count())
            .collect()
    }

    /// Old chunks that are still needed come first, in their old order: a
    /// stretch in which nothing changed has the bytes that it had.
    fn finish(mut self) -> ReadStretch {
        let mut kept = vec![None; self.before.chunks.len()];
        for (_, home) in &self.blocks {
            if let Where::Before(Home::Chunk { chunk, .. }) = home {
                kept[usize::from(*chunk)] = Some(0_u16);
            }
        }
        let stretch = &mut self.read.stretch;
        for (place, chunk) in kept.iter_mut().zip(self.before.chunks) {
            if let Some(place) = place {
                *place = stretch.chunks.len() as u16;
                stretch.chunks.push(chunk);
            }
        }
        let old = stretch.chunks.len() as u16;
        stretch.chunks.extend(self.chunks);
        let home = |home| match home {
            Where::Before(Home::Chunk { chunk, position }) => {
                kept[usize::from(chunk)].map_or(Home::Zero, |chunk| Home::Chunk { chunk, position })
            }
            Where::Now(Home::Chunk { chunk, position }) => Home::Chunk {
                chunk: old + chunk,
                position,
            },
            Where::Zero | Where::Before(Home::Zero) | Where::Now(Home::Zero) => Home::Zero,
        };
        let blocks = self.blocks.into_iter();
        stretch.blocks = blocks.map(|(hash, place)| (hash, home(place))).collect();
        self.read
    }
}

/// Reads until `piece` is full, or the file ends.
fn read_full(file: &File, piece: &mut [u8], at: u64) -> io::Result<usize> {
    let mut size = 0;
    while size < piece.len() {
        match file.read_at(&mut piece[size..], at + size as u64) {
            Ok(0) => break,
            Ok(read) => size += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size)
}

/// Looks at the checksums of whole pages. One that is wrong is read again;
/// one that was changed since the backup began is mended by replay.
fn check_pages(
    file: &File,
    piece: &mut [u8],
    at: u64,
    check: PageCheck,
    damaged: &mut Vec<u64>,
) -> io::Result<()> {
    for (index, page) in piece.as_chunks_mut::<PAGE>().0.iter_mut().enumerate() {
        let in_file = at / PAGE as u64 + index as u64;
        let number = (check.first_page + in_file) as u32;
        let mut tries = 0;
        while let PageState::Wrong { lsn } = checksum::examine(page, number) {
            if lsn >= check.start_lsn {
                break;
            }
            if tries == READ_AGAIN {
                damaged.push(in_file);
                break;
            }
            tries += 1;
            thread::sleep(PAUSE);
            if read_full(file, page, in_file * PAGE as u64)? < PAGE {
                // It was truncated meanwhile: replay does the same.
                break;
            }
        }
    }
    Ok(())
}
