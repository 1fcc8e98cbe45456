//! What needs somebody, by the rules of the alerts: shown on the page, counted
//! in the metrics, and why the health check does not answer 200. Pure.

use jiff::Timestamp;

use super::{
    alerts::{Condition, Thresholds, conditions},
    facts::Facts,
};

/// Something that needs somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Concern {
    /// What is so, and what to do about it.
    pub(super) condition: Condition,
    /// Since when, where the daemon's watch has seen it.
    pub(super) since: Option<Timestamp>,
    /// Who knows of it.
    pub(super) known_to: Option<String>,
    /// Whether it is an open alert. What often passes by itself becomes one
    /// when it lasts.
    pub(super) is_open: bool,
}

/// Everything that needs somebody, in the order in which one would look at it.
pub(super) fn concerns(facts: &Facts, thresholds: Thresholds<'_>) -> Vec<Concern> {
    let found = conditions(facts, thresholds).into_iter();
    found
        .map(|condition| {
            let id = condition.id();
            let alert = facts.alerts.iter().find(|alert| alert.id == id);
            let raised = alert.is_some_and(|alert| alert.raised.is_some());
            let known_to = alert.and_then(|alert| alert.acknowledged.as_ref());
            Concern {
                since: alert.map(|alert| alert.since),
                known_to: known_to.map(|it| it.by.clone()),
                is_open: raised || !condition.may_pass,
                condition,
            }
        })
        .collect()
}
