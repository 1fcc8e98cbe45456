//! The way through a segment's pages and records, in pieces of any size.

use super::{
    Undecodable,
    content::{Head, Kind, note},
};
use crate::postgres::{
    Lsn,
    moments::Moments,
    page::{HEADER_SIZE, InvalidHeader, SegmentHeader},
};

/// `SizeOfXLogRecord`.
pub(super) const HEAD_SIZE: usize = 24;
/// `SizeOfXLogShortPHD`: the header of every page but a segment's first.
const PAGE_HEADER: usize = 24;
/// `SizeOfXLogLongPHD`.
const FIRST_HEADER: usize = HEADER_SIZE;
/// `MAXIMUM_ALIGNOF`: where records begin.
const ALIGNMENT: u64 = 8;

/// How much of a record of interest is held, in bytes. All but the xid of a
/// prepared transaction is in the first hundred.
const MOST_HELD: usize = 1 << 20;

/// `XLP_FIRST_IS_CONTRECORD`: the page begins inside a record.
const CONTINUED: u16 = 0x0001;
/// `XLP_FIRST_IS_OVERWRITE_CONTRECORD`: the record that should go on here was
/// lost in a crash, and is none.
const OVERWRITTEN: u16 = 0x0008;

/// `XLOG_PAGE_MAGIC` of each major (xlog_internal.h).
const MAGICS: [(u16, u16); 6] = [
    (0xD106, 13),
    (0xD10D, 14),
    (0xD110, 15),
    (0xD113, 16),
    (0xD116, 17),
    (0xD118, 18),
];

/// Takes a segment's bytes, in order, and finds its moments. Holds a page
/// header and a record's beginning; never more than it was fed.
#[derive(Debug, Clone)]
pub struct Walker {
    /// What the first page's header says, once it is there.
    segment: Result<Segment, Undecodable>,
    carried: Option<Carried>,
    /// How many bytes were taken.
    taken: u64,
    page: Held<FIRST_HEADER>,
    reading: Reading,
    /// Where the last whole record begins; `None` where it is not known.
    last: Option<u64>,
    /// How many of the bytes are proved: up to the end of the last record whose
    /// CRC-32C matched.
    proved: u64,
    moments: Moments,
}

/// The beginning of a record that a segment's end cuts off.
#[derive(Debug, Clone)]
pub struct Carried {
    /// The end of that segment.
    at: u64,
    reading: Reading,
    last: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    major: u16,
    magic: u16,
    start: u64,
    size: u64,
    page_size: u64,
}

/// What comes next.
#[derive(Debug, Clone)]
enum Reading {
    /// What is left of a record that began in an earlier segment.
    Rest(u32),
    /// A record's header, or the padding before it.
    Head {
        start: u64,
        held: Held<HEAD_SIZE>,
    },
    Body(Body),
    /// Nothing: this was the end of the WAL.
    End,
}

#[derive(Debug, Clone)]
struct Body {
    start: u64,
    head: Head,
    head_bytes: [u8; HEAD_SIZE],
    kind: Kind,
    left: u32,
    /// Of the body so far.
    crc: u32,
    /// Of a moment, its beginning.
    held: Vec<u8>,
}

/// Bytes that are collected until there are `N`.
#[derive(Debug, Clone, Copy)]
struct Held<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Held<N> {
    const EMPTY: Self = Held {
        bytes: [0; N],
        length: 0,
    };

    /// Takes what is missing to `size`, and says how much that was.
    fn fill(&mut self, size: usize, bytes: &[u8]) -> usize {
        let count = (size - self.length).min(bytes.len());
        self.bytes[self.length..self.length + count].copy_from_slice(&bytes[..count]);
        self.length += count;
        count
    }
}

const BETWEEN: Reading = Reading::Head {
    start: 0,
    held: Held::EMPTY,
};

impl Reading {
    /// At a page's end: what is missing of the record that has begun.
    fn unread(&self) -> Option<u32> {
        match self {
            Reading::Rest(left) => Some(*left),
            // Its size is in the first of its eight bytes.
            Reading::Head { held, .. } if held.length > 0 => {
                let size = Head::parse(&held.bytes).size;
                Some(size.saturating_sub(held.length as u32))
            }
            Reading::Body(body) => Some(body.left),
            Reading::Head { .. } | Reading::End => None,
        }
    }
}

impl Default for Walker {
    fn default() -> Self {
        Walker::after(None)
    }
}

impl Walker {
    /// For the segment behind the one that carried this over.
    pub fn after(carried: Option<Carried>) -> Self {
        Walker {
            segment: Err(InvalidHeader::Short(0).into()),
            carried,
            taken: 0,
            page: Held::EMPTY,
            reading: BETWEEN,
            last: None,
            proved: 0,
            moments: Moments::default(),
        }
    }

    /// How many bytes it has taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many of them are the segment's own beyond doubt: those up to the end
    /// of the last record that is whole. Unlike [`Moments::end`], neither the
    /// rest of a record that began in an earlier segment counts, unless that
    /// was carried over, since nothing tells whether it has come; nor what
    /// follows a switch.
    pub fn proved(&self) -> u64 {
        self.proved
    }

    /// Whether the WAL has ended, so that what follows is of no interest.
    pub fn is_over(&self) -> bool {
        matches!(self.reading, Reading::End)
            || matches!(self.segment, Ok(segment) if self.taken >= segment.size)
    }

    /// Why nothing can be read; `None` where something can, or nothing has
    /// come yet.
    pub fn problem(&self) -> Option<&Undecodable> {
        self.segment.as_ref().err().filter(|_| self.is_over())
    }

    /// Takes the next bytes of the segment.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !matches!(self.reading, Reading::End) {
            let count = match self.segment {
                Err(_) => self.first_header(bytes),
                Ok(segment) if self.taken >= segment.size => return,
                Ok(segment) => {
                    let offset = self.taken % segment.page_size;
                    if self.taken >= segment.page_size && offset < PAGE_HEADER as u64 {
                        self.page_header(segment, bytes)
                    } else {
                        let room = (segment.page_size - offset).min(bytes.len() as u64);
                        self.content(segment, &bytes[..room as usize])
                    }
                }
            };
            self.taken += count as u64;
            bytes = &bytes[count..];
        }
    }

    /// What was found, and what the next segment may go on with.
    pub fn finish(mut self) -> Result<(Moments, Option<Carried>), Undecodable> {
        let segment = self.segment?;
        let is_cut = self.taken == segment.size
            && match &self.reading {
                Reading::Head { held, .. } => held.length > 0,
                Reading::Body(_) => true,
                Reading::Rest(_) | Reading::End => false,
            };
        if !is_cut {
            return Ok((self.moments, None));
        }
        self.moments.cut = match &self.reading {
            Reading::Body(body) => body.kind.is_moment(),
            _ => true,
        };
        let carried = Carried {
            at: segment.start.saturating_add(segment.size),
            reading: self.reading,
            last: self.last,
        };
        Ok((self.moments, Some(carried)))
    }

    fn first_header(&mut self, bytes: &[u8]) -> usize {
        let count = self.page.fill(FIRST_HEADER, bytes);
        if self.page.length < FIRST_HEADER {
            self.segment = Err(InvalidHeader::Short(self.page.length).into());
            return count;
        }
        self.segment = Segment::parse(&self.page.bytes);
        match &self.segment {
            Ok(segment) => self.begin(segment.start),
            Err(_) => self.reading = Reading::End,
        }
        count
    }

    fn begin(&mut self, start: u64) {
        self.moments.end = Lsn(start);
        let (info, rest) = continuation(&self.page.bytes);
        let carried = self.carried.take();
        self.reading = match carried {
            _ if info & CONTINUED == 0 => BETWEEN,
            Some(carried) if carried.at == start && carried.reading.unread() == Some(rest) => {
                self.last = carried.last;
                carried.reading
            }
            _ if rest == 0 => Reading::End,
            _ => Reading::Rest(rest),
        };
        self.page = Held::EMPTY;
    }

    fn page_header(&mut self, segment: Segment, bytes: &[u8]) -> usize {
        let count = self.page.fill(PAGE_HEADER, bytes);
        if self.page.length == PAGE_HEADER {
            let page = self.taken - self.taken % segment.page_size;
            let is_next = self.page.bytes[..2] == segment.magic.to_le_bytes()
                && self.page.bytes[8..16] == segment.start.saturating_add(page).to_le_bytes();
            if is_next {
                let (info, rest) = continuation(&self.page.bytes);
                self.turn(info, rest);
            } else {
                self.reading = Reading::End;
            }
            self.page = Held::EMPTY;
        }
        count
    }

    /// A page begins: what it says of the record that it goes on with has to
    /// be what is missing of it.
    fn turn(&mut self, info: u16, rest: u32) {
        let is_continued = info & CONTINUED != 0;
        match self.reading.unread() {
            Some(_) if info & OVERWRITTEN != 0 => self.reading = BETWEEN,
            Some(unread) if is_continued && unread == rest => {}
            None if !is_continued => {}
            _ => self.reading = Reading::End,
        }
    }

    /// Takes bytes of one page, behind its header.
    fn content(&mut self, segment: Segment, bytes: &[u8]) -> usize {
        match &mut self.reading {
            Reading::End => bytes.len(),
            Reading::Rest(left) => {
                let count = bytes.len().min(*left as usize);
                *left -= count as u32;
                if *left == 0 {
                    self.moments.end = segment.record_end(self.taken + count as u64);
                    self.reading = BETWEEN;
                }
                count
            }
            Reading::Head { start, held } => {
                if held.length == 0 {
                    let padding = self.taken.next_multiple_of(ALIGNMENT) - self.taken;
                    if padding > 0 {
                        return bytes.len().min(padding as usize);
                    }
                    *start = segment.start.saturating_add(self.taken);
                }
                let count = held.fill(HEAD_SIZE, bytes);
                let (start, held) = (*start, *held);
                if held.length >= 4 && (Head::parse(&held.bytes).size as usize) < HEAD_SIZE {
                    self.reading = Reading::End;
                } else if held.length == HEAD_SIZE {
                    self.head(segment, start, held.bytes);
                    self.finish_record(segment, count);
                }
                count
            }
            Reading::Body(body) => {
                let count = bytes.len().min(body.left as usize);
                let piece = &bytes[..count];
                body.crc = crc32c::crc32c_append(body.crc, piece);
                if body.kind.is_moment() {
                    let room = MOST_HELD.saturating_sub(body.held.len());
                    body.held.extend_from_slice(&piece[..count.min(room)]);
                }
                body.left -= count as u32;
                self.finish_record(segment, count);
                count
            }
        }
    }

    fn head(&mut self, segment: Segment, start: u64, bytes: [u8; HEAD_SIZE]) {
        let head = Head::parse(&bytes);
        let follows = match self.last {
            Some(last) => head.previous == last,
            None => head.previous < segment.start,
        };
        self.reading = if follows {
            Reading::Body(Body {
                start,
                head,
                head_bytes: bytes,
                kind: head.kind(),
                left: head.size - HEAD_SIZE as u32,
                crc: 0,
                held: Vec::new(),
            })
        } else {
            Reading::End
        };
    }

    /// Notes the record, if its last byte was the last of the `count` bytes
    /// that are being taken.
    fn finish_record(&mut self, segment: Segment, count: usize) {
        let Reading::Body(body) = &self.reading else {
            return;
        };
        if body.left > 0 {
            return;
        }
        // The header is covered behind the body, up to the CRC itself.
        if crc32c::crc32c_append(body.crc, &body.head_bytes[..20]) != body.head.crc {
            self.reading = Reading::End;
            return;
        }
        self.moments.end = segment.record_end(self.taken + count as u64);
        self.proved = self.taken + count as u64;
        self.last = Some(body.start);
        let is_switch = body.kind == Kind::Switch;
        if body.kind.is_moment() {
            let end = self.moments.end;
            note(
                &mut self.moments,
                &body.head,
                segment.major,
                &body.held,
                end,
            );
        }
        self.reading = BETWEEN;
        if is_switch {
            self.moments.end = Lsn(segment.start.saturating_add(segment.size));
            self.reading = Reading::End;
        }
    }
}

impl Segment {
    fn parse(header: &[u8; FIRST_HEADER]) -> Result<Self, Undecodable> {
        let parsed = SegmentHeader::parse(header)?;
        let known = MAGICS.iter().find(|(magic, _)| *magic == parsed.magic);
        let &(magic, major) = known.ok_or(Undecodable::Version(parsed.magic))?;
        let page_size = u32::from_le_bytes([header[36], header[37], header[38], header[39]]);
        // `--with-wal-blocksize`, configure.ac.
        if !page_size.is_power_of_two() || !(1 << 10..=1 << 16).contains(&page_size) {
            return Err(Undecodable::PageSize(page_size));
        }
        Ok(Segment {
            major,
            magic,
            start: parsed.start.0,
            size: parsed.segment_size.bytes(),
            page_size: page_size.into(),
        })
    }

    /// The LSN that PostgreSQL gives for the end of a record whose last byte
    /// is before this offset.
    fn record_end(&self, offset: u64) -> Lsn {
        Lsn(self
            .start
            .saturating_add(offset.next_multiple_of(ALIGNMENT)))
    }
}

/// `xlp_info` and `xlp_rem_len`.
fn continuation(header: &[u8; FIRST_HEADER]) -> (u16, u32) {
    (
        u16::from_le_bytes([header[2], header[3]]),
        u32::from_le_bytes([header[16], header[17], header[18], header[19]]),
    )
}
