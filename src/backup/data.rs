//! The data of a base backup: walks the data directory, has its stretches read
//! by several threads, and writes the lines down in order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use tokio::{runtime::Handle, task::JoinHandle};

use super::{
    base::{self, BackupError, Lines},
    lines::Writing,
    listing::{EntryPath, StretchAt},
    manifest::{Damaged, Totals},
    packs::{GivenUp, Packs},
    read::{PageCheck, ReadError, ReadStretch, Reader},
    scan::{Found, Scan, ScanError},
    stretch::{STRETCH, Stretch},
};
use crate::{
    archive::place::Place,
    codec::{EncodeError, Encoder, OutOfMemory, Sha256},
    layout::{BackupId, Generation, PackNumber},
    postgres::Lsn,
};

/// How many stretches may be on their way through the threads: enough to hide
/// the time that it takes to fetch what is known of them.
const AHEAD: usize = 48;

/// What the data of a backup turned out to be.
#[derive(Debug, Default)]
pub struct Data {
    /// The index objects that hold the lines, in order.
    pub pages: Vec<Sha256>,
    /// Every pack that holds blocks, by the backup that it is of.
    pub packs: BTreeMap<BackupId, BTreeSet<PackNumber>>,
    /// Every index object that is used: one that was sent may have been there
    /// before, and somebody may have removed it since.
    pub indexes: BTreeSet<Sha256>,
    /// Pages that are damaged in the cluster.
    pub damaged: Vec<Damaged>,
    /// Sums; what the packs take is not in them yet.
    pub totals: Totals,
}

/// The data could not be read, or not be sent.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The data directory could not be walked.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file could not be read.
    #[error("read \"{path}\": {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// No store takes the backup any more.
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
    /// What the backup before says could not be read.
    #[error("read the backup that this one is based on")]
    Base(#[from] BackupError),
    /// An object could not be made.
    #[error("compress")]
    Encode(#[from] EncodeError),
    /// There is no memory for a compressor.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A thread died.
    #[error("a reading thread died")]
    Thread,
}

/// How the data are to be read.
pub struct Reading<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// Where the server began the backup, where its pages have checksums.
    pub check_from: Option<Lsn>,
    /// The archive's generation.
    pub generation: Generation,
    /// How chunks are compressed.
    pub encoder: &'a Encoder,
    /// How index objects are.
    pub gzip: &'a Encoder,
    /// Where stores are spoken to.
    pub runtime: Handle,
    /// The backup before: a store that has it, and its lines.
    pub before: Option<(Place, Lines)>,
    /// How many threads read and compress.
    pub threads: usize,
    /// Counts the bytes that were read.
    pub read: &'a AtomicU64,
}

/// A stretch to be read.
struct Work {
    at: (u64, usize),
    file: Arc<File>,
    path: PathBuf,
    offset: u64,
    before: Option<Before>,
    check: Option<PageCheck>,
}

/// What the backup before says of a stretch: in the line, or on its way.
struct Before {
    at: StretchAt,
    stretch: JoinHandle<Result<Stretch, BackupError>>,
}

/// A stretch that was read.
struct Done {
    at: (u64, usize),
    before: Option<StretchAt>,
    read: Result<ReadStretch, DataError>,
}

/// Files whose stretches are on their way, in order.
#[derive(Default)]
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    /// The number of the first of them, over all files.
    first: u64,
    /// How many stretches the threads have not read yet.
    ahead: usize,
}

/// A file whose stretches are on their way.
pub(super) struct Pending {
    pub(super) found: Found,
    pub(super) stretches: Vec<Option<(ReadStretch, Option<StretchAt>)>>,
    left: usize,
}

impl Queue {
    /// The number of the next file.
    fn next(&self) -> u64 {
        self.first + self.pending.len() as u64
    }

    fn push(&mut self, found: Found, stretches: usize) {
        self.ahead += stretches;
        self.pending.push_back(Pending {
            found,
            stretches: (0..stretches).map(|_| None).collect(),
            left: stretches,
        });
    }

    /// Waits for a stretch, and gives its size.
    fn receive(&mut self, done: &Receiver<Done>) -> Result<u64, DataError> {
        let done = done.recv().map_err(|_| DataError::Thread)?;
        let (file, stretch) = done.at;
        self.ahead -= 1;
        let read = done.read?;
        let size = read.size;
        let pending = self.pending.get_mut((file - self.first) as usize);
        let pending = pending.ok_or(DataError::Thread)?;
        pending.stretches[stretch] = Some((read, done.before));
        pending.left -= 1;
        Ok(size)
    }

    /// The next file, once all of it was read.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let complete = self.pending.front()?.left == 0;
        self.first += u64::from(complete);
        complete.then(|| self.pending.pop_front()).flatten()
    }
}

impl Reading<'_> {
    /// Reads everything but [`CONTROL`](super::scan::CONTROL), and puts it into `packs`.
    pub fn run(mut self, packs: &Packs) -> Result<Data, DataError> {
        let (work_out, work_in) = channel::<Work>();
        let (done_out, done_in) = channel::<Done>();
        let work_in = Arc::new(Mutex::new(work_in));
        let members: Result<Vec<_>, _> = (0..self.threads)
            .map(|_| self.encoder.single_members())
            .collect();
        let (runtime, members) = (self.runtime.clone(), members?);
        thread::scope(|scope| {
            for members in members {
                let (work, done) = (Arc::clone(&work_in), done_out.clone());
                let (reader, runtime) = (Reader::new(packs, members), runtime.clone());
                scope.spawn(move || read_all(reader, &work, &done, &runtime));
            }
            drop(done_out);
            self.coordinate(packs, work_out, &done_in)
        })
    }

    /// Walks the data directory, hands out its stretches, and writes the lines
    /// down in order.
    fn coordinate(
        &mut self,
        packs: &Packs,
        work: Sender<Work>,
        done: &Receiver<Done>,
    ) -> Result<Data, DataError> {
        let mut scan = Scan::of(self.data)?;
        let before = self.before.as_ref().map(|(_, lines)| lines.pages());
        let before = before.unwrap_or_default().iter().copied().collect();
        let mut writing = Writing::new(packs, self.gzip, self.generation, before);
        let mut queue = Queue::default();
        while let Some(found) = scan.find_next()? {
            self.hand_out(found, &work, &mut queue)?;
            while queue.ahead > AHEAD {
                self.count(queue.receive(done)?);
            }
            writing.write_complete(&mut queue)?;
        }
        drop(work);
        while queue.ahead > 0 {
            self.count(queue.receive(done)?);
            writing.write_complete(&mut queue)?;
        }
        writing.finish()
    }

    fn count(&self, read: u64) {
        self.read.fetch_add(read, Ordering::Relaxed);
    }

    /// Opens a file and hands its stretches to the threads. A file that is
    /// gone by now is passed over.
    fn hand_out(
        &mut self,
        found: Found,
        work: &Sender<Work>,
        queue: &mut Queue,
    ) -> Result<(), DataError> {
        let Some(file) = found.file else {
            queue.push(found, 0);
            return Ok(());
        };
        let failed = |cause| DataError::Read {
            path: found.source.clone(),
            cause,
        };
        let opened = match File::open(&found.source) {
            Ok(opened) => Arc::new(opened),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let size = opened.metadata().map_err(failed)?.len();
        let check = self.check_from.zip(file.relation);
        let check = check.map(|(start_lsn, relation)| PageCheck {
            first_page: relation.first_page(),
            start_lsn,
        });
        let mut before = self.before_of(&found.path)?.into_iter();
        let count = usize::try_from(size.div_ceil(STRETCH)).unwrap_or(usize::MAX);
        for number in 0..count {
            let work = work.send(Work {
                at: (queue.next(), number),
                file: Arc::clone(&opened),
                path: found.source.clone(),
                offset: number as u64 * STRETCH,
                before: before.next().and_then(|at| self.look_up(at)),
                check,
            });
            work.map_err(|_| DataError::Thread)?;
        }
        queue.push(found, count);
        Ok(())
    }

    /// Where the backup before has the stretches of `path` written down.
    fn before_of(&mut self, path: &EntryPath) -> Result<Vec<StretchAt>, DataError> {
        let Some((_, lines)) = &mut self.before else {
            return Ok(Vec::new());
        };
        let entry = self.runtime.block_on(lines.find(path))?;
        Ok(entry
            .and_then(|entry| entry.file)
            .map_or_else(Vec::new, |file| file.stretches))
    }

    /// Begins to fetch what the backup before says of a stretch.
    fn look_up(&self, at: StretchAt) -> Option<Before> {
        let (place, _) = self.before.as_ref()?;
        let (place, generation, wanted) = (place.clone(), self.generation, at.clone());
        let stretch = async move { base::stretch(&place, generation, &wanted).await };
        Some(Before {
            at,
            stretch: self.runtime.spawn(stretch),
        })
    }
}

/// A thread's work, until there is no more.
fn read_all(
    mut reader: Reader<'_>,
    work: &Mutex<Receiver<Work>>,
    done: &Sender<Done>,
    runtime: &Handle,
) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else {
            return;
        };
        let (before, stretch) = match work.before {
            None => (None, None),
            // Without it the stretch is stored anew, which is never wrong.
            Some(before) => match runtime.block_on(before.stretch) {
                Ok(Ok(stretch)) => (Some(before.at), Some(stretch)),
                Ok(Err(error)) => {
                    tracing::warn!("a part of the backup before cannot be used: {error}");
                    (None, None)
                }
                Err(_) => (None, None),
            },
        };
        let read = reader.read(&work.file, work.offset, stretch, work.check);
        let read = read.map_err(|error| match error {
            ReadError::Io(cause) => DataError::Read {
                path: work.path,
                cause,
            },
            ReadError::GivenUp(error) => error.into(),
            ReadError::OutOfMemory(error) => error.into(),
        });
        let at = work.at;
        // The other end is gone where the backup has failed.
        if done.send(Done { at, before, read }).is_err() {
            return;
        }
    }
}
