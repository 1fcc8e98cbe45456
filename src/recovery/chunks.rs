//! Reads parts of packs, checks each chunk in them, and writes its blocks
//! where they belong. What is damaged in one store comes from another.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinSet, spawn_blocking},
};

use super::{
    RestoreError,
    file::RestoredFile,
    reads::{Need, Read},
    sources::Sources,
};
use crate::{
    archive::place::Place,
    backup::{Manifest, base::BackupError},
    codec::{DecodeError, decode},
    fs::scattered,
    layout::{BackupId, Format, Generation, Key, PackNumber},
};

/// How much of packs is in memory at a time, in KiB.
const MEMORY: u32 = 32 << 10;
/// How many reads are on their way at a time.
const READS: usize = 8;
/// How many files are made durable at a time: the file system does several at
/// the price of one.
const SYNCS: usize = 16;

/// How far a restore has come. For whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the cluster that are in place, written or found right.
    pub done: AtomicU64,
    /// Of that, what was written.
    pub written: AtomicU64,
    /// Bytes that came from the stores.
    pub fetched: AtomicU64,
}

/// Brings chunks. Shared by everything that is under way.
pub(super) struct Bringing {
    pub(super) sources: Arc<Sources>,
    pub(super) generation: Generation,
    pub(super) progress: Arc<Progress>,
    /// For what keeps a core busy.
    pub(super) cores: Arc<Semaphore>,
    formats: BTreeMap<BackupId, Format>,
    memory: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    syncs: Arc<Semaphore>,
}

/// What a read in progress holds.
pub(super) struct Permits {
    _memory: OwnedSemaphorePermit,
    _read: OwnedSemaphorePermit,
}

/// What came of the chunks of one read.
#[derive(Default)]
struct Written {
    /// Files of which all is there now.
    complete: Vec<File>,
    /// Chunks that are not what they should be.
    damaged: Vec<Need>,
    bytes: u64,
}

impl Bringing {
    pub(super) fn new(
        sources: Arc<Sources>,
        manifest: &Manifest,
        progress: Arc<Progress>,
        cores: usize,
    ) -> Self {
        Bringing {
            sources,
            generation: manifest.generation,
            progress,
            cores: Arc::new(Semaphore::new(cores)),
            formats: manifest.formats(),
            memory: Arc::new(Semaphore::new(MEMORY as usize)),
            reads: Arc::new(Semaphore::new(READS)),
            syncs: Arc::new(Semaphore::new(SYNCS)),
        }
    }

    /// Waits until there is memory for a read.
    pub(super) async fn permits(&self, read: &Read) -> Result<Permits, RestoreError> {
        let size = (read.range.end - read.range.start).div_ceil(1 << 10) as u32;
        let memory = Arc::clone(&self.memory).acquire_many_owned(size.min(MEMORY));
        let closed = |_| RestoreError::Thread;
        Ok(Permits {
            _read: Arc::clone(&self.reads)
                .acquire_owned()
                .await
                .map_err(closed)?,
            _memory: memory.await.map_err(closed)?,
        })
    }

    /// Reads, checks, writes, and makes durable what is complete then.
    pub(super) async fn bring(
        self: Arc<Self>,
        read: Read,
        permits: Permits,
    ) -> Result<(), RestoreError> {
        let Read {
            backup,
            pack,
            range,
            needs,
        } = read;
        let size = range.end - range.start;
        let what = || format!("pack {pack} of backup {backup}");
        let key = self.key(backup, pack);
        let ask = |place: Place| part(place, key, range.clone());
        let stored = self.sources.get(&what(), size, ask).await?;
        self.progress.fetched.fetch_add(size, Ordering::Relaxed);

        let core = Arc::clone(&self.cores).acquire_owned().await;
        let core = core.map_err(|_| RestoreError::Thread)?;
        let (begin, format) = (range.start, self.format(backup));
        let written = spawn_blocking(move || {
            let _core = core;
            write_all(format, &stored, begin, needs)
        });
        let mut written = written.await.map_err(|_| RestoreError::Thread)??;
        drop(permits);
        for need in std::mem::take(&mut written.damaged) {
            self.bring_one(&need, &mut written).await?;
        }
        let progress = &self.progress;
        progress.written.fetch_add(written.bytes, Ordering::Relaxed);
        progress.done.fetch_add(written.bytes, Ordering::Relaxed);
        self.sync(written.complete).await
    }

    /// Brings one chunk that was damaged from whichever store has it whole.
    async fn bring_one(&self, need: &Need, written: &mut Written) -> Result<(), RestoreError> {
        let raw = self.chunk(need).await?;
        let file = scattered::open(&need.file.path).map_err(need.file.failed("open"))?;
        written.bytes += write(&file, need, &raw).map_err(need.file.failed("write"))?;
        if need.file.is_last() {
            written.complete.push(file);
        }
        Ok(())
    }

    /// The bytes of one chunk, from whichever store has it whole.
    pub(super) async fn chunk(&self, need: &Need) -> Result<Vec<u8>, RestoreError> {
        let range = need.range();
        let (backup, pack) = (need.chunk.backup, need.chunk.pack);
        let (key, format) = (self.key(backup, pack), self.format(backup));
        let what = format!(
            "\"{}\", from pack {pack} of backup {backup}",
            need.file.entry
        );
        let ask = |place: Place| async move {
            let stored = part(place.clone(), key, need.range()).await?;
            let mut raw = Vec::new();
            match unpack(format, &stored, need, &mut raw) {
                Ok(()) => Ok(raw),
                Err(reason) => Err(damaged(&place, key, reason)),
            }
        };
        let size = range.end - range.start;
        Ok(self.sources.get(&what, size, ask).await?)
    }

    /// Makes files durable of which all is there.
    pub(super) async fn sync(&self, files: Vec<File>) -> Result<(), RestoreError> {
        let mut syncing = JoinSet::new();
        for file in files {
            let permit = Arc::clone(&self.syncs).acquire_owned().await;
            let permit = permit.map_err(|_| RestoreError::Thread)?;
            syncing.spawn_blocking(move || {
                let _permit = permit;
                file.sync_all()
            });
        }
        while let Some(synced) = syncing.join_next().await {
            let synced = synced.map_err(|_| RestoreError::Thread)?;
            synced.map_err(RestoreError::Sync)?;
        }
        Ok(())
    }

    /// As [`sync`](Self::sync), for a file of which nothing had to be brought.
    pub(super) async fn sync_path(&self, file: Arc<RestoredFile>) -> Result<(), RestoreError> {
        let opened = scattered::open(&file.path).map_err(file.failed("open"))?;
        self.sync(vec![opened]).await
    }

    fn key(&self, backup: BackupId, pack: PackNumber) -> Key {
        Key::Pack(self.generation, backup, pack, self.format(backup))
    }

    /// The format of a backup's packs.
    fn format(&self, backup: BackupId) -> Format {
        self.formats.get(&backup).copied().unwrap_or(Format::Gzip)
    }
}

/// A part of a pack as a store has it; an error where that is not all of it.
async fn part(place: Place, key: Key, range: Range<u64>) -> Result<Bytes, BackupError> {
    let wanted = range.end - range.start;
    let text = place.layout.key(key);
    match place.store.get_range(&text, range).await? {
        Some(stored) if stored.len() as u64 == wanted => Ok(stored),
        Some(_) => Err(damaged(&place, key, "it is too short".to_owned())),
        None => Err(BackupError::Absent {
            store: place.name().to_string(),
            key: text,
        }),
    }
}

fn damaged(place: &Place, key: Key, reason: String) -> BackupError {
    BackupError::Damaged {
        store: place.name().to_string(),
        key: place.layout.key(key),
        reason,
    }
}

/// Writes the chunks of a read whose bytes begin behind `begin` of their pack.
fn write_all(
    format: Format,
    stored: &[u8],
    begin: u64,
    needs: Vec<Need>,
) -> Result<Written, RestoreError> {
    let mut written = Written::default();
    let mut raw = Vec::new();
    let mut open: Option<(Arc<RestoredFile>, File)> = None;
    for need in needs {
        let range = need.range();
        let member = &stored[(range.start - begin) as usize..(range.end - begin) as usize];
        raw.clear();
        if unpack(format, member, &need, &mut raw).is_err() {
            written.damaged.push(need);
            continue;
        }
        let file = match open.take() {
            Some((of, file)) if Arc::ptr_eq(&of, &need.file) => file,
            _ => scattered::open(&need.file.path).map_err(need.file.failed("open"))?,
        };
        written.bytes += write(&file, &need, &raw).map_err(need.file.failed("write"))?;
        if need.file.is_last() {
            written.complete.push(file);
        } else {
            open = Some((need.file, file));
        }
    }
    Ok(written)
}

/// Gives the chunk's bytes, checked.
fn unpack(format: Format, member: &[u8], need: &Need, raw: &mut Vec<u8>) -> Result<(), String> {
    let chunk = &need.chunk;
    decode(format, member, u64::from(chunk.raw_size), raw)
        .map_err(|error: DecodeError| error.to_string())?;
    if !chunk.is(raw) {
        return Err("a chunk does not have the SHA-256 that it was stored with".to_owned());
    }
    Ok(())
}

/// Writes the blocks that are needed, those that stand together at once.
/// Returns how many bytes.
fn write(file: &File, need: &Need, raw: &[u8]) -> io::Result<u64> {
    let mut bytes = 0;
    for (at, run) in need.runs(raw) {
        file.write_all_at(run, at)?;
        bytes += run.len() as u64;
    }
    Ok(bytes)
}
