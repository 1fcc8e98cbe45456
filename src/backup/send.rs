//! Objects of a backup on their way to every store at once. A store that fails
//! is left out from then on; the others get the backup all the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
};

use crate::{
    archive::{pace::Pace, place::Place},
    layout::Key,
    store::{Body, Put, StoreError, StoreName},
};

/// How many objects are on their way at once.
const AT_ONCE: usize = 4;

/// An object to be stored.
pub struct Upload {
    /// What it is.
    pub key: Key,
    /// Its bytes.
    pub body: Body,
    /// The memory that they take, given back when they are stored.
    pub memory: Option<OwnedSemaphorePermit>,
}

/// Sends to every store that has not failed. Clones send for the same backup.
#[derive(Clone)]
pub struct Senders(Arc<Inner>);

struct Inner {
    places: Vec<Place>,
    pace: Pace,
    failed: Mutex<BTreeMap<StoreName, Failure>>,
}

/// Why a store does not have the backup.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It could not be asked, or did not take an object.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object of the name is there, and another.
    #[error("\"{0}\" is there already with other bytes")]
    Conflict(String),
    /// Objects that the backup uses are gone.
    #[error("it lacks what the backup uses of earlier ones, such as \"{}\"; begin anew with --full", .0[0])]
    Missing(Vec<String>),
}

impl Senders {
    /// To `places`, no faster than `pace`.
    pub fn new(places: Vec<Place>, pace: Pace) -> Self {
        Senders(Arc::new(Inner {
            places,
            pace,
            failed: Mutex::default(),
        }))
    }

    /// Stores what comes, until the other end is dropped. Ends early, and
    /// drops what is left, when the last store has failed.
    pub async fn deliver(&self, mut uploads: mpsc::Receiver<Upload>) {
        let mut sending = JoinSet::new();
        while let Some(upload) = uploads.recv().await {
            if sending.len() >= AT_ONCE {
                sending.join_next().await;
            }
            if self.alive().is_empty() {
                return;
            }
            let senders = self.clone();
            sending.spawn(async move { senders.put(&upload).await });
        }
        while sending.join_next().await.is_some() {}
    }

    /// Stores an object everywhere.
    pub async fn put(&self, upload: &Upload) {
        let puts = self.alive().into_iter().map(|place| async move {
            self.0.pace.wait(upload.body.length).await;
            if let Err(failure) = put(&place, upload).await {
                tracing::warn!("the backup does not go on to {}: {failure}", place.name());
                self.failed().insert(place.name().clone(), failure);
            }
        });
        join_all(puts).await;
    }

    /// The stores that have everything that was sent.
    pub fn alive(&self) -> Vec<Place> {
        let failed = self.failed();
        let alive = self.0.places.iter();
        let alive = alive.filter(|place| !failed.contains_key(place.name()));
        alive.cloned().collect()
    }

    /// Leaves a store out from now on.
    pub fn give_up(&self, store: &StoreName, failure: Failure) {
        self.failed().insert(store.clone(), failure);
    }

    /// Why each of the others has not.
    pub fn failures(&self) -> Vec<(StoreName, String)> {
        let failed = self.failed();
        let failures = failed.iter();
        failures
            .map(|(store, failure)| (store.clone(), failure.to_string()))
            .collect()
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<StoreName, Failure>> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn put(place: &Place, upload: &Upload) -> Result<(), Failure> {
    let key = place.layout.key(upload.key);
    match place.store.put_new(&key, &upload.body, &[]).await? {
        Put::Created => Ok(()),
        // An index object is its content's name; of the rest, an earlier
        // attempt's is the same.
        Put::Exists(info) => {
            let same = info.size == upload.body.length
                && info.md5.is_none_or(|md5| md5 == upload.body.md5);
            let same = same || matches!(upload.key, Key::Index(..));
            same.then_some(()).ok_or(Failure::Conflict(key))
        }
    }
}
