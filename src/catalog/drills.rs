//! What came of each drill, and of each job that the daemon's schedule runs:
//! what only this host knows. A rebuild of the catalog begins without them.

use std::{collections::BTreeMap, ops::Bound};

use jiff::Timestamp;
use redb::ReadableTableMetadata;
use serde::{Deserialize, Serialize};

use super::{
    CatalogError, Reader, Writer,
    rows::{self, DRILLS, JOBS},
};
use crate::layout::{BackupId, Generation};

/// How many drills are kept: ten years of one a week from each of two stores,
/// and what a person tries besides. The oldest goes when another one comes.
pub const DRILLS_KEPT: u64 = 1000;

/// A drill that has come to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillRecord {
    /// When it began, by this host's clock.
    pub begun: Timestamp,
    /// When it had ended, everything removed.
    pub ended: Timestamp,
    /// The store that was asked, and no other.
    pub store: String,
    /// Which of the archive's clusters; `None` where that was not found out.
    pub generation: Option<Generation>,
    /// The backup that was restored; `None` where none was found.
    pub backup: Option<BackupId>,
    /// How far recovery was to go, in words: `the end of the WAL`.
    pub target: String,
    /// The last transaction that the recovered cluster has: when it committed.
    /// `None` where recovery replayed none.
    pub last_commit: Option<Timestamp>,
    /// Whether the cluster came back and every check passed.
    pub ok: bool,
    /// From the start of the restore until the cluster answered queries, in
    /// seconds. `None` where it never did.
    pub rto_seconds: Option<f64>,
    /// Of these, until the backup's files were there, in seconds.
    pub restore_seconds: Option<f64>,
    /// What was written to the scratch directory by the restore, in bytes.
    pub bytes: u64,
    /// What came from the store for it, in bytes; the WAL not counted.
    pub fetched_bytes: u64,
    /// Why it failed, secrets already hidden. `None` when it did not.
    pub error: Option<String>,
    /// What was checked, in this order.
    pub checks: Vec<DrillCheck>,
}

/// One check of the recovered cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillCheck {
    /// What was checked: the SQL, or a name such as `amcheck`.
    pub check: String,
    /// Whether it passed.
    pub ok: bool,
    /// What the cluster answered, in the form of `psql -At` and cut where it
    /// is long; or the error.
    pub answer: String,
}

/// One of the daemon's jobs, as it last ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Since when it is scheduled, as far as this catalog knows.
    pub since: Timestamp,
    /// When it was last begun; `None` before the first time.
    pub begun: Option<Timestamp>,
    /// When that one ended; `None` while it runs, or when the daemon was
    /// killed meanwhile.
    pub ended: Option<Timestamp>,
    /// Whether it did what it should; `None` as long as it has not ended.
    pub ok: Option<bool>,
    /// How it failed: the last line that it said. `None` when it did not.
    pub error: Option<String>,
    /// When one that did what it should was last begun.
    pub succeeded: Option<Timestamp>,
}

impl JobRecord {
    /// One that has not run yet.
    pub fn scheduled(since: Timestamp) -> Self {
        JobRecord {
            since,
            begun: None,
            ended: None,
            ok: None,
            error: None,
            succeeded: None,
        }
    }
}

impl Reader {
    /// Every drill that is kept, oldest first.
    pub fn drills(&self) -> Result<Vec<DrillRecord>, CatalogError> {
        let rows = self.rows(DRILLS, Bound::Unbounded, Bound::Unbounded)?;
        let records = rows.map(|row| {
            let (key, value) = row?;
            let record: DrillRecord = rows::parse(DRILLS, key.value(), value.value())?;
            match drill_key(record.begun, &record.store) == key.value() {
                true => Ok(record),
                false => Err(rows::damaged(
                    DRILLS,
                    key.value(),
                    &"it is another drill's record",
                )),
            }
        });
        records.collect()
    }

    /// Every job that was ever scheduled on this host, by its name in
    /// `[schedule]`.
    pub fn jobs(&self) -> Result<BTreeMap<String, JobRecord>, CatalogError> {
        let rows = self.rows(JOBS, Bound::Unbounded, Bound::Unbounded)?;
        let records = rows.map(|row| {
            let (key, value) = row?;
            let name = str::from_utf8(key.value());
            let name = name.map_err(|error| rows::damaged(JOBS, key.value(), &error))?;
            let record = rows::parse(JOBS, key.value(), value.value())?;
            Ok((name.to_owned(), record))
        });
        records.collect()
    }
}

impl Writer<'_> {
    /// Notes a drill, and lets go of the oldest beyond [`DRILLS_KEPT`].
    pub fn note_drill(&mut self, drill: &DrillRecord) -> Result<(), CatalogError> {
        let mut drills = self.transaction.open_table(DRILLS)?;
        let key = drill_key(drill.begun, &drill.store);
        rows::put(&mut drills, DRILLS, &key, drill)?;
        while drills.len()? > DRILLS_KEPT {
            drills.pop_first()?;
        }
        Ok(())
    }

    /// Notes that a job is scheduled, if it was not yet, and returns what is
    /// known of it.
    pub fn schedule_job(&mut self, name: &str, now: Timestamp) -> Result<JobRecord, CatalogError> {
        let known = self.job(name)?;
        match known {
            Some(known) => Ok(known),
            None => {
                let record = JobRecord::scheduled(now);
                self.put_job(name, &record)?;
                Ok(record)
            }
        }
    }

    /// Notes that a job is no longer scheduled: should it be again, it has
    /// missed nothing meanwhile.
    pub fn unschedule_job(&mut self, name: &str) -> Result<(), CatalogError> {
        let mut jobs = self.transaction.open_table(JOBS)?;
        jobs.remove(name.as_bytes())?;
        Ok(())
    }

    /// Notes that a job begins.
    pub fn begin_job(&mut self, name: &str, begun: Timestamp) -> Result<(), CatalogError> {
        let known = self.schedule_job(name, begun)?;
        let record = JobRecord {
            begun: Some(begun),
            ended: None,
            ok: None,
            error: None,
            ..known
        };
        self.put_job(name, &record)
    }

    /// Notes how the job ended that was begun last; `error` is why it failed.
    pub fn end_job(
        &mut self,
        name: &str,
        ended: Timestamp,
        error: Option<String>,
    ) -> Result<(), CatalogError> {
        let known = self.schedule_job(name, ended)?;
        let ok = error.is_none();
        let record = JobRecord {
            ended: Some(ended),
            ok: Some(ok),
            error,
            succeeded: known.begun.filter(|_| ok).or(known.succeeded),
            ..known
        };
        self.put_job(name, &record)
    }

    fn job(&self, name: &str) -> Result<Option<JobRecord>, CatalogError> {
        let jobs = self.transaction.open_table(JOBS)?;
        rows::get(&jobs, JOBS, name.as_bytes())
    }

    fn put_job(&self, name: &str, record: &JobRecord) -> Result<(), CatalogError> {
        let mut jobs = self.transaction.open_table(JOBS)?;
        rows::put(&mut jobs, JOBS, name.as_bytes(), record)
    }
}

/// Time and store; the time so that byte order is its order.
fn drill_key(begun: Timestamp, store: &str) -> Vec<u8> {
    // A timestamp's microseconds fit into 64 bits; before 1970 there were none.
    let micros = u64::try_from(begun.as_microsecond()).unwrap_or(0);
    [&micros.to_be_bytes(), store.as_bytes()].concat()
}
