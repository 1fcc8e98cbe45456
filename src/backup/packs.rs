//! Packs: compressed chunks, one behind the other, in objects of about 20 MiB.
//! There is one open pack for all threads; a thread adds runs of chunks, so
//! that the chunks of a stretch stay together.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::send::Upload;
use crate::{
    codec::{Buffer, BufferPool, Md5},
    layout::{BackupId, Format, Generation, Key, PackNumber},
    store::Body,
};

/// A pack is sent before it would become larger than this, in bytes.
pub const PACK: usize = 20 << 20;
/// How many packs there are in memory: one that is filled, others on their way.
const PACKS: usize = 3;

/// One backup's packs, as they are filled. For several threads.
pub struct Packs {
    generation: Generation,
    id: BackupId,
    format: Format,
    runtime: Handle,
    uploads: mpsc::Sender<Upload>,
    buffers: BufferPool,
    memory: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    pack: Option<(Buffer, OwnedSemaphorePermit)>,
    /// The number of the open pack, or of the last one.
    number: PackNumber,
    stored: u64,
}

/// The backup was given up: nobody takes packs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no store takes the backup's data any more")]
pub struct GivenUp;

/// Where a run of chunks begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAt {
    /// In which pack.
    pub pack: PackNumber,
    /// Behind how many bytes.
    pub offset: u32,
}

impl Packs {
    /// The packs of backup `id`, which go to `uploads`. `runtime` is where
    /// those are taken; it is waited for from threads of its own.
    pub fn new(
        (generation, id): (Generation, BackupId),
        format: Format,
        runtime: Handle,
        uploads: mpsc::Sender<Upload>,
    ) -> Self {
        Packs {
            generation,
            id,
            format,
            runtime,
            uploads,
            buffers: BufferPool::new(PACKS, PACK + PACK / 4),
            memory: Arc::new(Semaphore::new(PACKS)),
            open: Mutex::default(),
        }
    }

    /// Whose packs these are.
    pub fn id(&self) -> BackupId {
        self.id
    }

    /// Their format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Adds a run of whole members. Waits while the packs before it are on
    /// their way.
    pub fn add(&self, run: &[u8]) -> Result<RunAt, GivenUp> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((buffer, _)) = &open.pack
            && buffer.len() + run.len() > PACK
        {
            self.send(&mut open)?;
        }
        if open.pack.is_none() {
            let permit = Arc::clone(&self.memory).acquire_owned();
            let permit = self.runtime.block_on(permit).map_err(|_| GivenUp)?;
            open.pack = Some((self.buffers.take(), permit));
            open.number += 1;
        }
        let pack = open.number;
        let Some((buffer, _)) = &mut open.pack else {
            return Err(GivenUp);
        };
        let offset = buffer.len() as u32;
        buffer.extend_from_slice(run);
        Ok(RunAt { pack, offset })
    }

    /// Sends the last pack and says how many bytes all of them have.
    pub fn finish(&self) -> Result<u64, GivenUp> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.send(&mut open)?;
        Ok(open.stored)
    }

    /// Sends an object that is no pack.
    pub fn send_object(&self, key: Key, body: Body) -> Result<(), GivenUp> {
        let upload = Upload {
            key,
            body,
            memory: None,
        };
        self.uploads.blocking_send(upload).map_err(|_| GivenUp)
    }

    fn send(&self, open: &mut Open) -> Result<(), GivenUp> {
        let Some((buffer, memory)) = open.pack.take() else {
            return Ok(());
        };
        let md5 = Md5::of(&buffer);
        let body = Body::bytes(buffer.freeze(), md5);
        open.stored += body.length;
        let upload = Upload {
            key: Key::Pack(self.generation, self.id, open.number, self.format),
            body,
            memory: Some(memory),
        };
        self.uploads.blocking_send(upload).map_err(|_| GivenUp)
    }
}
