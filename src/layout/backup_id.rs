//! The names of base backups.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::{Deserialize, Serialize};

/// A base backup's name: when it was begun, in UTC, such as
/// `20261120T020000Z`. Names sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(DateTime);

/// The text is no backup's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a backup's name (expected one such as 20261120T020000Z)")]
pub struct InvalidBackupId(String);

impl BackupId {
    /// How many characters a name has.
    pub const LENGTH: usize = 16;
    const FORM: &str = "%Y%m%dT%H%M%SZ";

    /// The name of a backup that begins at `time`.
    pub fn at(time: Timestamp) -> Self {
        let time = Offset::UTC.to_datetime(time);
        // Whole seconds: zero is in every time's range.
        BackupId(time.with().subsec_nanosecond(0).build().unwrap_or(time))
    }
}

impl FromStr for BackupId {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = DateTime::strptime(Self::FORM, text).ok().map(BackupId);
        // One spelling each: strptime also takes signs, blanks and fewer digits.
        time.filter(|id| id.to_string() == text)
            .ok_or_else(|| InvalidBackupId(text.to_owned()))
    }
}

impl TryFrom<String> for BackupId {
    type Error = InvalidBackupId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.strftime(Self::FORM).fmt(f)
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
