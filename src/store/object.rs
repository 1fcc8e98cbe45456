//! Objects, as a store takes and gives them.

use std::{collections::BTreeMap, fs::File, io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;

use super::{error::StoreErrorKind, retry::Failure};
use crate::codec::Md5;

/// What is to be stored. Cloning is cheap, and a body can be sent as often as
/// it takes.
#[derive(Debug, Clone)]
pub struct Body {
    pub(super) source: Source,
    /// Its length in bytes.
    pub length: u64,
    /// MD5 of its bytes, for the store to check.
    pub md5: Md5,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Bytes(Bytes),
    File(Arc<PathBuf>),
}

impl Body {
    /// Bytes in memory, of which the MD5 is known.
    pub fn bytes(bytes: Bytes, md5: Md5) -> Self {
        Body {
            length: bytes.len() as u64,
            source: Source::Bytes(bytes),
            md5,
        }
    }

    /// A few bytes in memory.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let md5 = Md5::of(&bytes);
        Body::bytes(bytes, md5)
    }

    /// A file, which stays as it is until the body is dropped.
    pub fn file(path: PathBuf, length: u64, md5: Md5) -> Self {
        Body {
            source: Source::File(Arc::new(path)),
            length,
            md5,
        }
    }

    /// Reads it from its first byte.
    pub(super) fn reader(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(match &self.source {
            Source::Bytes(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Source::File(path) => Box::new(File::open(&**path)?),
        })
    }
}

/// What a store says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its whole key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// MD5 of its bytes, where the ETag is one (S3: single PUTs; a directory
    /// does not know).
    pub md5: Option<Md5>,
    /// When the store took it.
    pub modified: Option<Timestamp>,
    /// `x-amz-meta-*`, without that prefix. A LIST does not tell, and a
    /// directory does not keep it.
    pub metadata: BTreeMap<String, String>,
    /// Which version, where a hide marker or a newer one hides it.
    pub(super) version: Option<String>,
}

/// How a create-only PUT ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The object is there now, and was not before.
    Created,
    /// An object was there already, and is untouched. It may be an earlier
    /// attempt's of ours: compare what it holds.
    Exists(ObjectInfo),
}

/// Whether a key can be a path in a URL and in a directory, and come back as
/// it was: no empty part, no `.` and no `..` (RFC 3986, 5.2.4), and not longer
/// than S3 allows.
pub(super) fn is_plain(key: &str) -> bool {
    let plain = |part| !matches!(part, "" | "." | "..");
    key.len() <= 1024 && key.split('/').all(plain)
}

/// Refuses a key that is not plain: it would name another object, or none.
pub(super) fn check_key(key: &str) -> Result<(), Failure> {
    if is_plain(key) {
        return Ok(());
    }
    let detail = "a key has no empty, '.' or '..' part, and 1024 bytes at most";
    Err(Failure::new(StoreErrorKind::Unexpected, detail))
}
