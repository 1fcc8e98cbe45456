//! What a watcher asks the server, in one short visit.

use std::time::Duration;

use jiff::Timestamp;

use super::{Lsn, Session, SessionError, SystemId, parse};

/// How the server and its archiver are doing, as of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// Which cluster it is.
    pub system_id: SystemId,
    /// Whether it is a standby, or still recovers.
    pub in_recovery: bool,
    /// `archive_mode` is not `off`.
    pub archives: bool,
    /// Where it writes its WAL; while it recovers, what it has replayed. None
    /// before the first record.
    pub lsn: Option<Lsn>,
    /// The file archived last, and when (`pg_stat_archiver`).
    pub archived: Option<(String, Timestamp)>,
    /// The file that failed last, and when.
    pub failed: Option<(String, Timestamp)>,
    /// Failures since the statistics began.
    pub failures: u64,
    /// Since when these statistics count, or the server runs, if that is later.
    pub counts_since: Timestamp,
    /// What waits for the archiver; none where the session may not see it.
    pub waiting: Option<Waiting>,
}

/// Files that wait for the archiver (`archive_status/*.ready`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub files: u64,
    /// Since when the first of them waits; none where none does.
    pub oldest: Option<Timestamp>,
}

impl Watched {
    /// Whether the archiver's last attempt failed.
    pub fn is_failing(&self) -> bool {
        match (&self.failed, &self.archived) {
            (Some((_, failed)), Some((_, archived))) => failed > archived,
            (failed, _) => failed.is_some(),
        }
    }
}

/// A replication slot (`pg_replication_slots`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Whether somebody reads from it now.
    pub active: bool,
    /// The WAL that is kept for it, in bytes.
    pub kept: u64,
    /// Whether the server has let go of WAL that it needs (`wal_status` is
    /// `lost`): what it was to bring is not to be had from it any more.
    pub lost: bool,
}

impl Session {
    /// From here on, no statement may take longer than this.
    pub fn limit(&mut self, patience: Duration) -> Result<(), SessionError> {
        let milliseconds = patience.as_millis();
        let statement = format!("SET statement_timeout = '{milliseconds}ms'");
        let set = self.client.batch_execute(&statement);
        set.map_err(SessionError::statement("prepare the session"))
    }

    /// How the server and its archiver are doing.
    pub fn watch(&mut self) -> Result<Watched, SessionError> {
        const ACTION: &str = "ask how archiving goes";
        let failed = SessionError::statement(ACTION);
        let row = self
            .client
            .query_one(
                "SELECT pg_is_in_recovery(), current_setting('archive_mode') <> 'off', \
                        (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                              ELSE pg_current_wal_lsn() END)::text, \
                        last_archived_wal, extract(epoch FROM last_archived_time)::float8, \
                        last_failed_wal, extract(epoch FROM last_failed_time)::float8, \
                        failed_count, \
                        extract(epoch FROM greatest(stats_reset, pg_postmaster_start_time())) \
                            ::float8, \
                        has_function_privilege('pg_ls_archive_statusdir()', 'execute'), \
                        (SELECT system_identifier FROM pg_control_system()) \
                 FROM pg_stat_archiver",
                &[],
            )
            .map_err(&failed)?;
        let lsn: Option<String> = row.get(2);
        let file = |name: usize| -> Result<Option<(String, Timestamp)>, SessionError> {
            let (name, at): (Option<String>, Option<f64>) = (row.get(name), row.get(name + 1));
            name.zip(at)
                .map(|(name, at)| Ok((name, time(at, ACTION)?)))
                .transpose()
        };
        let waiting = match row.get(9) {
            true => Some(self.waiting()?),
            false => None,
        };
        Ok(Watched {
            // PostgreSQL has no unsigned type for it.
            system_id: SystemId(row.get::<_, i64>(10).cast_unsigned()),
            in_recovery: row.get(0),
            archives: row.get(1),
            lsn: lsn.map(|lsn| parse(&lsn, ACTION)).transpose()?,
            archived: file(3)?,
            failed: file(5)?,
            failures: row.get::<_, i64>(7).cast_unsigned(),
            counts_since: time(row.get(8), ACTION)?,
            waiting,
        })
    }

    /// The slot of this name; `None` where there is none.
    pub fn slot(&mut self, name: &str) -> Result<Option<Slot>, SessionError> {
        let rows = self.client.query(
            "SELECT active, wal_status IS NOT DISTINCT FROM 'lost', \
                    greatest(coalesce(pg_wal_lsn_diff( \
                        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() \
                             ELSE pg_current_wal_lsn() END, restart_lsn), 0), 0)::bigint \
             FROM pg_replication_slots WHERE slot_name = $1",
            &[&name],
        );
        let rows = rows.map_err(SessionError::statement("look at the replication slot"))?;
        Ok(rows.first().map(|row| Slot {
            active: row.get(0),
            lost: row.get(1),
            kept: row.get::<_, i64>(2).cast_unsigned(),
        }))
    }

    /// What waits for the archiver.
    pub(super) fn waiting(&mut self) -> Result<Waiting, SessionError> {
        const ACTION: &str = "count what waits for the archiver";
        let ready = "SELECT count(*), extract(epoch FROM min(modification))::float8 \
                     FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
        let row = self.client.query_one(ready, &[]);
        let row = row.map_err(SessionError::statement(ACTION))?;
        let oldest: Option<f64> = row.get(1);
        Ok(Waiting {
            files: row.get::<_, i64>(0).cast_unsigned(),
            oldest: oldest.map(|seconds| time(seconds, ACTION)).transpose()?,
        })
    }
}

/// Seconds since 1970, as the server has them, to the microsecond.
fn time(seconds: f64, action: &'static str) -> Result<Timestamp, SessionError> {
    Timestamp::from_microsecond((seconds * 1e6) as i64)
        .map_err(|error| SessionError::answer(action, &error))
}
