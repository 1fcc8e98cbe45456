//! Many records, without keeping others waiting: read a page, let go of the
//! file, hand the page on, come back for the next.

use std::{
    io::{self, Write},
    ops::Range,
    vec,
};

use super::{Catalog, CatalogError, FileRecord, rows};
use crate::{
    layout::Generation,
    postgres::{Lsn, TimelineId},
};

/// How many records a page holds: some 600 KiB, read in a few milliseconds.
const PAGE: usize = 1024;

/// Which files. They come by generation, then timeline, then LSN; a
/// timeline's history file before its segments, and what is about a segment
/// behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// Every file.
    All,
    /// Those of one generation.
    Generation(Generation),
    /// Those of one timeline.
    Timeline(Generation, TimelineId),
    /// Those of the generation's timelines below this one.
    Before(Generation, TimelineId),
    /// Those of one timeline that hold any byte of the range: segments and
    /// partial ones.
    Lsn(Generation, TimelineId, Range<Lsn>),
}

impl Select {
    /// The first key, and the key that every key is before. Of an LSN range
    /// they go to the next 4 GiB on either side, as an LSN's high half is the
    /// middle of a name whatever the segment size; [`holds`](Self::holds) does
    /// the rest.
    pub(super) fn keys(&self) -> (Vec<u8>, Vec<u8>) {
        let key = |generation: &Generation, text: &str| {
            [
                rows::generation_key(*generation).as_slice(),
                text.as_bytes(),
            ]
            .concat()
        };
        // `~` comes after every character of a name.
        match self {
            Select::All => (Vec::new(), [0xFF; 5].into()),
            Select::Generation(generation) => (key(generation, ""), key(generation, "~")),
            Select::Timeline(generation, timeline) => {
                let stem = format!("{:08X}", timeline.0);
                (key(generation, &stem), key(generation, &(stem + "~")))
            }
            Select::Before(generation, timeline) => {
                let stem = format!("{:08X}", timeline.0);
                (key(generation, ""), key(generation, &stem))
            }
            Select::Lsn(generation, timeline, range) => {
                let stem = |lsn: u64| format!("{:08X}{:08X}", timeline.0, lsn >> 32);
                let last = stem(range.end.0.saturating_sub(1)) + "~";
                (
                    key(generation, &stem(range.start.0)),
                    key(generation, &last),
                )
            }
        }
    }

    /// Whether a record between the keys is meant.
    pub(super) fn holds(&self, record: &FileRecord) -> bool {
        match self {
            Select::Lsn(_, _, range) => (record.lsn.as_ref()).is_some_and(|lsn| {
                !range.is_empty() && lsn.start < range.end && range.start < lsn.end
            }),
            _ => true,
        }
    }
}

/// Records in order, a page at a time. Each page is of one moment; what other
/// processes change in between is seen from the next page on. Ends with the
/// first error.
#[derive(Debug)]
pub struct Files<'c> {
    catalog: &'c Catalog,
    select: Select,
    page: vec::IntoIter<FileRecord>,
    /// The key to go on behind, once a page was read.
    last: Option<Vec<u8>>,
    ended: bool,
}

impl Catalog {
    /// The files of `select`. Nothing is open or locked while the caller has a
    /// record in hand, so what it does with it may take its time.
    pub fn files(&self, select: Select) -> Files<'_> {
        Files {
            catalog: self,
            select,
            page: Vec::new().into_iter(),
            last: None,
            ended: false,
        }
    }

    /// Writes every record as a line of JSON (docs/FORMAT.md, "Catalog") and
    /// says how many there were. An error of `out` keeps its kind, so that a
    /// broken pipe can be told from the rest.
    pub fn export(&self, out: &mut impl Write) -> Result<u64, CatalogError> {
        let mut lines = 0;
        for record in self.files(Select::All) {
            write_line(out, &record?).map_err(|error| self.export_failed(error))?;
            lines += 1;
        }
        out.flush().map_err(|error| self.export_failed(error))?;
        Ok(lines)
    }

    fn export_failed(&self, source: io::Error) -> CatalogError {
        CatalogError::Io {
            operation: "write export of catalog",
            path: self.path().to_owned(),
            source,
        }
    }
}

fn write_line(out: &mut impl Write, record: &FileRecord) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")
}

impl Files<'_> {
    fn turn(&mut self) -> Result<(), CatalogError> {
        let last = self.last.as_deref();
        let page: Vec<FileRecord> = self.catalog.read(|reader| {
            reader
                .files_behind(&self.select, last)?
                .take(PAGE)
                .collect()
        })?;
        self.ended = page.len() < PAGE;
        self.last = page
            .last()
            .map(|record| rows::file_key(record.generation, record.name));
        self.page = page.into_iter();
        Ok(())
    }
}

impl Iterator for Files<'_> {
    type Item = Result<FileRecord, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.page.next() {
                return Some(Ok(record));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.turn() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}
