//! What is not as it should be, and who is told when.
//!
//! ```text
//! conditions  pure: facts and thresholds become conditions; those of the server in `server`,
//!             of streaming in `stream`
//! step        pure: what was open and conditions become what is open and what is told
//! ```
//!
//! The daemon keeps what is open in the catalog. Without it, `status` and
//! `alerts` show the conditions that they see.

mod conditions;
mod server;
mod step;
mod stream;

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

pub use conditions::{SKEW_CRITICAL, SKEW_WARNING, Thresholds, conditions, counted, span};
pub use step::{Pace, Step, Turn, step};

use crate::catalog::{AlertRecord, Severity};

/// What kind of thing is not as it should be. The texts are documented, and
/// only ever added to (docs/CONFIGURATION.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The staging directory cannot be used.
    Staging,
    /// Much waits in it.
    StagingFull,
    /// The catalog cannot be used, or wants a rebuild.
    Catalog,
    /// Two files have one name.
    Conflict,
    /// A file in staging is not shipped.
    Refused,
    /// A store fails.
    Store,
    /// A store lacks staged files for too long.
    Lag,
    /// A store is owed files.
    Owed,
    /// An object is not what was stored.
    Damaged,
    /// A store lacks objects of base backups.
    Missing,
    /// Objects of base backups are not what was stored.
    DamagedBackup,
    /// WAL is nowhere, though there is WAL behind it.
    Gap,
    /// The server does not answer.
    Server,
    /// `wal push` fails.
    Push,
    /// PostgreSQL's archiver fails.
    Archiver,
    /// Nothing is archived, though the server writes.
    Silent,
    /// Much waits in `pg_wal`.
    Waiting,
    /// The newest base backup is too old, or there is none.
    BackupAge,
    /// The newest successful drill is too old.
    DrillAge,
    /// The newest drill failed.
    Drill,
    /// What `[schedule]` has the daemon do failed.
    Job,
    /// Less can be restored than the window asks for.
    Window,
    /// The clocks of this host and a store differ.
    Clock,
    /// Nothing is streamed, or a store is behind.
    Stream,
    /// The stream's slot holds back much WAL.
    SlotLag,
    /// The stream's slot is lost.
    SlotLost,
    /// A standby cannot reach the archive.
    Standby,
    /// A sink does not take messages.
    Sink,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What kind of thing.
    pub kind: Kind,
    /// Of what: a store, a file, a sink.
    pub subject: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, with what to do.
    pub message: String,
    /// Whether it often passes by itself, so that it is told only when it
    /// lasts.
    #[serde(skip)]
    pub may_pass: bool,
}

impl Condition {
    fn new(kind: Kind, severity: Severity, message: impl Into<String>) -> Self {
        Condition {
            kind,
            subject: None,
            severity,
            message: message.into(),
            may_pass: false,
        }
    }

    fn of(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    fn passing(mut self) -> Self {
        self.may_pass = true;
        self
    }

    /// The same for as long as it goes on: `KIND` or `KIND/SUBJECT`.
    pub fn id(&self) -> String {
        match &self.subject {
            Some(subject) => format!("{}/{subject}", self.kind),
            None => self.kind.to_string(),
        }
    }

    /// The alert that it begins.
    pub fn record(&self, now: Timestamp) -> AlertRecord {
        AlertRecord {
            id: self.id(),
            kind: self.kind.to_string(),
            subject: self.subject.clone(),
            severity: self.severity,
            message: self.message.clone(),
            since: now,
            raised: None,
            told: None,
            acknowledged: None,
            resolved: None,
        }
    }

    /// What is told of it now.
    fn tell(&self, alert: &mut AlertRecord) {
        alert.severity = self.severity;
        alert.message.clone_from(&self.message);
    }
}
