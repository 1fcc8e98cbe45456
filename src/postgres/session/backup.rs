//! The statements of a base backup, which stand in one session from its start
//! to its end ("Making a non-exclusive low-level backup").

use std::path::PathBuf;

use jiff::Timestamp;

use super::{Session, SessionError, parse};
use crate::postgres::{Lsn, SegmentName};

/// What the server says when a base backup begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedBackup {
    /// Where replay will begin.
    pub start_lsn: Lsn,
    /// The server's time right after the call.
    pub time: Timestamp,
    /// Whether pages have checksums.
    pub data_checksums: bool,
    /// Bytes in a page.
    pub block_size: u32,
}

/// What the server says when a base backup ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedBackup {
    /// Where the cluster will be consistent.
    pub stop_lsn: Lsn,
    /// The server's time right after the call.
    pub time: Timestamp,
    /// `pg_snapshot_xmax` after the call; none where nobody asked then.
    pub xmax: Option<u64>,
    /// The text of `backup_label`.
    pub label: String,
    /// The text of `tablespace_map`; empty without tablespaces.
    pub tablespace_map: String,
}

impl Session {
    /// Begins a base backup: waits for a checkpoint, made at once. It ends with
    /// this session, if not by [`stop_backup`](Self::stop_backup).
    pub fn start_backup(&mut self, label: &str) -> Result<StartedBackup, SessionError> {
        let failed = SessionError::statement("begin the base backup");
        // The checkpoint takes as long as the disks do.
        self.client
            .batch_execute("SET statement_timeout = 0")
            .map_err(&failed)?;
        let (start, arguments) = match self.major()? {
            ..15 => ("pg_start_backup", "$1, true, false"),
            _ => ("pg_backup_start", "$1, true"),
        };
        let statement = format!(
            "SELECT {start}({arguments})::text, \
                    (SELECT setting = 'on' FROM pg_settings WHERE name = 'data_checksums'), \
                    (SELECT setting::integer FROM pg_settings WHERE name = 'block_size')"
        );
        let row = self.client.query_one(&statement, &[&label]);
        let row = row.map_err(&failed)?;
        let lsn: String = row.get(0);
        let block_size: i32 = row.get(2);
        Ok(StartedBackup {
            start_lsn: parse(&lsn, "begin the base backup")?,
            time: self.time()?,
            data_checksums: row.get(1),
            block_size: block_size.cast_unsigned(),
        })
    }

    /// Ends the base backup that this session began. Does not wait for the WAL
    /// to be archived.
    pub fn stop_backup(&mut self) -> Result<StoppedBackup, SessionError> {
        const ACTION: &str = "end the base backup";
        let failed = SessionError::statement(ACTION);
        let stop = match self.major()? {
            ..15 => "pg_stop_backup(false, false)",
            _ => "pg_backup_stop(false)",
        };
        let statement = format!("SELECT lsn::text, labelfile, spcmapfile FROM {stop}");
        let row = self.client.query_one(&statement, &[]).map_err(&failed)?;
        let lsn: String = row.get(0);
        let xmax = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
        let xmax: String = self.client.query_one(xmax, &[]).map_err(&failed)?.get(0);
        Ok(StoppedBackup {
            stop_lsn: parse(&lsn, ACTION)?,
            time: self.time()?,
            xmax: Some(parse(&xmax, ACTION)?),
            label: row.get(1),
            tablespace_map: row.get(2),
        })
    }

    /// Every configuration file in use, and the setting that names it; none for
    /// one that another includes.
    pub fn configuration_files(&mut self) -> Result<Vec<(PathBuf, Option<String>)>, SessionError> {
        let rows = self.client.query(
            "SELECT setting, name FROM pg_settings \
             WHERE name IN ('config_file', 'hba_file', 'ident_file') AND setting <> '' \
             UNION ALL SELECT DISTINCT sourcefile, NULL FROM pg_file_settings \
             WHERE sourcefile <> current_setting('config_file')",
            &[],
        );
        let rows = rows.map_err(SessionError::statement("ask for the configuration files"))?;
        let path = |row: &::postgres::Row| PathBuf::from(row.get::<_, String>(0));
        Ok(rows.iter().map(|row| (path(row), row.get(1))).collect())
    }

    /// The segment that is being written; its name has the server's timeline.
    /// Not of a server that recovers.
    pub fn current_segment(&mut self) -> Result<SegmentName, SessionError> {
        const ACTION: &str = "ask for the segment that is being written";
        let name = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())";
        let row = self.client.query_one(name, &[]);
        let name: String = row.map_err(SessionError::statement(ACTION))?.get(0);
        parse(&name, ACTION)
    }

    /// How far WAL is flushed, on a primary, or replayed, on a standby.
    pub fn wal_position(&mut self) -> Result<Lsn, SessionError> {
        const ACTION: &str = "ask for the position in the WAL";
        let row = self.client.query_one(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                     ELSE pg_current_wal_flush_lsn() END)::text",
            &[],
        );
        let text: String = row.map_err(SessionError::statement(ACTION))?.get(0);
        parse(&text, ACTION)
    }

    /// The server's clock.
    fn time(&mut self) -> Result<Timestamp, SessionError> {
        const ACTION: &str = "ask for the server's time";
        let now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', \
                                  'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let row = self.client.query_one(now, &[]);
        let text: String = row.map_err(SessionError::statement(ACTION))?.get(0);
        parse(&text, ACTION)
    }

    fn major(&mut self) -> Result<i32, SessionError> {
        let version = "SELECT current_setting('server_version_num')::integer / 10000";
        let row = self.client.query_one(version, &[]);
        let failed = SessionError::statement("ask for the server's version");
        Ok(row.map_err(failed)?.get(0))
    }
}
