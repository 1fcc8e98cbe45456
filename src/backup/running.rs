//! The marker of a backup that is being made: `backup/ID/running.json`. While
//! it is fresh, `prune` on whatever host leaves alone what the backup might
//! use.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    sys::signal::kill,
    unistd::{Pid, gethostname},
};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    archive::place::Place,
    layout::{BackupId, Generation, Key},
    store::{Body, StoreError},
};

/// How often the marker is written again.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// A marker that is older than this is a dead backup's.
pub const STALE: Duration = Duration::from_secs(15 * 60);

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// 1.
    pub format: u32,
    /// The host that makes it.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// When it began.
    pub started: Timestamp,
    /// When the marker was written.
    pub heartbeat: Timestamp,
    /// The backup whose blocks are used again.
    pub based_on: Option<BackupId>,
}

impl Running {
    /// This process, at `now`.
    pub fn here(now: Timestamp, based_on: Option<BackupId>) -> Self {
        Running {
            format: 1,
            host: host(),
            pid: std::process::id(),
            started: now,
            heartbeat: now,
            based_on,
        }
    }

    /// Whether the backup is taken to be alive at `now`. Of this host's own
    /// processes it is known.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.heartbeat);
        let stale = STALE.try_into().unwrap_or_default();
        age < stale && !(self.host == host() && is_dead(self.pid))
    }
}

fn host() -> String {
    let host = gethostname().unwrap_or_default();
    host.to_string_lossy().into_owned()
}

fn is_dead(pid: u32) -> bool {
    let pid = pid.try_into().ok().map(Pid::from_raw);
    pid.is_some_and(|pid| kill(pid, None) == Err(Errno::ESRCH))
}

/// Keeps a marker fresh in several stores, until it is dropped.
pub struct Heart(JoinHandle<()>);

impl Heart {
    /// Begins with the marker that is there, written by [`write`].
    pub fn start(
        runtime: &Handle,
        places: Vec<Place>,
        (generation, id): (Generation, BackupId),
        running: Running,
    ) -> Self {
        let places = Arc::new(places);
        Heart(runtime.spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                let running = Running {
                    heartbeat: Timestamp::now(),
                    ..running.clone()
                };
                for place in places.iter() {
                    // A store that is down for long loses this backup anyway.
                    if let Err(error) = write(place, generation, id, &running).await {
                        tracing::debug!("say that the backup is alive: {error}");
                    }
                }
            }
        }))
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes the marker of backup `id`, over the one that is there.
pub async fn write(
    place: &Place,
    generation: Generation,
    id: BackupId,
    running: &Running,
) -> Result<(), StoreError> {
    let key = place.layout.key(Key::Running(generation, id));
    // Strings and numbers alone: there is nothing that JSON cannot hold.
    let text = serde_json::to_vec_pretty(running).unwrap_or_default();
    place.store.replace(&key, &Body::of(text), &[]).await
}

/// Reads the marker of backup `id`; none where there is none, or it makes no
/// sense.
pub async fn read(
    place: &Place,
    generation: Generation,
    id: BackupId,
) -> Result<Option<Running>, StoreError> {
    let key = place.layout.key(Key::Running(generation, id));
    let bytes = place.store.get_range(&key, 0..1 << 16).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}
