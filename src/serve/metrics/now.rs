//! What is true now: gauges, made from the facts.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::{ByStore, Register, by};
use crate::{
    catalog::Severity,
    serve::{
        concerns::Concern,
        facts::{Facts, StoreView},
    },
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAlert {
    kind: String,
    severity: &'static str,
}

/// The labels of what there is one of.
type Alone = [(&'static str, &'static str); 0];
const ALONE: Alone = [];

type Number = Gauge<f64, AtomicU64>;

/// A gauge: its name without prefix and unit, its unit, itself, and its help.
type Row<'n, L> = (
    &'static str,
    Option<Unit>,
    &'n Family<L, Number>,
    &'static str,
);

/// What is true now. It is set anew for each scrape, so that what is not known
/// is not there.
#[derive(Debug, Default)]
pub(super) struct Now {
    up: Family<ByStore, Number>,
    lag_seconds: Family<ByStore, Number>,
    lag_bytes: Family<ByStore, Number>,
    lag_files: Family<ByStore, Number>,
    owed: Family<ByStore, Number>,
    damaged: Family<ByStore, Number>,
    conflicts: Family<ByStore, Number>,
    stored_files: Family<ByStore, Number>,
    stored_bytes: Family<ByStore, Number>,
    staging_files: Family<Alone, Number>,
    staging_bytes: Family<Alone, Number>,
    staging_limit: Family<Alone, Number>,
    waiting: Family<Alone, Number>,
    window_start: Family<Alone, Number>,
    window_end: Family<Alone, Number>,
    gaps: Family<Alone, Number>,
    backup: Family<Alone, Number>,
    drill: Family<Alone, Number>,
    drill_passed: Family<Alone, Number>,
    drill_rto: Family<Alone, Number>,
    alerts: Family<ByAlert, Number>,
}

impl Now {
    /// Says what each is called.
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, unit, family, help) in self.by_store() {
            family.register(registry, name, help, unit);
        }
        for (name, unit, family, help) in self.alone() {
            family.register(registry, name, help, unit);
        }
        self.alerts
            .register(registry, "alerts", "Open alerts", None);
    }

    #[rustfmt::skip] // a table
    fn by_store(&self) -> [Row<'_, ByStore>; 9] {
        [
            ("store_up", None, &self.up, "1 where the store did what it was last asked, else 0"),
            ("store_lag", Some(Unit::Seconds), &self.lag_seconds, "Age of the oldest staged file that the store lacks; 0 without one"),
            ("store_lag", Some(Unit::Bytes), &self.lag_bytes, "Raw size of the staged files that the store lacks"),
            ("store_lag_files", None, &self.lag_files, "Staged files that the store lacks"),
            ("store_owed_files", None, &self.owed, "Files that left staging and that the store is to get from another"),
            ("store_damaged_files", None, &self.damaged, "Objects that are not what was stored"),
            ("store_conflicting_files", None, &self.conflicts, "Objects that hold other bytes under a name of ours"),
            ("store_files", None, &self.stored_files, "Files of the WAL that the store holds"),
            ("store_stored", Some(Unit::Bytes), &self.stored_bytes, "What WAL and base backups take in the store"),
        ]
    }

    #[rustfmt::skip] // a table
    fn alone(&self) -> [Row<'_, Alone>; 11] {
        [
            ("staging_files", None, &self.staging_files, "Staged files that a store lacks"),
            ("staging", Some(Unit::Bytes), &self.staging_bytes, "What the files in staging that a store lacks take of the disk"),
            ("staging_limit", Some(Unit::Bytes), &self.staging_limit, "What staging may take"),
            ("archiver_waiting_files", None, &self.waiting, "Files in pg_wal that wait for PostgreSQL's archiver"),
            ("window_start_timestamp", Some(Unit::Seconds), &self.window_start, "The first moment that can be restored, without a break, up to the last"),
            ("window_end_timestamp", Some(Unit::Seconds), &self.window_end, "The last moment that can be restored"),
            ("wal_gaps", None, &self.gaps, "Gaps of the WAL that need somebody"),
            ("last_backup_timestamp", Some(Unit::Seconds), &self.backup, "When the newest base backup ended"),
            ("last_drill_timestamp", Some(Unit::Seconds), &self.drill, "When the last drill that passed ended"),
            ("last_drill_passed", None, &self.drill_passed, "1 where the last drill passed, else 0"),
            ("last_drill_rto", Some(Unit::Seconds), &self.drill_rto, "How long the last drill that passed took to bring the cluster back"),
        ]
    }

    /// What the facts say, and nothing that they said before.
    pub(super) fn set(&self, facts: &Facts, concerns: &[Concern]) {
        self.clear();
        self.set_alerts(concerns);
        for store in &facts.stores {
            self.set_store(store);
        }
        if let Some(Ok(staging)) = &facts.staging {
            set(&self.staging_files, &ALONE, staging.files as f64);
            set(&self.staging_bytes, &ALONE, staging.bytes as f64);
            set(&self.staging_limit, &ALONE, staging.max_bytes as f64);
        }
        if let Some(waiting) = &facts.waiting {
            set(&self.waiting, &ALONE, waiting.files as f64);
        }
        if facts.no_catalog.is_none() {
            let open = facts.gaps.iter().filter(|gap| gap.needs_person);
            set(&self.gaps, &ALONE, open.count() as f64);
        }
        if let Some(last) = facts.window.last() {
            set(&self.window_start, &ALONE, seconds(last.from));
            set(&self.window_end, &ALONE, seconds(last.to));
        }
        if let Some(backup) = facts.last_backup() {
            set(&self.backup, &ALONE, seconds(backup.stopped));
        }
        if let Some(drill) = facts.drills.last() {
            set(&self.drill_passed, &ALONE, f64::from(u8::from(drill.ok)));
        }
        if let Some(passed) = facts.drills.iter().rev().find(|drill| drill.ok) {
            set(&self.drill, &ALONE, seconds(passed.ended));
            if let Some(rto) = passed.rto_seconds {
                set(&self.drill_rto, &ALONE, rto);
            }
        }
    }

    fn set_store(&self, store: &StoreView) {
        let by = by(&store.name);
        let up = u8::from(store.failing.is_none());
        set(&self.up, &by, f64::from(up));
        set(
            &self.lag_seconds,
            &by,
            store.lag_seconds.unwrap_or(0) as f64,
        );
        set(&self.lag_bytes, &by, store.waiting_bytes as f64);
        set(&self.lag_files, &by, store.waiting_files as f64);
        set(&self.owed, &by, store.owed as f64);
        set(&self.damaged, &by, store.suspect as f64);
        set(&self.conflicts, &by, store.conflicts as f64);
        set(&self.stored_files, &by, store.files as f64);
        let stored = store.stored_bytes + store.backup_bytes;
        set(&self.stored_bytes, &by, stored as f64);
    }

    fn set_alerts(&self, concerns: &[Concern]) {
        for concern in concerns.iter().filter(|concern| concern.is_open) {
            let by = ByAlert {
                kind: concern.condition.kind.to_string(),
                severity: match concern.condition.severity {
                    Severity::Warning => "warning",
                    Severity::Critical => "critical",
                },
            };
            self.alerts.get_or_create(&by).inc();
        }
    }

    fn clear(&self) {
        for (.., family, _) in self.by_store() {
            family.clear();
        }
        for (.., family, _) in self.alone() {
            family.clear();
        }
        self.alerts.clear();
    }
}

fn set<L>(family: &Family<L, Number>, labels: &L, value: f64)
where
    L: Clone + std::hash::Hash + Eq,
{
    family.get_or_create(labels).set(value);
}

/// Seconds since 1970, as Prometheus has times.
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}
