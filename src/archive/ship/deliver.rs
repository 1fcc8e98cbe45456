//! One object into one store, created and never overwritten.

use jiff::Timestamp;

use crate::{
    archive::{
        object::{ExamineError, examine, metadata},
        place::Place,
    },
    catalog,
    codec::{Facts, Md5, Sha256},
    layout::{Format, Generation},
    postgres::WalFileName,
    store::{Body, ObjectInfo, Put, StoreError},
};

/// What is to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    /// Of which generation of the archive.
    pub generation: Generation,
    /// Whose object it is.
    pub name: WalFileName,
    /// In which format.
    pub format: Format,
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum Delivered {
    /// The store holds these raw bytes under the key, verified.
    Stored(catalog::Object),
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
        object: catalog::Object,
    },
}

/// Stores the object of the file with these facts, unless there is one of its
/// name: in another format too, from before the format was changed, or by
/// another server.
pub async fn deliver(
    place: &Place,
    object: Object,
    facts: &Facts,
    body: &Body,
) -> Result<Delivered, StoreError> {
    for other in object.format.others() {
        let key = place.key(object.generation, object.name, other);
        if let Some(there) = place.store.head(&key).await? {
            return compare(place, &key, (facts, body), there).await;
        }
    }
    let key = place.key(object.generation, object.name, object.format);
    let there = match place.store.put_new(&key, body, &metadata(facts)).await? {
        // Its MD5 was checked on arrival.
        Put::Created => return Ok(Delivered::Stored(stored(body.length, body.md5))),
        Put::Exists(info) => info,
    };
    if there.size == body.length && there.md5 == Some(body.md5) {
        return Ok(Delivered::Stored(stored(body.length, body.md5)));
    }
    compare(place, &key, (facts, body), there).await
}

/// Holds an object that is there against the file. The same raw bytes can be
/// stored as others: another format, encoder or modification time, an older
/// script. Only reading it all tells.
async fn compare(
    place: &Place,
    key: &str,
    (facts, body): (&Facts, &Body),
    there: ObjectInfo,
) -> Result<Delivered, StoreError> {
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

fn stored(stored_size: u64, md5: Md5) -> catalog::Object {
    catalog::Object {
        stored_size,
        md5,
        at: Timestamp::now(),
        attempts: 1,
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
