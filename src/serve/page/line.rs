//! The time line: when the cluster can be restored to, and the command for
//! each moment. Pure.
//!
//! The moments are radio buttons over the drawing: a mouse shows one by
//! hovering, a finger by tapping, the keyboard by Tab and the arrow keys,
//! without a script.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::words;

/// How many moments there are. The style sheet has as many columns.
pub(super) const MOMENTS: i64 = 120;
/// A day, in seconds.
const DAY: i64 = 86_400;
/// The drawing's height, in its own units; a moment is one unit wide.
const HEIGHT: i64 = 40;

/// How much time is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zoom {
    Hour,
    Day,
    Week,
    /// All of `retention.window`.
    Window,
}

impl Zoom {
    pub(super) const ALL: [Zoom; 4] = [Zoom::Hour, Zoom::Day, Zoom::Week, Zoom::Window];

    /// As the address has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Zoom::Hour => "hour",
            Zoom::Day => "day",
            Zoom::Week => "week",
            Zoom::Window => "window",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        Zoom::ALL.into_iter().find(|zoom| zoom.word() == word)
    }

    /// As people read it.
    fn name(self, window: i64) -> String {
        match self {
            Zoom::Window => words::counted((window as u64).div_ceil(DAY as u64), "day", "days"),
            zoom => zoom.word().to_owned(),
        }
    }

    /// What one moment stands for, in seconds: a number that days are made of,
    /// so that moments are round times.
    fn step(self, window: i64) -> i64 {
        match self {
            Zoom::Hour => 30,
            Zoom::Day => 12 * 60,
            Zoom::Week => 90 * 60,
            Zoom::Window => {
                let steps = [3600, 3 * 3600, 6 * 3600, 12 * 3600];
                let enough = steps.into_iter().find(|step| step * MOMENTS >= window);
                enough.unwrap_or_else(|| {
                    (window.max(1) as u64).div_ceil(120 * DAY as u64) as i64 * DAY
                })
            }
        }
    }

    /// How many moments are from one word below the line to the next.
    fn labelled(self) -> i64 {
        match self {
            Zoom::Hour => 20,
            Zoom::Day => 20,
            Zoom::Week => 16,
            Zoom::Window => 20,
        }
    }
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    pub(super) zoom: Zoom,
    /// `retention.window`, in seconds.
    pub(super) window: i64,
    pub(super) now: Timestamp,
    /// The moment that was asked for.
    pub(super) asked: Option<Timestamp>,
    /// What can be restored, oldest first.
    pub(super) spans: Vec<(Timestamp, Timestamp)>,
    /// WAL that is nowhere: when, and what.
    pub(super) gaps: Vec<(Timestamp, Timestamp, String)>,
    /// When each base backup ended, and its name.
    pub(super) backups: Vec<(Timestamp, String)>,
    /// When the cluster changed to another timeline, and its number.
    pub(super) switches: Vec<(Timestamp, u32)>,
    /// `walkeep`, with what finds this configuration.
    pub(super) command: &'a str,
}

/// A moment of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<'l> {
    /// It can be restored.
    Within,
    /// WAL is missing there.
    Gap(&'l str),
    /// Before everything that can be restored.
    Before,
    /// Behind the last commit that is archived.
    Behind,
    /// Between spans, and no gap of WAL: no backup reaches it.
    Nowhere,
}

impl Line<'_> {
    fn step(&self) -> i64 {
        self.zoom.step(self.window)
    }

    /// The moment in the middle of each column: round times, the last one the
    /// first that is not over.
    fn moment(&self, index: i64) -> Timestamp {
        let step = self.step();
        let middle = match self.asked {
            // So that the one asked for is in sight, wherever it is.
            Some(asked) if self.is_far(asked) => asked.as_second() + MOMENTS / 2 * step,
            _ => self.now.as_second(),
        };
        let last = (middle.div_euclid(step) + 1) * step;
        let second = last - (MOMENTS - 1 - index) * step;
        Timestamp::from_second(second).unwrap_or(self.now)
    }

    fn is_far(&self, asked: Timestamp) -> bool {
        let span = SignedDuration::from_secs((MOMENTS - 2) * self.step());
        asked < self.now - span
    }

    fn state(&self, moment: Timestamp) -> State<'_> {
        let within = |(from, to): &(Timestamp, Timestamp)| (*from..=*to).contains(&moment);
        if self.spans.iter().any(within) {
            return State::Within;
        }
        let gap = self
            .gaps
            .iter()
            .find(|gap| (gap.0..=gap.1).contains(&moment));
        if let Some((_, _, what)) = gap {
            return State::Gap(what);
        }
        match (self.spans.first(), self.spans.last()) {
            (Some((from, _)), _) if moment < *from => State::Before,
            (_, Some((_, to))) if moment > *to => State::Behind,
            _ => State::Nowhere,
        }
    }

    /// Where a time is, in the drawing's units.
    fn place(&self, time: Timestamp) -> f64 {
        let first = self.moment(0).as_second() as f64;
        let seconds = time.as_second() as f64 + f64::from(time.subsec_nanosecond()) / 1e9;
        (seconds - first) / self.step() as f64 + 0.5
    }

    /// The column of the moment that is shown without being asked.
    fn chosen(&self) -> i64 {
        let nearest = |time: Timestamp| (self.place(time).floor() as i64).clamp(0, MOMENTS - 1);
        if let Some(asked) = self.asked {
            return nearest(asked);
        }
        let within = |index: &i64| self.state(self.moment(*index)) == State::Within;
        let last = (0..MOMENTS).rev().find(within);
        last.unwrap_or(MOMENTS - 1)
    }
}

/// Links to more and less time.
pub(super) fn zooms(line: &Line<'_>) -> Markup {
    html! {
        nav.zoom aria-label="How much time is shown" {
            @for zoom in Zoom::ALL {
                a href={ "/?span=" (zoom.word()) "#when" }
                    aria-current=[(zoom == line.zoom).then_some("true")] {
                    (zoom.name(line.window))
                }
            }
        }
    }
}

/// The drawing, its moments, and the form for any other.
pub(super) fn line(line: &Line<'_>) -> Markup {
    html! {
        div.line {
            (drawing(line))
            (moments(line))
            div.axis aria-hidden="true" {
                @for index in (0..MOMENTS).step_by(line.zoom.labelled() as usize) {
                    span { (label(line, index)) }
                }
            }
        }
        (legend(line))
        form.exact action="/" method="get" {
            input type="hidden" name="span" value=(line.zoom.word());
            label for="t" { "Any other moment, UTC" }
            input #t type="datetime-local" name="t" step="1" required
                value=(words::field(line.asked.unwrap_or_else(|| line.moment(line.chosen()))));
            button { "Show the command" }
        }
    }
}

fn label(line: &Line<'_>, index: i64) -> String {
    let moment = line.moment(index);
    match line.zoom {
        Zoom::Hour | Zoom::Day => words::clock(moment),
        Zoom::Week | Zoom::Window => words::date(moment),
    }
}

fn drawing(line: &Line<'_>) -> Markup {
    let view = format!("0 0 {MOMENTS} {HEIGHT}");
    // Between the edges of the drawing, and never narrower than can be seen.
    let stretch = |from: Timestamp, to: Timestamp| {
        let (from, to) = (line.place(from), line.place(to));
        let (left, right) = (from.max(0.0), to.min(MOMENTS as f64));
        (right >= 0.0 && left <= MOMENTS as f64 && right >= left).then(|| {
            let width = (right - left).max(0.35);
            (number(left.min(MOMENTS as f64 - width)), number(width))
        })
    };
    let at = |time: Timestamp| {
        let place = line.place(time);
        (0.0..=MOMENTS as f64)
            .contains(&place)
            .then(|| number(place))
    };
    html! {
        svg.drawing viewBox=(view) preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.ground x="0" y="10" width=(MOMENTS) height="20" {}
            @for (from, to) in &line.spans {
                @if let Some((x, width)) = stretch(*from, *to) {
                    rect.within x=(x) y="10" width=(width) height="20" {}
                }
            }
            @for (from, to, _) in &line.gaps {
                @if let Some((x, width)) = stretch(*from, *to) {
                    rect.gap x=(x) y="10" width=(width) height="20" {}
                }
            }
            @for (time, _) in &line.switches {
                @if let Some(x) = at(*time) {
                    line.switch x1=(x) x2=(x) y1="2" y2="38" {}
                }
            }
            @for (time, _) in &line.backups {
                @if let Some(x) = at(*time) {
                    line.backup x1=(x) x2=(x) y1="4" y2="30" {}
                }
            }
            @if let Some(x) = at(line.now) {
                line.now x1=(x) x2=(x) y1="10" y2="30" {}
            }
        }
    }
}

/// Coordinates are no longer than can be seen.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn moments(line: &Line<'_>) -> Markup {
    let chosen = line.chosen();
    html! {
        fieldset.moments {
            legend.unseen {
                "A moment to restore to. The arrow keys go along the line."
            }
            @for index in 0..MOMENTS {
                @let moment = match line.asked {
                    Some(asked) if index == chosen => asked,
                    _ => line.moment(index),
                };
                @let state = line.state(moment);
                div.m {
                    input.unseen #{ "m" (index) } type="radio" name="m"
                        checked[index == chosen]
                        aria-label={ (words::full(moment)) " UTC: " (name(state)) };
                    label.hit for={ "m" (index) } {}
                    div.say {
                        p.what {
                            @if index > 0 {
                                label.step for={ "m" (index - 1) } title="earlier" { "‹" }
                            }
                            strong { (words::full(moment)) " UTC" }
                            @if index + 1 < MOMENTS {
                                label.step for={ "m" (index + 1) } title="later" { "›" }
                            }
                            span.state.(class(state)) { (name(state)) }
                        }
                        (answer(line, moment, state))
                    }
                }
            }
        }
    }
}

fn class(state: State<'_>) -> &'static str {
    match state {
        State::Within => "good",
        State::Gap(_) => "bad",
        State::Before | State::Behind | State::Nowhere => "calm",
    }
}

fn name(state: State<'_>) -> &'static str {
    match state {
        State::Within => "can be restored",
        State::Gap(_) => "WAL is missing",
        State::Before => "before the first backup",
        State::Behind => "not archived yet",
        State::Nowhere => "no backup reaches it",
    }
}

fn answer(line: &Line<'_>, moment: Timestamp, state: State<'_>) -> Markup {
    let command = line.command;
    match state {
        State::Within => html! {
            code.command { (command) " restore DIR --to-time " (words::exact(moment)) }
        },
        State::Behind => html! {
            p { "To the end of what is archived:" }
            code.command { (command) " restore DIR" }
        },
        State::Gap(what) => html! { p { (what) " is nowhere. " (nearest(line, moment)) } },
        State::Before | State::Nowhere => html! { p { (nearest(line, moment)) } },
    }
}

/// The moments beside it that can be restored.
fn nearest(line: &Line<'_>, moment: Timestamp) -> Markup {
    let before = line.spans.iter().rev().find(|(_, to)| *to < moment);
    let behind = line.spans.iter().find(|(from, _)| *from > moment);
    html! {
        @if let Some((_, to)) = before { "The last moment before it: " (words::full(*to)) " UTC. " }
        @if let Some((from, _)) = behind {
            "The first behind it: " (words::full(*from)) " UTC."
        }
        @if before.is_none() && behind.is_none() { "Nothing can be restored yet." }
    }
}

fn legend(line: &Line<'_>) -> Markup {
    html! {
        ul.legend aria-hidden="true" {
            li.within { "can be restored" }
            @if !line.gaps.is_empty() { li.gap { "WAL is missing" } }
            @if !line.backups.is_empty() { li.backup { "base backup" } }
            @if !line.switches.is_empty() { li.switch { "new timeline" } }
        }
    }
}

#[cfg(test)]
mod tests;
