//! The files of a base backup, line by line. A listing is cut into pages that
//! are stored under the SHA-256 of their bytes, at places which only the paths
//! decide, so that pages in which nothing changed are those of the backup
//! before. docs/FORMAT.md, "Pages".

use std::{cmp::Ordering, ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::stretch::{InvalidStretch, Stretch};
use crate::codec::Sha256;

/// A line: a file, or a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is, below the data directory; `pg_tblspc/OID/…` in a
    /// tablespace.
    pub path: EntryPath,
    /// Permissions, as `chmod` takes them, in decimal.
    pub mode: u32,
    /// Of a file, what it holds; of a directory, nothing.
    #[serde(flatten)]
    pub file: Option<FileEntry>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// In bytes.
    pub size: u64,
    /// When it was last modified.
    pub modified: Timestamp,
    /// CRC-32C of its bytes, as `pg_verifybackup` has it.
    pub crc32c: u32,
    /// Its stretches, in order; each but the last has 32 MiB.
    pub stretches: Vec<StretchAt>,
}

/// Where a stretch is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StretchAt {
    /// In an object of its own.
    Index(Sha256),
    /// In the line itself, in Base64: a short one.
    Inline(Inline),
}

/// A stretch's bytes in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Inline(Vec<u8>);

impl Inline {
    /// Of more bytes an object of its own is made.
    pub const MOST: usize = 4096;

    /// The stretch's bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Inline(bytes)
    }

    /// The stretch.
    pub fn stretch(&self) -> Result<Stretch, InvalidStretch> {
        Stretch::parse(&self.0)
    }
}

impl TryFrom<String> for Inline {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Inline)
    }
}

impl From<Inline> for String {
    fn from(inline: Inline) -> Self {
        BASE64_STANDARD.encode(inline.0)
    }
}

/// A path below the data directory, in bytes; never absolute, never with an
/// empty part, `.` or `..`. In JSON a string, or for one that is not UTF-8
/// `{"hex": "…"}`.
///
/// The order is that of a walk: part by part, a directory before what is in it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PathText", into = "PathText")]
pub struct EntryPath(Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathText {
    Text(String),
    Bytes { hex: String },
}

/// The bytes cannot be a path below a data directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no path below a data directory")]
pub struct InvalidPath(String);

impl EntryPath {
    /// Checks the bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidPath> {
        let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
        if bytes.split(|&byte| byte == b'/').all(plain) {
            Ok(EntryPath(bytes))
        } else {
            Err(InvalidPath(String::from_utf8_lossy(&bytes).into_owned()))
        }
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, InvalidPath> {
        EntryPath::new([&self.0, name].join(&b'/'))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative path of this host.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether a page ends behind this path: about one in 256 does, whatever
    /// stands before it. FNV-1a, 32 bits; the high ones are mixed best.
    fn ends_page(&self) -> bool {
        let hash = self.0.iter().fold(0x811C_9DC5_u32, |hash, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        hash >> 24 == 0
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = |path| <[u8]>::split(path, |&byte| byte == b'/');
        parts(&self.0).cmp(parts(&other.0))
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<PathText> for EntryPath {
    type Error = InvalidPath;

    fn try_from(text: PathText) -> Result<Self, Self::Error> {
        match text {
            PathText::Text(text) => EntryPath::new(text.into_bytes()),
            PathText::Bytes { hex } => match hex::decode(&hex) {
                Ok(bytes) => EntryPath::new(bytes),
                Err(_) => Err(InvalidPath(hex)),
            },
        }
    }
}

impl From<EntryPath> for PathText {
    fn from(path: EntryPath) -> Self {
        match String::from_utf8(path.0) {
            Ok(text) => PathText::Text(text),
            Err(error) => PathText::Bytes {
                hex: hex::encode(error.into_bytes()),
            },
        }
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Cuts lines into pages.
#[derive(Debug, Default)]
pub struct Pages {
    page: Vec<u8>,
}

impl Pages {
    /// A page is cut at this size, in bytes, whatever the paths say.
    const LARGEST: usize = 1 << 20;

    /// Adds a line, and gives the page that it completes.
    pub fn add(&mut self, entry: &Entry) -> Option<Vec<u8>> {
        // Strings and numbers alone: there is nothing that JSON cannot hold.
        self.page
            .extend(serde_json::to_vec(entry).unwrap_or_default());
        self.page.push(b'\n');
        let complete = entry.path.ends_page() || self.page.len() > Self::LARGEST;
        complete.then(|| std::mem::take(&mut self.page))
    }

    /// The last page, if it has a line.
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.page.is_empty()).then_some(self.page)
    }
}

/// The lines of a page.
pub fn parse_page(page: &[u8]) -> impl Iterator<Item = Result<Entry, serde_json::Error>> {
    serde_json::Deserializer::from_slice(page).into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            path: EntryPath::new(path.into()).unwrap(),
            mode: 0o600,
            file: Some(FileEntry {
                size: 5,
                modified: Timestamp::UNIX_EPOCH,
                crc32c: 7,
                stretches: vec![
                    StretchAt::Index(Sha256::of(b"x")),
                    StretchAt::Inline(Inline::new(Stretch::default().to_bytes())),
                ],
            }),
        }
    }

    fn pages(paths: impl Iterator<Item = u32>) -> Vec<Vec<u8>> {
        let mut cut = Pages::default();
        let mut pages: Vec<_> = paths
            .filter_map(|n| cut.add(&entry(&format!("base/5/{n:05}"))))
            .collect();
        pages.extend(cut.finish());
        pages
    }

    #[test]
    fn lines_come_back() {
        let mut directory = entry("pg_wal/archive_status");
        directory.file = None;
        let strange = Entry {
            path: EntryPath::new(b"base/\xFF\"".to_vec()).unwrap(),
            ..entry("x")
        };
        let entries = vec![entry("base/5/1259"), directory, strange];
        let mut pages = Pages::default();
        let mut bytes: Vec<u8> = entries
            .iter()
            .filter_map(|entry| pages.add(entry))
            .flatten()
            .collect();
        bytes.extend(pages.finish().unwrap_or_default());
        let read: Result<Vec<Entry>, _> = parse_page(&bytes).collect();
        assert_eq!(read.unwrap(), entries);
    }

    #[test]
    fn a_new_file_changes_one_page() {
        let before = pages((0..4000).filter(|n| *n != 1777));
        let after = pages(0..4000);
        assert!(before.len() > 8, "{} pages", before.len());
        let kept = after.iter().filter(|page| before.contains(page)).count();
        assert!(kept + 2 >= after.len(), "{kept} of {}", after.len());
    }

    #[test]
    fn paths_stay_below_the_data_directory() {
        for wrong in [
            "",
            "/etc/passwd",
            "a//b",
            "../x",
            "a/..",
            "./a",
            "a/",
            "a\0",
        ] {
            assert!(EntryPath::new(wrong.into()).is_err(), "{wrong:?}");
        }
        let line = r#"{"path":"../x","mode":384}"#;
        assert!(serde_json::from_str::<Entry>(line).is_err());
    }
}
