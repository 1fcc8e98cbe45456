//! Values that are written with a unit: sizes, shares, durations.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// A number of bytes: `20GiB`, `512 KiB`, `1.5GB`, or plain `1048576`.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(bytes) => Ok(bytes),
        NumberOrText::Text(text) => parse_size(&text).map_err(D::Error::custom),
    }
}

/// A length of time: `5m`, `30s`, `1h 30m`, `30d`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(D::Error::custom)
}

/// The same, of a key that may be left out.
pub(super) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A share of the whole, from `0%` to `100%`, as a number from 0 to 1.
pub(super) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok());
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| {
            let nearest = nearest_share(&text);
            let wrong = format!("\"{text}\" is not a share, such as \"80%\"");
            D::Error::custom(with_nearest(wrong, nearest))
        })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

fn parse_size(text: &str) -> Result<u64, String> {
    let size: bytesize::ByteSize = text.parse().map_err(|_| {
        let wrong = format!("\"{text}\" is not a size, such as \"20GiB\" or \"1048576\"");
        with_nearest(wrong, with_nearest_unit(text, &SIZES))
    })?;
    Ok(size.as_u64())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| {
        let wrong = format!("\"{text}\" is not a duration, such as \"30s\" or \"5m\" ({error})");
        let nearest = match text.trim().parse::<u32>() {
            // What a number without a unit means elsewhere.
            Ok(seconds) => Some(format!("{seconds}s")),
            Err(_) => with_nearest_unit(text, &DURATIONS),
        };
        with_nearest(wrong, nearest)
    })
}

const SIZES: [&str; 11] = [
    "B", "KiB", "MiB", "GiB", "TiB", "PiB", "kB", "MB", "GB", "TB", "PB",
];
const DURATIONS: [&str; 12] = [
    "s", "m", "h", "d", "w", "ms", "seconds", "minutes", "hours", "days", "weeks", "months",
];

/// The number with the known unit that is closest to the one it has.
fn with_nearest_unit(text: &str, units: &[&str]) -> Option<String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(char::is_alphabetic)?);
    let number = number.trim_end();
    number.parse::<f64>().ok().filter(|number| *number >= 0.0)?;
    let unit = unit.trim_end().to_lowercase();
    let distance = |known: &&&str| strsim::damerau_levenshtein(&unit, &known.to_lowercase());
    let nearest = units.iter().min_by_key(distance)?;
    let near = distance(&nearest) <= 1 + nearest.len() / 3;
    near.then(|| format!("{number}{nearest}"))
}

/// A fraction for a percentage, or one beyond the whole.
fn nearest_share(text: &str) -> Option<String> {
    let number: f64 = text.trim().trim_end_matches('%').trim().parse().ok()?;
    match text.contains('%') {
        true => Some(if number < 0.0 { "0%" } else { "100%" }.to_owned()),
        false if (0.0..=1.0).contains(&number) => {
            Some(format!("{}%", (number * 1000.0).round() / 10.0))
        }
        false => (1.0..=100.0)
            .contains(&number)
            .then(|| format!("{number}%")),
    }
}

fn with_nearest(wrong: String, nearest: Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("{wrong}; did you mean `{nearest}`?"),
        None => wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::{nearest_share, parse_duration, parse_size};

    #[test]
    fn sizes_have_units_of_both_kinds() {
        assert_eq!(parse_size("20GiB"), Ok(20 << 30));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("0"), Ok(0));
        for wrong in ["", "many", "-1", "20 GoB"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn the_nearest_value_is_named_where_one_is_near() {
        let meant = |said: Result<_, String>| {
            let said = said.map(drop).unwrap_err();
            let meant = said.split_once("; did you mean `");
            meant.map(|(_, meant)| meant.trim_end_matches("`?").to_owned())
        };
        let size = |text| meant(parse_size(text).map(drop));
        assert_eq!(size("20 GoB").as_deref(), Some("20GiB"));
        assert_eq!(size("1.5 gibs").as_deref(), Some("1.5GiB"));
        for text in ["", "many", "-1", "-1GoB", "3 apples"] {
            assert_eq!(size(text), None, "{text:?}");
        }
        let duration = |text| meant(parse_duration(text).map(drop));
        assert_eq!(duration("300").as_deref(), Some("300s"));
        assert_eq!(duration("5 minuts").as_deref(), Some("5minutes"));
        for text in ["", "soon", "-5m", "5 lightyears"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
        for (text, nearest) in [
            ("0.8", Some("80%")),
            ("80", Some("80%")),
            ("180%", Some("100%")),
            ("-3%", Some("0%")),
            ("much", None),
            ("8000", None),
        ] {
            assert_eq!(nearest_share(text).as_deref(), nearest, "{text:?}");
        }
    }
}
