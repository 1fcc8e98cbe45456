//! The WAL that a base backup brings along (`-X stream`, `-X fetch`), and what
//! it tells.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{
    archive::inspect::{Owner, inspect},
    postgres::{
        Lsn, Moments, SegmentName, TimelineId, WalFileName,
        record::{Carried, Walker},
    },
};

const PIECE: usize = 1 << 20;

/// What a base backup has of the WAL that it needs.
#[derive(Debug, Default)]
pub struct WalWithin {
    /// Segments that are whole: to the last byte what the server wrote. One
    /// that was still being filled is not among them.
    pub segments: Vec<(SegmentName, PathBuf)>,
    /// The timeline's history file, if it is there.
    pub history: Option<(WalFileName, PathBuf)>,
    /// Whether all of it is there, up to where the backup ends.
    pub reaches_stop: bool,
    /// The last moment in it; none where there is none.
    pub last: Option<Timestamp>,
}

impl WalWithin {
    /// Walks the records in `directory` from `start` on. What is missing, cut
    /// or damaged ends the walk.
    pub(super) fn read(
        directory: &Path,
        owner: Owner,
        timeline: TimelineId,
        (start, stop): (Lsn, Lsn),
    ) -> Self {
        let mut within = WalWithin::default();
        let history = WalFileName::History(timeline);
        let path = directory.join(history.to_string());
        let is_valid = |file: File| inspect(&file, history, &owner).is_ok();
        if File::open(&path).is_ok_and(is_valid) {
            within.history = Some((history, path));
        }
        let size = owner.segment_size;
        let mut carried = None;
        for number in size.numbers(&(start..stop)) {
            let name = SegmentName::numbered(number, timeline, size);
            let path = directory.join(name.to_string());
            let Ok((moments, over)) = walk(&path, name, &owner, carried.take()) else {
                break;
            };
            let times = [
                moments.last_commit.map(|commit| commit.time),
                moments.last_abort,
            ];
            within.last = times.into_iter().flatten().chain(within.last).max();
            within.reaches_stop = moments.end >= stop;
            let is_whole = over.is_some() || Some(moments.end) == end(name, &owner);
            if is_whole {
                within.segments.push((name, path));
            }
            // A record goes on: to where is known at its end.
            if !is_whole {
                break;
            }
            carried = over;
        }
        within
    }

    /// Where a whole segment is.
    pub fn find(&self, name: SegmentName) -> Option<&Path> {
        let mut segments = self.segments.iter();
        let found = segments.find(|(segment, _)| *segment == name);
        found.map(|(_, path)| path.as_path())
    }
}

/// Where the segment ends.
fn end(name: SegmentName, owner: &Owner) -> Option<Lsn> {
    let start = name.start(owner.segment_size)?;
    Some(Lsn(start.0.checked_add(owner.segment_size.bytes())?))
}

fn walk(
    path: &Path,
    name: SegmentName,
    owner: &Owner,
    carried: Option<Carried>,
) -> io::Result<(Moments, Option<Carried>)> {
    let mut file = File::open(path)?;
    inspect(&file, WalFileName::Segment(name), owner).map_err(io::Error::other)?;
    let mut walker = Walker::after(carried);
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return walker.finish().map_err(io::Error::other),
            Ok(size) => walker.feed(&piece[..size]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
