//! Numbers and times as people read them. All times are UTC.

use jiff::{SignedDuration, Timestamp, tz::Offset};

/// `14 MiB`, `1.2 GiB`: three digits, and a unit of 1024.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}\u{a0}{}", UNITS[unit])
}

/// `2.4 s`, `17 min`, `3 h 20 min`, `5 d`.
pub(super) fn length(seconds: f64) -> String {
    let whole = seconds.round() as i64;
    match whole {
        _ if seconds < 0.05 => "0\u{a0}s".to_owned(),
        _ if seconds < 9.95 => format!("{seconds:.1}\u{a0}s"),
        ..100 => format!("{whole}\u{a0}s"),
        100..6_000 => format!("{}\u{a0}min", whole / 60),
        6_000..172_800 => match (whole / 3600, whole % 3600 / 60) {
            (hours, 0) => format!("{hours}\u{a0}h"),
            (hours, minutes) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
        },
        _ => format!("{}\u{a0}d", whole / 86_400),
    }
}

/// How long ago.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> String {
    let passed = now.duration_since(time);
    if passed < SignedDuration::from_secs(5) {
        return "just now".to_owned();
    }
    format!("{} ago", length(passed.as_secs_f64()))
}

/// `Fri 20 Nov 2026, 14:30:05`.
pub(super) fn full(time: Timestamp) -> String {
    told(time, "%a %-d %b %Y, %H:%M:%S")
}

/// `20 Nov, 14:30`.
pub(super) fn short(time: Timestamp) -> String {
    told(time, "%-d\u{a0}%b,\u{a0}%H:%M")
}

/// `14:30`.
pub(super) fn clock(time: Timestamp) -> String {
    told(time, "%H:%M")
}

/// `20 Nov`.
pub(super) fn date(time: Timestamp) -> String {
    told(time, "%-d %b")
}

/// `2026-11-20T14:30:05Z`, as `--to-time` takes it.
pub(super) fn exact(time: Timestamp) -> String {
    told(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// `2026-11-20T14:30:05`, as an input of a form has it.
pub(super) fn field(time: Timestamp) -> String {
    told(time, "%Y-%m-%dT%H:%M:%S")
}

fn told(time: Timestamp, form: &str) -> String {
    Offset::UTC.to_datetime(time).strftime(form).to_string()
}

/// `1 file`, `3 files`.
pub(super) fn counted(number: u64, one: &str, more: &str) -> String {
    let words = if number == 1 { one } else { more };
    format!("{}\u{a0}{words}", grouped(number))
}

/// `12 345`: thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Dollars for a month.
pub(super) fn dollars(amount: f64) -> String {
    match amount {
        amount if amount < 0.005 => "< $0.01".to_owned(),
        amount if amount < 100.0 => format!("${amount:.2}"),
        amount => format!("${}", grouped(amount.round() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let plain = |text: String| text.replace(['\u{a0}', '\u{202f}'], " ");
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KiB"),
            (1 << 20, "1.00 MiB"),
            (160 << 20, "160 MiB"),
            (1023 << 20, "1.00 GiB"),
            (20 << 30, "20.0 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(plain(bytes(number)), text);
        }
        for (seconds, text) in [
            (0.01, "0 s"),
            (2.44, "2.4 s"),
            (12.6, "13 s"),
            (99.0, "99 s"),
            (180.0, "3 min"),
            (5_990.0, "99 min"),
            (7_200.0, "2 h"),
            (12_000.0, "3 h 20 min"),
            (500_000.0, "5 d"),
        ] {
            assert_eq!(plain(length(seconds)), text);
        }
        assert_eq!(plain(grouped(1_234_567)), "1 234 567");
        assert_eq!(plain(counted(1, "file", "files")), "1 file");
        assert_eq!(dollars(0.0), "< $0.01");
        assert_eq!(dollars(12.345), "$12.35");
        assert_eq!(plain(dollars(1234.5)), "$1 235");
    }
}
