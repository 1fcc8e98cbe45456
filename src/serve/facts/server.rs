//! The server, in one short visit. Blocks.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use crate::{
    config::Cluster,
    postgres::session::{Session, SessionError, Waiting, Watched},
};

/// How long the server may take to let us in, and for each answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The server, as far as it lets itself be asked.
#[derive(Debug, Clone)]
pub enum Server {
    /// It answered.
    Answers(Watched),
    /// It did not.
    Silent {
        /// Why, with where it was asked.
        reason: String,
        /// Whether it is there, and lets nobody in by this name.
        refuses: bool,
        /// Whether the configuration says where it is: then it should answer.
        expected: bool,
    },
}

impl Server {
    /// Asks it, and looks at what waits for its archiver.
    pub(super) fn ask(cluster: &Cluster) -> (Self, Option<Waiting>) {
        let server = match visit(cluster) {
            Ok(watched) => Server::Answers(watched),
            Err(error) => Server::Silent {
                refuses: error.is_refusal(),
                reason: error.to_string(),
                expected: cluster.is_named,
            },
        };
        let seen = match &server {
            Server::Answers(watched) => watched.waiting,
            Server::Silent { .. } => None,
        };
        let waiting = seen.or_else(|| waiting(cluster.data_directory.as_deref()?));
        (server, waiting)
    }
}

fn visit(cluster: &Cluster) -> Result<Watched, SessionError> {
    let mut session = Session::connect_within(&cluster.connection, PATIENCE)?;
    session.limit(PATIENCE)?;
    session.watch()
}

/// `pg_wal/archive_status/*.ready`, where this process may look.
fn waiting(data_directory: &Path) -> Option<Waiting> {
    let mut waiting = Waiting {
        files: 0,
        oldest: None,
    };
    for entry in std::fs::read_dir(data_directory.join("pg_wal/archive_status")).ok()? {
        let entry = entry.ok()?;
        if !entry.file_name().as_encoded_bytes().ends_with(b".ready") {
            continue;
        }
        waiting.files += 1;
        let since = entry.metadata().and_then(|it| it.modified()).ok();
        let since = since.and_then(|since| Timestamp::try_from(since).ok());
        waiting.oldest = waiting.oldest.into_iter().chain(since).min();
    }
    Some(waiting)
}
