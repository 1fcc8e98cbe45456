//! The plots of the last day: values in, drawings out. Pure. Beside each is a
//! table with the same numbers.

use std::fmt::Write;

use maud::{Markup, html};

/// The drawings' height, in their own units.
const HEIGHT: f64 = 100.0;

/// Lines that a lag is read by: seconds, and what they are called.
pub(super) const LINES: [(f64, &str); 4] = [
    (1.0, "1 s"),
    (60.0, "1 min"),
    (900.0, "15 min"),
    (14_400.0, "4 h"),
];

/// How far behind a store was, step by step, in seconds; none where nothing
/// was on its way. A second and a day have to be told apart in one drawing:
/// the height is logarithmic.
pub(super) fn lag(steps: &[Option<f64>]) -> Markup {
    let width = steps.len().max(1);
    let view = format!("0 0 {width} {HEIGHT}");
    html! {
        svg.lag viewBox=(view) preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            @for (seconds, _) in LINES {
                line.grid x1="0" x2=(width) y1=(number(height(seconds))) y2=(number(height(seconds))) {}
            }
            path.area d=(area(steps)) {}
            path.late d=(late(steps)) {}
        }
    }
}

/// From the top: 0 for a day and more, [`HEIGHT`] for nothing.
fn height(seconds: f64) -> f64 {
    let share = (1.0 + seconds.max(0.0)).ln() / (1.0_f64 + 86_400.0).ln();
    HEIGHT * (1.0 - share.min(1.0))
}

/// Where a line is, from the top and in per cent.
pub(super) fn line_at(seconds: f64) -> u32 {
    height(seconds).round() as u32
}

/// A closed area for each run of steps with a value.
fn area(steps: &[Option<f64>]) -> String {
    let mut path = String::new();
    for (index, step) in steps.iter().enumerate() {
        let Some(seconds) = step else { continue };
        let y = number(height(*seconds).min(HEIGHT - 1.0));
        // A String takes everything.
        let _ = write!(path, "M{index} {HEIGHT}V{y}h1V{HEIGHT}z");
    }
    path
}

/// The part of it above a quarter of an hour.
fn late(steps: &[Option<f64>]) -> String {
    let late = height(900.0);
    let mut path = String::new();
    for (index, step) in steps.iter().enumerate() {
        if let Some(seconds) = step.filter(|seconds| *seconds > 900.0) {
            let (top, bottom) = (number(height(seconds)), number(late));
            let _ = write!(path, "M{index} {bottom}V{top}h1V{bottom}z");
        }
    }
    path
}

/// Pairs of bars, one before the other: what was written and what it became.
pub(super) fn bars(pairs: &[(u64, u64)]) -> Markup {
    let view = format!("0 0 {} {HEIGHT}", pairs.len().max(1));
    let most = pairs
        .iter()
        .map(|(whole, _)| *whole)
        .max()
        .unwrap_or(0)
        .max(1);
    let scaled = |value: u64| HEIGHT * value as f64 / most as f64;
    html! {
        svg.bars viewBox=(view) preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            @for (index, (whole, part)) in pairs.iter().enumerate() {
                @for (class, value) in [("whole", *whole), ("part", *part)] {
                    @if value > 0 {
                        @let height = scaled(value).max(1.0);
                        rect class=(class) x=(number(index as f64 + 0.12)) width="0.76"
                            y=(number(HEIGHT - height)) height=(number(height)) {}
                    }
                }
            }
        }
    }
}

/// Coordinates are no longer than can be seen.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_lag_is_higher_and_nothing_is_outside() {
        let heights: Vec<f64> = [0.0, 1.0, 60.0, 900.0, 86_400.0, 1e9].map(height).to_vec();
        assert!(heights.is_sorted_by(|low, high| low >= high), "{heights:?}");
        assert_eq!((heights[0], heights[5]), (HEIGHT, 0.0));
    }

    #[test]
    fn steps_without_a_value_are_gaps_and_late_ones_are_marked() {
        assert_eq!(area(&[None, Some(0.0), None]), "M1 100V99h1V100z");
        assert_eq!(late(&[Some(900.0), None]), "");
        assert!(late(&[None, Some(1000.0)]).starts_with("M1 "));
        let text = lag(&[]).into_string();
        assert!(text.contains("viewBox=\"0 0 1 100\""), "{text}");
    }

    #[test]
    fn bars_are_as_high_as_the_highest() {
        let text = bars(&[(100, 25), (0, 0), (50, 50)]).into_string();
        assert!(text.contains("y=\"0\" height=\"100\""), "{text}");
        assert!(text.contains("y=\"75\" height=\"25\""), "{text}");
        assert_eq!(text.matches("<rect").count(), 4);
        assert_eq!(bars(&[]).into_string().matches("<rect").count(), 0);
    }
}
