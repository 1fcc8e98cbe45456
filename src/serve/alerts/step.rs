//! From what was open and what is the case now to what is open now and what is
//! to be told: pure. Whoever keeps and sends only obeys.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::Condition;
use crate::{catalog::AlertRecord, config::AlertSettings};

/// When something is told, and when again.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long something may last that may pass by itself.
    pub grace: Duration,
    /// How often what goes on is told again.
    pub repeat: Duration,
}

impl Pace {
    /// That of a configuration: what may pass by itself is told after a third
    /// of the time that a store may lag.
    pub fn of(alerts: &AlertSettings) -> Self {
        Pace {
            grace: alerts.lag / 3,
            repeat: alerts.repeat,
        }
    }
}

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is new, or worse than before.
    Raised,
    /// It goes on.
    Repeated,
    /// It is over.
    Resolved,
}

/// What one look at the conditions changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Alerts to be noted as they are now, resolved ones among them.
    pub note: Vec<AlertRecord>,
    /// Those that passed before anybody was told: to be forgotten.
    pub forget: Vec<String>,
    /// What is to be told.
    pub tell: Vec<(Turn, AlertRecord)>,
}

/// `open` are the alerts that were open until now.
pub fn step(open: &[AlertRecord], conditions: &[Condition], now: Timestamp, pace: Pace) -> Step {
    let mut step = Step::default();
    let known: BTreeMap<&str, &AlertRecord> = open
        .iter()
        .map(|alert| (alert.id.as_str(), alert))
        .collect();
    let mut current = BTreeMap::new();
    for condition in conditions {
        current.entry(condition.id()).or_insert(condition);
    }
    for (id, condition) in &current {
        match known.get(id.as_str()) {
            None => step.begin(condition.record(now), condition, now, pace),
            Some(alert) if alert.raised.is_none() => {
                step.wait((*alert).clone(), condition, now, pace);
            }
            Some(alert) => step.go_on(alert, condition, now, pace),
        }
    }
    for alert in open {
        if !current.contains_key(&alert.id) {
            step.end(alert, now);
        }
    }
    step
}

impl Step {
    fn begin(&mut self, alert: AlertRecord, condition: &Condition, now: Timestamp, pace: Pace) {
        if condition.may_pass && !pace.grace.is_zero() {
            self.note.push(alert);
        } else {
            self.raise(alert, condition, now);
        }
    }

    fn wait(&mut self, alert: AlertRecord, condition: &Condition, now: Timestamp, pace: Pace) {
        if !condition.may_pass || is_over(alert.since, pace.grace, now) {
            self.raise(alert, condition, now);
        }
    }

    fn go_on(&mut self, alert: &AlertRecord, condition: &Condition, now: Timestamp, pace: Pace) {
        let mut next = alert.clone();
        if condition.severity > alert.severity {
            // Whoever acknowledged it knew of something else.
            next.acknowledged = None;
            return self.raise(next, condition, now);
        }
        let last = alert.told.unwrap_or(alert.since);
        if alert.acknowledged.is_none() && is_over(last, pace.repeat, now) {
            condition.tell(&mut next);
            next.told = Some(now);
            self.note.push(next.clone());
            self.tell.push((Turn::Repeated, next));
        } else if condition.severity < alert.severity {
            next.severity = condition.severity;
            self.note.push(next);
        }
    }

    fn raise(&mut self, mut alert: AlertRecord, condition: &Condition, now: Timestamp) {
        condition.tell(&mut alert);
        alert.raised = alert.raised.or(Some(now));
        alert.told = Some(now);
        self.note.push(alert.clone());
        // One that somebody acknowledged before it was told needs no telling.
        if alert.acknowledged.is_none() {
            self.tell.push((Turn::Raised, alert));
        }
    }

    fn end(&mut self, alert: &AlertRecord, now: Timestamp) {
        if alert.raised.is_none() {
            return self.forget.push(alert.id.clone());
        }
        let mut alert = alert.clone();
        alert.resolved = Some(now);
        self.note.push(alert.clone());
        self.tell.push((Turn::Resolved, alert));
    }
}

fn is_over(since: Timestamp, long: Duration, now: Timestamp) -> bool {
    let long = SignedDuration::try_from(long).unwrap_or(SignedDuration::MAX);
    now.duration_since(since) >= long
}

#[cfg(test)]
mod tests;
