//! The stores that a restore reads from: the fastest first, the others in its
//! place as soon as it fails or what it has is damaged.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{archive::place::Place, backup::base::BackupError};

/// A store that failed goes last for so long; longer each time it does again.
const SHUNNED: Duration = Duration::from_secs(60);
const SHUNNED_LONGEST: Duration = Duration::from_secs(15 * 60);
/// Where there are others, a store's answer is waited for so long, and a second
/// more for each [`SLOWEST`] bytes of it.
const SILENCE: Duration = Duration::from_secs(10);
const SLOWEST: u64 = 128 << 10;
/// What is smaller counts as this much: its time is the request's, in bytes.
const SMALLEST: u64 = 1 << 20;
/// Pauses between two rounds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Of so many damaged objects each one is named.
const MOST_LACKING: usize = 1000;
/// How often a trouble is reported.
const REPEAT: Duration = Duration::from_secs(30);

/// Stores to read from. Shared by everything that reads.
pub struct Sources {
    stores: Vec<Source>,
    patience: Duration,
}

struct Source {
    place: Place,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Seconds for each MiB, a moving average.
    cost: Option<f64>,
    /// Failures in a row, and the last one.
    failures: u32,
    failed: Option<Instant>,
    /// Objects that it does not have, or damaged.
    lacking: BTreeSet<String>,
}

/// No store gave it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}", .reasons.join("; "))]
pub struct NoSource {
    /// What was wanted.
    pub what: String,
    /// Why each store did not give it.
    pub reasons: Vec<String>,
}

impl Sources {
    /// Reads from `places`, opened to be asked once, and asks again while a
    /// trouble may pass, for as long as `patience`.
    pub fn new(places: Vec<Place>, patience: Duration) -> Self {
        let source = |place| Source {
            place,
            state: Mutex::default(),
        };
        Sources {
            stores: places.into_iter().map(source).collect(),
            patience,
        }
    }

    /// With stores besides that are asked last at first: they are not known to
    /// have it.
    pub fn and(mut self, spare: Vec<Place>) -> Self {
        self.stores.extend(spare.into_iter().map(|place| {
            let mut state = State::default();
            state.shun();
            let state = Mutex::new(state);
            Source { place, state }
        }));
        self
    }

    /// Asks one store after the other, until one gives it. `likely` is how many
    /// bytes that will be.
    pub async fn get<T, F>(
        &self,
        what: &(dyn fmt::Display + Sync),
        likely: u64,
        ask: impl Fn(Place) -> F,
    ) -> Result<T, NoSource>
    where
        F: Future<Output = Result<T, BackupError>>,
    {
        let begun = Instant::now();
        let mut said: Option<Instant> = None;
        let mut pause = PAUSES.0;
        loop {
            let (mut reasons, mut passing) = (Vec::new(), false);
            for index in self.order() {
                let source = &self.stores[index];
                let asked = Instant::now();
                let error = match self.within(likely, ask(source.place.clone())).await {
                    Some(Ok(value)) => {
                        source.succeeded(asked.elapsed(), likely);
                        return Ok(value);
                    }
                    Some(Err(error)) => error,
                    None => {
                        passing = true;
                        let name = source.place.name();
                        let silence = asked.elapsed().as_secs();
                        reasons.push(format!("store \"{name}\": no answer in {silence} s"));
                        source.failed(&reasons[reasons.len() - 1]);
                        continue;
                    }
                };
                let reason = error.to_string();
                match &error {
                    BackupError::Absent { key, .. } | BackupError::Damaged { key, .. } => {
                        source.lacks(key, &reason);
                    }
                    error => {
                        passing |=
                            matches!(error, BackupError::Store(error) if !error.is_permanent());
                        source.failed(&reason);
                    }
                }
                reasons.push(reason);
            }
            let left = self.patience.saturating_sub(begun.elapsed());
            if !passing || left.is_zero() {
                let what = what.to_string();
                return Err(NoSource { what, reasons });
            }
            if said.is_none_or(|at| at.elapsed() >= REPEAT) {
                said = Some(Instant::now());
                let (reasons, left) = (reasons.join("; "), left.as_secs());
                tracing::warn!("{reasons} (asking for {left} s more)");
            }
            // Many hosts that lost a store together must not come back together.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0).min(left)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// None where a store keeps silent while there are others.
    async fn within<T>(&self, likely: u64, answer: impl Future<Output = T>) -> Option<T> {
        if self.stores.len() == 1 {
            return Some(answer.await);
        }
        let limit = SILENCE + Duration::from_secs(likely / SLOWEST);
        tokio::time::timeout(limit, answer).await.ok()
    }

    /// The stores' indices: those that did not fail just now before the
    /// others, the fastest first, one that was not measured before all.
    fn order(&self) -> Vec<usize> {
        let rank = |index: &usize| {
            let state = self.stores[*index].state();
            (state.is_shunned(), state.cost.unwrap_or(0.0))
        };
        let mut order: Vec<(usize, (bool, f64))> = (0..self.stores.len())
            .map(|index| (index, rank(&index)))
            .collect();
        order.sort_by(|(_, one), (_, other)| match one.0.cmp(&other.0) {
            Ordering::Equal => one.1.total_cmp(&other.1),
            shunned => shunned,
        });
        order.into_iter().map(|(index, _)| index).collect()
    }
}

impl Source {
    fn succeeded(&self, time: Duration, bytes: u64) {
        let cost = time.as_secs_f64() / bytes.max(SMALLEST) as f64 * SMALLEST as f64;
        let mut state = self.state();
        // One slow answer does not make a slow store.
        let before = state.cost.unwrap_or(cost);
        state.cost = Some(0.7 * before + 0.3 * cost);
        state.failures = 0;
        state.failed = None;
    }

    /// It lacks a part of an object. Said once of each, though many parts of it
    /// be read.
    fn lacks(&self, key: &str, reason: &str) {
        let mut state = self.state();
        state.shun();
        if state.lacking.len() < MOST_LACKING && state.lacking.insert(key.to_owned()) {
            drop(state);
            tracing::warn!("{reason}");
        }
    }

    /// It did not answer. Said where that is news.
    fn failed(&self, reason: &str) {
        if self.state().shun() {
            tracing::warn!("{reason}; the other stores are asked first for a while");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether it was not shunned before.
    fn shun(&mut self) -> bool {
        let is_new = !self.is_shunned();
        if is_new {
            self.failures += 1;
            self.failed = Some(Instant::now());
        }
        is_new
    }

    fn is_shunned(&self) -> bool {
        let longer = 1 << self.failures.saturating_sub(1).min(8);
        let time = (SHUNNED * longer).min(SHUNNED_LONGEST);
        self.failed.is_some_and(|failed| failed.elapsed() < time)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::ready, path::Path};

    use super::*;
    use crate::{
        layout::Layout,
        store::{Location, Operation, RetryPolicy, Store, StoreError, StoreErrorKind, StoreName},
    };

    fn sources(names: &[&str], patience: u64) -> Sources {
        let open = |name: &&str| {
            let location = Location::Directory(Path::new("/").to_owned());
            let store = Store::open(name.parse().unwrap(), location, RetryPolicy::ONCE);
            Place {
                store: store.unwrap(),
                layout: Layout::new(&"main".parse().unwrap()),
            }
        };
        let places = names.iter().map(open).collect();
        Sources::new(places, Duration::from_secs(patience))
    }

    fn unreachable(store: &StoreName) -> BackupError {
        BackupError::Store(StoreError {
            store: store.clone(),
            operation: Operation::Get,
            key: String::new(),
            kind: StoreErrorKind::Unreachable,
            detail: String::new(),
            attempts: 1,
        })
    }

    fn absent(store: &StoreName) -> BackupError {
        BackupError::Absent {
            store: store.to_string(),
            key: "it".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_failed_store_is_asked_last_from_then_on() {
        let sources = sources(&["one", "two"], 0);
        let asked = RefCell::new(Vec::new());
        let ask = |place: Place| {
            asked.borrow_mut().push(place.name().to_string());
            ready(match place.name().as_str() {
                "one" => Err(unreachable(place.name())),
                _ => Ok(7),
            })
        };
        for _ in 0..2 {
            assert_eq!(sources.get(&"it", 1, &ask).await.unwrap(), 7);
        }
        assert_eq!(*asked.borrow(), ["one", "two", "two"]);
    }

    #[tokio::test]
    async fn absence_everywhere_is_the_end_and_a_trouble_is_not() {
        let sources = sources(&["one", "two"], 60);
        let ask = |place: Place| ready(Err::<(), _>(absent(place.name())));
        let error = sources.get(&"it", 1, ask).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "it: one has no \"it\"; two has no \"it\""
        );

        let times = RefCell::new(0);
        let ask = |place: Place| {
            *times.borrow_mut() += 1;
            ready(match (place.name().as_str(), *times.borrow()) {
                ("two", 4..) => Ok(()),
                ("two", _) => Err(unreachable(place.name())),
                _ => Err(absent(place.name())),
            })
        };
        sources.get(&"it", 1, ask).await.unwrap();
        assert!(*times.borrow() >= 4);
    }
}
