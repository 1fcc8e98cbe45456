//! One object of the WAL, read to its end and held against what is known of
//! its file.

use jiff::Timestamp;

use crate::{
    archive::{
        object::{ExamineError, Examined, examine},
        place::Place,
    },
    catalog::{Catalog, FileRecord, Object, Replica, State},
    codec::{Md5, Sha256},
    layout::Format,
    store::{ObjectInfo, StoreError},
};

/// What a store has under a file's name.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// The file.
    Whole(Object),
    /// Something that is provably not the file, nor any other: its bytes make
    /// no object, or are those of another file which is safe under its own
    /// name.
    Damaged {
        reason: String,
        object: Object,
        format: Format,
    },
    /// Another file's bytes.
    Conflict(Sha256),
    /// Nothing.
    Gone,
}

/// Reads what `place` has of the file. The first object that is whole is the
/// file; nothing is damaged as long as there is one.
pub(super) async fn judge(
    place: &Place,
    record: &FileRecord,
    catalog: &Catalog,
) -> Result<Verdict, StoreError> {
    let mut found = Verdict::Gone;
    for format in Format::ALL {
        let key = place.key(record.generation, record.name, format);
        let verdict = match examine(place, &key).await {
            Ok(None) => continue,
            Ok(Some(it)) if it.raw_sha256 == record.raw_sha256 => {
                return Ok(Verdict::Whole(object(&it.info, Some(it.md5))));
            }
            Ok(Some(it)) => match misplaced(record, &it, catalog) {
                Some(reason) => Verdict::Damaged {
                    reason,
                    object: object(&it.info, Some(it.md5)),
                    format,
                },
                None => Verdict::Conflict(it.raw_sha256),
            },
            Err(ExamineError::Store(error)) => return Err(error),
            Err(ExamineError::Damaged { cause, .. }) => {
                let Some(info) = place.store.head(&key).await? else {
                    continue;
                };
                Verdict::Damaged {
                    reason: cause.to_string(),
                    object: object(&info, None),
                    format,
                }
            }
        };
        // Somebody else's bytes outweigh what is nobody's.
        if !matches!(found, Verdict::Conflict(_)) {
            found = verdict;
        }
    }
    Ok(found)
}

/// Why the object is another file's, put under this name by a mistake: it says
/// so itself, and a store has that file under its own name. (Were that not so,
/// these bytes might be the last copy.)
fn misplaced(record: &FileRecord, found: &Examined, catalog: &Catalog) -> Option<String> {
    let facts = found.facts.as_ref()?;
    let name = facts.file_name.parse().ok()?;
    if name == record.name || facts.raw_sha256 != found.raw_sha256 {
        return None;
    }
    let theirs = catalog.read(|reader| reader.file(record.generation, name));
    let theirs = theirs.ok()??;
    let mut replicas = theirs.replicas.values();
    let is_safe = replicas.any(|replica| replica.state() == State::Stored);
    (is_safe && theirs.raw_sha256 == found.raw_sha256)
        .then(|| format!("it is the object of \"{name}\""))
}

fn object(info: &ObjectInfo, md5: Option<Md5>) -> Object {
    Object {
        stored_size: info.size,
        md5: md5.or(info.md5).unwrap_or(Md5::of(b"")),
        at: info.modified.unwrap_or_else(Timestamp::now),
        attempts: 1,
    }
}

impl Verdict {
    /// The replica of a store about which this was found out; `before` is what
    /// was known. `None`: the store does not have the file.
    pub(super) fn replica(&self, before: Option<&Replica>, found: Timestamp) -> Option<Replica> {
        match self {
            Verdict::Whole(object) => Some(match before {
                Some(Replica::Stored(known))
                    if (known.stored_size, known.md5) == (object.stored_size, object.md5) =>
                {
                    Replica::Stored(known.clone())
                }
                // Later than whatever was found before.
                _ => Replica::Stored(Object {
                    at: found,
                    ..object.clone()
                }),
            }),
            Verdict::Damaged { reason, object, .. } => Some(match before {
                Some(known @ Replica::Suspect { .. }) => known.clone(),
                _ => Replica::Suspect {
                    object: before.and_then(Replica::object).unwrap_or(object).clone(),
                    found,
                    reason: reason.clone(),
                },
            }),
            Verdict::Conflict(raw_sha256) => Some(match before {
                Some(Replica::Conflict {
                    raw_sha256: known,
                    found,
                }) if known == raw_sha256 => Replica::Conflict {
                    raw_sha256: *known,
                    found: *found,
                },
                _ => Replica::Conflict {
                    raw_sha256: *raw_sha256,
                    found,
                },
            }),
            Verdict::Gone => None,
        }
    }
}
