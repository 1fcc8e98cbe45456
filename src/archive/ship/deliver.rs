//! One object into one store, created and never overwritten.

use jiff::Timestamp;

use crate::{
    archive::{
        object::{ExamineError, examine, metadata},
        place::Place,
    },
    catalog::Object,
    codec::{Facts, Sha256},
    store::{Body, Put, StoreError},
};

/// What came of it.
#[derive(Debug, Clone)]
pub(super) enum Delivered {
    /// The store holds these raw bytes under the key, verified.
    Stored(Object),
    /// The store holds others.
    Conflict {
        /// SHA-256 of their raw bytes.
        found: Sha256,
    },
    /// The store holds something that cannot be read: for `repair`.
    Damaged {
        /// What is wrong with it.
        reason: String,
        /// As the store describes it.
        object: Object,
    },
}

/// Stores the object of the file with these facts, unless the key is taken.
pub(super) async fn deliver(
    place: &Place,
    key: &str,
    facts: &Facts,
    body: &Body,
) -> Result<Delivered, StoreError> {
    let stored = |stored_size, md5| Object {
        stored_size,
        md5,
        at: Timestamp::now(),
        attempts: 1,
    };
    let there = match place.store.put_new(key, body, &metadata(facts)).await? {
        // Its MD5 was checked on arrival.
        Put::Created => return Ok(Delivered::Stored(stored(body.length, body.md5))),
        Put::Exists(info) => info,
    };
    if there.size == body.length && there.md5 == Some(body.md5) {
        return Ok(Delivered::Stored(stored(body.length, body.md5)));
    }
    // The same raw bytes can be stored as others: another encoder, another
    // modification time, an older script. Only reading it all tells.
    match examine(place, key).await {
        Ok(Some(found)) if found.raw_sha256 == facts.raw_sha256 => {
            Ok(Delivered::Stored(stored(found.info.size, found.md5)))
        }
        Ok(Some(found)) => Ok(Delivered::Conflict {
            found: found.raw_sha256,
        }),
        Ok(None) => Err(vanished(place, key)),
        Err(ExamineError::Store(error)) => Err(error),
        Err(ExamineError::Damaged { cause, .. }) => Ok(Delivered::Damaged {
            reason: cause.to_string(),
            object: stored(there.size, there.md5.unwrap_or(body.md5)),
        }),
    }
}

/// Somebody deletes what we store: the next pass will see what is there.
fn vanished(place: &Place, key: &str) -> StoreError {
    StoreError {
        store: place.name().clone(),
        operation: crate::store::Operation::Put,
        key: key.to_owned(),
        kind: crate::store::StoreErrorKind::Unexpected,
        detail: "the object was there, and is not any more".to_owned(),
        attempts: 1,
    }
}
