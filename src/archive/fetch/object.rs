//! One object from one store, unpacked and verified. Nothing of it gets the
//! file's name before that.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    FetchError,
    answer::{Answer, Not},
    bench::{Bench, IN_MEMORY},
    known::Known,
    survey::Heard,
};
use crate::{
    archive::{claim, object::SHA256, place::Place},
    codec::{
        BufferPool, DecodeError, Decoder, Facts, Sha256, decode, digest::Sha256Hasher, read_facts,
    },
    fs::Temporary,
    layout::{Format, Generation},
    postgres::{SegmentName, WalFileName},
    store::ObjectInfo,
};

/// What is to be received, and what for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) name: WalFileName,
    pub(super) generation: Generation,
    pub(super) known: Known,
    /// Whether, where it is absent, a later segment is to be looked for.
    pub(super) look_behind: bool,
    /// Whether, where it is absent, that is to be proved.
    pub(super) proof: Proof,
}

/// What makes a store's "absent" a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: nobody concludes anything from it.
    NotAsked,
    /// The archive is there: by its `cluster.json`, or an older script's WAL.
    Archive,
    /// The archive is there by its `cluster.json`, which `init` wrote.
    Claimed,
}

/// Why an object did not become its file.
enum Flaw {
    /// It is not what it should be.
    Damage(String),
    /// This host is at fault.
    Here(FetchError),
}

/// Asks one store for the file: downloads it, unpacks it into a temporary
/// beside `to`, and verifies it. What comes is noted in each of `heard`.
pub(super) async fn receive(
    place: &Place,
    wanted: &Wanted,
    to: &Path,
    bench: &Bench,
    heard: &[&Heard],
) -> Result<Answer<Temporary>, FetchError> {
    let note = |bytes| heard.iter().for_each(|heard| heard.note(bytes));
    let mut damaged = Vec::new();
    for format in bench.formats() {
        let key = place.key(wanted.generation, wanted.name, format);
        let mut receiver = Receiver::new(*wanted, format, to, bench);
        let sink = |piece: &[u8]| {
            note(piece.len());
            receiver.take(piece);
        };
        let info = match place.store.download(&key, sink).await {
            Err(error) => return Ok(Answer::Not(error.into())),
            Ok(None) => continue,
            Ok(Some(info)) => info,
        };
        note(0);
        match receiver.finish(info).await {
            Ok(file) => {
                bench.found(format);
                if !damaged.is_empty() {
                    let (store, reasons) = (place.name(), damaged.join("; "));
                    tracing::warn!("store \"{store}\": {reasons}; \"{key}\" is whole");
                }
                return Ok(Answer::Has(file));
            }
            Err(Flaw::Here(error)) => return Err(error),
            // It may be there in another format, from before that was changed.
            Err(Flaw::Damage(reason)) => {
                damaged.push(format!("\"{key}\" is damaged: {reason}"));
            }
        }
    }
    note(0);
    if !damaged.is_empty() {
        let reason = damaged.join("; ");
        return Ok(Answer::Not(Not::Damaged { reason }));
    }
    if wanted.proof != Proof::NotAsked {
        let (generation, ours) = (wanted.generation, wanted.known.system_id);
        let claimed = wanted.proof == Proof::Claimed;
        if let Err(error) = claim::confirm(place, generation, ours, claimed).await {
            return Ok(Answer::Not(error.into()));
        }
        note(0);
    }
    let later = match wanted.name {
        WalFileName::Segment(name) if wanted.look_behind => {
            match later_segment(place, wanted.generation, name, note).await {
                Ok(later) => later,
                Err(error) => return Ok(Answer::Not(error.into())),
            }
        }
        _ => None,
    };
    Ok(Answer::Not(Not::Absent { later }))
}

/// The next segment of the timeline that the store has after `name`.
async fn later_segment(
    place: &Place,
    generation: Generation,
    name: SegmentName,
    note: impl Fn(usize),
) -> Result<Option<SegmentName>, crate::store::StoreError> {
    let layout = &place.layout;
    let prefix = layout.timeline_prefix(generation, name.timeline);
    // Sorts before every key of the segment itself, whatever its suffix.
    let after = format!("{}{name}", layout.wal_prefix(generation));
    let mut listing = place.store.list(&prefix, Some(&after));
    loop {
        let page = listing.next_page().await?;
        note(0);
        if page.is_empty() {
            return Ok(None);
        }
        let segment = |object: &ObjectInfo| match layout.parse(&object.key)? {
            crate::layout::Key::Wal(_, WalFileName::Segment(found), _) => Some(found),
            _ => None,
        };
        let mut found = page.iter().filter_map(segment);
        if let Some(later) = found.find(|found| *found > name) {
            return Ok(Some(later));
        }
    }
}

/// Takes an object piece by piece.
struct Receiver {
    wanted: Wanted,
    format: Format,
    to: PathBuf,
    bench: Bench,
    state: State,
}

enum State {
    /// All in memory so far.
    Held(crate::codec::Buffer),
    /// Too large for that.
    Streamed(Box<Decoder<Unpacked>>),
    Failed(Flaw),
}

impl Receiver {
    fn new(wanted: Wanted, format: Format, to: &Path, bench: &Bench) -> Self {
        Receiver {
            wanted,
            format,
            to: to.to_owned(),
            bench: bench.clone(),
            state: State::Held(bench.packed.take()),
        }
    }

    /// After a failure the rest is not looked at.
    fn take(&mut self, piece: &[u8]) {
        let taken = match &mut self.state {
            State::Held(held) => {
                held.extend_from_slice(piece);
                // Its own header says early how large the file is.
                let large = held.len() as u64 > IN_MEMORY
                    || matches!(
                        read_facts(self.format, held),
                        Ok(Some(facts)) if facts.raw_size > IN_MEMORY
                    );
                if !large {
                    return;
                }
                let held = std::mem::take(&mut **held);
                stream(self.format, &held, &self.wanted, &self.to)
                    .map(|decoder| Some(Box::new(decoder)))
            }
            State::Streamed(decoder) => decoder.write(piece).map(|()| None).map_err(|e| {
                let name = self.wanted.name;
                flaw(e, name, &self.to)
            }),
            State::Failed(_) => Ok(None),
        };
        match taken {
            Ok(Some(decoder)) => self.state = State::Streamed(decoder),
            Ok(None) => {}
            Err(flaw) => self.state = State::Failed(flaw),
        }
    }

    async fn finish(self, info: ObjectInfo) -> Result<Temporary, Flaw> {
        let Receiver {
            wanted,
            format,
            to,
            bench,
            state,
        } = self;
        let said = match info.metadata.get(SHA256) {
            None => None,
            Some(text) => Some(
                text.parse::<Sha256>()
                    .map_err(|error| Flaw::Damage(format!("its metadata {SHA256}: {error}")))?,
            ),
        };
        let permit = bench.unpacking.clone().acquire_owned().await;
        let pool = bench.raw;
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match state {
                State::Held(held) => unpack((format, &held), &wanted, said, &to, &pool),
                State::Streamed(decoder) => end(*decoder, &wanted, said, &to),
                State::Failed(flaw) => Err(flaw),
            }
        });
        match work.await {
            Ok(done) => done,
            Err(error) => Err(Flaw::Here(FetchError::Unpack {
                name: wanted.name,
                reason: error.to_string(),
            })),
        }
    }
}

/// Unpacks an object that is all in memory.
fn unpack(
    (format, held): (Format, &[u8]),
    wanted: &Wanted,
    said: Option<Sha256>,
    to: &Path,
    pool: &BufferPool,
) -> Result<Temporary, Flaw> {
    let limit = wanted.known.largest(wanted.name);
    let mut raw = pool.take();
    let facts = match decode(format, held, limit.min(IN_MEMORY), &mut raw) {
        Err(DecodeError::TooLarge { .. }) if limit > IN_MEMORY => {
            drop(raw);
            return end(stream(format, held, wanted, to)?, wanted, said, to);
        }
        decoded => decoded.map_err(|error| flaw(error, wanted.name, to))?,
    };
    let expected = expected(facts, said, wanted.name)?;
    if expected.is_some_and(|expected| expected != Sha256::of(&raw)) {
        return Err(other_bytes());
    }
    let checked = wanted.known.check(wanted.name, &raw, raw.len() as u64);
    checked.map_err(|refusal| Flaw::Damage(refusal.to_string()))?;
    let written = || {
        let mut temporary = Temporary::beside(to)?;
        temporary.file().write_all(&raw)?;
        Ok(temporary)
    };
    written().map_err(|error| not_placed(error, to))
}

/// Begins to unpack what is too large to be held.
fn stream(
    format: Format,
    held: &[u8],
    wanted: &Wanted,
    to: &Path,
) -> Result<Decoder<Unpacked>, Flaw> {
    let temporary = Temporary::beside(to).map_err(|error| not_placed(error, to))?;
    let unpacked = Unpacked {
        temporary,
        hasher: Sha256Hasher::default(),
        head: Vec::new(),
        most: Known::wanted(wanted.name),
        size: 0,
    };
    let limit = wanted.known.largest(wanted.name);
    let begun = Decoder::new(format, unpacked, limit).and_then(|mut decoder| {
        decoder.write(held)?;
        Ok(decoder)
    });
    begun.map_err(|error| flaw(error, wanted.name, to))
}

/// Verifies what was unpacked piece by piece.
fn end(
    decoder: Decoder<Unpacked>,
    wanted: &Wanted,
    said: Option<Sha256>,
    to: &Path,
) -> Result<Temporary, Flaw> {
    let (unpacked, facts) = decoder
        .finish()
        .map_err(|error| flaw(error, wanted.name, to))?;
    let Unpacked {
        temporary,
        hasher,
        head,
        size,
        ..
    } = unpacked;
    let expected = expected(facts, said, wanted.name)?;
    if expected.is_some_and(|expected| expected != hasher.finish()) {
        return Err(other_bytes());
    }
    let checked = wanted.known.check(wanted.name, &head, size);
    checked.map_err(|refusal| Flaw::Damage(refusal.to_string()))?;
    Ok(temporary)
}

/// The SHA-256 that the raw bytes must have: what the object says of itself,
/// else what the store was told; none for an adopted object.
fn expected(
    facts: Option<Facts>,
    said: Option<Sha256>,
    name: WalFileName,
) -> Result<Option<Sha256>, Flaw> {
    let Some(facts) = facts else {
        return Ok(said);
    };
    if facts.file_name != name.to_string() {
        let found = facts.file_name;
        return Err(Flaw::Damage(format!("it holds the file \"{found}\"")));
    }
    Ok(Some(facts.raw_sha256))
}

fn other_bytes() -> Flaw {
    Flaw::Damage("its bytes do not have the SHA-256 that they were stored with".to_owned())
}

fn flaw(error: DecodeError, name: WalFileName, to: &Path) -> Flaw {
    match error {
        DecodeError::Sink(error) => not_placed(error, to),
        error if error.is_damage() => Flaw::Damage(error.to_string()),
        error => Flaw::Here(FetchError::Unpack {
            name,
            reason: error.to_string(),
        }),
    }
}

fn not_placed(source: io::Error, to: &Path) -> Flaw {
    let path = to.to_owned();
    Flaw::Here(FetchError::Place { path, source })
}

/// A file as it grows, with what will be asked of it.
struct Unpacked {
    temporary: Temporary,
    hasher: Sha256Hasher,
    head: Vec<u8>,
    /// How much of the beginning is kept.
    most: usize,
    size: u64,
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file: &mut File = self.temporary.file();
        file.write_all(bytes)?;
        let missing = self.most.saturating_sub(self.head.len());
        self.head
            .extend_from_slice(&bytes[..missing.min(bytes.len())]);
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
