//! A store: one bucket in one cloud, or one directory. Knows keys, bytes and
//! what providers do with them; nothing of PostgreSQL, nothing of the catalog.
//!
//! What is absent is `None`; whatever kept a store from answering is a
//! [`StoreError`]. The two never meet in one value.

mod credentials;
mod directory;
mod error;
mod location;
mod object;
mod retry;
mod s3;

use std::{fmt, ops::Range, str::FromStr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use credentials::{Credentials, Secret};
pub use error::{Operation, StoreError, StoreErrorKind};
pub use location::{Location, Profile, S3Settings, Timeouts};
pub use object::{Body, ObjectInfo, Put};
pub use retry::RetryPolicy;
pub use s3::trust;

use directory::Directory;
use retry::{Attempts, Failure};
use s3::{Progress, S3};

/// A store's name in the configuration: lower-case letters, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName(Arc<str>);

/// The text cannot name a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" cannot name a store (expected lower-case letters, digits and '-')")]
pub struct InvalidStoreName(String);

impl FromStr for StoreName {
    type Err = InvalidStoreName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 63 || !text.bytes().all(valid) {
            return Err(InvalidStoreName(text.to_owned()));
        }
        Ok(StoreName(text.into()))
    }
}

impl TryFrom<String> for StoreName {
    type Error = InvalidStoreName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StoreName> for String {
    fn from(name: StoreName) -> Self {
        name.0.to_string()
    }
}

impl StoreName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One store. Clones share connections.
#[derive(Debug, Clone)]
pub struct Store {
    name: StoreName,
    backend: Backend,
    retry: RetryPolicy,
}

#[derive(Debug, Clone)]
enum Backend {
    S3(S3),
    Directory(Directory),
}

impl Store {
    /// Prepares a store for use; nothing is sent yet. Inside a tokio runtime.
    pub fn open(
        name: StoreName,
        location: Location,
        retry: RetryPolicy,
    ) -> Result<Self, StoreError> {
        let backend = match location {
            Location::S3(settings) => S3::open(settings).map(Backend::S3),
            Location::Directory(root) => Directory::open(root).map(Backend::Directory),
        };
        match backend {
            Ok(backend) => Ok(Store {
                name,
                backend,
                retry,
            }),
            Err(failure) => Err(error(&name, Operation::Open, "", (failure, 1))),
        }
    }

    /// Its name.
    pub fn name(&self) -> &StoreName {
        &self.name
    }

    /// The same store, more or less patient.
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Store {
            retry,
            ..self.clone()
        }
    }

    /// The same store, believed only where this object is in it: a directory
    /// without it is one whose volume is not mounted, and what were written
    /// there would vanish under the mount. A bucket is as it is.
    pub fn anchored(mut self, key: &str) -> Self {
        if let Backend::Directory(directory) = &mut self.backend {
            directory.anchor(key);
        }
        self
    }

    /// This host's clock minus the store's in seconds, as of the last answer.
    pub fn clock_skew(&self) -> Option<i64> {
        match &self.backend {
            Backend::S3(s3) => s3.clock_skew(),
            Backend::Directory(_) => None,
        }
    }

    /// Stores an object under a key that has none; one that is there is left
    /// as it is, and described. Names of metadata are lower case, values
    /// printable ASCII in single spaces; a directory keeps none.
    pub async fn put_new(
        &self,
        key: &str,
        body: &Body,
        metadata: &[(&str, String)],
    ) -> Result<Put, StoreError> {
        let mut attempts = Attempts::new(&self.retry);
        loop {
            let put = match &self.backend {
                Backend::S3(s3) => s3.put_new(key, body, metadata).await,
                Backend::Directory(directory) => directory.put_new(key, body).await,
            };
            match put {
                Ok(put) => return Ok(put),
                Err(failure) => {
                    self.again(&mut attempts, failure, Operation::Put, key)
                        .await?
                }
            }
        }
    }

    /// Stores an object whatever the key held: for the probe object of
    /// `check` and for `repair` over a provably corrupt object. For nothing
    /// else: objects are written once.
    pub async fn replace(
        &self,
        key: &str,
        body: &Body,
        metadata: &[(&str, String)],
    ) -> Result<(), StoreError> {
        let mut attempts = Attempts::new(&self.retry);
        loop {
            let put = match &self.backend {
                Backend::S3(s3) => s3.replace(key, body, metadata).await,
                Backend::Directory(directory) => directory.replace(key, body).await,
            };
            match put {
                Ok(put) => return Ok(put),
                Err(failure) => {
                    self.again(&mut attempts, failure, Operation::Put, key)
                        .await?
                }
            }
        }
    }

    /// Describes an object. `None`: proved absent.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let mut attempts = Attempts::new(&self.retry);
        loop {
            let head = match &self.backend {
                Backend::S3(s3) => s3.head(key).await,
                Backend::Directory(directory) => directory.head(key).await,
            };
            match head {
                Ok(head) => return Ok(head),
                Err(failure) => {
                    self.again(&mut attempts, failure, Operation::Head, key)
                        .await?
                }
            }
        }
    }

    /// Reads a part of an object; shorter than `range` where the object ends
    /// before it. `None`: proved absent.
    pub async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, StoreError> {
        let (from, length) = (range.start, range.end.saturating_sub(range.start));
        let mut attempts = Attempts::new(&self.retry);
        loop {
            let get = match &self.backend {
                Backend::S3(s3) => s3.get_range(key, from, length).await,
                Backend::Directory(directory) => directory.get_range(key, from, length).await,
            };
            match get {
                Ok(get) => return Ok(get),
                Err(failure) => {
                    self.again(&mut attempts, failure, Operation::Get, key)
                        .await?
                }
            }
        }
    }

    /// Reads a whole object into `sink`, piece by piece, each byte once: after
    /// a failure in the middle it goes on from there. `None`: proved absent.
    pub async fn download(
        &self,
        key: &str,
        mut sink: impl FnMut(&[u8]) + Send,
    ) -> Result<Option<ObjectInfo>, StoreError> {
        let mut progress = Progress::default();
        let mut sink = |piece: &[u8]| -> Result<(), Failure> {
            sink(piece);
            Ok(())
        };
        let mut attempts = Attempts::new(&self.retry);
        loop {
            let get = match &self.backend {
                Backend::S3(s3) => s3.download(key, &mut progress, &mut sink).await,
                Backend::Directory(directory) => {
                    directory.download(key, &mut progress, &mut sink).await
                }
            };
            match get {
                Ok(get) => return Ok(get),
                Err(failure) => {
                    self.again(&mut attempts, failure, Operation::Get, key)
                        .await?
                }
            }
        }
    }

    /// Lists the keys that begin with `prefix`, in UTF-8 binary order, from
    /// the first that is greater than `after`.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> Listing<'_> {
        Listing {
            store: self,
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            continuation: None,
            ended: false,
        }
    }

    /// Deletes an object and every version of it. Fine if there is none.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let mut attempts = Attempts::new(&self.retry);
        loop {
            let delete = match &self.backend {
                Backend::S3(s3) => s3.delete(key).await,
                Backend::Directory(directory) => directory.delete(key).await,
            };
            match delete {
                Ok(delete) => return Ok(delete),
                Err(failure) => {
                    self.again(&mut attempts, failure, Operation::Delete, key)
                        .await?
                }
            }
        }
    }

    async fn again(
        &self,
        attempts: &mut Attempts<'_>,
        failure: Failure,
        operation: Operation,
        key: &str,
    ) -> Result<(), StoreError> {
        let again = attempts.again(failure).await;
        again.map_err(|failure| error(&self.name, operation, key, failure))
    }
}

fn error(
    store: &StoreName,
    operation: Operation,
    key: &str,
    (failure, attempts): (Failure, u32),
) -> StoreError {
    let Failure { kind, detail, .. } = failure;
    StoreError {
        store: store.clone(),
        operation,
        key: key.to_owned(),
        kind,
        detail,
        attempts,
    }
}

/// A listing, page by page: a bucket's keys never have to fit into memory.
pub struct Listing<'a> {
    store: &'a Store,
    prefix: String,
    after: Option<String>,
    continuation: Option<String>,
    ended: bool,
}

impl Listing<'_> {
    /// How many keys a page has at the most (S3: `max-keys`).
    const PAGE: u32 = 1000;

    /// The next page; empty at the end.
    pub async fn next_page(&mut self) -> Result<Vec<ObjectInfo>, StoreError> {
        self.page(Self::PAGE).await
    }

    /// The first key only, if there is one.
    pub async fn first(mut self) -> Result<Option<ObjectInfo>, StoreError> {
        Ok(self.page(1).await?.into_iter().next())
    }

    async fn page(&mut self, most: u32) -> Result<Vec<ObjectInfo>, StoreError> {
        while !self.ended {
            let (page, next) = self.attempt(most).await?;
            self.ended = next.is_none();
            self.continuation = next;
            // S3 may give an empty page that is not the last one.
            if let Some(last) = page.last() {
                if matches!(self.store.backend, Backend::Directory(_)) {
                    self.after = Some(last.key.clone());
                }
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }

    async fn attempt(&self, most: u32) -> Result<(Vec<ObjectInfo>, Option<String>), StoreError> {
        let Listing {
            store,
            prefix,
            after,
            continuation,
            ..
        } = self;
        let after = after.as_deref();
        let mut attempts = Attempts::new(&store.retry);
        loop {
            let page = match &store.backend {
                Backend::S3(s3) => s3.list(prefix, after, continuation.clone(), most).await,
                Backend::Directory(directory) => directory.list(prefix, after, most).await,
            };
            let failure = match page {
                Ok(page) => return Ok(page),
                Err(failure) => failure,
            };
            let again = store.again(&mut attempts, failure, Operation::List, prefix);
            again.await?;
        }
    }
}
