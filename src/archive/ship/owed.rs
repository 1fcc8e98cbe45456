//! What a store is owed: files that staging let go of while it was away. They
//! are copied store to store, and checked on the way.

use std::io::{self, Write};

use super::{
    Pass, Shipping,
    deliver::{Delivered, Object, deliver},
};
use crate::{
    archive::place::Place,
    catalog::{CatalogError, FileRecord, State},
    codec::{
        DecodeError, Decoder, Facts, Md5, Sha256,
        digest::{Md5Hasher, Sha256Hasher},
    },
    fs::Temporary,
    layout::Format,
    postgres::Moments,
    store::{Body, StoreError, StoreName},
};

/// How many debts are looked up for one pass; the rest is for the next.
const DEBTS: usize = 10_000;

/// The files that `store` is owed.
pub(super) async fn debts(
    shipping: &Shipping,
    store: &StoreName,
) -> Result<Vec<FileRecord>, CatalogError> {
    let (catalog, store) = (shipping.catalog.clone(), store.clone());
    let read = tokio::task::spawn_blocking(move || {
        catalog.read(|reader| {
            let owed = |record: &Result<FileRecord, CatalogError>| {
                record.as_ref().map_or(true, |record| {
                    let replica = record.replicas.get(store.as_str());
                    replica.is_some_and(|replica| replica.state() == State::Owed)
                })
            };
            reader
                .unsettled(store.as_str())?
                .filter(owed)
                .take(DEBTS)
                .collect()
        })
    });
    // The thread can only have panicked.
    read.await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// What the catalog knows of a file, as its object would say it but for the
/// moments, which the object that is copied has.
pub(super) fn facts(record: &FileRecord) -> Facts {
    Facts {
        file_name: record.name.to_string(),
        raw_sha256: record.raw_sha256,
        raw_size: record.raw_size,
        modified: record.modified,
        moments: None,
    }
}

/// What came of a debt.
pub(super) enum Paid {
    /// The store answered for it.
    Delivered(Delivered),
    /// No store that has it could give it: it stays owed, and this is why.
    Unpaid(String),
}

/// Copies one file into `place` from the first store that has it whole.
pub(super) async fn pay(
    pass: &Pass,
    place: &Place,
    record: &FileRecord,
) -> Result<Paid, StoreError> {
    let mut reasons = vec!["no other store can give it".to_owned()];
    for source in &pass.shipping.places {
        let replica = record.replicas.get(source.name().as_str());
        let is_held = replica.is_some_and(|replica| replica.object().is_some());
        if !is_held || source.name() == place.name() {
            continue;
        }
        match copy(pass, source, place, record).await {
            Ok(delivered) => return Ok(Paid::Delivered(delivered)),
            Err(CopyError::Target(error)) => return Err(error),
            Err(CopyError::Spool(error)) => reasons.push(format!("write a spool file: {error}")),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Ok(Paid::Unpaid(reasons.join("; ")))
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    /// The store that has it did not give it.
    #[error(transparent)]
    Source(StoreError),
    /// What it gave is not the file.
    #[error("its object in store \"{store}\" is damaged: {reason}")]
    Damaged { store: StoreName, reason: String },
    /// The staging volume has no room for it.
    #[error("write a spool file")]
    Spool(#[from] io::Error),
    /// The store that is owed it did not take it.
    #[error(transparent)]
    Target(StoreError),
}

async fn copy(
    pass: &Pass,
    source: &Place,
    target: &Place,
    record: &FileRecord,
) -> Result<Delivered, CopyError> {
    let generation = record.generation;
    let damaged = |reason: String| CopyError::Damaged {
        store: source.name().clone(),
        reason,
    };
    let unique = format!("{}.owed.{:08x}", record.name, fastrand::u32(..));
    let mut spool = Temporary::create(&pass.shipping.staging.temporaries(), &unique)?;
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
    pass.shipping.pace.wait(body.length).await;
    let object = Object {
        generation,
        name: record.name,
        format,
    };
    let facts = Facts {
        moments: copied.moments,
        ..facts(record)
    };
    deliver(target, object, &facts, &body)
        .await
        .map_err(CopyError::Target)
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
