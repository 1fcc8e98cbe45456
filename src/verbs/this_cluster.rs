//! The cluster that the configuration means: asked, or read from its files.

use crate::{
    cluster::{self, Identity},
    config::{Config, ConfigError},
    postgres::session::{Session, SessionError},
};

/// This host's cluster.
pub(super) struct ThisCluster {
    /// Which one it is.
    pub(super) identity: Identity,
    /// A session with its server, where that answers.
    pub(super) session: Result<Session, SessionError>,
    /// Whether it is a standby; unknown, and false, where it does not answer.
    pub(super) in_recovery: bool,
}

impl ThisCluster {
    /// Asks the server, or reads the data directory where that does not
    /// answer. Not inside a tokio runtime.
    pub(super) fn find(config: &Config) -> anyhow::Result<Self> {
        let data = config.cluster.data_directory.as_deref();
        let mut session = match Session::connect(&config.cluster.connection) {
            Ok(session) => session,
            Err(error) => {
                let Some(data) = data else {
                    anyhow::bail!(
                        "{error}; start the server, correct cluster.connection, or name its data \
                         directory in cluster.data_directory"
                    );
                };
                return Ok(ThisCluster {
                    identity: cluster::read_identity(data)?,
                    session: Err(error),
                    in_recovery: false,
                });
            }
        };
        let server = session.identity()?;
        // Two servers on one host, and the connection of the other one.
        let on_disk = data.and_then(|data| cluster::read_identity(data).ok());
        if let Some((on_disk, data)) = on_disk.zip(data)
            && on_disk.system_id != server.system_id
        {
            let problem = format!(
                "the server there runs the cluster {}, and \"{}\" holds {}: correct one of the two",
                server.system_id,
                data.display(),
                on_disk.system_id
            );
            let place = "cluster.connection and cluster.data_directory".to_owned();
            return Err(ConfigError::Value { place, problem }.into());
        }
        Ok(ThisCluster {
            identity: Identity {
                system_id: server.system_id,
                segment_size: server.segment_size,
                postgres_major: server.major,
            },
            session: Ok(session),
            in_recovery: server.in_recovery,
        })
    }
}
