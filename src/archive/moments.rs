//! A segment's moments beside its object: in `x-amz-meta-*`, where one HEAD
//! shows them, and in the object's own first bytes, where all of them are.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;

use super::{object::facts_in, place::Place};
use crate::{
    codec::{HEAD_SIZE, read_facts},
    layout::Layout,
    postgres::{Commit, Lsn, Moments, RestorePoint},
    store::StoreError,
};

/// `x-amz-meta-walkeep-moments`: `1`, then where the last record ends, `cut`,
/// `more`; or `1 partly` where the restore points are not all here.
pub const MOMENTS: &str = "walkeep-moments";
/// `x-amz-meta-walkeep-commits`: the first and the last, each `TIME,XID`.
pub const COMMITS: &str = "walkeep-commits";
/// `x-amz-meta-walkeep-aborts`: the times of the first and the last.
pub const ABORTS: &str = "walkeep-aborts";
/// `x-amz-meta-walkeep-restore-points`: each `LSN,TIME,NAME`.
pub const RESTORE_POINTS: &str = "walkeep-restore-points";

const VERSION: &str = "1";
const PARTLY: &str = "1 partly";

/// How long the value of [`RESTORE_POINTS`] gets, in bytes. S3 allows 2 KiB for
/// all metadata, names included; everything else takes less than 450.
const LONGEST: usize = 1500;

/// What an object tells of its moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// These.
    Moments(Moments),
    /// Nothing: it is no segment, or an older walkeep's or another program's
    /// object, or of a WAL format that was not known when it was written.
    Nothing,
    /// Proved absent.
    Absent,
}

/// The moments of one object, from the store alone: by a HEAD and, where its
/// metadata does not have them all, by its first 4 KiB.
pub async fn moments(place: &Place, key: &str) -> Result<Told, StoreError> {
    let Some(info) = place.store.head(key).await? else {
        return Ok(Told::Absent);
    };
    // Whatever name: it is not in the answer.
    let facts = match facts_in(&info.metadata, "") {
        Some(facts) => Some(facts),
        None => {
            let head = place.store.get_range(key, 0..HEAD_SIZE as u64).await?;
            let Some(head) = head else {
                return Ok(Told::Absent);
            };
            read_facts(Layout::format(key), &head).ok().flatten()
        }
    };
    let moments = facts.and_then(|facts| facts.moments);
    Ok(moments.map_or(Told::Nothing, Told::Moments))
}

pub(super) fn metadata(moments: &Moments) -> Vec<(&'static str, String)> {
    let mut metadata = Vec::new();
    if let Some((first, last)) = moments.first_commit.zip(moments.last_commit) {
        let commit = |it: Commit| format!("{},{}", it.time, it.xid);
        metadata.push((COMMITS, format!("{} {}", commit(first), commit(last))));
    }
    if let Some((first, last)) = moments.first_abort.zip(moments.last_abort) {
        metadata.push((ABORTS, format!("{first} {last}")));
    }
    let mut points = String::new();
    let mut partly = false;
    for point in &moments.restore_points {
        let gap = if points.is_empty() { "" } else { " " };
        let item = format!("{gap}{},{},{}", point.lsn, point.time, escape(&point.name));
        partly |= points.len() + item.len() > LONGEST;
        if !partly {
            points.push_str(&item);
        }
    }
    if !points.is_empty() {
        metadata.push((RESTORE_POINTS, points));
    }
    let mut summary = format!("{VERSION} {}", moments.end);
    for (is_set, word) in [(moments.cut, " cut"), (moments.more, " more")] {
        summary.push_str(if is_set { word } else { "" });
    }
    let summary = if partly { PARTLY.to_owned() } else { summary };
    metadata.push((MOMENTS, summary));
    metadata
}

/// The metadata has a part of the moments, or something that this version
/// cannot read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Elsewhere;

/// `None`: the object has none.
pub(super) fn in_metadata(
    metadata: &BTreeMap<String, String>,
) -> Result<Option<Moments>, Elsewhere> {
    let Some(summary) = metadata.get(MOMENTS) else {
        return Ok(None);
    };
    parse(metadata, summary).map(Some).ok_or(Elsewhere)
}

fn parse(metadata: &BTreeMap<String, String>, summary: &str) -> Option<Moments> {
    let mut words = summary.split(' ');
    (words.next()? == VERSION).then_some(())?;
    let mut moments = Moments {
        end: words.next()?.parse().ok()?,
        ..Moments::default()
    };
    for word in words {
        match word {
            "cut" => moments.cut = true,
            "more" => moments.more = true,
            _ => return None,
        }
    }
    if let Some(text) = metadata.get(COMMITS) {
        let (first, last) = text.split_once(' ')?;
        moments.first_commit = Some(commit(first)?);
        moments.last_commit = Some(commit(last)?);
    }
    if let Some(text) = metadata.get(ABORTS) {
        let (first, last) = text.split_once(' ')?;
        moments.first_abort = Some(first.parse().ok()?);
        moments.last_abort = Some(last.parse().ok()?);
    }
    if let Some(text) = metadata.get(RESTORE_POINTS) {
        let points = text.split(' ').map(restore_point);
        moments.restore_points = points.collect::<Option<_>>()?;
    }
    Some(moments)
}

fn commit(text: &str) -> Option<Commit> {
    let (time, xid) = text.split_once(',')?;
    Some(Commit {
        time: time.parse().ok()?,
        xid: xid.parse().ok()?,
    })
}

fn restore_point(text: &str) -> Option<RestorePoint> {
    let mut fields = text.splitn(3, ',');
    Some(RestorePoint {
        lsn: fields.next()?.parse::<Lsn>().ok()?,
        time: fields.next()?.parse::<Timestamp>().ok()?,
        name: unescape(fields.next()?)?,
    })
}

/// Everything but letters, digits and `-._` as `%` and two digits, as in a URL
/// (RFC 3986, 2.1): a value of metadata is ASCII, with single spaces.
fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microsecond: i64) -> Timestamp {
        Timestamp::from_microsecond(1_790_000_000_000_000 + microsecond).unwrap()
    }

    fn some(points: usize, name: &str) -> Moments {
        let commit = |microsecond, xid| {
            let time = at(microsecond);
            Some(Commit { time, xid })
        };
        let point = |number| RestorePoint {
            name: format!("{name}{number}"),
            lsn: Lsn(0x4_2400_0098 + number as u64),
            time: at(3),
        };
        Moments {
            first_commit: commit(1, 731),
            last_commit: commit(500_000, u32::MAX),
            first_abort: Some(at(0)),
            last_abort: Some(at(9)),
            restore_points: (0..points).map(point).collect(),
            more: points == 1,
            cut: points == 2,
            end: Lsn(0x4_24FF_FF00),
        }
    }

    fn map(moments: &Moments) -> BTreeMap<String, String> {
        let metadata = metadata(moments).into_iter();
        metadata
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    #[test]
    fn moments_come_back_from_metadata() {
        let plain = some(3, "before-migration ");
        assert_eq!(
            map(&plain)[COMMITS],
            "2026-09-21T14:13:20.000001Z,731 2026-09-21T14:13:20.5Z,4294967295"
        );
        assert_eq!(map(&plain)[MOMENTS], "1 4/24FFFF00");
        let first = "4/24000098,2026-09-21T14:13:20.000003Z,before-migration%200 ";
        assert!(map(&plain)[RESTORE_POINTS].starts_with(first));
        let none = Moments::default();
        for moments in [none, plain, some(1, "ü%,\n"), some(2, ""), some(0, "")] {
            assert_eq!(in_metadata(&map(&moments)), Ok(Some(moments)));
        }
        assert_eq!(in_metadata(&BTreeMap::new()), Ok(None));
    }

    #[test]
    fn what_is_too_long_is_looked_up_in_the_object() {
        let many = map(&some(40, &"ü".repeat(20)));
        assert_eq!(many[MOMENTS], PARTLY);
        assert_eq!(in_metadata(&many), Err(Elsewhere));
        let ours = many.iter().map(|(name, value)| name.len() + value.len());
        assert!((1000..1800).contains(&ours.sum::<usize>()));
        for (name, value) in [
            (MOMENTS, "2 0/0"),
            (MOMENTS, ""),
            (MOMENTS, "1 0/0 later"),
            (COMMITS, "now,1"),
            (ABORTS, "now then"),
            (RESTORE_POINTS, "0/0,2026-09-21T14:13:20Z,%f"),
            (RESTORE_POINTS, "0/0,2026-09-21T14:13:20Z,%ffx"),
            (RESTORE_POINTS, ""),
        ] {
            let mut other = map(&some(1, "x"));
            other.insert(name.to_owned(), value.to_owned());
            assert_eq!(in_metadata(&other), Err(Elsewhere), "{name} {value:?}");
        }
    }
}
