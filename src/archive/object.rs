//! An archived file as an object: what is said about it beside its bytes, and
//! what it turns out to be when it is read.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::Timestamp;

use super::{moments, place::Place};
use crate::{
    codec::{
        DecodeError, Decoder, Facts, Md5, Sha256,
        digest::{Md5Hasher, Sha256Hasher},
    },
    layout::Layout,
    postgres::{Moments, record::Walker},
    store::{ObjectInfo, StoreError},
};

/// `x-amz-meta-walkeep-sha256`: SHA-256 of the raw bytes, hexadecimal.
pub const SHA256: &str = "walkeep-sha256";
/// `x-amz-meta-walkeep-size`: the raw size in bytes, decimal.
pub const SIZE: &str = "walkeep-size";
/// `x-amz-meta-walkeep-modified`: the raw file's mtime, RFC 3339.
pub const MODIFIED: &str = "walkeep-modified";

/// The largest raw file there is: a segment of 1 GiB.
pub const LARGEST_RAW: u64 = 1 << 30;

/// What goes with an object into `x-amz-meta-*`. Less than the 2 KiB that S3
/// allows for names and values together.
pub fn metadata(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut metadata = vec![
        (SHA256, facts.raw_sha256.to_string()),
        (SIZE, facts.raw_size.to_string()),
        (MODIFIED, facts.modified.to_string()),
    ];
    metadata.extend(facts.moments.iter().flat_map(moments::metadata));
    metadata
}

/// The facts in an object's metadata; `None` where any is missing, as for an
/// older script's object, or in a directory, and where the metadata has only a
/// part of the moments: the object itself has them all.
pub fn facts_in(metadata: &BTreeMap<String, String>, file_name: &str) -> Option<Facts> {
    Some(Facts {
        file_name: file_name.to_owned(),
        raw_sha256: metadata.get(SHA256)?.parse().ok()?,
        raw_size: metadata.get(SIZE)?.parse().ok()?,
        modified: metadata.get(MODIFIED)?.parse::<Timestamp>().ok()?,
        moments: moments::in_metadata(metadata).ok()?,
    })
}

/// What an object turned out to be, all of it read.
#[derive(Debug, Clone)]
pub struct Examined {
    /// SHA-256 of the raw bytes, computed.
    pub raw_sha256: Sha256,
    /// Their number.
    pub raw_size: u64,
    /// MD5 of the stored bytes, computed.
    pub md5: Md5,
    /// The moments of the segment that it is, computed.
    pub moments: Option<Moments>,
    /// What the object says of itself, if it does.
    pub facts: Option<Facts>,
    /// What the store says of it.
    pub info: ObjectInfo,
}

/// Why an object could not be examined.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// It was not read to its end.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was, and is not what its key's suffix says.
    #[error("\"{key}\" is damaged: {cause}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong with its bytes.
        cause: DecodeError,
    },
}

/// Reads an object to its end, in bounded memory. `None`: proved absent.
pub async fn examine(place: &Place, key: &str) -> Result<Option<Examined>, ExamineError> {
    let damaged = |cause| ExamineError::Damaged {
        key: key.to_owned(),
        cause,
    };
    let decoder = Decoder::new(Layout::format(key), Hashed::default(), LARGEST_RAW);
    let mut decoder = decoder.map_err(damaged)?;
    let (mut md5, mut failure) = (Md5Hasher::default(), None);
    let info = place.store.download(key, |piece| {
        md5.update(piece);
        if failure.is_none() {
            failure = decoder.write(piece).err();
        }
    });
    let Some(info) = info.await? else {
        return Ok(None);
    };
    if let Some(cause) = failure {
        return Err(damaged(cause));
    }
    let (raw, facts) = decoder.finish().map_err(damaged)?;
    Ok(Some(Examined {
        raw_sha256: raw.digest.finish(),
        raw_size: raw.size,
        md5: md5.finish(),
        moments: raw.walker.finish().ok().map(|(moments, _)| moments),
        facts,
        info,
    }))
}

/// Takes bytes for their digest, number and moments alone.
#[derive(Default)]
struct Hashed {
    digest: Sha256Hasher,
    size: u64,
    walker: Walker,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        self.walker.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
