//! The metrics: what passes did since the daemon began, and what is true now.
//! `docs/METRICS.md` documents each; a test holds the two against each other.

mod now;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};

use self::now::Now;
use super::{concerns::Concern, facts::Facts};
use crate::archive::ship::Seen;

/// What `Content-Type` says of [`Metrics::render`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the durations' buckets, in seconds: from a file on a fast
/// line to an attempt at its deadline.
const SECONDS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStore {
    store: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByError {
    store: String,
    kind: &'static str,
}

type Durations = Family<ByStore, Histogram, fn() -> Histogram>;

/// Every metric, registered once.
pub(super) struct Metrics {
    registry: Registry,
    attempts: Family<ByStore, Counter>,
    files: Family<ByStore, Counter>,
    bytes: Family<ByStore, Counter>,
    raw_bytes: Family<ByStore, Counter>,
    errors: Family<ByError, Counter>,
    ship_seconds: Durations,
    pass_seconds: Histogram,
    /// One scrape at a time sets them and reads them.
    now: Mutex<Now>,
}

impl Metrics {
    /// Registers all of them. `cluster` is its name in the configuration.
    pub(super) fn new(cluster: &str) -> Self {
        let mut registry = Registry::with_prefix("walkeep");
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("cluster", cluster.to_owned()),
        ]);
        registry.register("build", "Which walkeep, and whose archive", build);
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Metrics {
            attempts: Family::default(),
            files: Family::default(),
            bytes: Family::default(),
            raw_bytes: Family::default(),
            errors: Family::default(),
            ship_seconds: Family::new_with_constructor(histogram),
            pass_seconds: histogram(),
            now: Mutex::default(),
            registry: Registry::default(),
        };
        metrics.register(&mut registry);
        Metrics {
            registry,
            ..metrics
        }
    }

    fn register(&self, registry: &mut Registry) {
        let mut add = |name, help, metric: &dyn Register, unit| {
            metric.register(registry, name, help, unit);
        };
        add(
            "ship_attempts",
            "Files that were sent to a store, whatever came of it",
            &self.attempts,
            None,
        );
        add(
            "shipped_files",
            "Files that a store took",
            &self.files,
            None,
        );
        add(
            "ship_errors",
            "Files and passes that a store failed",
            &self.errors,
            None,
        );
        add(
            "shipped",
            "Sizes of the objects that a store took",
            &self.bytes,
            Some(Unit::Bytes),
        );
        add(
            "shipped_raw",
            "Sizes, as PostgreSQL wrote them, of the files that a store took",
            &self.raw_bytes,
            Some(Unit::Bytes),
        );
        add(
            "ship_duration",
            "How long a store took to take a file, once it was packed",
            &self.ship_seconds,
            Some(Unit::Seconds),
        );
        add(
            "pass_duration",
            "How long passes over staging took",
            &self.pass_seconds,
            Some(Unit::Seconds),
        );
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.register(registry);
    }

    /// Counts what a pass shows.
    pub(super) fn observe(&self, seen: &Seen<'_>) {
        match seen {
            Seen::Begun { .. } => {}
            Seen::Sent {
                store,
                raw_bytes,
                outcome,
                took,
            } => {
                let store = by(store.as_str());
                self.attempts.get_or_create(&store).inc();
                match outcome {
                    Ok(stored_bytes) => {
                        self.files.get_or_create(&store).inc();
                        self.bytes.get_or_create(&store).inc_by(*stored_bytes);
                        self.raw_bytes.get_or_create(&store).inc_by(*raw_bytes);
                        let seconds = self.ship_seconds.get_or_create(&store);
                        seconds.observe(took.as_secs_f64());
                    }
                    Err(kind) => self.fail(store, kind),
                }
            }
            Seen::LaneEnded { store, error, .. } => {
                if let Some(kind) = error {
                    self.fail(by(store.as_str()), kind);
                }
            }
        }
    }

    fn fail(&self, ByStore { store }: ByStore, kind: &'static str) {
        let error = ByError { store, kind };
        self.errors.get_or_create(&error).inc();
    }

    /// A pass is over.
    pub(super) fn passed(&self, took: Duration) {
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// Everything, as a scrape gets it.
    pub(super) fn render(&self, facts: &Facts, concerns: &[Concern]) -> String {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.set(facts, concerns);
        for store in &facts.stores {
            // There from the beginning, so that a rate sees the first of them.
            let store = by(&store.name);
            for counter in [&self.attempts, &self.files, &self.bytes, &self.raw_bytes] {
                drop(counter.get_or_create(&store));
            }
        }
        let mut text = String::new();
        // A String takes everything.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn by(store: &str) -> ByStore {
    ByStore {
        store: store.to_owned(),
    }
}

/// A metric that shares its values with its clones.
trait Register {
    fn register(&self, registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>);
}

impl<M: Metric + Clone> Register for M {
    fn register(&self, registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>) {
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, self.clone()),
            None => registry.register(name, help, self.clone()),
        }
    }
}
