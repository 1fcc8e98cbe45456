//! The page: facts in, HTML out. Pure, and of constant size whatever the
//! archive's.
//!
//! ```text
//! sentence  what somebody wants to know first, in a sentence
//! line      when the cluster can be restored to, with the command for it
//! day       how far behind the stores were, how much WAL there was
//! tables    stores, backups, drills
//! plots     values to drawings
//! words     numbers and times to text
//! ```

mod day;
mod line;
mod plots;
mod sentence;
mod tables;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::{concerns::Concern, facts::Facts, history::History};
use line::{Line, Zoom};

/// What the page looks like; served beside it.
pub(super) const STYLE: &str = include_str!("style.css");

/// What is shown.
pub(super) struct Content<'a> {
    pub(super) facts: &'a Facts,
    pub(super) history: &'a History,
    /// What needs somebody, the worst first.
    pub(super) concerns: &'a [Concern],
    /// What storage costs, in dollars for a terabyte and month, by store.
    pub(super) prices: BTreeMap<&'a str, f64>,
    /// `retention.window`, in seconds.
    pub(super) window: i64,
    /// `walkeep`, with what finds this configuration.
    pub(super) command: &'a str,
}

/// What the address asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    zoom: Option<Zoom>,
    moment: Option<Timestamp>,
    /// After how many seconds the browser is to ask again.
    refresh: Option<u32>,
}

impl Asked {
    /// From the names and values of an address. What cannot be understood is
    /// as if it had not been asked.
    pub(super) fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut asked = Asked {
            zoom: None,
            moment: None,
            refresh: None,
        };
        for (name, value) in pairs {
            match name.as_str() {
                "span" => asked.zoom = Zoom::of(&value),
                "t" => asked.moment = moment(&value),
                "refresh" => {
                    asked.refresh = value.parse().ok().filter(|it| (5..=3600).contains(it))
                }
                _ => {}
            }
        }
        asked
    }
}

/// A form gives a time without a zone, and without seconds where they are 0.
fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim_end_matches('Z');
    let text = match text.len() {
        16 => format!("{text}:00Z"),
        _ => format!("{text}Z"),
    };
    text.parse().ok()
}

/// The whole page.
pub(super) fn page(content: &Content<'_>, asked: Asked) -> Markup {
    let facts = content.facts;
    let said = sentence::sentence(content);
    let line = time_line(content, asked);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(seconds) = asked.refresh {
                    meta http-equiv="refresh" content=(seconds);
                }
                title { (facts.cluster) ": " (said.title) " · walkeep" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" type="image/svg+xml" href=(icon(said.is_good));
            }
            body {
                header {
                    a.unseen.skip href="#when" { "To the time line" }
                    p.whose { "walkeep · " b { (facts.cluster) } " · " (words::full(facts.at)) " UTC" }
                    h1 {
                        span.dot.bad[!said.is_good] aria-hidden="true" {}
                        (said.headline)
                    }
                    p.lead { (said.lead) }
                    (sentence::concerns(content))
                }
                main {
                    section aria-labelledby="when" {
                        div.head {
                            h2 #when { "When it can be restored to" }
                            (line::zooms(&line))
                        }
                        (line::line(&line))
                        (tables::spans(content))
                    }
                    div.two {
                        section aria-labelledby="lag" {
                            h2 #lag { "How far behind each store is" }
                            (day::lag(content))
                        }
                        section aria-labelledby="volume" {
                            h2 #volume { "WAL by the hour" }
                            (day::volume(content))
                        }
                    }
                    section aria-labelledby="stores" {
                        h2 #stores { "Stores" }
                        (tables::stores(content))
                    }
                    div.two {
                        section aria-labelledby="backups" {
                            h2 #backups { "Last base backup" }
                            (tables::backups(content))
                        }
                        section aria-labelledby="drills" {
                            h2 #drills { "Last drill" }
                            (tables::drills(content))
                        }
                    }
                }
                footer {
                    span { "walkeep " (env!("CARGO_PKG_VERSION")) }
                    @match asked.refresh {
                        Some(_) => a href="/" { "stop refreshing" },
                        None => a href="/?refresh=60" { "refresh every minute" },
                    }
                    a href="/metrics" { "metrics" }
                    a href="/healthz" { "health" }
                    span { "All times are UTC." }
                }
            }
        }
    }
}

/// Its colour says in a row of tabs whether somebody should look.
fn icon(is_good: bool) -> &'static str {
    match is_good {
        true => "/good.svg",
        false => "/bad.svg",
    }
}

/// The icon, for [`page`]'s link to it.
pub(super) fn icon_svg(is_good: bool) -> String {
    let fill = if is_good { "#4f9d78" } else { "#c8453a" };
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" {
            rect x="1" y="5" width="14" height="6" rx="2" fill=(fill) {}
            rect x="10" y="2" width="2" height="12" rx="1" fill=(fill) {}
        }
    }
    .into_string()
}

fn time_line<'a>(content: &Content<'a>, asked: Asked) -> Line<'a> {
    let facts = content.facts;
    let gaps = facts.gaps.iter().filter_map(|gap| {
        let (from, to) = (gap.last_commit_before?, gap.first_commit_after?);
        let gap = &gap.gap;
        let what = match gap.segments {
            1 => gap.first.to_string(),
            _ => format!("{} to {}", gap.first, gap.last),
        };
        Some((from, to, what))
    });
    // The first timeline of an archive is no switch.
    let switches = facts.timelines.iter().skip(1);
    Line {
        zoom: asked.zoom.unwrap_or(Zoom::Window),
        window: content.window,
        now: facts.at,
        asked: asked.moment.filter(|moment| *moment <= facts.at),
        spans: facts
            .window
            .iter()
            .map(|span| (span.from, span.to))
            .collect(),
        gaps: gaps.collect(),
        backups: facts
            .backups
            .iter()
            .map(|backup| (backup.stopped, backup.id.to_string()))
            .collect(),
        switches: switches.map(|it| (it.since, it.timeline.0)).collect(),
        command: content.command,
    }
}
