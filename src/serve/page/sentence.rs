//! What somebody wants to know first, in a sentence.

use maud::{Markup, html};

use super::{Content, words};

/// The sentence on top.
pub(super) struct Sentence {
    /// For the browser's tab.
    pub(super) title: &'static str,
    /// Whether nobody needs to look.
    pub(super) is_good: bool,
    pub(super) headline: String,
    pub(super) lead: String,
}

/// Can it be restored, to when, and where is everything.
pub(super) fn sentence(content: &Content<'_>) -> Sentence {
    let facts = content.facts;
    let (headline, restorable) = match (facts.window.first(), facts.window.last()) {
        (Some(first), Some(last)) => {
            let (from, to) = (words::short(first.from), words::short(last.to));
            let headline = match facts.window.len() {
                1 => format!("Restorable to any moment from {from} to {to}."),
                _ => format!("Restorable from {from} to {to}, but not to every moment between."),
            };
            (headline, true)
        }
        _ => ("Nothing can be restored yet.".to_owned(), false),
    };
    let behind = behind(content);
    let lead = match (&behind[..], facts.window.is_empty()) {
        ([], true) => "The first base backup makes it so: walkeep backup create".to_owned(),
        ([], false) => everywhere(content),
        (behind, _) => format!("{}.", behind.join("; ")),
    };
    let is_good = restorable && !content.concerns.iter().any(|concern| concern.is_open);
    Sentence {
        title: if is_good { "all is well" } else { "look here" },
        is_good,
        headline,
        lead,
    }
}

fn everywhere(content: &Content<'_>) -> String {
    let names: Vec<&str> = content
        .facts
        .stores
        .iter()
        .map(|store| store.name.as_str())
        .collect();
    match names[..] {
        [] => "No store has been asked yet.".to_owned(),
        [one] => format!("Everything is in {one}."),
        [one, other] => format!("Everything is in both stores, {one} and {other}."),
        _ => format!("Everything is in all stores: {}.", names.join(", ")),
    }
}

/// What each store lacks, where it lacks anything.
fn behind(content: &Content<'_>) -> Vec<String> {
    let stores = content.facts.stores.iter();
    let lacks = stores.filter_map(|store| {
        let mut parts = Vec::new();
        if let Some(lag) = store.lag_seconds {
            let files = words::counted(store.waiting_files, "file", "files");
            parts.push(format!(
                "lacks {files}, the oldest for {}",
                words::length(lag as f64)
            ));
        }
        for (number, what) in [
            (store.owed, "is owed"),
            (store.suspect, "has damaged"),
            (store.conflicts, "has in conflict"),
        ] {
            if number > 0 {
                parts.push(format!(
                    "{what} {}",
                    words::counted(number, "file", "files")
                ));
            }
        }
        (!parts.is_empty()).then(|| format!("{} {}", store.name, parts.join(", ")))
    });
    lacks.collect()
}

/// What needs somebody, with what to do about it.
pub(super) fn concerns(content: &Content<'_>) -> Markup {
    let now = content.facts.at;
    html! {
        @if !content.concerns.is_empty() {
            ul.concerns aria-label="What needs somebody" {
                @for concern in content.concerns {
                    li.seen[concern.known_to.is_some()] {
                        p { (with_commands(&concern.condition.message)) }
                        p.since {
                            @if let Some(since) = concern.since {
                                "since " (words::short(since)) " (" (words::ago(since, now)) ")"
                            }
                            @if let Some(by) = &concern.known_to { " · known to " (by) }
                        }
                    }
                }
            }
        }
    }
}

/// What stands between backquotes is to be typed.
fn with_commands(message: &str) -> Markup {
    html! {
        @for (index, part) in message.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
