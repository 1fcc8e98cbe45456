//! What the catalog keeps of an archived file: the facts of its raw bytes,
//! and, store by store, how far it has come.

use std::{collections::BTreeMap, fmt, ops::Range};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{Md5, Sha256},
    layout::Generation,
    postgres::{Lsn, SegmentSize, WalFileName},
};

/// An archived file. Serialized, it is a line of `catalog export` and a value
/// in the catalog's table `files` (docs/FORMAT.md, "Catalog").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Whose file: names repeat from one generation to the next.
    pub generation: Generation,
    /// The name PostgreSQL gave it; unique within the generation. Timeline
    /// and segment number are in it.
    pub name: WalFileName,
    /// The WAL that it holds, from its first byte's LSN to the one behind its
    /// last. `None` for what holds no pages (`.history`, `.backup`) and for a
    /// name that a cluster of this segment size has not.
    pub lsn: Option<Range<Lsn>>,
    /// The raw file's size in bytes.
    pub raw_size: u64,
    /// The raw file's SHA-256. Another one under the same name is a conflict.
    pub raw_sha256: Sha256,
    /// When the raw file was last modified on the server.
    pub modified: Timestamp,
    /// Each store's part, by the store's name in the configuration. A store
    /// that is not here has not been asked for this file: it was configured
    /// later, or the catalog was rebuilt from another one.
    pub replicas: BTreeMap<String, Replica>,
}

impl FileRecord {
    /// The record of a file of a cluster with segments of `size`, that no
    /// store is known to have.
    pub fn new(
        generation: Generation,
        name: WalFileName,
        size: SegmentSize,
        raw_size: u64,
        raw_sha256: Sha256,
        modified: Timestamp,
    ) -> Self {
        let pages = name.segment().filter(|_| name.holds_pages());
        let start = pages.and_then(|segment| segment.start(size));
        FileRecord {
            generation,
            name,
            lsn: start.map(|start| start..Lsn(start.0.saturating_add(size.bytes()))),
            raw_size,
            raw_sha256,
            modified,
            replicas: BTreeMap::new(),
        }
    }

    /// The same record with a store's part.
    pub fn with(mut self, store: impl Into<String>, replica: Replica) -> Self {
        self.replicas.insert(store.into(), replica);
        self
    }

    /// The stores that hold the file, verified.
    pub fn stored_in(&self) -> impl Iterator<Item = &str> {
        self.replicas
            .iter()
            .filter(|(_, replica)| replica.state() == State::Stored)
            .map(|(store, _)| store.as_str())
    }

    /// What `store` holds under this name, by its raw bytes' SHA-256: the
    /// facts in which a rebuild from that store agrees with any other catalog.
    /// `None` when it holds nothing, as far as is known.
    pub fn held_by(&self, store: &str) -> Option<Sha256> {
        match self.replicas.get(store)? {
            Replica::Stored(_) | Replica::Suspect { .. } => Some(self.raw_sha256),
            Replica::Conflict { raw_sha256, .. } => Some(*raw_sha256),
            Replica::Pending { .. } | Replica::Owed { .. } => None,
        }
    }
}

/// How far a file has come in one store. What is known differs from state to
/// state, and is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Replica {
    /// Staged, and to be sent from there.
    Pending {
        /// What went wrong so far; `None` before the first failure.
        failures: Option<Failures>,
    },
    /// No longer staged: another store has it, and from that one it is to be
    /// copied here.
    Owed {
        /// When staging let go of it.
        since: Timestamp,
        /// What went wrong so far; `None` before the first failure.
        failures: Option<Failures>,
    },
    /// There: the store confirmed these bytes.
    Stored(Object),
    /// There, but what was read back is not what was stored. To be repaired
    /// from another store.
    Suspect {
        /// The object as it was stored.
        object: Object,
        /// When the damage was found.
        found: Timestamp,
        /// What was wrong, as an error says it.
        reason: String,
    },
    /// The store holds other bytes under this name. Nothing overwrites them;
    /// a person has to look.
    Conflict {
        /// SHA-256 of the raw bytes that the store holds.
        raw_sha256: Sha256,
        /// When they were found or, by a rebuild, when they were stored.
        found: Timestamp,
    },
}

/// An object that a store confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The object's size in bytes, compressed.
    pub stored_size: u64,
    /// MD5 of the object's bytes.
    pub md5: Md5,
    /// When the store confirmed it or, by a rebuild, its `Last-Modified`.
    pub at: Timestamp,
    /// How many attempts it took; 1 where that is not known.
    pub attempts: u32,
}

/// What went wrong with a file and a store so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many attempts failed.
    pub attempts: u32,
    /// The last one's error, secrets already hidden.
    pub last_error: String,
    /// When it failed.
    pub at: Timestamp,
}

impl Replica {
    /// Staged and not tried yet.
    pub const PENDING: Replica = Replica::Pending { failures: None };

    /// The state alone.
    pub fn state(&self) -> State {
        match self {
            Replica::Pending { .. } => State::Pending,
            Replica::Owed { .. } => State::Owed,
            Replica::Stored(_) => State::Stored,
            Replica::Suspect { .. } => State::Suspect,
            Replica::Conflict { .. } => State::Conflict,
        }
    }

    /// The object that was stored, whatever was found of it since.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Replica::Stored(object) | Replica::Suspect { object, .. } => Some(object),
            _ => None,
        }
    }

    /// What went wrong on the way to this store so far.
    pub fn failures(&self) -> Option<&Failures> {
        match self {
            Replica::Pending { failures } | Replica::Owed { failures, .. } => failures.as_ref(),
            _ => None,
        }
    }

    /// Counts a failed attempt. What is there already stays as it is.
    pub fn fail(&mut self, at: Timestamp, error: impl Into<String>) {
        if let Replica::Pending { failures } | Replica::Owed { failures, .. } = self {
            let before = failures.as_ref().map_or(0, |failures| failures.attempts);
            *failures = Some(Failures {
                attempts: before.saturating_add(1),
                last_error: error.into(),
                at,
            });
        }
    }
}

/// A replica's state without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// See [`Replica::Pending`].
    Pending,
    /// See [`Replica::Owed`].
    Owed,
    /// See [`Replica::Stored`].
    Stored,
    /// See [`Replica::Suspect`].
    Suspect,
    /// See [`Replica::Conflict`].
    Conflict,
}

impl State {
    /// Every state.
    pub const ALL: [State; 5] = [
        State::Pending,
        State::Owed,
        State::Stored,
        State::Suspect,
        State::Conflict,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Pending => "pending",
            State::Owed => "owed",
            State::Stored => "stored",
            State::Suspect => "suspect",
            State::Conflict => "conflict",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> FileRecord {
        FileRecord::new(
            Generation::FIRST,
            name.parse().unwrap(),
            SegmentSize::DEFAULT,
            16 << 20,
            Sha256::of(b"raw"),
            "2026-11-20T14:30:00.25Z".parse().unwrap(),
        )
    }

    #[test]
    fn only_pages_have_a_place_in_the_wal() {
        let start = Lsn(0x4_2400_0000)..Lsn(0x4_2500_0000);
        for (name, lsn) in [
            ("000000010000000400000024", Some(start.clone())),
            ("000000010000000400000024.partial", Some(start)),
            ("000000010000000400000024.00000028.backup", None),
            ("00000002.history", None),
            ("000000010000000400000100", None),
        ] {
            assert_eq!(record(name).lsn, lsn, "{name}");
        }
    }

    #[test]
    fn failures_add_up_until_it_is_stored() {
        let at = Timestamp::UNIX_EPOCH;
        let mut replica = Replica::PENDING;
        replica.fail(at, "timed out");
        replica.fail(at, "refused");
        let failures = replica.failures().unwrap();
        assert_eq!(
            (failures.attempts, failures.last_error.as_str()),
            (2, "refused")
        );
        let stored = Replica::Stored(Object {
            stored_size: 1,
            md5: Md5::of(b""),
            at,
            attempts: 3,
        });
        let mut unchanged = stored.clone();
        unchanged.fail(at, "too late");
        assert_eq!(unchanged, stored);
    }

    /// The exact text is format 1: of `catalog export` and of the catalog.
    #[test]
    fn serializes_as_documented() {
        let at: Timestamp = "2026-11-20T14:30:02Z".parse().unwrap();
        let object = Object {
            stored_size: 4_321_987,
            md5: Md5::of(b"stored"),
            at,
            attempts: 1,
        };
        let failures = Failures {
            attempts: 3,
            last_error: "store \"b2\": timed out".into(),
            at,
        };
        let record = record("000000010000000400000024")
            .with("a", Replica::PENDING)
            .with(
                "b",
                Replica::Owed {
                    since: at,
                    failures: Some(failures),
                },
            )
            .with("c", Replica::Stored(object.clone()))
            .with(
                "d",
                Replica::Suspect {
                    object,
                    found: at,
                    reason: "truncated".into(),
                },
            )
            .with(
                "e",
                Replica::Conflict {
                    raw_sha256: Sha256::of(b"other"),
                    found: at,
                },
            );
        let text = serde_json::to_string(&record).unwrap();
        let object = format!(
            r#""stored_size":4321987,"md5":"{}","at":"2026-11-20T14:30:02Z","attempts":1"#,
            Md5::of(b"stored")
        );
        let expected = [
            r#"{"generation":1,"name":"000000010000000400000024","lsn":{"start":"4/24000000","end":"4/25000000"},"raw_size":16777216,"#,
            &format!(r#""raw_sha256":"{}","modified":"2026-11-20T14:30:00.25Z","replicas":{{"#, Sha256::of(b"raw")),
            r#""a":{"state":"pending","failures":null},"#,
            r#""b":{"state":"owed","since":"2026-11-20T14:30:02Z","failures":{"attempts":3,"last_error":"store \"b2\": timed out","at":"2026-11-20T14:30:02Z"}},"#,
            &format!(r#""c":{{"state":"stored",{object}}},"#),
            &format!(r#""d":{{"state":"suspect","object":{{{object}}},"found":"2026-11-20T14:30:02Z","reason":"truncated"}},"#),
            &format!(r#""e":{{"state":"conflict","raw_sha256":"{}","found":"2026-11-20T14:30:02Z"}}}}}}"#, Sha256::of(b"other")),
        ]
        .concat();
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<FileRecord>(&text).unwrap(), record);
    }
}
