//! A session with the server: every statement that walkeep sends stands here.
//! PostgreSQL 13 to 18. It blocks, and is not for use inside a tokio runtime.

mod backup;
mod checks;
mod slot;
mod watch;

use std::{
    collections::BTreeMap,
    error::Error as _,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

use ::postgres::{Client, Config, NoTls, config::Host};

use super::{Lsn, SegmentSize, SystemId};

pub use backup::{StartedBackup, StoppedBackup};
pub use checks::Examined;
pub use watch::{Slot, Waiting, Watched};

/// How long a connection may take, where the connection string does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take to read its configuration again.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the server.
pub struct Session {
    client: Client,
}

/// Which cluster the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// `pg_control_system()`.
    pub system_id: SystemId,
    /// `wal_segment_size`.
    pub segment_size: SegmentSize,
    /// `server_version_num` / 10000.
    pub major: u32,
    /// `data_directory`; none where the session may not see it.
    pub data_directory: Option<PathBuf>,
    /// Whether it is a standby, or still recovers.
    pub in_recovery: bool,
}

/// A setting as it works now (`pg_settings`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value in its base unit. `archive_command` is shown as
    /// `(disabled)` while `archive_mode` is off.
    pub value: String,
    /// Where it comes from: `default`, `configuration file`, `command line`…
    pub source: String,
    /// The file it comes from, if it does and the session may see it.
    pub file: Option<PathBuf>,
    /// Whether a restart is needed for what the files say.
    pub pending_restart: bool,
}

/// A line of a configuration file (`pg_file_settings`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSetting {
    /// The setting's name.
    pub name: String,
    /// The value as it is written.
    pub value: String,
    /// The file.
    pub file: PathBuf,
}

impl FileSetting {
    /// Whether `ALTER SYSTEM` wrote it.
    pub fn is_auto(&self) -> bool {
        self.file.ends_with("postgresql.auto.conf")
    }
}

/// What the archiver has done (`pg_stat_archiver`).
#[derive(Debug, Clone, PartialEq)]
pub struct Archiver {
    /// Files archived since the statistics began.
    pub archived: u64,
    /// Failures since then.
    pub failed: u64,
    /// The last file archived.
    pub last_archived: Option<String>,
    /// The file that failed last.
    pub last_failed: Option<String>,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// Since when the statistics count, in seconds.
    pub counted_for: f64,
    /// Files that wait for the archiver (`archive_status/*.ready`); none
    /// where the session may not see it.
    pub waiting: Option<u64>,
}

/// Why the server did not answer. Never says a password.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// `cluster.connection` is no connection string.
    #[error("cluster.connection is not a connection string: {0}")]
    Connection(String),
    /// There is no server, or it does not let us in.
    #[error("connect to PostgreSQL ({target}): {reason}")]
    Connect {
        /// Host, port, user and database.
        target: String,
        /// The cause.
        reason: String,
        /// Whether it answers, and lets nobody in by this name.
        refused: bool,
    },
    /// A statement failed.
    #[error("{action}: {reason}")]
    Statement {
        /// What it was for, as a verb phrase.
        action: &'static str,
        /// The cause.
        reason: String,
    },
}

impl SessionError {
    fn statement(action: &'static str) -> impl Fn(::postgres::Error) -> Self {
        move |error| SessionError::Statement {
            action,
            reason: describe(&error),
        }
    }

    /// Whether there is a server that knows us not, and will not in a while.
    pub fn is_refusal(&self) -> bool {
        matches!(self, SessionError::Connect { refused: true, .. })
    }

    fn answer(action: &'static str, error: &dyn fmt::Display) -> Self {
        SessionError::Statement {
            action,
            reason: format!("the answer makes no sense: {error}"),
        }
    }
}

impl Session {
    /// Connects by a libpq connection string, without TLS: the server is on
    /// this host, or on a network that needs none.
    pub fn connect(connection: &str) -> Result<Self, SessionError> {
        Self::connect_within(connection, CONNECT_TIMEOUT)
    }

    /// As [`connect`](Self::connect), with another time-out where the
    /// connection string has none.
    pub fn connect_within(connection: &str, patience: Duration) -> Result<Self, SessionError> {
        let mut config = Config::from_str(connection)
            .map_err(|error| SessionError::Connection(describe(&error)))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(patience);
        }
        if config.get_application_name().is_none() {
            config.application_name("walkeep");
        }
        let failed = |error: ::postgres::Error| SessionError::Connect {
            target: target(&config),
            reason: describe(&error),
            // Class 28, and "database does not exist".
            refused: error
                .code()
                .is_some_and(|code| code.code().starts_with("28") || code.code() == "3D000"),
        };
        let mut client = config.connect(NoTls).map_err(failed)?;
        client
            .batch_execute(
                "SET search_path = pg_catalog; SET standard_conforming_strings = on; \
                 SET statement_timeout = '60s'",
            )
            .map_err(SessionError::statement("prepare the session"))?;
        Ok(Session { client })
    }

    /// Which cluster this is.
    pub fn identity(&mut self) -> Result<ServerIdentity, SessionError> {
        const ACTION: &str = "ask which cluster this is";
        let row = self
            .client
            .query_one(
                "SELECT (SELECT system_identifier FROM pg_control_system()), \
                        (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'), \
                        current_setting('server_version_num')::integer / 10000, \
                        (SELECT setting FROM pg_settings WHERE name = 'data_directory'), \
                        pg_is_in_recovery()",
                &[],
            )
            .map_err(SessionError::statement(ACTION))?;
        let (id, size, major): (i64, i64, i32) = (row.get(0), row.get(1), row.get(2));
        let wrong = |error: &dyn fmt::Display| SessionError::answer(ACTION, error);
        Ok(ServerIdentity {
            // PostgreSQL has no unsigned type for it.
            system_id: SystemId(id.cast_unsigned()),
            segment_size: SegmentSize::new(size.cast_unsigned()).map_err(|error| wrong(&error))?,
            major: u32::try_from(major).map_err(|error| wrong(&error))?,
            data_directory: row.get::<_, Option<String>>(3).map(PathBuf::from),
            in_recovery: row.get(4),
        })
    }

    /// These settings as they work now. A name that this server does not know
    /// is left out.
    pub fn settings(&mut self, names: &[&str]) -> Result<BTreeMap<String, Setting>, SessionError> {
        let rows = self.client.query(
            "SELECT name, setting, source, sourcefile, pending_restart \
             FROM pg_settings WHERE name = ANY($1)",
            &[&names],
        );
        let rows = rows.map_err(SessionError::statement("read the settings"))?;
        let setting = |row: &::postgres::Row| Setting {
            value: row.get::<_, Option<String>>(1).unwrap_or_default(),
            source: row.get(2),
            file: row.get::<_, Option<String>>(3).map(PathBuf::from),
            pending_restart: row.get(4),
        };
        Ok(rows.iter().map(|row| (row.get(0), setting(row))).collect())
    }

    /// What the configuration files say of these settings; the last line of
    /// each wins.
    pub fn file_settings(&mut self, names: &[&str]) -> Result<Vec<FileSetting>, SessionError> {
        let rows = self.client.query(
            "SELECT name, setting, sourcefile FROM pg_file_settings \
             WHERE name = ANY($1) ORDER BY seqno",
            &[&names],
        );
        let rows = rows.map_err(SessionError::statement("read the configuration files"))?;
        let setting = |row: &::postgres::Row| FileSetting {
            name: row.get(0),
            value: row.get::<_, Option<String>>(1).unwrap_or_default(),
            file: row.get::<_, Option<String>>(2).unwrap_or_default().into(),
        };
        Ok(rows.iter().map(setting).collect())
    }

    /// The main configuration file.
    pub fn config_file(&mut self) -> Result<PathBuf, SessionError> {
        const ACTION: &str = "ask for the configuration file";
        let row = self.client.query_one("SHOW config_file", &[]);
        let row = row.map_err(SessionError::statement(ACTION))?;
        Ok(row.get::<_, String>(0).into())
    }

    /// `ALTER SYSTEM`: sets, or without a value resets. Works after a reload,
    /// or a restart.
    pub fn alter_system(&mut self, name: &str, value: Option<&str>) -> Result<(), SessionError> {
        let name = format!("\"{}\"", name.replace('"', "\"\""));
        let statement = match value {
            Some(value) => format!("ALTER SYSTEM SET {name} = '{}'", value.replace('\'', "''")),
            None => format!("ALTER SYSTEM RESET {name}"),
        };
        self.client
            .batch_execute(&statement)
            .map_err(SessionError::statement("change the settings"))
    }

    /// Makes the server read its configuration again, and waits until this
    /// session sees the new one.
    pub fn reload(&mut self) -> Result<(), SessionError> {
        const ACTION: &str = "make the server read its configuration again";
        let failed = SessionError::statement(ACTION);
        let loaded = "SELECT pg_conf_load_time()::text";
        let before: String = self.client.query_one(loaded, &[]).map_err(&failed)?.get(0);
        self.client
            .query_one("SELECT pg_reload_conf()", &[])
            .map_err(&failed)?;
        let begun = Instant::now();
        while self
            .client
            .query_one(loaded, &[])
            .map_err(&failed)?
            .get::<_, String>(0)
            == before
        {
            if begun.elapsed() > RELOAD_TIMEOUT {
                let reason = format!("nothing happened for {RELOAD_TIMEOUT:?}");
                return Err(SessionError::Statement {
                    action: ACTION,
                    reason,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What the archiver has done.
    pub fn archiver(&mut self) -> Result<Archiver, SessionError> {
        const ACTION: &str = "ask how archiving goes";
        let failed = SessionError::statement(ACTION);
        let row = self
            .client
            .query_one(
                "SELECT archived_count, failed_count, last_archived_wal, last_failed_wal, \
                        coalesce(last_failed_time > last_archived_time, \
                                 last_failed_time IS NOT NULL), \
                        coalesce(extract(epoch FROM now() - stats_reset), 0)::float8, \
                        has_function_privilege('pg_ls_archive_statusdir()', 'execute') \
                 FROM pg_stat_archiver",
                &[],
            )
            .map_err(&failed)?;
        let waiting = match row.get(6) {
            true => Some(self.waiting()?.files),
            false => None,
        };
        Ok(Archiver {
            archived: row.get::<_, i64>(0).cast_unsigned(),
            failed: row.get::<_, i64>(1).cast_unsigned(),
            last_archived: row.get(2),
            last_failed: row.get(3),
            failing: row.get(4),
            counted_for: row.get(5),
            waiting,
        })
    }

    /// Completes the current segment, though it be empty, and returns its
    /// name.
    pub fn switch_wal(&mut self) -> Result<String, SessionError> {
        let failed = SessionError::statement("switch to the next segment");
        // A record of no meaning: without one there may be nothing to switch
        // from, and the name would be that of a segment archived before.
        let message = "SELECT pg_logical_emit_message(false, 'walkeep', 'check')";
        self.client.query_one(message, &[]).map_err(&failed)?;
        let switch = "SELECT pg_walfile_name(pg_switch_wal())";
        Ok(self.client.query_one(switch, &[]).map_err(&failed)?.get(0))
    }
}

/// Whom a connection string connects as, and to which database; `postgres`
/// where it does not say.
pub fn user_and_database(connection: &str) -> (String, String) {
    let parsed = Config::from_str(connection).ok();
    let said = |part: Option<&str>| part.unwrap_or("postgres").to_owned();
    (
        said(parsed.as_ref().and_then(Config::get_user)),
        said(parsed.as_ref().and_then(Config::get_dbname)),
    )
}

/// A connection string for a program of PostgreSQL's, which everybody sees
/// among its arguments, and the password, which nobody may.
pub fn without_password(connection: &str) -> (String, Option<String>) {
    let Ok(config) = Config::from_str(connection) else {
        return (connection.to_owned(), None);
    };
    let Some(password) = config.get_password() else {
        return (connection.to_owned(), None);
    };
    let quoted = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        format!("{key}='{value}'")
    };
    let host = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let join = |parts: Vec<String>| (!parts.is_empty()).then(|| parts.join(","));
    let hosts = join(config.get_hosts().iter().map(host).collect());
    let ports = join(config.get_ports().iter().map(u16::to_string).collect());
    let parts = [
        hosts.map(|hosts| format!("host={hosts}")),
        ports.map(|ports| format!("port={ports}")),
        config.get_user().map(|user| format!("user={user}")),
    ];
    let parts: Vec<String> = parts.iter().flatten().map(|part| quoted(part)).collect();
    let password = String::from_utf8_lossy(password).into_owned();
    (parts.join(" "), Some(password))
}

/// A value that came as text.
fn parse<T: FromStr<Err: fmt::Display>>(
    text: &str,
    action: &'static str,
) -> Result<T, SessionError> {
    text.parse()
        .map_err(|error: T::Err| SessionError::answer(action, &error))
}

/// The host's socket, or address, without what must not be shown.
fn target(config: &Config) -> String {
    let host = |host: &Host| match host {
        Host::Tcp(name) => format!("host={name}"),
        Host::Unix(path) => format!("host={}", Path::display(path)),
    };
    let mut parts: Vec<String> = config.get_hosts().iter().map(host).collect();
    parts.extend(config.get_ports().iter().map(|port| format!("port={port}")));
    parts.extend(config.get_user().map(|user| format!("user={user}")));
    parts.extend(config.get_dbname().map(|name| format!("dbname={name}")));
    parts.join(" ")
}

/// What the server says, or the whole chain of causes.
fn describe(error: &::postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let hint = said.hint().map(|hint| format!(" ({hint})"));
        return format!("{}{}", said.message(), hint.unwrap_or_default());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_among_the_arguments() {
        let plain = "host=/run/postgresql user=postgres sslmode=prefer";
        assert_eq!(without_password(plain), (plain.to_owned(), None));
        let with = "host=10.0.0.1 port=5433 user=o\\'b password='x y' dbname=postgres";
        let (connection, password) = without_password(with);
        assert_eq!(connection, "host='10.0.0.1' port='5433' user='o\\'b'");
        assert_eq!(password.as_deref(), Some("x y"));
    }
}
