//! What PostgreSQL's commands leave behind when they fail: a small file that
//! says what, why and since when, for whoever watches. The commands themselves
//! have no catalog and no time, and PostgreSQL's log is read when it is too
//! late. The file goes when the same thing succeeds.
//!
//! ```text
//! STAGING/push.failed     `wal push`
//! SPOOL/standby.outage    `wal fetch` in standby mode, which answers an outage like an absence
//! ```
//!
//! Nothing depends on it: a note that cannot be left changes no answer, and
//! none is fsynced.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fs;

/// Of a standby that has not asked for so long nothing is known any more: it
/// was stopped, or promoted all the same.
const FORGOTTEN: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// A failure that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The file that it is about.
    pub name: String,
    /// Why, as the error says it.
    pub reason: String,
    /// When it failed first, since it last succeeded.
    pub since: Timestamp,
    /// When it failed last.
    pub last: Timestamp,
}

/// Where notes of one kind are left.
#[derive(Debug, Clone)]
pub struct Notes {
    path: PathBuf,
}

impl Notes {
    /// Of `wal push` into this staging directory.
    pub fn of_push(staging: &Path) -> Self {
        Notes {
            path: staging.join("push.failed"),
        }
    }

    /// Of a standby's `wal fetch` with this spool.
    pub fn of_standby(spool: &Path) -> Self {
        Notes {
            path: spool.join("standby.outage"),
        }
    }

    /// It failed, now.
    pub fn leave(&self, name: &str, reason: String) {
        let last = Timestamp::now();
        let note = Note {
            since: self.read().map_or(last, |before| before.since),
            name: name.to_owned(),
            reason,
            last,
        };
        let left = serde_json::to_vec(&note).map_err(io::Error::other);
        let left = left.and_then(|text| fs::replace_volatile(&self.path, &text));
        if let Err(error) = left {
            tracing::debug!("leave a note in \"{}\": {error}", self.path.display());
        }
    }

    /// It succeeded.
    pub fn clear(&self) {
        // Mostly there is none.
        let _ = std::fs::remove_file(&self.path);
    }

    /// What goes on, if anything does.
    pub fn read(&self) -> Option<Note> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// The same of something that is tried again within seconds: what was not
    /// tried for an hour does not go on.
    pub fn read_recent(&self, now: Timestamp) -> Option<Note> {
        let note = self.read()?;
        (now.duration_since(note.last) < FORGOTTEN).then_some(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_keeps_when_it_began_until_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::of_push(directory.path());
        assert_eq!(notes.read(), None);
        notes.clear();
        notes.leave("000000010000000400000024", "full".to_owned());
        let first = notes.read().unwrap();
        notes.leave("000000010000000400000025", "still full".to_owned());
        let second = notes.read().unwrap();
        assert_eq!(
            (second.since, second.reason.as_str()),
            (first.since, "still full")
        );
        let later = second.last + FORGOTTEN;
        assert_eq!(notes.read_recent(second.last), Some(second));
        assert_eq!(notes.read_recent(later), None);
        notes.clear();
        assert_eq!(notes.read(), None);
    }
}
