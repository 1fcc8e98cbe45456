//! The last day: how far behind the stores were, and how much WAL there was.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{Content, plots, words};
use crate::serve::{facts::Hour, history::STEP};

/// How many hours have bars.
const HOURS: i64 = 24;
/// How many steps are one row of the table.
const ROW: usize = 6;

/// A plot for each store, and a table of all of them.
pub(super) fn lag(content: &Content<'_>) -> Markup {
    let history = content.history;
    let begin = history.begin();
    html! {
        p.note { "How long the oldest file waited for it, over the last day." }
        @for store in &content.facts.stores {
            @let steps = history.lag.get(&store.name).map_or(&[][..], Vec::as_slice);
            figure.plot {
                figcaption {
                    b { (store.name) }
                    span {
                        @match store.lag_seconds {
                            Some(lag) => {
                                (words::length(lag as f64)) " behind now, "
                                (words::counted(store.waiting_files, "file", "files"))
                            },
                            None => "nothing waits",
                        }
                        @if let Some(worst) = worst(steps) {
                            span.calm { " · at worst " (words::length(worst)) }
                        }
                    }
                }
                div.frame { (plots::lag(steps)) (scale()) }
            }
        }
        (ticks(begin, history.end))
        details {
            summary { "The same in numbers" }
            div.wide tabindex="0" role="region" aria-label="How far behind each store was" {
                table {
                    caption { "The longest that a file waited, hour by hour" }
                    thead { tr {
                        th scope="col" { "From" }
                        @for store in &content.facts.stores { th scope="col" { (store.name) } }
                    } }
                    tbody {
                        @for row in (0..crate::serve::history::STEPS / ROW).rev() {
                            @let from = begin + SignedDuration::from_secs(row as i64 * ROW as i64 * STEP);
                            tr {
                                th scope="row" { (words::short(from)) }
                                @for store in &content.facts.stores {
                                    @let steps = history.lag.get(&store.name);
                                    @let steps = steps.and_then(|it| it.get(row * ROW..(row + 1) * ROW));
                                    td { (or_dash(steps.and_then(worst).map(words::length))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn worst(steps: &[Option<f64>]) -> Option<f64> {
    steps.iter().flatten().copied().reduce(f64::max)
}

/// What the lines across are.
fn scale() -> Markup {
    html! {
        svg.scale aria-hidden="true" focusable="false" {
            @for (seconds, name) in plots::LINES {
                text x="0" y={ (plots::line_at(seconds)) "%" } dy="-3" { (name) }
            }
        }
    }
}

fn ticks(begin: Timestamp, end: Timestamp) -> Markup {
    let quarter = (end.as_second() - begin.as_second()) / 4;
    html! {
        div.ticks aria-hidden="true" {
            @for part in 0..4 {
                span { (words::clock(begin + SignedDuration::from_secs(part * quarter))) }
            }
            span { "now" }
        }
    }
}

/// Bars of what PostgreSQL wrote, and of what that became.
pub(super) fn volume(content: &Content<'_>) -> Markup {
    let hours = hours(content);
    let raw: u64 = hours.iter().map(|hour| hour.raw_bytes).sum();
    let stored: u64 = hours.iter().map(|hour| hour.stored_bytes).sum();
    let pairs: Vec<(u64, u64)> = hours
        .iter()
        .map(|hour| (hour.raw_bytes, hour.stored_bytes))
        .collect();
    let most = hours.iter().map(|hour| hour.raw_bytes).max().unwrap_or(0);
    html! {
        p.note {
            @if raw == 0 {
                "Nothing was archived in the last day."
            } @else {
                (words::bytes(raw)) " in the last day"
                @if let Some(ratio) = ratio(raw, stored) {
                    ", stored in " (words::bytes(stored)) ": " (ratio) " smaller"
                }
                "."
            }
        }
        figure.plot {
            figcaption {
                span.calm { "most in an hour: " (words::bytes(most)) }
            }
            div.frame { (plots::bars(&pairs)) }
        }
        @if let (Some(first), Some(last)) = (hours.first(), hours.last()) {
            (ticks(first.begins, last.begins + SignedDuration::from_hours(1)))
        }
        p.key aria-hidden="true" {
            span.whole { "as PostgreSQL wrote it" }
            span.part { "as it is stored" }
        }
        details {
            summary { "The same in numbers" }
            div.wide tabindex="0" role="region" aria-label="WAL by the hour" {
                table {
                    caption { "WAL of each hour, in one store" }
                    thead { tr {
                        th scope="col" { "From" }
                        th scope="col" { "Files" }
                        th scope="col" { "Written" }
                        th scope="col" { "Stored" }
                        th scope="col" { "Smaller" }
                    } }
                    tbody {
                        @for hour in hours.iter().rev() {
                            tr {
                                th scope="row" { (words::short(hour.begins)) }
                                td { (words::grouped(hour.files)) }
                                td { (words::bytes(hour.raw_bytes)) }
                                td { (words::bytes(hour.stored_bytes)) }
                                td { (or_dash(ratio(hour.raw_bytes, hour.stored_bytes))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The last day's hours, those without WAL as well.
fn hours(content: &Content<'_>) -> Vec<Hour> {
    let now = content.facts.at.as_second();
    let last = now - now.rem_euclid(3600);
    let begins = (0..HOURS).rev().map(|hours| last - hours * 3600);
    let known = |second: i64| {
        let hours = content.facts.hours.iter().rev();
        let mut hours = hours.take(2 * HOURS as usize);
        hours
            .find(|hour| hour.begins.as_second() == second)
            .cloned()
    };
    begins
        .filter_map(|second| {
            let begins = Timestamp::from_second(second).ok()?;
            Some(known(second).unwrap_or(Hour {
                begins,
                files: 0,
                raw_bytes: 0,
                stored_bytes: 0,
                delays: Default::default(),
            }))
        })
        .collect()
}

fn ratio(raw: u64, stored: u64) -> Option<String> {
    (stored > 0 && raw > 0).then(|| format!("{:.1}\u{a0}×", raw as f64 / stored as f64))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}
