//! `walkeep alerts`: what is open and what was, acknowledged, and the ways to
//! tell somebody tried.

use std::io::Write;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::{Host, block_on, gap::who, print_json};
use crate::{
    catalog::{Acknowledgement, AlertRecord, Severity},
    cli::Global,
    config::{Config, ConfigError},
    serve::{
        alerts::{Thresholds, conditions, span},
        facts::{Facts, Gatherer},
        sinks::{Message, send},
    },
};

/// So many resolved alerts are shown to people.
const SHOWN: usize = 10;

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    state: &'static str,
    #[serde(flatten)]
    alert: &'a AlertRecord,
}

/// The result of `alerts test`, and a line of that of `alerts failed`.
#[derive(Debug, Serialize)]
struct Tried<'a> {
    sink: &'a str,
    error: Option<String>,
}

pub(super) fn run_list(host: &Host) -> anyhow::Result<u8> {
    let facts = Gatherer::default().gather(&host.config);
    let open = open(&facts, &host.config);
    let mut out = std::io::stdout().lock();
    let past = facts.resolved.iter().rev();
    if host.json {
        let open = open.iter().map(|alert| ("open", alert));
        for (state, alert) in open.chain(past.map(|alert| ("resolved", alert))) {
            serde_json::to_writer(&mut out, &Line { state, alert })?;
            writeln!(out)?;
        }
        return Ok(0);
    }
    if open.is_empty() {
        writeln!(out, "no alert is open")?;
    }
    let mut show = |word: &str, alert: &AlertRecord, note: String| {
        writeln!(out, "{word:<9} {:<20} {note}", alert.id)?;
        writeln!(out, "          {}", alert.message)
    };
    for alert in &open {
        let word = match alert.severity {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        };
        let mut note = format!("for {}", ago(&facts, alert.since));
        if let Some(known) = &alert.acknowledged {
            note += &format!(", acknowledged by {}", known.by);
        }
        show(word, alert, note)?;
    }
    for alert in past.take(SHOWN) {
        let over = alert.resolved.unwrap_or(alert.since);
        let lasted = span(over.duration_since(alert.since).as_secs());
        let note = format!("{} ago, after {lasted}", ago(&facts, over));
        show("resolved", alert, note)?;
    }
    Ok(0)
}

pub(super) fn run_ack(host: &Host, id: &str) -> anyhow::Result<u8> {
    let facts = Gatherer::default().gather(&host.config);
    let open = open(&facts, &host.config);
    let Some(alert) = open.iter().find(|alert| alert.id == id) else {
        anyhow::bail!("no alert \"{id}\" is open; `walkeep alerts` lists those that are");
    };
    let mut alert = alert.clone();
    alert.acknowledged = Some(Acknowledgement {
        by: who(),
        at: facts.at,
    });
    host.catalog()?.write(|writer| writer.note_alert(&alert))?;
    if host.json {
        print_json(&alert)?;
    } else {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\"{id}\" stays open, and is not told again")?;
    }
    Ok(0)
}

/// Once and to every sink: whoever runs this has nobody else to tell.
pub(super) fn run_failed(global: &Global, unit: &str) -> anyhow::Result<u8> {
    let host = match (&global.config, &global.cluster, cluster_of(unit)) {
        (None, None, Some(name)) => Host::load(&Global {
            cluster: Some(name.to_owned()),
            ..global.clone()
        })?,
        _ => Host::load(global)?,
    };
    let Config {
        alerts, cluster, ..
    } = &host.config;
    if alerts.sinks.is_empty() {
        tracing::warn!("nobody is told that \"{unit}\" failed: there is no [[alerts.sink]]");
    }
    let message = Message::failed(unit, &cluster.name, Timestamp::now());
    let sent = block_on(async {
        let sends = alerts.sinks.iter().map(|sink| send(sink, &message));
        Ok(join_all(sends).await)
    })?;
    let mut tried = Vec::new();
    for (sink, sent) in alerts.sinks.iter().zip(sent) {
        let error = sent.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::error!("sink \"{}\" did not take it: {error}", sink.name);
        }
        let sink = sink.name.as_str();
        tried.push(Tried { sink, error });
    }
    if host.json {
        let mut out = std::io::stdout().lock();
        for tried in &tried {
            serde_json::to_writer(&mut out, tried)?;
            writeln!(out)?;
        }
    }
    Ok(u8::from(tried.iter().any(|tried| tried.error.is_some())))
}

/// Whose unit it is: NAME of `walkeep-backup@NAME.service`.
fn cluster_of(unit: &str) -> Option<&str> {
    let (_, instance) = unit.split_once('@')?;
    let (name, _) = instance.rsplit_once('.')?;
    Some(name)
}

pub(super) fn run_test(host: &Host, name: &str) -> anyhow::Result<u8> {
    let sinks = &host.config.alerts.sinks;
    let Some(sink) = sinks.iter().find(|sink| sink.name == name) else {
        return Err(no_such_sink(&host.config, name).into());
    };
    let now = Timestamp::now();
    let message = Message::test(&host.config.cluster.name, now);
    let sent = block_on(async { Ok(send(sink, &message).await) })?;
    let error = sent.err().map(|error| error.to_string());
    let noted = host
        .catalog()?
        .write(|writer| writer.note_sink(name, now, error.clone()));
    if let Err(error) = noted {
        tracing::warn!("note how the sink does: {error}");
    }
    if host.json {
        let error = error.clone();
        print_json(&Tried { sink: name, error })?;
    }
    match error {
        None if host.json => Ok(0),
        None => {
            writeln!(std::io::stdout().lock(), "sink \"{name}\" took the test")?;
            Ok(0)
        }
        Some(error) => anyhow::bail!("sink \"{name}\" did not take the test: {error}"),
    }
}

/// What is open now, the worst first, with what the daemon knows of it. One
/// whose cause is gone is not: the daemon is about to resolve it.
pub(super) fn open(facts: &Facts, config: &Config) -> Vec<AlertRecord> {
    let conditions = conditions(facts, Thresholds::of(config));
    let mut open: Vec<AlertRecord> = Vec::new();
    for condition in &conditions {
        let id = condition.id();
        if open.iter().any(|known| known.id == id) {
            continue;
        }
        let now = condition.record(facts.at);
        let known = facts.alerts.iter().find(|alert| alert.id == id);
        open.push(match known {
            Some(known) => AlertRecord {
                severity: now.severity,
                message: now.message,
                ..known.clone()
            },
            None => now,
        });
    }
    open.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
    open
}

fn ago(facts: &Facts, then: Timestamp) -> String {
    span(facts.at.duration_since(then).as_secs().max(0))
}

fn no_such_sink(config: &Config, name: &str) -> ConfigError {
    let names = config.alerts.sinks.iter().map(|sink| sink.name.as_str());
    let names: Vec<&str> = names.collect();
    let nearest = names.iter().max_by(|one, other| {
        let likeness = |it: &str| strsim::jaro_winkler(it, name);
        likeness(one).total_cmp(&likeness(other))
    });
    let problem = match nearest {
        None => "there is none; describe one in a [[alerts.sink]] table".to_owned(),
        Some(nearest) => format!(
            "none is called \"{name}\"; did you mean `{nearest}`? There are: {}",
            names.join(", ")
        ),
    };
    ConfigError::Value {
        place: "alerts.sink".to_owned(),
        problem,
    }
}
