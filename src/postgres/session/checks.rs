//! What a drill asks a recovered cluster.

use std::time::Duration;

use ::postgres::SimpleQueryMessage;
use jiff::Timestamp;

use super::{Session, SessionError, parse};

/// How much of an answer is kept, in characters.
const LONGEST: usize = 2000;

/// What `amcheck` examined in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// B-tree indexes.
    pub indexes: u64,
    /// Tables, materialized views and their TOAST tables; from PostgreSQL 14
    /// on.
    pub tables: u64,
    /// What is wrong, each with its relation.
    pub wrong: Vec<String>,
}

impl Session {
    /// Makes the session one as anybody has it, whose statements may take so
    /// long each.
    pub fn for_checks(&mut self, longest: Duration) -> Result<(), SessionError> {
        // 0 would be no limit.
        let longest = longest.as_millis().clamp(1, i32::MAX as u128);
        let statement = format!("RESET search_path; SET statement_timeout = {longest}");
        let set = self.client.batch_execute(&statement);
        set.map_err(SessionError::statement("prepare the session"))
    }

    /// What the cluster answers to `sql`, one statement or several: rows as
    /// `psql -At` prints them, cut where it is long.
    pub fn answer_to(&mut self, sql: &str) -> Result<String, SessionError> {
        let messages = self.client.simple_query(sql);
        let messages = messages.map_err(SessionError::statement("run the check"))?;
        let mut answer = String::new();
        for message in messages {
            let SimpleQueryMessage::Row(row) = message else {
                continue;
            };
            if !answer.is_empty() {
                answer.push('\n');
            }
            let columns = (0..row.len()).map(|column| row.get(column).unwrap_or_default());
            answer.push_str(&columns.collect::<Vec<_>>().join("|"));
            if let Some((end, _)) = answer.char_indices().nth(LONGEST) {
                answer.truncate(end);
                answer.push('…');
                break;
            }
        }
        Ok(answer)
    }

    /// When the last transaction ended that recovery has replayed; `None`
    /// where there was none.
    pub fn last_replayed(&mut self) -> Result<Option<Timestamp>, SessionError> {
        const ACTION: &str = "ask for the last transaction that was replayed";
        // Whatever this server's time zone is.
        let time = "SELECT to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', \
                    'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let row = self.client.query_one(time, &[]);
        let row = row.map_err(SessionError::statement(ACTION))?;
        let text: Option<String> = row.get(0);
        text.map(|text| parse(&text, ACTION)).transpose()
    }

    /// The role that made the cluster, which may do everything.
    pub fn superuser(&mut self) -> Result<String, SessionError> {
        // `BOOTSTRAP_SUPERUSERID` (pg_authid.dat).
        let row = self
            .client
            .query_one("SELECT rolname::text FROM pg_roles WHERE oid = 10", &[]);
        let row = row.map_err(SessionError::statement("ask who made the cluster"))?;
        Ok(row.get(0))
    }

    /// The databases that let somebody in, but for templates.
    pub fn databases(&mut self) -> Result<Vec<String>, SessionError> {
        let rows = self.client.query(
            "SELECT datname::text FROM pg_database \
             WHERE datallowconn AND NOT datistemplate ORDER BY 1",
            &[],
        );
        let rows = rows.map_err(SessionError::statement("ask for the databases"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Examines every B-tree index and every table of this database by the
    /// extension `amcheck`; `None` where that is not installed on this host.
    /// Makes the extension where the database has not got it. `go_on`: asked
    /// before each relation.
    pub fn amcheck(&mut self, go_on: &dyn Fn() -> bool) -> Result<Option<Examined>, SessionError> {
        let failed = || SessionError::statement("prepare amcheck");
        let available = "SELECT FROM pg_available_extensions WHERE name = 'amcheck'";
        if self
            .client
            .query(available, &[])
            .map_err(failed())?
            .is_empty()
        {
            return Ok(None);
        }
        let schema = "SELECT quote_ident(nspname) FROM pg_extension \
                      JOIN pg_namespace ON pg_namespace.oid = extnamespace \
                      WHERE extname = 'amcheck'";
        let known = self.client.query_opt(schema, &[]).map_err(failed())?;
        if known.is_none() {
            let make = "CREATE SCHEMA walkeep_drill; CREATE EXTENSION amcheck SCHEMA walkeep_drill";
            self.client.batch_execute(make).map_err(failed())?;
        }
        let row = self.client.query_one(schema, &[]).map_err(failed())?;
        let schema: String = row.get(0);

        let mut examined = Examined::default();
        // As `bt_index_check` asks for them, and what pg_amcheck looks at.
        let indexes = "SELECT c.oid, c.oid::regclass::text FROM pg_class c \
                       JOIN pg_index i ON i.indexrelid = c.oid \
                       JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree' \
                       WHERE c.relkind = 'i' AND c.relpersistence = 'p' \
                       AND i.indisvalid AND i.indisready ORDER BY 2";
        let check = format!("SELECT {schema}.bt_index_check($1::oid::regclass)");
        examined.indexes = self.each(indexes, &check, go_on, &mut examined.wrong)?;
        // From 14 on.
        let verify = "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                      WHERE proname = 'verify_heapam' AND quote_ident(nspname) = $1";
        if !self
            .client
            .query(verify, &[&schema])
            .map_err(failed())?
            .is_empty()
        {
            let tables = "SELECT c.oid, c.oid::regclass::text FROM pg_class c \
                          JOIN pg_am a ON a.oid = c.relam AND a.amname = 'heap' \
                          WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' \
                          ORDER BY 2";
            let check = format!(
                "SELECT format('block %s: %s', blkno, msg) \
                 FROM {schema}.verify_heapam($1::oid::regclass, on_error_stop := true)"
            );
            examined.tables = self.each(tables, &check, go_on, &mut examined.wrong)?;
        }
        Ok(Some(examined))
    }

    /// Runs `check` on each of `relations`; what it raises, or returns as
    /// text, is wrong with it. Returns how many there were.
    fn each(
        &mut self,
        relations: &str,
        check: &str,
        go_on: &dyn Fn() -> bool,
        wrong: &mut Vec<String>,
    ) -> Result<u64, SessionError> {
        let failed = SessionError::statement("list what amcheck examines");
        let relations = self.client.query(relations, &[]).map_err(failed)?;
        let check = self.client.prepare(check);
        let check = check.map_err(SessionError::statement("prepare amcheck"))?;
        let mut seen = 0;
        for relation in relations {
            if !go_on() {
                break;
            }
            let (oid, name): (u32, String) = (relation.get(0), relation.get(1));
            match self.client.query(&check, &[&oid]) {
                Ok(rows) => {
                    let said = rows
                        .iter()
                        .filter_map(|row| row.try_get::<_, String>(0).ok());
                    wrong.extend(said.map(|said| format!("{name}: {said}")));
                }
                Err(error) if error.as_db_error().is_some() => {
                    wrong.push(format!("{name}: {}", super::describe(&error)));
                }
                Err(error) => return Err(SessionError::statement("examine a relation")(error)),
            }
            seen += 1;
        }
        Ok(seen)
    }
}
