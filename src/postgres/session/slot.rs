//! What streaming by a physical replication slot asks for.

use super::{Session, SessionError, parse};
use crate::postgres::{Lsn, SegmentName};

impl Session {
    /// Drops a slot that nobody uses.
    pub fn drop_slot(&mut self, name: &str) -> Result<(), SessionError> {
        let dropped = "SELECT pg_drop_replication_slot($1)";
        let dropped = self.client.execute(dropped, &[&name]);
        let failed = SessionError::statement("drop the replication slot");
        dropped.map(drop).map_err(failed)
    }

    /// Whether the server has removed a segment that it had, on whatever
    /// timeline. False where it has not come to it yet.
    pub fn has_removed(&mut self, segment: SegmentName, start: Lsn) -> Result<bool, SessionError> {
        const ACTION: &str = "look for a segment in pg_wal";
        let row = self.client.query_one(
            "SELECT (CASE WHEN pg_is_in_recovery() \
                          THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
                          ELSE pg_current_wal_lsn() END)::text, \
                    EXISTS (SELECT FROM pg_ls_waldir() WHERE right(name, 16) = $1)",
            &[&&segment.to_string()[8..]],
        );
        let row = row.map_err(SessionError::statement(ACTION))?;
        let written: Lsn = parse(row.get(0), ACTION)?;
        Ok(written > start && !row.get::<_, bool>(1))
    }
}
