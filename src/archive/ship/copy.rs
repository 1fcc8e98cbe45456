//! One archived file on its way from one store to another: brought to this
//! host, and checked on the way against what is known of its raw bytes.

use std::{
    io::{self, Write},
    path::Path,
};

use crate::{
    archive::place::Place,
    catalog::FileRecord,
    codec::{
        DecodeError, Decoder, Facts, Md5, Sha256,
        digest::{Md5Hasher, Sha256Hasher},
    },
    fs::Temporary,
    layout::Format,
    postgres::Moments,
    store::{Body, StoreError, StoreName},
};

/// Why a file could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store that has it did not give it.
    #[error(transparent)]
    Source(StoreError),
    /// What it gave is not the file.
    #[error("its object in store \"{store}\" is damaged: {reason}")]
    Damaged {
        /// The store.
        store: StoreName,
        /// What is wrong with it.
        reason: String,
    },
    /// The staging volume has no room for it.
    #[error("write a spool file: {0}")]
    Spool(#[from] io::Error),
}

/// A file's object on this host, with the raw bytes that it should have.
#[derive(Debug)]
pub struct Brought {
    /// As it was stored.
    pub format: Format,
    /// What goes beside its bytes.
    pub facts: Facts,
    /// Its bytes, as long as this is kept.
    pub body: Body,
    _spool: Temporary,
}

/// What the catalog knows of a file, as its object would say it but for the
/// moments, which the object that is copied has.
pub fn facts(record: &FileRecord) -> Facts {
    Facts {
        file_name: record.name.to_string(),
        raw_sha256: record.raw_sha256,
        raw_size: record.raw_size,
        modified: record.modified,
        moments: None,
    }
}

/// Brings the file from `source` into a spool file in `spools`.
pub async fn bring(
    source: &Place,
    record: &FileRecord,
    spools: &Path,
) -> Result<Brought, CopyError> {
    let generation = record.generation;
    let damaged = |reason: String| CopyError::Damaged {
        store: source.name().clone(),
        reason,
    };
    let unique = format!("{}.copied.{:08x}", record.name, fastrand::u32(..));
    let mut spool = Temporary::create(spools, &unique)?;
    let mut found = None;
    // It goes over as it is, in whichever format.
    for format in Format::ALL {
        let mut check = Check::new(format, spool.file(), record.raw_size)
            .map_err(|error| damaged(error.to_string()))?;
        let key = source.key(generation, record.name, format);
        let there = source.store.download(&key, |piece| check.take(piece)).await;
        if there.map_err(CopyError::Source)?.is_some() {
            found = Some((format, check.finish()?));
            break;
        }
    }
    let (format, copied) = found.ok_or_else(|| damaged("it is gone".to_owned()))?;
    let copied = copied.map_err(|error| damaged(error.to_string()))?;
    if copied.raw_sha256 != record.raw_sha256 {
        return Err(damaged(format!(
            "SHA-256 {} instead of {}",
            copied.raw_sha256, record.raw_sha256
        )));
    }
    // Of what came, whatever the catalog has: somebody may have compressed it
    // anew.
    let body = Body::file(spool.path().to_owned(), copied.stored_size, copied.md5);
    let facts = Facts {
        moments: copied.moments,
        ..facts(record)
    };
    Ok(Brought {
        format,
        facts,
        body,
        _spool: spool,
    })
}

/// An object that was read to its end: what it turned out to be, and the
/// moments that it states.
struct Copied {
    raw_sha256: Sha256,
    stored_size: u64,
    md5: Md5,
    moments: Option<Moments>,
}

/// Writes an object down while it is decoded for its digests: that of the raw
/// bytes, and that of the stored ones with their number.
struct Check<'a> {
    spool: &'a mut std::fs::File,
    md5: Md5Hasher,
    stored_size: u64,
    decoder: Decoder<Sha256Hasher>,
    written: io::Result<()>,
    decoded: Result<(), DecodeError>,
}

impl<'a> Check<'a> {
    fn new(
        format: Format,
        spool: &'a mut std::fs::File,
        raw_size: u64,
    ) -> Result<Self, DecodeError> {
        let decoder = Decoder::new(format, Sha256Hasher::default(), raw_size)?;
        Ok(Check {
            spool,
            md5: Md5Hasher::default(),
            stored_size: 0,
            decoder,
            written: Ok(()),
            decoded: Ok(()),
        })
    }

    fn take(&mut self, piece: &[u8]) {
        if self.written.is_ok() && self.decoded.is_ok() {
            self.written = self.spool.write_all(piece);
            self.md5.update(piece);
            self.stored_size += piece.len() as u64;
            self.decoded = self.decoder.write(piece);
        }
    }

    fn finish(self) -> io::Result<Result<Copied, DecodeError>> {
        self.written?;
        Ok(self.decoded.and_then(|()| {
            let (digest, stated) = self.decoder.finish()?;
            Ok(Copied {
                raw_sha256: digest.finish(),
                stored_size: self.stored_size,
                md5: self.md5.finish(),
                moments: stated.and_then(|stated| stated.moments),
            })
        }))
    }
}
