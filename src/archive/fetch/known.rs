//! Whose WAL is wanted, as far as this host can tell without asking a store.

use std::{fs, io, path::Path};

use super::FetchError;
use crate::{
    archive::{
        inspect::{Owner, Refusal, inspect_head},
        plan::FetchPlan,
        staging::Marker,
    },
    layout::Generation,
    postgres::{
        SegmentSize, SystemId, WalFileName,
        control::Control,
        history,
        page::{HEADER_SIZE, SegmentHeader},
    },
};

/// More than any segment (`WalSegMaxSize`, xlog_internal.h), in bytes.
const LARGEST_SEGMENT: u64 = 1 << 30;
/// More than any history or backup history file, in bytes.
const LARGEST_TEXT: u64 = 1 << 20;

/// What is known of the cluster whose WAL is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known {
    pub(super) system_id: Option<SystemId>,
    pub(super) segment_size: Option<SegmentSize>,
    pub(super) generation: Option<Generation>,
}

impl Known {
    /// Puts together what the plan, the staging directory's marker and the
    /// data directory say; also whether staging is that cluster's, and so to
    /// be asked.
    ///
    /// PostgreSQL takes another cluster's segment for the end of the WAL, so
    /// that what contradicts must stop here.
    pub(super) fn of(
        control: Option<Control>,
        plan: Option<&FetchPlan>,
        marker: Option<&Marker>,
    ) -> Result<(Self, bool), FetchError> {
        let other = |asker, expected, archive: &str, found| FetchError::OtherCluster {
            asker,
            expected,
            archive: archive.to_owned(),
            found,
        };
        let asks = control.map(|control| control.system_id);
        if let Some(plan) = plan {
            let id = plan.system_identifier;
            if let Some(asks) = asks.filter(|&asks| asks != id) {
                return Err(other("the data directory", asks, "the plan", id));
            }
            let staged = marker.map(|marker| marker.system_identifier);
            if let Some(staged) = staged.filter(|&staged| plan.staging && staged != id) {
                return Err(other("the plan", id, "the staging directory", staged));
            }
            let known = Known {
                system_id: Some(id),
                segment_size: Some(plan.segment_size),
                generation: Some(plan.generation),
            };
            return Ok((known, plan.staging));
        }
        match marker {
            // An earlier generation is recovered, or it is the wrong archive:
            // the stores' cluster.json will tell.
            Some(marker) if asks.is_some_and(|asks| asks != marker.system_identifier) => {
                let known = Known {
                    system_id: asks,
                    ..Known::default()
                };
                Ok((known, false))
            }
            Some(marker) => {
                let known = Known {
                    system_id: Some(marker.system_identifier),
                    segment_size: Some(marker.segment_size),
                    generation: Some(marker.generation),
                };
                Ok((known, true))
            }
            None => {
                let known = Known {
                    system_id: asks,
                    ..Known::default()
                };
                Ok((known, true))
            }
        }
    }

    /// How many raw bytes a file of this name may have.
    pub(super) fn largest(&self, name: WalFileName) -> u64 {
        match self.segment_size {
            _ if !name.holds_pages() => LARGEST_TEXT,
            Some(size) => size.bytes(),
            None => LARGEST_SEGMENT,
        }
    }

    /// How many bytes [`check`](Self::check) wants to see of a file.
    pub(super) fn wanted(name: WalFileName) -> usize {
        if name.holds_pages() {
            HEADER_SIZE
        } else {
            LARGEST_TEXT as usize
        }
    }

    /// Checks that a file of `size` bytes that begins with `head` is what its
    /// name says, and of this cluster.
    pub(super) fn check(&self, name: WalFileName, head: &[u8], size: u64) -> Result<(), Refusal> {
        match name {
            WalFileName::Segment(_) | WalFileName::Partial(_) => {
                inspect_head(head, size, name, self.owner(head).as_ref())
            }
            _ if size == 0 || size > LARGEST_TEXT => Err(Refusal::TextSize(size)),
            WalFileName::History(_) => {
                history::parse(&String::from_utf8_lossy(head))?;
                Ok(())
            }
            WalFileName::BackupHistory(..) if !head.starts_with(b"START WAL LOCATION") => {
                Err(Refusal::BackupHistory)
            }
            WalFileName::BackupHistory(..) => Ok(()),
        }
    }

    /// Where only the system identifier is known, the header's own segment
    /// size is as good as any.
    fn owner(&self, head: &[u8]) -> Option<Owner> {
        let of_header = || Some(SegmentHeader::parse(head).ok()?.segment_size);
        Some(Owner {
            system_id: self.system_id?,
            segment_size: self.segment_size.or_else(of_header)?,
        })
    }
}

/// The identity of the data directory that PostgreSQL runs restore_command
/// in; `None` where the directory is no data directory.
pub(super) fn control_of(directory: &Path) -> Result<Option<Control>, FetchError> {
    use std::io::Read;
    let path = directory.join("global/pg_control");
    let mut bytes = Vec::new();
    let read = fs::File::open(&path).and_then(|file| file.take(64).read_to_end(&mut bytes));
    match read {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(FetchError::ReadControl { path, source }),
        Ok(_) => Control::parse(&bytes)
            .map(Some)
            .map_err(|source| FetchError::Control { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SystemId = SystemId(7_300_000_000_000_000_001);
    const TWO: SystemId = SystemId(7_300_000_000_000_000_002);

    fn control(system_id: SystemId) -> Option<Control> {
        Some(Control {
            system_id,
            version: 1300,
        })
    }

    fn marker(system_identifier: SystemId) -> Marker {
        Marker {
            format: 1,
            cluster: "main".to_owned(),
            generation: Generation(2),
            system_identifier,
            segment_size: SegmentSize::DEFAULT,
        }
    }

    fn plan(system_identifier: SystemId, staging: bool) -> FetchPlan {
        let size = SegmentSize::DEFAULT;
        let stores = vec!["r2".to_owned()];
        FetchPlan::new(system_identifier, size, Generation(3), stores, staging)
    }

    #[test]
    fn contradictions_are_errors() {
        let wrong = |control, plan: &FetchPlan, marker: Option<&Marker>| {
            matches!(
                Known::of(control, Some(plan), marker),
                Err(FetchError::OtherCluster { .. })
            )
        };
        assert!(wrong(control(TWO), &plan(ONE, false), None));
        assert!(wrong(None, &plan(ONE, true), Some(&marker(TWO))));
        assert!(!wrong(control(ONE), &plan(ONE, false), Some(&marker(TWO))));
    }

    #[test]
    fn the_plan_knows_more_than_the_marker_and_the_marker_more_than_the_data_directory() {
        let (known, staging) =
            Known::of(control(ONE), Some(&plan(ONE, true)), Some(&marker(ONE))).unwrap();
        assert_eq!((known.generation, staging), (Some(Generation(3)), true));
        let (known, staging) = Known::of(control(ONE), None, Some(&marker(ONE))).unwrap();
        assert_eq!((known.generation, staging), (Some(Generation(2)), true));
        let (known, staging) = Known::of(control(TWO), None, Some(&marker(ONE))).unwrap();
        assert_eq!((known.system_id, known.generation), (Some(TWO), None));
        assert!(!staging, "it is another cluster's");
        let (known, _) = Known::of(None, None, None).unwrap();
        assert_eq!(known, Known::default());
    }

    #[test]
    fn text_files_are_checked_by_what_they_say() {
        let known = Known::default();
        let check = |name: &str, text: &str| {
            known
                .check(name.parse().unwrap(), text.as_bytes(), text.len() as u64)
                .is_ok()
        };
        assert!(check(
            "00000002.history",
            "1\t0/3000110\tno recovery target\n"
        ));
        assert!(!check("00000002.history", ""));
        assert!(!check("00000002.history", "something else\n"));
        let backup = "000000010000000400000024.00000028.backup";
        assert!(check(backup, "START WAL LOCATION: 4/24000028 (file …)\n"));
        assert!(!check(backup, "1\t0/3000110\tno recovery target\n"));
    }
}
