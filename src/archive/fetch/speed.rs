//! Which store is asked first. Measured where files come from anyway, kept in
//! the spool, and believed for some minutes.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    answer::Not,
    survey::{Candidate, Survey},
};

/// A measurement is believed for so long; then the store is tried first again.
const BELIEVED: Duration = Duration::from_secs(300);
/// A store that failed goes last for so long.
const SHUNNED: Duration = Duration::from_secs(60);
/// What is smaller counts as this much: its time is the request's, in bytes.
const SMALLEST: f64 = (1 << 20) as f64;

/// What is remembered of the stores, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Speeds(BTreeMap<String, Speed>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Speed {
    /// Seconds for each MiB; `None`: it failed.
    cost: Option<f64>,
    /// When, in seconds since 1970.
    at: u64,
}

impl Speeds {
    /// The stores' indices, the fastest first. Those of which nothing is
    /// known come before all, in their own order, to be measured.
    pub(super) fn order(&self, stores: &[Candidate]) -> Vec<usize> {
        self.order_at(stores, now())
    }

    fn order_at(&self, stores: &[Candidate], now: u64) -> Vec<usize> {
        let cost = |index: &usize| match self.0.get(stores[*index].name.as_str()) {
            Some(Speed { cost: None, at }) if now < at + SHUNNED.as_secs() => f64::INFINITY,
            Some(Speed {
                cost: Some(cost),
                at,
            }) if now < at + BELIEVED.as_secs() => *cost,
            _ => 0.0,
        };
        let mut order: Vec<usize> = (0..stores.len()).collect();
        order.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
        order
    }

    /// Learns from what the stores did.
    pub(super) fn learn<T>(&mut self, stores: &[Candidate], survey: &Survey<T>) {
        let at = now();
        for (index, store) in stores.iter().enumerate() {
            let unable = matches!(survey.nots[index], Some(Not::Unable(_)));
            if unable || survey.silent.contains(&index) {
                let failed = Speed { cost: None, at };
                self.0.insert(store.name.to_string(), failed);
            }
        }
        if let Some((index, _)) = survey.found {
            let (time, bytes) = survey.took;
            let cost = time.as_secs_f64() / (bytes as f64).max(SMALLEST) * SMALLEST;
            let name = stores[index].name.to_string();
            let before = self.0.get(&name).and_then(|speed| speed.cost);
            // One slow answer does not make a slow store.
            let cost = Some(before.map_or(cost, |before| 0.7 * before + 0.3 * cost));
            self.0.insert(name, Speed { cost, at });
        }
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Operation, StoreError, StoreErrorKind};

    fn stores(names: &[&str]) -> Vec<Candidate> {
        let candidate = |name: &&str| {
            let name: crate::store::StoreName = name.parse().unwrap();
            let place = Err(StoreError {
                store: name.clone(),
                operation: Operation::Open,
                key: String::new(),
                kind: StoreErrorKind::Configuration,
                detail: String::new(),
                attempts: 1,
            });
            Candidate { name, place }
        };
        names.iter().map(candidate).collect()
    }

    fn speed(cost: Option<f64>, at: u64) -> Speed {
        Speed { cost, at }
    }

    #[test]
    fn the_fastest_is_first_and_a_failed_one_last() {
        let stores = stores(&["failed", "slow", "fast", "new"]);
        let speeds = Speeds(BTreeMap::from([
            ("failed".to_owned(), speed(None, 1000)),
            ("slow".to_owned(), speed(Some(0.5), 1000)),
            ("fast".to_owned(), speed(Some(0.1), 1000)),
        ]));
        assert_eq!(speeds.order_at(&stores, 1001), [3, 2, 1, 0]);
        assert_eq!(speeds.order_at(&stores, 1061), [0, 3, 2, 1]);
        assert_eq!(speeds.order_at(&stores, 2000), [0, 1, 2, 3]);
        let text = serde_json::to_string(&speeds).unwrap();
        assert_eq!(serde_json::from_str::<Speeds>(&text).unwrap(), speeds);
    }

    #[test]
    fn learns_from_answers() {
        let stores = stores(&["down", "silent", "up"]);
        let mut speeds = Speeds::default();
        let survey = Survey {
            found: Some((2, ())),
            nots: vec![
                Some(stores[0].place.as_ref().unwrap_err().clone().into()),
                None,
                None,
            ],
            took: (Duration::from_secs(2), 4 << 20),
            silent: vec![1],
        };
        speeds.learn(&stores, &survey);
        assert_eq!(speeds.order(&stores), [2, 0, 1]);
        assert_eq!(speeds.0["up"].cost, Some(0.5));
    }
}
