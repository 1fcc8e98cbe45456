//! The data of a base backup, line by line: directories and files are made,
//! what they need is gathered into reads, and those run side by side.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use futures_util::{StreamExt, stream};
use tokio::task::{JoinHandle, JoinSet, block_in_place, spawn_blocking};

use super::{
    RestoreError,
    backup_manifest::BackupManifest,
    chunks::Bringing,
    file::{RestoredFile, Wanted},
    reads::{self, Need, reads},
    restore::Sizes,
    tree::Tree,
};
use crate::{
    archive::place::Place,
    backup::{
        Manifest,
        base::{self, BackupError},
        listing::{Entry, FileEntry, StretchAt, parse_page},
        stretch::{STRETCH, Stretch},
    },
    codec::Sha256,
};

/// Pages of the manifest that are fetched ahead.
const PAGES: usize = 4;
/// Stretches that are looked up and compared ahead.
const STRETCHES: usize = 16;
/// Reads are planned for so much of packs at once, of so much raw data, and of
/// so many files: those are open until they are durable. In bytes.
const BATCH: u64 = reads::LARGEST;
const RAW_BATCH: u64 = 256 << 20;
const FILES: usize = 64;
/// What a line, a page or a stretch is about, in bytes.
const INDEX: u64 = 64 << 10;

/// Restores everything but `pg_control`.
pub(super) async fn restore(
    bringing: &Arc<Bringing>,
    manifest: &Manifest,
    mut tree: Tree,
    verifiable: &mut BackupManifest,
) -> Result<u64, RestoreError> {
    let mut running = Running {
        bringing,
        stretches: VecDeque::new(),
        batch: Batch::default(),
        reads: JoinSet::new(),
    };
    let pages = stream::iter(manifest.pages.clone());
    let mut pages = pages.map(|digest| page(bringing, digest)).buffered(PAGES);
    while let Some(page) = pages.next().await {
        for entry in page? {
            let placed = block_in_place(|| tree.place(&entry))?;
            let Some((placed, file)) = placed.zip(entry.file.as_ref()) else {
                continue;
            };
            let added = verifiable.add(&entry.path, file.size, file.modified, file.crc32c);
            added.map_err(verifiable.failed())?;
            running
                .file(&entry, file, placed.path, placed.found)
                .await?;
        }
    }
    running.finish().await?;
    block_in_place(|| tree.finish())
}

/// How much each tablespace holds. Only for a cluster that has some: it takes
/// reading all lines once more.
pub(super) async fn tablespace_sizes(
    bringing: &Bringing,
    manifest: &Manifest,
) -> Result<Sizes, RestoreError> {
    let mut sizes = Sizes::new();
    if manifest.tablespaces.is_empty() {
        return Ok(sizes);
    }
    let pages = stream::iter(manifest.pages.clone());
    let mut pages = pages.map(|digest| page(bringing, digest)).buffered(PAGES);
    while let Some(page) = pages.next().await {
        for entry in page? {
            let below = entry.path.as_bytes().strip_prefix(b"pg_tblspc/");
            let oid = below.and_then(|below| below.split(|&byte| byte == b'/').next());
            let oid = oid.and_then(|oid| str::from_utf8(oid).ok()?.parse().ok());
            if let Some((oid, file)) = oid.zip(entry.file) {
                *sizes.entry(oid).or_default() += file.size;
            }
        }
    }
    Ok(sizes)
}

async fn page(bringing: &Bringing, digest: Sha256) -> Result<Vec<Entry>, RestoreError> {
    let generation = bringing.generation;
    let ask = |place: Place| async move {
        let page = base::index(&place, generation, digest).await?;
        let entries: Result<Vec<Entry>, _> = parse_page(&page).collect();
        entries.map_err(|error| BackupError::Damaged {
            store: place.name().to_string(),
            key: format!("page {digest}"),
            reason: error.to_string(),
        })
    };
    let what = "a page of the manifest";
    Ok(bringing.sources.get(&what, INDEX, ask).await?)
}

/// Files of which some is under way.
struct Running<'a> {
    bringing: &'a Arc<Bringing>,
    stretches: VecDeque<Coming>,
    batch: Batch,
    reads: JoinSet<Result<(), RestoreError>>,
}

/// What a stretch needs: known, or to be known soon.
enum Coming {
    Known(Wanted),
    Soon(JoinHandle<Result<Wanted, RestoreError>>),
    /// All of a file's stretches stand before it.
    End(Arc<RestoredFile>),
}

/// What the next reads are planned for.
#[derive(Default)]
struct Batch {
    needs: Vec<Need>,
    stored: u64,
    raw: u64,
    files: usize,
}

impl Running<'_> {
    async fn file(
        &mut self,
        entry: &Entry,
        file: &FileEntry,
        path: PathBuf,
        found: bool,
    ) -> Result<(), RestoreError> {
        let count = file.size.div_ceil(STRETCH);
        if file.stretches.len() as u64 != count {
            return Err(RestoreError::Contradiction(entry.path.clone()));
        }
        let restored = RestoredFile::new(path, entry.path.clone(), file.size);
        let restored = Arc::new(restored);
        for (number, at) in file.stretches.iter().enumerate() {
            let coming = self.stretch(&restored, number, at, found)?;
            self.stretches.push_back(coming);
        }
        self.stretches.push_back(Coming::End(restored));
        while self.stretches.len() > STRETCHES {
            self.take().await?;
        }
        Ok(())
    }

    /// Begins to find out what a stretch needs.
    fn stretch(
        &self,
        file: &Arc<RestoredFile>,
        number: usize,
        at: &StretchAt,
        found: bool,
    ) -> Result<Coming, RestoreError> {
        if let (StretchAt::Inline(inline), false) = (at, found) {
            let stretch = inline
                .stretch()
                .map_err(|_| RestoreError::Contradiction(file.entry.clone()))?;
            let wanted = file.needs(number, stretch, false)?;
            note(self.bringing, file, number, &wanted);
            return Ok(Coming::Known(wanted));
        }
        let (bringing, file, at) = (Arc::clone(self.bringing), Arc::clone(file), at.clone());
        Ok(Coming::Soon(tokio::spawn(async move {
            let stretch = stretch(&bringing, &file, &at).await?;
            let core = Arc::clone(&bringing.cores).acquire_owned().await;
            let core = core.map_err(|_| RestoreError::Thread)?;
            let wanted = spawn_blocking(move || {
                let _core = core;
                let wanted = file.needs(number, stretch, found);
                wanted.inspect(|wanted| note(&bringing, &file, number, wanted))
            });
            wanted.await.map_err(|_| RestoreError::Thread)?
        })))
    }

    /// Takes the next stretch in order.
    async fn take(&mut self) -> Result<(), RestoreError> {
        let wanted = match self.stretches.pop_front() {
            None => return Ok(()),
            Some(Coming::Known(wanted)) => wanted,
            Some(Coming::Soon(wanted)) => wanted.await.map_err(|_| RestoreError::Thread)??,
            Some(Coming::End(file)) => {
                self.batch.files += 1;
                if file.is_last() {
                    let bringing = Arc::clone(self.bringing);
                    self.make_room().await?;
                    self.reads
                        .spawn(async move { bringing.sync_path(file).await });
                }
                return Ok(());
            }
        };
        self.batch.raw += wanted.bytes;
        let stored = wanted.needs.iter().map(|need| need.chunk.stored_size);
        self.batch.stored += stored.map(u64::from).sum::<u64>();
        self.batch.needs.extend(wanted.needs);
        let Batch {
            stored, raw, files, ..
        } = self.batch;
        if stored >= BATCH || raw >= RAW_BATCH || files >= FILES {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), RestoreError> {
        let batch = std::mem::take(&mut self.batch);
        for read in reads(batch.needs) {
            self.make_room().await?;
            let permits = self.bringing.permits(&read).await?;
            let bringing = Arc::clone(self.bringing);
            self.reads.spawn(bringing.bring(read, permits));
        }
        Ok(())
    }

    /// Looks how the reads go, and waits where there are many of them.
    async fn make_room(&mut self) -> Result<(), RestoreError> {
        const MOST: usize = 24;
        while let Some(ended) = self.reads.try_join_next() {
            ended.map_err(|_| RestoreError::Thread)??;
        }
        while self.reads.len() >= MOST {
            self.join().await?;
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(), RestoreError> {
        match self.reads.join_next().await {
            Some(ended) => ended.map_err(|_| RestoreError::Thread)?,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<(), RestoreError> {
        while !self.stretches.is_empty() {
            self.take().await?;
        }
        self.send().await?;
        while !self.reads.is_empty() {
            self.join().await?;
        }
        Ok(())
    }
}

async fn stretch(
    bringing: &Bringing,
    file: &RestoredFile,
    at: &StretchAt,
) -> Result<Stretch, RestoreError> {
    let generation = bringing.generation;
    let ask = |place: Place| async move { base::stretch(&place, generation, at).await };
    let what = format!("where the blocks of \"{}\" are", file.entry);
    Ok(bringing.sources.get(&what, INDEX, ask).await?)
}

/// What a stretch does not need is in place.
fn note(bringing: &Bringing, file: &RestoredFile, number: usize, wanted: &Wanted) {
    let all = (file.size - number as u64 * STRETCH).min(STRETCH);
    let right = all - wanted.bytes;
    bringing.progress.done.fetch_add(right, Ordering::Relaxed);
}

/// Reads a file of one block or two into memory: `pg_control`.
pub(super) async fn read_small(
    bringing: &Bringing,
    entry: &Entry,
    directory: PathBuf,
) -> Result<Vec<u8>, RestoreError> {
    let contradiction = || RestoreError::Contradiction(entry.path.clone());
    let file = entry.file.as_ref().ok_or_else(contradiction)?;
    let at = file.stretches.first().ok_or_else(contradiction)?;
    let path = directory.join(entry.path.as_path());
    let restored = Arc::new(RestoredFile::new(path, entry.path.clone(), file.size));
    let stretch = stretch(bringing, &restored, at).await?;
    let wanted = restored.needs(0, stretch, false)?;
    let mut bytes = vec![0; file.size as usize];
    for need in &wanted.needs {
        let raw = bringing.chunk(need).await?;
        for (at, run) in need.runs(&raw) {
            bytes[at as usize..at as usize + run.len()].copy_from_slice(run);
        }
    }
    Ok(bytes)
}
