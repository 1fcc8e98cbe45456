//! Keys in a bucket: the only place that forms them, and the only one that
//! reads them back. `docs/FORMAT.md` describes the same.
//!
//! ```text
//! [PREFIX/]cluster.json                     whose archive this is
//! [PREFIX/]wal/000000010000000400000024.gz  a segment (zstd: `.zst`)
//! [PREFIX/]stream/000000010000000400000025/00000000-0002A3F8.gz  a part of one (or `.zst`)
//! [PREFIX/]backup/20261120T020000Z/manifest.json.gz  a base backup
//! [PREFIX/]backup/20261120T020000Z/running.json      while it is being made
//! [PREFIX/]backup/20261120T020000Z/000001.gz         a pack of its data (or `.zst`)
//! [PREFIX/]backup/index/<SHA-256>.gz        which blocks make a file up
//! [PREFIX/]g2/cluster.json                  the next generation, laid out the same
//! [PREFIX/]check/probe                      what `check` writes and reads back
//! ```

mod backup_id;
mod stream_part;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    codec::Sha256,
    postgres::{SegmentName, TimelineId, WalFileName},
};

pub use crate::codec::Format;
pub use backup_id::{BackupId, InvalidBackupId};
pub use stream_part::StreamPart;

/// The place of one archive in a bucket: everything walkeep keeps of one
/// cluster begins with it. Empty for the bucket's root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefix(String);

/// The text cannot stand in front of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a prefix (expected parts of letters, digits, '.', '_', '-' joined by '/', \
     none of them '.' or '..')"
)]
pub struct InvalidPrefix(String);

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim_matches('/');
        let part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let valid = trimmed.is_empty() || trimmed.split('/').all(part);
        valid
            .then(|| Prefix(trimmed.to_owned()))
            .ok_or_else(|| InvalidPrefix(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One system identifier's time in an archive, counted from 1. `pg_upgrade`
/// makes a new cluster whose timelines start at 1 again, so the next
/// generation's keys stand below a part of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation whose keys begin right behind the prefix.
    pub const FIRST: Generation = Generation(1);
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}", self.0)
    }
}

/// What a key of an object of this format ends in.
fn suffix(format: Format) -> &'static str {
    match format {
        Format::Gzip => ".gz",
        Format::Zstd => ".zst",
    }
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The archive's identity.
    Cluster(Generation),
    /// A file that PostgreSQL archived.
    Wal(Generation, WalFileName, Format),
    /// Bytes of a segment that was not complete when they were stored.
    Stream(Generation, StreamPart, Format),
    /// What a base backup is: written last.
    Manifest(Generation, BackupId),
    /// Says that a base backup is being made.
    Running(Generation, BackupId),
    /// Blocks of a base backup.
    Pack(Generation, BackupId, PackNumber, Format),
    /// A part of backups' manifests, under the SHA-256 of its raw bytes.
    Index(Generation, Sha256),
    /// What `check` writes and reads back.
    Probe,
}

/// A pack's number in its backup, from 1.
pub type PackNumber = u32;

const PROBE: &str = "check/probe";
const MANIFEST: &str = "manifest.json.gz";
const RUNNING: &str = "running.json";

/// Forms and reads the keys of one archive.
#[derive(Debug, Clone)]
pub struct Layout {
    root: String,
}

impl Layout {
    /// The keys below `prefix`.
    pub fn new(prefix: &Prefix) -> Self {
        let root = if prefix.0.is_empty() {
            String::new()
        } else {
            format!("{}/", prefix.0)
        };
        Layout { root }
    }

    /// What every key of the archive begins with; ends in `/`, or is empty.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The key of `key`.
    pub fn key(&self, key: Key) -> String {
        match key {
            Key::Cluster(generation) => format!("{}cluster.json", self.generation(generation)),
            Key::Wal(generation, name, format) => {
                format!("{}{name}{}", self.wal_prefix(generation), suffix(format))
            }
            Key::Stream(generation, part, format) => format!(
                "{}{part}{}",
                self.segment_stream_prefix(generation, part.segment),
                suffix(format)
            ),
            Key::Manifest(generation, id) => {
                format!("{}{id}/{MANIFEST}", self.backup_prefix(generation))
            }
            Key::Running(generation, id) => {
                format!("{}{id}/{RUNNING}", self.backup_prefix(generation))
            }
            Key::Pack(generation, id, number, format) => format!(
                "{}{id}/{number:06}{}",
                self.backup_prefix(generation),
                suffix(format)
            ),
            Key::Index(generation, digest) => {
                format!("{}{digest}.gz", self.index_prefix(generation))
            }
            Key::Probe => format!("{}{PROBE}", self.root),
        }
    }

    /// The format of the object under `key`, by its suffix; gzip where that says
    /// nothing.
    pub fn format(key: &str) -> Format {
        let said = |format: &Format| key.ends_with(suffix(*format));
        Format::ALL.into_iter().find(said).unwrap_or(Format::Gzip)
    }

    /// What the keys of a generation's base backups begin with.
    pub fn backup_prefix(&self, generation: Generation) -> String {
        format!("{}backup/", self.generation(generation))
    }

    /// What the keys of the parts of a generation's manifests begin with.
    pub fn index_prefix(&self, generation: Generation) -> String {
        format!("{}index/", self.backup_prefix(generation))
    }

    /// What the keys of a generation's WAL begin with.
    pub fn wal_prefix(&self, generation: Generation) -> String {
        format!("{}wal/", self.generation(generation))
    }

    /// What the keys of a generation's streamed parts begin with.
    pub fn stream_prefix(&self, generation: Generation) -> String {
        format!("{}stream/", self.generation(generation))
    }

    /// What the keys of one segment's streamed parts begin with.
    pub fn segment_stream_prefix(&self, generation: Generation, segment: SegmentName) -> String {
        format!("{}{segment}/", self.stream_prefix(generation))
    }

    /// What the keys of one timeline's WAL begin with.
    pub fn timeline_prefix(&self, generation: Generation, timeline: TimelineId) -> String {
        format!("{}{:08X}", self.wal_prefix(generation), timeline.0)
    }

    fn generation(&self, generation: Generation) -> String {
        match generation {
            Generation::FIRST => self.root.clone(),
            Generation(number) => format!("{}g{number}/", self.root),
        }
    }

    /// What `key` stands for; `None` for a key that is not ours, below the
    /// prefix or elsewhere.
    pub fn parse(&self, key: &str) -> Option<Key> {
        let below = key.strip_prefix(&self.root)?;
        if below == PROBE {
            return Some(Key::Probe);
        }
        let (generation, rest) = match below.split_once('/') {
            Some((part, rest)) if part.starts_with('g') => (parse_generation(part)?, rest),
            _ => (Generation::FIRST, below),
        };
        if rest == "cluster.json" {
            return Some(Key::Cluster(generation));
        }
        if let Some(backup) = rest.strip_prefix("backup/") {
            return parse_backup(generation, backup);
        }
        if let Some(part) = rest.strip_prefix("stream/") {
            let (segment, part) = part.split_once('/')?;
            return Format::ALL.into_iter().find_map(|format| {
                let range = part.strip_suffix(suffix(format))?;
                let part = StreamPart::parse(segment.parse().ok()?, range)?;
                Some(Key::Stream(generation, part, format))
            });
        }
        let file = rest.strip_prefix("wal/")?;
        Format::ALL.into_iter().find_map(|format| {
            let name = file.strip_suffix(suffix(format))?.parse().ok()?;
            Some(Key::Wal(generation, name, format))
        })
    }
}

/// What stands below `backup/`.
fn parse_backup(generation: Generation, below: &str) -> Option<Key> {
    let (directory, file) = below.split_once('/')?;
    if directory == "index" {
        let digest = file.strip_suffix(".gz")?;
        let parsed: Sha256 = digest.parse().ok()?;
        return (parsed.to_string() == digest).then_some(Key::Index(generation, parsed));
    }
    let id = directory.parse().ok()?;
    match file {
        MANIFEST => return Some(Key::Manifest(generation, id)),
        RUNNING => return Some(Key::Running(generation, id)),
        _ => {}
    }
    Format::ALL.into_iter().find_map(|format| {
        let digits = file.strip_suffix(suffix(format))?;
        let number: PackNumber = digits.parse().ok()?;
        let one_spelling = number > 0 && digits == format!("{number:06}");
        one_spelling.then_some(Key::Pack(generation, id, number, format))
    })
}

/// `g2` and above, without leading zeros: each generation has one spelling.
fn parse_generation(part: &str) -> Option<Generation> {
    let number: u32 = part.strip_prefix('g')?.parse().ok()?;
    (number >= 2 && part == format!("g{number}")).then_some(Generation(number))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn layout(prefix: &str) -> Layout {
        Layout::new(&prefix.parse().unwrap())
    }

    #[test]
    fn keys_are_those_of_existing_archives() {
        let name = "000000010000000400000024".parse().unwrap();
        let first = Key::Wal(Generation::FIRST, name, Format::Gzip);
        assert_eq!(
            layout("main").key(first),
            "main/wal/000000010000000400000024.gz"
        );
        assert_eq!(layout("").key(first), "wal/000000010000000400000024.gz");
        let zstd = Key::Wal(Generation::FIRST, name, Format::Zstd);
        let key = layout("main").key(zstd);
        assert_eq!(key, "main/wal/000000010000000400000024.zst");
        assert_eq!(Layout::format(&key), Format::Zstd);
        assert_eq!(Layout::format("main/wal/00000002.history.gz"), Format::Gzip);
        assert_eq!(Layout::format("main/cluster.json"), Format::Gzip);
        let second = Key::Cluster(Generation(2));
        assert_eq!(layout("/a/b/").key(second), "a/b/g2/cluster.json");
    }

    #[test]
    fn foreign_keys_are_nobodys() {
        for foreign in [
            "main/wal/000000010000000400000024",
            "main/wal/000000010000000400000024.gz.tmp",
            "main/wal/x/000000010000000400000024.gz",
            "main/wal/000000010000000400000024.gz.zst",
            "main/wal/000000010000000400000024.zstd",
            "main/backup/20261120T020000Z/manifest.json.zst",
            "main/backup/index/00.zst",
            "wal/000000010000000400000024.gz",
            "main/g1/cluster.json",
            "main/g02/cluster.json",
            "main/backup/x",
            "main/backup/20261120T020000Z",
            "main/backup/20261120T020000Z/1.gz",
            "main/backup/20261120T020000Z/000000.gz",
            "main/backup/20261120T020000Z/0000001.gz",
            "main/backup/20261120T240000Z/000001.gz",
            "main/backup/2026112T020000Z/manifest.json.gz",
            "main/backup/index/00.gz",
            "main/stream/000000010000000400000024.gz",
            "main/stream/000000010000000400000024/00000000-00000000.gz",
            "main/stream/000000010000000400000024/00000008-00000000.gz",
            "main/stream/000000010000000400000024/00000000-0000a000.gz",
            "main/stream/000000010000000400000024/0-8.gz",
            "main/stream/000000010000000400000024/00000000-+0000008.gz",
            "main/stream/000000010000000400000024/00000000-00000008",
            "main",
            "",
        ] {
            assert_eq!(layout("main").parse(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn prefixes_stay_below_the_bucket() {
        for wrong in ["..", "a/../b", "a//b", "a b", "a/./b", "ä", "a\nb"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_formed_is_read_back(
            prefix in "([a-z0-9._-]{1,8}(/[a-z0-9_-]{1,8}){0,2})?",
            generation in 1u32..,
            name in "[0-9A-F]{8}(\\.history|[0-9A-F]{16}(\\.partial|\\.[0-9A-F]{8}\\.backup)?)",
            begun in 0i64..4_000_000_000,
            number in 1u32..,
            digest in any::<[u8; 32]>(),
            format in prop::sample::select(Format::ALL.as_slice()),
            (segment, from, length) in ("[0-9A-F]{24}", 0u32..1 << 30, 1u32..1 << 30),
        ) {
            prop_assume!(prefix.split('/').all(|part| !matches!(part, "." | "..")));
            let layout = layout(&prefix);
            let generation = Generation(generation);
            let id = BackupId::at(Timestamp::from_second(begun).unwrap());
            let segment = segment.parse().unwrap();
            let part = StreamPart { segment, from, to: from + length };
            for key in [
                Key::Manifest(generation, id),
                Key::Running(generation, id),
                Key::Pack(generation, id, number, format),
                Key::Index(generation, Sha256(digest)),
                Key::Cluster(generation),
                Key::Wal(generation, name.parse().unwrap(), format),
                Key::Stream(generation, part, format),
                Key::Probe,
            ] {
                prop_assert_eq!(layout.parse(&layout.key(key)), Some(key));
            }
        }
    }
}
