//! The names of the files that PostgreSQL hands to `archive_command` and
//! asks of `restore_command`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{SegmentName, TimelineId, segment::is_upper_hex};

/// The name of a file that PostgreSQL archives (xlog_internal.h:
/// `IsXLogFileName`, `IsTLHistoryFileName`, `IsBackupHistoryFileName`,
/// `IsPartialXLogFileName`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WalFileName {
    /// `00000002.history`: which timelines this one descends from.
    History(TimelineId),
    /// `000000010000000400000024`: one segment.
    Segment(SegmentName),
    /// `000000010000000400000024.00000028.backup`: where a base backup began
    /// (the segment, and the byte in it) and ended.
    BackupHistory(SegmentName, u32),
    /// `000000010000000400000024.partial`: the old timeline's unfinished last
    /// segment, archived by a promotion. PostgreSQL never asks for it.
    Partial(SegmentName),
}

/// The text names no file that PostgreSQL archives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not the name of a WAL file (expected a segment such as 000000010000000400000024, \
     or a .history, .backup or .partial file)"
)]
pub struct InvalidWalFileName(pub String);

impl WalFileName {
    /// The timeline that the file belongs to.
    pub fn timeline(self) -> TimelineId {
        match self {
            WalFileName::History(timeline) => timeline,
            WalFileName::Segment(name)
            | WalFileName::BackupHistory(name, _)
            | WalFileName::Partial(name) => name.timeline,
        }
    }

    /// The segment that the file is, or is about; none for a history file.
    pub fn segment(self) -> Option<SegmentName> {
        match self {
            WalFileName::History(_) => None,
            WalFileName::Segment(name)
            | WalFileName::BackupHistory(name, _)
            | WalFileName::Partial(name) => Some(name),
        }
    }

    /// Whether the file holds WAL pages, as a segment and a partial one do.
    pub fn holds_pages(self) -> bool {
        matches!(self, WalFileName::Segment(_) | WalFileName::Partial(_))
    }
}

impl FromStr for WalFileName {
    type Err = InvalidWalFileName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidWalFileName(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<WalFileName> {
    let Some((stem, suffix)) = text.split_once('.') else {
        return text.parse().ok().map(WalFileName::Segment);
    };
    match suffix {
        "history" => hex_word(stem).map(|number| WalFileName::History(TimelineId(number))),
        "partial" => stem.parse().ok().map(WalFileName::Partial),
        _ => {
            let offset = hex_word(suffix.strip_suffix(".backup")?)?;
            Some(WalFileName::BackupHistory(stem.parse().ok()?, offset))
        }
    }
}

fn hex_word(digits: &str) -> Option<u32> {
    let valid = digits.len() == 8 && digits.bytes().all(is_upper_hex);
    valid
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

impl TryFrom<String> for WalFileName {
    type Error = InvalidWalFileName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WalFileName> for String {
    fn from(name: WalFileName) -> Self {
        name.to_string()
    }
}

impl From<SegmentName> for WalFileName {
    fn from(name: SegmentName) -> Self {
        WalFileName::Segment(name)
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalFileName::History(timeline) => write!(f, "{:08X}.history", timeline.0),
            WalFileName::Segment(name) => name.fmt(f),
            WalFileName::BackupHistory(name, offset) => write!(f, "{name}.{offset:08X}.backup"),
            WalFileName::Partial(name) => write!(f, "{name}.partial"),
        }
    }
}

impl fmt::Debug for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_the_four_kinds_apart() {
        let segment: SegmentName = "000000010000000400000024".parse().unwrap();
        for (text, name) in [
            ("00000002.history", WalFileName::History(TimelineId(2))),
            ("000000010000000400000024", WalFileName::Segment(segment)),
            (
                "000000010000000400000024.00000028.backup",
                WalFileName::BackupHistory(segment, 0x28),
            ),
            (
                "000000010000000400000024.partial",
                WalFileName::Partial(segment),
            ),
        ] {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn refuses_everything_else() {
        for wrong in [
            "",
            ".",
            "..",
            "archive_status",
            "000000010000000400000024.gz",
            "00000002.History",
            "000000010000000400000024.28.backup",
            "000000010000000400000024.partial.gz",
            "../000000010000000400000024",
            "0000000100000004000000240",
            "xlogtemp.1234",
            "000000010000000400000024.00000028.backup.done",
            "00000002.history ",
        ] {
            assert!(
                wrong.parse::<WalFileName>().is_err(),
                "{wrong:?} was accepted"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_the_same(text in "[0-9A-F]{8}([0-9A-F]{16})?(\\.[0-9A-F]{8})?(\\.(history|backup|partial))?") {
            if let Ok(name) = text.parse::<WalFileName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
