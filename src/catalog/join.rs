//! What two records say of one file, put together. Pure, and the order in
//! which records come does not matter: a rebuild from several stores, in any
//! order, interrupted and repeated, ends in the same catalog.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::{FileRecord, Replica, State};
use crate::codec::Sha256;

/// What became of a record that was joined with what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// The file was not known.
    Added,
    /// It was, and more is known of it now.
    Changed,
    /// Nothing is new.
    Unchanged,
    /// Other bytes are known by this name. What is known of them stays; the
    /// stores that hold the offered ones are noted as
    /// [`Conflict`](Replica::Conflict).
    Conflict {
        /// SHA-256 of the raw bytes that are known by this name.
        recorded: Sha256,
        /// SHA-256 of the raw bytes that were offered.
        offered: Sha256,
        /// The stores that hold the offered bytes; none when they are only
        /// staged.
        stores: Vec<String>,
    },
}

impl FileRecord {
    /// Adds what `other`, of the same generation and name, knows. Of each
    /// store the later evidence stays: what was seen in the store outweighs
    /// what is only intended, and of two things seen the later one counts.
    pub fn join(&mut self, other: &FileRecord) -> Joined {
        if (self.raw_sha256, self.raw_size) != (other.raw_sha256, other.raw_size) {
            return self.join_conflict(other);
        }
        let before = self.clone();
        self.modified = self.modified.min(other.modified);
        self.lsn = self.lsn.take().or_else(|| other.lsn.clone());
        for (store, replica) in &other.replicas {
            self.join_replica(store, replica.clone());
        }
        if *self == before {
            Joined::Unchanged
        } else {
            Joined::Changed
        }
    }

    fn join_conflict(&mut self, other: &FileRecord) -> Joined {
        let mut stores = Vec::new();
        for (store, replica) in &other.replicas {
            // That the other bytes are to be sent, or clash with something
            // else again, says nothing about what this store holds.
            if let Some(object) = replica.object() {
                let conflict = Replica::Conflict {
                    raw_sha256: other.raw_sha256,
                    found: object.at,
                };
                self.join_replica(store, conflict);
                stores.push(store.clone());
            }
        }
        Joined::Conflict {
            recorded: self.raw_sha256,
            offered: other.raw_sha256,
            stores,
        }
    }

    fn join_replica(&mut self, store: &str, offered: Replica) {
        match self.replicas.get_mut(store) {
            Some(known) if weigh(known, &offered).is_lt() => *known = offered,
            Some(_) => {}
            None => {
                self.replicas.insert(store.to_owned(), offered);
            }
        }
    }
}

/// A total order of replicas by what they prove. Taking the greatest is what
/// makes joining independent of order and repetition.
fn weigh(one: &Replica, other: &Replica) -> Ordering {
    evidence(one)
        .cmp(&evidence(other))
        // Equal in every way that matters: any fixed choice does.
        .then_with(|| format!("{one:?}").cmp(&format!("{other:?}")))
}

/// Intention, then time, then state. A suspicion is always later than the
/// object it is about, and outweighs it until the object is written again.
fn evidence(replica: &Replica) -> (u8, Timestamp, State) {
    let (class, at) = match replica {
        Replica::Pending { failures } => {
            (0, failures.as_ref().map_or(Timestamp::MIN, |seen| seen.at))
        }
        Replica::Owed { since, .. } => (1, *since),
        Replica::Stored(object) => (2, object.at),
        Replica::Suspect { found, .. } | Replica::Conflict { found, .. } => (2, *found),
    };
    (class, at, replica.state())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        catalog::{Failures, Object},
        codec::Md5,
        layout::Generation,
        postgres::SegmentSize,
    };

    fn record(bytes: &[u8]) -> FileRecord {
        FileRecord::new(
            Generation::FIRST,
            "000000010000000400000024".parse().unwrap(),
            SegmentSize::DEFAULT,
            bytes.len() as u64,
            Sha256::of(bytes),
            at(0),
        )
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn stored(second: i64) -> Replica {
        Replica::Stored(object(second))
    }

    fn object(second: i64) -> Object {
        Object {
            stored_size: 9,
            md5: Md5::of(b"stored"),
            at: at(second),
            attempts: 1,
        }
    }

    fn suspect(stored: i64, found: i64) -> Replica {
        Replica::Suspect {
            object: object(stored),
            found: at(found),
            reason: "truncated".into(),
        }
    }

    #[test]
    fn what_a_store_holds_outweighs_what_is_intended() {
        let mut known = record(b"raw").with("r2", Replica::PENDING);
        let owed = Replica::Owed {
            since: at(900),
            failures: None,
        };
        let seen = record(b"raw").with("r2", stored(5)).with("b2", owed);
        assert_eq!(known.join(&seen), Joined::Changed);
        assert_eq!(known.replicas["r2"], stored(5));
        assert_eq!(known.join(&seen), Joined::Unchanged);
        let staged_again = record(b"raw").with("r2", Replica::PENDING);
        assert_eq!(known.join(&staged_again), Joined::Unchanged);
    }

    #[test]
    fn a_listing_does_not_clear_a_suspicion_but_a_repair_does() {
        let mut known = record(b"raw").with("r2", suspect(5, 60));
        assert_eq!(
            known.join(&record(b"raw").with("r2", stored(5))),
            Joined::Unchanged
        );
        assert_eq!(
            known.join(&record(b"raw").with("r2", stored(90))),
            Joined::Changed
        );
        assert_eq!(known.replicas["r2"], stored(90));
    }

    #[test]
    fn other_bytes_are_noted_and_overwrite_nothing() {
        let mut known = record(b"raw").with("r2", stored(5));
        let offered = record(b"other").with("b2", stored(7));
        let conflict = |stores: &[&str]| Joined::Conflict {
            recorded: Sha256::of(b"raw"),
            offered: Sha256::of(b"other"),
            stores: stores.iter().map(|store| store.to_string()).collect(),
        };
        assert_eq!(known.join(&offered), conflict(&["b2"]));
        assert_eq!(known.raw_sha256, Sha256::of(b"raw"));
        assert_eq!(known.replicas["r2"], stored(5));
        assert_eq!(known.held_by("b2"), Some(Sha256::of(b"other")));

        let staged = record(b"other").with("r2", Replica::PENDING);
        assert_eq!(known.join(&staged), conflict(&[]));
        assert_eq!(known.replicas["r2"], stored(5));
    }

    fn any_replica() -> impl Strategy<Value = Replica> {
        let failures = || {
            prop::option::of((0..4i64, 0..3u32).prop_map(|(second, attempts)| Failures {
                attempts,
                last_error: format!("error {attempts}"),
                at: at(second),
            }))
        };
        prop_oneof![
            failures().prop_map(|failures| Replica::Pending { failures }),
            (0..4i64, failures()).prop_map(|(since, failures)| Replica::Owed {
                since: at(since),
                failures
            }),
            (0..4i64).prop_map(stored),
            (0..4i64, 0..3i64).prop_map(|(stored, later)| suspect(stored, stored + later)),
            (0..4i64).prop_map(|found| Replica::Conflict {
                raw_sha256: Sha256::of(b"a third one"),
                found: at(found)
            }),
        ]
    }

    fn any_part(bytes: &'static [&'static [u8]]) -> impl Strategy<Value = FileRecord> {
        let store = prop::sample::select(vec!["r2", "b2", "disk"]);
        (
            prop::sample::select(bytes),
            0..5i64,
            prop::collection::btree_map(store, any_replica(), 0..3),
        )
            .prop_map(|(bytes, modified, replicas)| FileRecord {
                modified: at(modified),
                replicas: replicas
                    .into_iter()
                    .map(|(store, replica)| (store.to_owned(), replica))
                    .collect(),
                ..record(bytes)
            })
    }

    fn all(parts: &[FileRecord]) -> FileRecord {
        let (first, rest) = parts.split_first().unwrap();
        let mut joined = first.clone();
        for part in rest {
            joined.join(part);
        }
        joined
    }

    proptest! {
        #[test]
        fn neither_order_nor_repetition_matters(
            (parts, shuffled) in prop::collection::vec(any_part(&[b"raw"]), 1..8)
                .prop_flat_map(|parts| (Just(parts.clone()), Just(parts).prop_shuffle()))
        ) {
            let repeated: Vec<_> = shuffled.iter().chain(&parts).cloned().collect();
            prop_assert_eq!(all(&parts), all(&shuffled));
            prop_assert_eq!(all(&parts), all(&repeated));
        }

        /// Whose bytes came first is a matter of order; what each store holds
        /// is not. (Two objects of one store have two times.)
        #[test]
        fn what_each_store_holds_does_not_depend_on_order(
            (parts, shuffled) in prop::collection::vec((0..2usize, 0..3usize), 1..8)
                .prop_map(|objects| objects.into_iter().enumerate().map(|(time, (bytes, store))| {
                    let bytes: &[u8] = [b"raw".as_slice(), b"other"][bytes];
                    record(bytes).with(["r2", "b2", "disk"][store], stored(time as i64))
                }).collect::<Vec<_>>())
                .prop_flat_map(|parts| (Just(parts.clone()), Just(parts).prop_shuffle()))
        ) {
            let held = |record: FileRecord| -> BTreeMap<&str, Option<Sha256>> {
                ["r2", "b2", "disk"].map(|store| (store, record.held_by(store))).into()
            };
            prop_assert_eq!(held(all(&parts)), held(all(&shuffled)));
        }
    }
}
