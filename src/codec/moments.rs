//! The moments of a segment as bytes in its object (docs/FORMAT.md, "The
//! subfield `WM`").

use jiff::Timestamp;

use super::gzip::crc32;
use crate::postgres::{
    Lsn,
    moments::{Commit, MOST_RESTORE_POINTS, Moments, RestorePoint},
};

const VERSION: u8 = 1;

/// The most that [`write`] makes: 40 restore points with names of 63 bytes.
pub(super) const LARGEST: usize =
    2 + 8 + 2 * (8 + 4) + 2 * 8 + 1 + MOST_RESTORE_POINTS * (8 + 8 + 1 + 63) + 4;

// In the second byte.
const COMMITS: u8 = 1;
const ABORTS: u8 = 2;
const MORE: u8 = 4;
const CUT: u8 = 8;

/// The bytes hold no moments, though they say so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// At most [`LARGEST`] bytes.
pub(super) fn write(moments: &Moments) -> Vec<u8> {
    let commits = moments.first_commit.zip(moments.last_commit);
    let aborts = moments.first_abort.zip(moments.last_abort);
    let points = moments.restore_points.iter().take(MOST_RESTORE_POINTS);
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let more = moments.more || moments.restore_points.len() > MOST_RESTORE_POINTS;

    let mut bytes = vec![VERSION, 0];
    bytes[1] = flag(commits.is_some(), COMMITS)
        | flag(aborts.is_some(), ABORTS)
        | flag(more, MORE)
        | flag(moments.cut, CUT);
    bytes.extend(moments.end.0.to_le_bytes());
    for commit in commits.into_iter().flat_map(|(first, last)| [first, last]) {
        bytes.extend(commit.time.as_microsecond().to_le_bytes());
        bytes.extend(commit.xid.to_le_bytes());
    }
    for time in aborts.into_iter().flat_map(|(first, last)| [first, last]) {
        bytes.extend(time.as_microsecond().to_le_bytes());
    }
    bytes.push(points.len() as u8);
    for point in points {
        // PostgreSQL's names end before their 64th byte.
        let name = &point.name.as_bytes()[..point.name.floor_char_boundary(63)];
        bytes.extend(point.lsn.0.to_le_bytes());
        bytes.extend(point.time.as_microsecond().to_le_bytes());
        bytes.push(name.len() as u8);
        bytes.extend(name);
    }
    let crc = crc32(0, &bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// `None`: a later version's.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Moments>, Invalid> {
    let mut rest = bytes;
    let rest = &mut rest;
    let [version, flags] = take(rest)?;
    if version != VERSION {
        return Ok(None);
    }
    let mut moments = Moments {
        more: flags & MORE != 0,
        cut: flags & CUT != 0,
        end: Lsn(u64::from_le_bytes(take(rest)?)),
        ..Moments::default()
    };
    if flags & COMMITS != 0 {
        moments.first_commit = Some(commit(rest)?);
        moments.last_commit = Some(commit(rest)?);
    }
    if flags & ABORTS != 0 {
        moments.first_abort = Some(time(rest)?);
        moments.last_abort = Some(time(rest)?);
    }
    let [points] = take(rest)?;
    for _ in 0..points {
        let lsn = Lsn(u64::from_le_bytes(take(rest)?));
        let time = time(rest)?;
        let [length] = take(rest)?;
        let (name, after) = rest.split_at_checked(length.into()).ok_or(Invalid)?;
        *rest = after;
        let name = str::from_utf8(name).map_err(|_| Invalid)?.to_owned();
        moments
            .restore_points
            .push(RestorePoint { name, lsn, time });
    }
    let covered = &bytes[..bytes.len() - rest.len()];
    if u32::from_le_bytes(take(rest)?) != crc32(0, covered) {
        return Err(Invalid);
    }
    Ok(Some(moments))
}

fn commit(rest: &mut &[u8]) -> Result<Commit, Invalid> {
    let time = time(rest)?;
    let xid = u32::from_le_bytes(take(rest)?);
    Ok(Commit { time, xid })
}

fn time(rest: &mut &[u8]) -> Result<Timestamp, Invalid> {
    let microseconds = i64::from_le_bytes(take(rest)?);
    Timestamp::from_microsecond(microseconds).map_err(|_| Invalid)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Invalid> {
    let (taken, after) = rest.split_first_chunk().ok_or(Invalid)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times() -> impl Strategy<Value = Timestamp> {
        (Timestamp::MIN.as_microsecond()..=Timestamp::MAX.as_microsecond())
            .prop_map(|at| Timestamp::from_microsecond(at).unwrap())
    }

    fn commits() -> impl Strategy<Value = Commit> {
        (times(), any::<u32>()).prop_map(|(time, xid)| Commit { time, xid })
    }

    prop_compose! {
        fn any_moments()(
            commits in proptest::option::of((commits(), commits())),
            aborts in proptest::option::of((times(), times())),
            points in proptest::collection::vec(
                ("[ -~]{0,63}|ü{0,31}", any::<u64>(), times()),
                0..=MOST_RESTORE_POINTS,
            ),
            (more, cut, end) in any::<(bool, bool, u64)>(),
        ) -> Moments {
            Moments {
                first_commit: commits.map(|(first, _)| first),
                last_commit: commits.map(|(_, last)| last),
                first_abort: aborts.map(|(first, _)| first),
                last_abort: aborts.map(|(_, last)| last),
                restore_points: points
                    .into_iter()
                    .map(|(name, lsn, time)| RestorePoint { name, lsn: Lsn(lsn), time })
                    .collect(),
                more,
                cut,
                end: Lsn(end),
            }
        }
    }

    proptest! {
        #[test]
        fn moments_come_back(moments in any_moments(), appended: Vec<u8>) {
            let mut bytes = write(&moments);
            prop_assert!(bytes.len() <= LARGEST);
            for end in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..end]), Err(Invalid));
            }
            bytes.extend(appended);
            prop_assert_eq!(read(&bytes), Ok(Some(moments)));
            bytes[0] = 2;
            prop_assert_eq!(read(&bytes), Ok(None));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[&[VERSION], bytes.as_slice()].concat());
        }
    }

    #[test]
    fn the_bytes_are_as_format_md_says() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let moments = Moments {
            first_commit: Some(Commit {
                time: at(1),
                xid: 7,
            }),
            last_commit: Some(Commit {
                time: at(2),
                xid: 9,
            }),
            restore_points: vec![RestorePoint {
                name: "here".to_owned(),
                lsn: Lsn(0x98),
                time: at(3),
            }],
            cut: true,
            end: Lsn(0x100),
            ..Moments::default()
        };
        let bytes = write(&moments);
        assert_eq!(bytes[..2], [1, 1 | 8]);
        assert_eq!(bytes[2..10], 0x100_u64.to_le_bytes());
        assert_eq!(bytes[10..18], 1_000_000_i64.to_le_bytes());
        assert_eq!(bytes[18..22], 7_u32.to_le_bytes());
        assert_eq!(bytes[22..30], 2_000_000_i64.to_le_bytes());
        assert_eq!(bytes[30..34], 9_u32.to_le_bytes());
        assert_eq!(bytes[34], 1);
        assert_eq!(bytes[35..43], 0x98_u64.to_le_bytes());
        assert_eq!(bytes[43..51], 3_000_000_i64.to_le_bytes());
        assert_eq!(bytes[51..56], *b"\x04here");
        assert_eq!(bytes[56..], crc32(0, &bytes[..56]).to_le_bytes());
    }
}
