//! The server, in one short visit. Blocks.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::SlotFacts;

use crate::{
    config::Config,
    postgres::{
        SystemId,
        session::{Session, SessionError, Waiting, Watched},
    },
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
    /// `bound` is the cluster that the archive is of.
    pub(super) fn ask(
        config: &Config,
        bound: Option<SystemId>,
    ) -> (Self, Option<Waiting>, Option<SlotFacts>) {
        let cluster = &config.cluster;
        let (server, slot) = match visit(config) {
            Ok((watched, _)) if bound.is_some_and(|bound| bound != watched.system_id) => {
                let silent = Server::Silent {
                    refuses: false,
                    reason: format!(
                        "the server that answers runs another cluster ({}) than the one that this \
                         archive is bound to",
                        watched.system_id
                    ),
                    expected: cluster.is_named,
                };
                (silent, None)
            }
            Ok((watched, slot)) => (Server::Answers(watched), slot),
            Err(error) => {
                let silent = Server::Silent {
                    refuses: error.is_refusal(),
                    reason: error.to_string(),
                    expected: cluster.is_named,
                };
                (silent, None)
            }
        };
        let seen = match &server {
            Server::Answers(watched) => watched.waiting,
            Server::Silent { .. } => None,
        };
        let waiting = seen.or_else(|| waiting(cluster.data_directory.as_deref()?));
        (server, waiting, slot)
    }
}

fn visit(config: &Config) -> Result<(Watched, Option<SlotFacts>), SessionError> {
    let mut session = Session::connect_within(&config.cluster.connection, PATIENCE)?;
    session.limit(PATIENCE)?;
    let watched = session.watch()?;
    let stream = &config.stream;
    let slot = match stream.enabled {
        true => Some(SlotFacts {
            name: stream.slot.clone(),
            state: session.slot(&stream.slot)?,
        }),
        false => None,
    };
    Ok((watched, slot))
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
