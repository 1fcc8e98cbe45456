//! Streamed parts, read back from the stores and joined.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use jiff::Timestamp;

use super::join;
use crate::{
    archive::place::Place,
    codec::{DecodeError, Decoder, Sha256},
    layout::{Format, Generation, Key, Layout, StreamPart},
    postgres::SegmentName,
    store::StoreError,
};

/// The most raw bytes that a part is believed to have; eight times as many as
/// this version writes.
const LARGEST: u32 = 64 << 20;

/// The parts that one store lists.
pub async fn list(
    place: &Place,
    generation: Generation,
) -> Result<Vec<(StreamPart, Format)>, StoreError> {
    let mut parts = Vec::new();
    let mut listing = place
        .store
        .list(&place.layout.stream_prefix(generation), None);
    loop {
        let page = listing.next_page().await?;
        if page.is_empty() {
            return Ok(parts);
        }
        parts.extend(
            page.iter()
                .filter_map(|object| match place.layout.parse(&object.key) {
                    Some(Key::Stream(_, part, format)) => Some((part, format)),
                    _ => None,
                }),
        );
    }
}

/// The streamed parts of one generation, in several stores.
#[derive(Debug, Clone)]
pub struct StoredParts {
    generation: Generation,
    places: Vec<Place>,
    segments: BTreeMap<SegmentName, Vec<Copy>>,
}

/// A part in one of the places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    part: StreamPart,
    place: usize,
    is_zstd: bool,
}

/// A run of parts that was read from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// How many bytes it has.
    pub bytes: u32,
    /// Everything that PostgreSQL had flushed by then is in it; `None` of an
    /// empty one.
    pub until: Option<Timestamp>,
    /// What could not be read, as sentences.
    pub problems: Vec<String>,
}

/// A part is not what it should be.
#[derive(Debug, thiserror::Error)]
enum PartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it is not there any more")]
    Gone,
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("it does not say what it is")]
    NoFacts,
    #[error("it has {0} bytes")]
    Size(u64),
    #[error("its SHA-256 is not the one that it says")]
    Digest,
}

impl StoredParts {
    /// None yet.
    pub fn new(generation: Generation) -> Self {
        StoredParts {
            generation,
            places: Vec::new(),
            segments: BTreeMap::new(),
        }
    }

    /// Adds what a store lists.
    pub fn add(&mut self, place: &Place, parts: &[(StreamPart, Format)]) {
        for (part, format) in parts {
            self.segments.entry(part.segment).or_default().push(Copy {
                part: *part,
                place: self.places.len(),
                is_zstd: *format == Format::Zstd,
            });
        }
        self.places.push(place.clone());
    }

    /// The segments of which there is any part.
    pub fn segments(&self) -> impl Iterator<Item = SegmentName> {
        self.segments.keys().copied()
    }

    /// How many bytes of the segment there are without a hole, by the names.
    pub fn reach(&self, segment: SegmentName) -> u32 {
        let copies = self.segments.get(&segment).into_iter().flatten();
        join::reach(copies.map(|copy| &copy.part), 0)
    }

    /// Reads the run that leads furthest: `take` gets its bytes in order, each
    /// once, verified. A part that cannot be read counts as absent.
    pub async fn join<E>(
        &self,
        segment: SegmentName,
        mut take: impl FnMut(u32, &[u8]) -> Result<(), E>,
    ) -> Result<Joined, E> {
        let mut joined = Joined::default();
        let copies = self.segments.get(&segment).into_iter().flatten();
        let mut open: BTreeSet<Copy> = copies.copied().collect();
        let mut raw = Vec::new();
        while let Some(part) = join::next(open.iter().map(|copy| &copy.part), joined.bytes) {
            let Some(copy) = open.iter().find(|copy| copy.part == part).copied() else {
                break;
            };
            open.remove(&copy);
            raw.clear();
            match self.read(copy, &mut raw).await {
                Ok(written) => {
                    take(joined.bytes, &raw[(joined.bytes - part.from) as usize..])?;
                    joined.bytes = part.to;
                    joined.until = joined.until.max(Some(written));
                }
                Err(error) => joined.problems.push(format!(
                    "\"{}\" in store \"{}\": {error}",
                    self.key(copy),
                    self.places[copy.place].name()
                )),
            }
        }
        Ok(joined)
    }

    fn key(&self, copy: Copy) -> String {
        let format = if copy.is_zstd {
            Format::Zstd
        } else {
            Format::Gzip
        };
        let key = Key::Stream(self.generation, copy.part, format);
        self.places[copy.place].layout.key(key)
    }

    /// Reads one part, and says when its segment had been written to.
    async fn read(&self, copy: Copy, raw: &mut Vec<u8>) -> Result<Timestamp, PartError> {
        let length = copy.part.length();
        if length > LARGEST {
            return Err(PartError::Size(length.into()));
        }
        let (place, key) = (&self.places[copy.place], self.key(copy));
        let sink = Sink(std::mem::take(raw));
        let mut decoder = Decoder::new(Layout::format(&key), sink, length.into())?;
        let mut failure = None;
        let got = place.store.download(&key, |piece| {
            if failure.is_none() {
                failure = decoder.write(piece).err();
            }
        });
        got.await?.ok_or(PartError::Gone)?;
        if let Some(cause) = failure {
            return Err(cause.into());
        }
        let (sink, facts) = decoder.finish()?;
        *raw = sink.0;
        let facts = facts.ok_or(PartError::NoFacts)?;
        if raw.len() as u64 != u64::from(length) {
            return Err(PartError::Size(raw.len() as u64));
        }
        if Sha256::of(raw) != facts.raw_sha256 {
            return Err(PartError::Digest);
        }
        Ok(facts.modified)
    }
}

/// Takes decoded bytes.
struct Sink(Vec<u8>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
