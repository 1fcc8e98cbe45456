//! Which files of a data directory a base backup leaves out, by their names
//! alone (`basebackup.c`: `excludeFiles`, `excludeDirContents`; docs,
//! "Making a base backup using the low level API").

use std::collections::BTreeSet;

use crate::postgres::checksum::PAGES_A_FILE;

/// What is done with a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs into the backup.
    Keep,
    /// The directory does, but nothing that is in it.
    KeepEmpty,
    /// It does not.
    LeaveOut,
}

/// Directories of the data directory whose content means nothing to another
/// server, or is in the archive.
const EMPTY: [&[u8]; 8] = [
    b"pg_wal",
    b"pg_replslot",
    b"pg_dynshmem",
    b"pg_notify",
    b"pg_serial",
    b"pg_snapshots",
    b"pg_stat_tmp",
    b"pg_subtrans",
];

/// Files of the data directory that would harm the restored server: a stale
/// `standby.signal` beats the `recovery.signal` of a restore. And what is none
/// of the server's, and root's alone to read: `lost+found`, where the data
/// directory is a file system of its own.
const OTHERS: [&[u8]; 13] = [
    b"lost+found",
    b"postmaster.pid",
    b"postmaster.opts",
    b"backup_label",
    b"backup_label.old",
    b"tablespace_map",
    b"tablespace_map.old",
    b"backup_manifest",
    b"recovery.signal",
    b"standby.signal",
    b"postgresql.auto.conf.tmp",
    b"current_logfiles.tmp",
    b"current_logfiles",
];

/// What to do with `name` in the data directory itself.
pub fn at_the_top(name: &[u8]) -> Verdict {
    if EMPTY.contains(&name) {
        return Verdict::KeepEmpty;
    }
    // `walkeep.…` is what an earlier restore left: its plan, its marker.
    if OTHERS.contains(&name) || name.starts_with(b"walkeep.") {
        return Verdict::LeaveOut;
    }
    anywhere(name)
}

/// What to do with `name` in any directory.
pub fn anywhere(name: &[u8]) -> Verdict {
    if name == b"pgsql_tmp" {
        return Verdict::KeepEmpty;
    }
    // PG_TEMP_FILE_PREFIX, and the relation cache's init file, which is made
    // anew at the first connection.
    if name.starts_with(b"pgsql_tmp") || name.starts_with(b"pg_internal.init") {
        return Verdict::LeaveOut;
    }
    Verdict::Keep
}

/// The name of a relation's file (`GetRelationPath`, relpath.c; `.N` by
/// md.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationFile {
    /// `relfilenode`.
    pub number: u64,
    /// Whether it is the fork `init`, of an unlogged relation.
    pub is_init: bool,
    /// Which of the fork's files of 1 GiB it is.
    pub segment: u64,
}

impl RelationFile {
    /// Parses `NUMBER[_FORK][.SEGMENT]`.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = str::from_utf8(name).ok()?;
        let (base, segment) = match name.split_once('.') {
            Some((base, segment)) => (base, number(segment)?),
            None => (name, 0),
        };
        let (relation, fork) = match base.split_once('_') {
            Some((relation, fork)) => (relation, Some(fork)),
            None => (base, None),
        };
        matches!(fork, None | Some("fsm" | "vm" | "init")).then_some(())?;
        Some(RelationFile {
            number: number(relation)?,
            is_init: fork == Some("init"),
            segment,
        })
    }

    /// The number of its first page in its fork.
    pub fn first_page(&self) -> u64 {
        self.segment * PAGES_A_FILE
    }
}

fn number(digits: &str) -> Option<u64> {
    let digits = Some(digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// What to do with the names in a directory of relations: temporary ones go,
/// and of unlogged ones every fork but `init`, from which recovery makes the
/// others.
pub fn of_relations(names: &[Vec<u8>]) -> impl Fn(&[u8]) -> Verdict + use<> {
    let parsed = names.iter().filter_map(|name| RelationFile::parse(name));
    let unlogged: BTreeSet<u64> = parsed
        .filter(|file| file.is_init)
        .map(|file| file.number)
        .collect();
    move |name| match RelationFile::parse(name) {
        Some(file) if !file.is_init && unlogged.contains(&file.number) => Verdict::LeaveOut,
        None if is_temporary(name) => Verdict::LeaveOut,
        _ => anywhere(name),
    }
}

/// `tBACKEND_NUMBER[_FORK][.SEGMENT]` (`parse_filename_for_nontemp_relation`'s
/// opposite).
fn is_temporary(name: &[u8]) -> bool {
    let Some((backend, file)) = str::from_utf8(name)
        .ok()
        .and_then(|name| name.strip_prefix('t')?.split_once('_'))
    else {
        return false;
    };
    number(backend).is_some() && RelationFile::parse(file.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_harm_is_left_out_and_what_is_needed_is_kept() {
        for name in [
            "postmaster.pid",
            "standby.signal",
            "walkeep.plan.json",
            "pgsql_tmp12.3",
            "pg_internal.init.99",
            "lost+found",
        ] {
            assert_eq!(at_the_top(name.as_bytes()), Verdict::LeaveOut, "{name}");
        }
        for name in ["pg_wal", "pg_replslot", "pgsql_tmp"] {
            assert_eq!(at_the_top(name.as_bytes()), Verdict::KeepEmpty, "{name}");
        }
        for name in [
            "PG_VERSION",
            "base",
            "postgresql.conf",
            "pg_xact",
            "pg_logical",
        ] {
            assert_eq!(at_the_top(name.as_bytes()), Verdict::Keep, "{name}");
        }
        // Only at the top is it the server's.
        assert_eq!(anywhere(b"backup_label"), Verdict::Keep);
    }

    #[test]
    fn unlogged_and_temporary_relations_go() {
        let names = [
            "1259",
            "1259_fsm",
            "16400",
            "16400.1",
            "16400_init",
            "16400_vm",
            "t3_16401",
            "t3_16401_fsm.2",
            "PG_VERSION",
            "t3_x",
            "164001",
        ];
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let verdict = of_relations(&names);
        let kept: Vec<&[u8]> = names
            .iter()
            .map(Vec::as_slice)
            .filter(|name| verdict(name) == Verdict::Keep)
            .collect();
        let expected = [
            "1259",
            "1259_fsm",
            "16400_init",
            "PG_VERSION",
            "t3_x",
            "164001",
        ];
        assert_eq!(kept, expected.map(str::as_bytes));
    }

    #[test]
    fn the_second_file_of_a_relation_goes_on_counting() {
        let file = RelationFile::parse(b"16400_fsm.2").unwrap();
        assert_eq!(file.first_page(), 262_144);
        for wrong in ["", "x", "1_x", "1.x", "1.", "_fsm", "1259.1.2", "+1"] {
            assert_eq!(RelationFile::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
