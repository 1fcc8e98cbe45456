//! The audit trail: what walkeep did, on which host and when, a line of JSON
//! each. Every process of walkeep on a host appends to one log (docs/FORMAT.md,
//! "The audit trail"), and says the same to the journal.

use std::{path::PathBuf, process};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    config::Config,
    fs::append_rotating,
    layout::{BackupId, Generation},
    postgres::{SegmentName, SystemId, TimelineId, WalFileName},
};

/// Something that was done.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Deed {
    /// `init` has bound an archive to a cluster, or found it bound.
    Initialized {
        /// Which of the archive's clusters it is.
        generation: Generation,
        /// The cluster.
        system_identifier: SystemId,
    },
    /// A restored cluster archives again.
    Rearmed {
        /// On its own timeline.
        timeline: TimelineId,
    },
    /// A file of PostgreSQL's is durable in staging.
    Pushed {
        /// Its name.
        file: WalFileName,
    },
    /// A store has confirmed a file.
    Shipped {
        /// Which of the archive's clusters it is of.
        generation: Generation,
        /// Its name.
        file: WalFileName,
        /// The store.
        store: String,
        /// The object's size.
        bytes: u64,
    },
    /// A base backup is stored.
    BackedUp {
        /// Which of the archive's clusters it is of.
        generation: Generation,
        /// Its name.
        backup: BackupId,
        /// The stores that have it.
        stores: Vec<String>,
        /// What it put into each of them.
        bytes: u64,
        /// Whether `pg_basebackup` had taken it.
        imported: bool,
    },
    /// Objects were deleted from a store.
    Deleted {
        /// The store.
        store: String,
        /// How many.
        objects: u64,
        /// Their size.
        bytes: u64,
        /// The base backups that were to go, from every store.
        backups: Vec<String>,
        /// The files of the WAL that were to go: runs of one timeline, each
        /// with its first and its last file.
        wal: Vec<(String, String)>,
    },
    /// Objects of a store were copied from elsewhere, over damaged ones where
    /// there were such.
    Repaired {
        /// The store.
        store: String,
        /// Files of the WAL by name, objects of base backups by key.
        objects: Vec<String>,
    },
    /// Somebody knows that these segments are lost.
    GapAcknowledged {
        /// Which of the archive's clusters they are of.
        generation: Generation,
        /// The first.
        first: SegmentName,
        /// The last.
        last: SegmentName,
        /// Who says so: `USER@HOST`.
        by: String,
    },
    /// A data directory was restored, for its server to recover.
    Restored {
        /// The base backup.
        backup: BackupId,
        /// Where recovery goes, in words.
        target: String,
        /// The data directory; of a scratch cluster, which is gone by now, none.
        directory: Option<PathBuf>,
    },
    /// A drill has come to its end.
    Drilled {
        /// The store that was asked.
        store: String,
        /// The base backup, where one was found.
        backup: Option<BackupId>,
        /// Whether the cluster came back and passed its checks.
        ok: bool,
        /// How long until it answered, in seconds.
        rto_seconds: Option<f64>,
    },
}

/// Where it is told.
#[derive(Debug, Clone)]
pub struct Trail {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    cluster: String,
    host: String,
}

/// A line of the log.
#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    host: &'a str,
    pid: u32,
    cluster: &'a str,
    #[serde(flatten)]
    deed: &'a Deed,
}

impl Trail {
    /// As the configuration says.
    pub fn of(config: &Config) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Trail {
            path: config.audit.path.clone(),
            max_size: config.audit.max_size,
            keep: config.audit.keep,
            cluster: config.cluster.name.clone(),
            host: host.to_string_lossy().into_owned(),
        }
    }

    /// Tells one thing.
    pub fn note(&self, deed: Deed) {
        self.note_all(&[deed]);
    }

    /// Tells several things, in one piece. That the log cannot be written is
    /// said, and stops nothing. Blocks for as long as a write takes, without
    /// an fsync.
    pub fn note_all(&self, deeds: &[Deed]) {
        let at = Timestamp::now();
        let mut lines = String::new();
        for deed in deeds {
            let line = Line {
                at,
                host: &self.host,
                pid: process::id(),
                cluster: &self.cluster,
                deed,
            };
            // Strings and numbers alone: there is nothing that JSON cannot hold.
            let line = serde_json::to_string(&line).unwrap_or_default();
            // The journal's: see `logging`.
            tracing::info!(target: TARGET, "{line}");
            lines.push_str(&line);
            lines.push('\n');
        }
        if lines.is_empty() {
            return;
        }
        if let Err(error) = append_rotating(&self.path, &lines, self.max_size, self.keep) {
            let path = self.path.display();
            tracing::warn!(
                "write the audit trail \"{path}\": {error} (`audit.path` names another)"
            );
        }
    }
}

/// What the audit trail's events are told by.
pub const TARGET: &str = "walkeep::trail";

#[cfg(test)]
mod tests {
    use super::*;

    /// Docs/FORMAT.md says so.
    #[test]
    fn a_line_says_what_by_whom_and_when() {
        let directory = tempfile::tempdir().unwrap();
        let trail = Trail {
            path: directory.path().join("audit.jsonl"),
            max_size: 1 << 20,
            keep: 2,
            cluster: "main".to_owned(),
            host: "db1".to_owned(),
        };
        let file: WalFileName = "000000010000000400000024".parse().unwrap();
        trail.note_all(&[]);
        assert!(!trail.path.exists());
        trail.note(Deed::Pushed { file });
        let stored = Deed::Shipped {
            generation: Generation::FIRST,
            file,
            store: "r2".to_owned(),
            bytes: 4_321_987,
        };
        trail.note_all(&[stored.clone(), stored]);
        let text = std::fs::read_to_string(&trail.path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], lines[2]);
        for line in &lines {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
            assert_eq!(line["pid"], process::id());
            assert_eq!(
                (&line["host"], &line["cluster"]),
                (&"db1".into(), &"main".into())
            );
        }
        let name = "000000010000000400000024";
        assert!(lines[0].ends_with(&format!(",\"what\":\"pushed\",\"file\":\"{name}\"}}")));
        assert!(lines[1].ends_with(&format!(
            ",\"what\":\"shipped\",\"generation\":1,\"file\":\"{name}\",\"store\":\"r2\",\
             \"bytes\":4321987}}"
        )));
        // What cannot be written stops nothing.
        let nowhere = Trail {
            path: "/proc/no/such/audit.jsonl".into(),
            ..trail
        };
        nowhere.note(Deed::Pushed { file });
    }
}
