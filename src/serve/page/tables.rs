//! What is told in tables: stores, backups, drills, and what the time line
//! shows, for those who do not see it.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{Content, words};
use crate::catalog::{DrillRecord, VerifyKind};

/// A terabyte, as prices have it.
const TERABYTE: f64 = 1e12;
/// How many rows a table of what may be many has.
const ROWS: usize = 12;

/// The time line in words.
pub(super) fn spans(content: &Content<'_>) -> Markup {
    let facts = content.facts;
    let generations = facts.timelines.iter().map(|it| it.generation);
    let generations: std::collections::BTreeSet<_> = generations.collect();
    html! {
        details {
            summary { "The same in words" }
            div.wide tabindex="0" role="region" aria-label="The time line in words" {
                table {
                    caption { "What can be restored, and what lies between" }
                    thead { tr {
                        th scope="col" { "What" }
                        th scope="col" { "From" }
                        th scope="col" { "To" }
                    } }
                    tbody {
                        @for span in facts.window.iter().rev().take(ROWS) {
                            tr {
                                th scope="row" { "can be restored" }
                                td { (words::full(span.from)) }
                                td { (words::full(span.to)) }
                            }
                        }
                        @for gap in facts.gaps.iter().rev().take(ROWS) {
                            tr {
                                th scope="row" {
                                    (words::counted(gap.gap.segments, "segment", "segments")) " missing from "
                                    code { (gap.gap.first) }
                                }
                                td { (time(gap.last_commit_before)) }
                                td { (time(gap.first_commit_after)) }
                            }
                        }
                        @for timeline in facts.timelines.iter().rev().take(ROWS) {
                            tr {
                                th scope="row" {
                                    "timeline " (timeline.timeline)
                                    @if generations.len() > 1 {
                                        " of generation " (timeline.generation)
                                    }
                                }
                                td { (words::full(timeline.since)) }
                                td { "" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "–".to_owned(), words::full)
}

/// What each store has, and what it costs.
pub(super) fn stores(content: &Content<'_>) -> Markup {
    let facts = content.facts;
    let now = facts.at;
    let staging = facts.staging.as_ref().and_then(|it| it.as_ref().ok());
    html! {
        @if let Some(staging) = staging {
            p.note {
                "Staging on this host: "
                @if staging.files == 0 { "nothing waits" } @else {
                    (words::counted(staging.files, "file waits", "files wait"))
                    " (" (words::bytes(staging.bytes)) ")"
                }
                @if staging.kept_files > 0 {
                    ", " (words::counted(staging.kept_files, "copy is", "copies are")) " kept ("
                    (words::bytes(staging.kept_bytes)) ")"
                }
                "; there is room for " (words::bytes(staging.max_bytes)) "."
            }
        }
        div.wide {
            table.stack {
                thead { tr {
                    th scope="col" { "Store" }
                    th scope="col" { "WAL" }
                    th scope="col" { "Backups" }
                    th scope="col" { "Stored" }
                    th scope="col" { "Costs a month" }
                    th scope="col" { "Restorable to" }
                    th scope="col" { "Wrong" }
                    th scope="col" { "Last answer" }
                } }
                tbody {
                    @for store in &facts.stores {
                        @let stored = store.stored_bytes + store.backup_bytes;
                        tr {
                            th scope="row" { (store.name) }
                            td data-name="WAL" {
                                (words::counted(store.files, "file", "files"))
                                span.calm { " · " (words::bytes(store.stored_bytes)) }
                            }
                            td data-name="Backups" {
                                (words::grouped(store.backups.len() as u64))
                                span.calm { " · " (words::bytes(store.backup_bytes)) }
                            }
                            td data-name="Stored" { (words::bytes(stored)) }
                            td data-name="Costs a month" {
                                @match content.prices.get(store.name.as_str()) {
                                    Some(price) => (words::dollars(stored as f64 / TERABYTE * price)),
                                    None => span.calm { "no price set" },
                                }
                            }
                            td data-name="Restorable to" {
                                (store.window.last().map_or("–".to_owned(), |it| words::short(it.to)))
                            }
                            td data-name="Wrong" {
                                @let wrong = wrong(store);
                                @if wrong.is_empty() { "nothing" } @else { span.bad { (wrong) } }
                            }
                            td data-name="Last answer" {
                                @match (&store.failing, store.last_success) {
                                    (Some((_, at)), _) => span.bad { "fails, " (words::ago(*at, now)) },
                                    (None, Some(at)) => (words::ago(at, now)),
                                    (None, None) => "–",
                                }
                            }
                        }
                    }
                }
            }
        }
        (verified(content))
    }
}

fn wrong(store: &crate::serve::facts::StoreView) -> String {
    let parts = [
        (store.owed, "owed"),
        (store.suspect, "damaged"),
        (store.conflicts, "in conflict"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts
        .map(|(number, what)| format!("{} {what}", words::grouped(number)))
        .collect();
    parts.join(", ")
}

fn verified(content: &Content<'_>) -> Markup {
    let now = content.facts.at;
    let last = |store: &str, kind: VerifyKind| {
        let mut all = content.facts.verifies.iter();
        let record = all.find(|it| it.store == store && it.kind == kind)?;
        record.last_finished()
    };
    html! {
        @if !content.facts.verifies.is_empty() {
            p.note {
                @for store in &content.facts.stores {
                    (store.name) ": listed "
                    (last(&store.name, VerifyKind::Plain).map_or("never".to_owned(), |at| words::ago(at, now)))
                    ", read through "
                    (last(&store.name, VerifyKind::Deep).map_or("never".to_owned(), |at| words::ago(at, now)))
                    ". "
                }
            }
        }
    }
}

/// The newest base backup, and those before it.
pub(super) fn backups(content: &Content<'_>) -> Markup {
    let facts = content.facts;
    html! {
        @match facts.last_backup() {
            None => {
                p.note { "There is none yet." }
                code.command { (content.command) " backup create" }
            }
            Some(backup) => {
                p.big { (words::ago(backup.stopped, facts.at)) }
                dl {
                    dt { "Name" } dd { code { (backup.id) } }
                    dt { "Took" } dd {
                        (words::length(backup.stopped.duration_since(backup.started).as_secs_f64()))
                    }
                    dt { "Cluster" } dd { (words::bytes(backup.raw_bytes)) }
                    dt { "Added" } dd {
                        (words::bytes(backup.stored_bytes))
                        @if let Some(base) = backup.based_on { " to " code { (base) } }
                    }
                    dt { "In" } dd { (backup.stores.keys().cloned().collect::<Vec<_>>().join(", ")) }
                }
            }
        }
        @if facts.backups.len() > 1 {
            details {
                summary { "All " (words::grouped(facts.backups.len() as u64)) }
                div.wide tabindex="0" role="region" aria-label="Base backups" {
                    table {
                        thead { tr {
                            th scope="col" { "Backup" }
                            th scope="col" { "Cluster" }
                            th scope="col" { "Added" }
                        } }
                        tbody {
                            @for backup in facts.backups.iter().rev().take(4 * ROWS) {
                                tr {
                                    th scope="row" { code { (backup.id) } }
                                    td { (words::bytes(backup.raw_bytes)) }
                                    td { (words::bytes(backup.stored_bytes)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The last drill, and those before it.
pub(super) fn drills(content: &Content<'_>) -> Markup {
    let now = content.facts.at;
    html! {
        @match content.facts.drills.last() {
            None => {
                p.note { "No restore has been tried from this host. Try one:" }
                code.command { (content.command) " drill" }
            }
            Some(drill) => {
                p.big {
                    @if drill.ok { span.good { "passed" } } @else { span.bad { "failed" } }
                    ", " (words::ago(drill.ended, now))
                }
                dl {
                    dt { "RTO" } dd { (seconds(drill.rto_seconds)) }
                    dt { "From" } dd { (drill.store) }
                    @if let Some(backup) = drill.backup { dt { "Backup" } dd { code { (backup) } } }
                    @if let Some(at) = drill.last_commit {
                        dt { "Came to" } dd { (words::full(at)) }
                    }
                    @if !drill.checks.is_empty() {
                        dt { "Checks" } dd {
                            (passed(drill)) " of " (drill.checks.len()) " passed"
                        }
                    }
                    @if let Some(error) = &drill.error { dt { "Why" } dd.bad { (error) } }
                }
            }
        }
        @if content.facts.drills.len() > 1 {
            details {
                summary { "The ones before" }
                div.wide tabindex="0" role="region" aria-label="Drills" {
                    table {
                        thead { tr {
                            th scope="col" { "When" }
                            th scope="col" { "From" }
                            th scope="col" { "Result" }
                            th scope="col" { "RTO" }
                        } }
                        tbody {
                            @for drill in content.facts.drills.iter().rev().skip(1).take(ROWS) {
                                tr {
                                    th scope="row" { (words::short(drill.ended)) }
                                    td { (drill.store) }
                                    td { @if drill.ok { "passed" } @else { span.bad { "failed" } } }
                                    td { (seconds(drill.rto_seconds)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn passed(drill: &DrillRecord) -> usize {
    drill.checks.iter().filter(|check| check.ok).count()
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), words::length)
}
