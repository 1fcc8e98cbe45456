//! What the records of interest say: commits, aborts, restore points.

use jiff::Timestamp;

use super::walker::HEAD_SIZE;
use crate::postgres::{
    Lsn,
    moments::{Commit, Moments, RestorePoint},
};

/// `XLogRecord` without its padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// `xl_tot_len`: the record's size in bytes, this header included.
    pub(super) size: u32,
    xid: u32,
    /// `xl_prev`: where the record before it begins.
    pub(super) previous: u64,
    info: u8,
    manager: u8,
    pub(super) crc: u32,
}

/// What a record can be, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    CommitPrepared,
    Abort,
    RestorePoint,
    /// The rest of the segment is empty.
    Switch,
    Other,
}

// Resource managers (rmgrlist.h): these two have had their numbers since 7.1.
const RM_XLOG: u8 = 0;
const RM_XACT: u8 = 1;
// pg_control.h; the low four bits of `xl_info` are not the manager's.
const XLOG_SWITCH: u8 = 0x40;
const XLOG_RESTORE_POINT: u8 = 0x70;
// xact.h.
const XACT_OPERATION: u8 = 0x70;
const XACT_COMMIT: u8 = 0x00;
const XACT_ABORT: u8 = 0x20;
const XACT_COMMIT_PREPARED: u8 = 0x30;
const XACT_ABORT_PREPARED: u8 = 0x40;
/// `XLOG_XACT_HAS_INFO`: behind the time comes `xinfo`.
const XACT_HAS_INFO: u8 = 0x80;

impl Head {
    pub(super) fn parse(bytes: &[u8; HEAD_SIZE]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Head {
            size: word(0),
            xid: word(4),
            previous: u64::from(word(8)) | u64::from(word(12)) << 32,
            info: bytes[16],
            manager: bytes[17],
            crc: word(20),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.manager {
            RM_XACT => match self.info & XACT_OPERATION {
                XACT_COMMIT => Kind::Commit,
                XACT_COMMIT_PREPARED => Kind::CommitPrepared,
                XACT_ABORT | XACT_ABORT_PREPARED => Kind::Abort,
                _ => Kind::Other,
            },
            RM_XLOG => match self.info & 0xF0 {
                XLOG_SWITCH => Kind::Switch,
                XLOG_RESTORE_POINT => Kind::RestorePoint,
                _ => Kind::Other,
            },
            _ => Kind::Other,
        }
    }
}

impl Kind {
    /// Whether recovery can stop at it.
    pub(super) fn is_moment(self) -> bool {
        !matches!(self, Kind::Switch | Kind::Other)
    }
}

/// Adds what a whole record says. `body` is what follows its header, or the
/// beginning of that; `end` is where the record ends.
pub(super) fn note(moments: &mut Moments, head: &Head, major: u16, body: &[u8], end: Lsn) {
    let Some(mut data) = main_data(body) else {
        return;
    };
    let data = &mut data;
    match head.kind() {
        Kind::Commit => {
            if let Some(time) = time(data) {
                moments.add_commit(Commit {
                    time,
                    xid: head.xid,
                });
            }
        }
        Kind::CommitPrepared => {
            if let Some(time) = time(data) {
                let has_info = head.info & XACT_HAS_INFO != 0;
                let xid = has_info.then(|| prepared_xid(data, major)).flatten();
                let xid = xid.unwrap_or_default();
                moments.add_commit(Commit { time, xid });
            }
        }
        Kind::Abort => {
            if let Some(time) = time(data) {
                moments.add_abort(time);
            }
        }
        Kind::RestorePoint => {
            if let (Some(time), Some(name)) = (time(data), take::<64>(data)) {
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                moments.add_restore_point(RestorePoint {
                    name: text(name),
                    lsn: end,
                    time,
                });
            }
        }
        Kind::Switch | Kind::Other => {}
    }
}

/// A record's main data, or the beginning of it: what is behind the headers of
/// the record's chunks (xlogrecord.h). That of the main data is the last, and
/// the main data the last chunk. The records of interest refer to no blocks,
/// in any major; one that did would be another kind of record.
fn main_data(mut body: &[u8]) -> Option<&[u8]> {
    const DATA_SHORT: u8 = 255;
    const DATA_LONG: u8 = 254;
    const ORIGIN: u8 = 253;
    // Since 14.
    const TOPLEVEL_XID: u8 = 252;
    loop {
        let [chunk] = take::<1>(&mut body)?;
        match chunk {
            DATA_SHORT => {
                take::<1>(&mut body)?;
                return Some(body);
            }
            DATA_LONG => {
                take::<4>(&mut body)?;
                return Some(body);
            }
            ORIGIN => drop(take::<2>(&mut body)?),
            TOPLEVEL_XID => drop(take::<4>(&mut body)?),
            _ => return None,
        }
    }
}

/// The transaction that a COMMIT PREPARED commits: its own record has none
/// (`ParseCommitRecord`, xactdesc.c).
fn prepared_xid(data: &mut &[u8], major: u16) -> Option<u32> {
    const DBINFO: u32 = 1 << 0;
    const SUBXACTS: u32 = 1 << 1;
    const RELATIONS: u32 = 1 << 2;
    const INVALIDATIONS: u32 = 1 << 3;
    const TWOPHASE: u32 = 1 << 4;
    // Since 15.
    const DROPPED_STATISTICS: u32 = 1 << 8;

    let about = u32::from_le_bytes(take(data)?);
    if about & DBINFO != 0 {
        take::<8>(data)?;
    }
    // `xl_xact_stats_item`: its object id grew to 64 bits.
    let statistics = if major >= 18 { 16 } else { 12 };
    let lists = [
        (SUBXACTS, 4),
        (RELATIONS, 12),
        (DROPPED_STATISTICS, statistics),
        (INVALIDATIONS, 16),
    ];
    for (is_there, item) in lists {
        if about & is_there != 0 {
            let items = u32::from_le_bytes(take(data)?) as usize;
            *data = data.get(items.checked_mul(item)?..)?;
        }
    }
    (about & TWOPHASE != 0)
        .then(|| take(data).map(u32::from_le_bytes))
        .flatten()
}

/// A name as text, never longer than its bytes.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text
}

/// A `TimestampTz`: microseconds since 2000-01-01 UTC.
fn time(data: &mut &[u8]) -> Option<Timestamp> {
    const EPOCH: i64 = 946_684_800_000_000;
    let microseconds = i64::from_le_bytes(take(data)?).saturating_add(EPOCH);
    // PostgreSQL's years go further than anybody's clock.
    Timestamp::from_microsecond(microseconds).ok()
}

fn take<const N: usize>(data: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(*taken)
}
