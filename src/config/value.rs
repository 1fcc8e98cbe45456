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
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!(
            "\"{text}\" is not a duration, such as \"30s\" or \"5m\" ({error})"
        ))
    })
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
        .ok_or_else(|| D::Error::custom(format!("\"{text}\" is not a share, such as \"80%\"")))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

fn parse_size(text: &str) -> Result<u64, String> {
    let size: bytesize::ByteSize = text
        .parse()
        .map_err(|_| format!("\"{text}\" is not a size, such as \"20GiB\" or \"1048576\""))?;
    Ok(size.as_u64())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_have_units_of_both_kinds() {
        assert_eq!(parse_size("20GiB"), Ok(20 << 30));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("0"), Ok(0));
        for wrong in ["", "many", "-1", "20 GoB"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
