//! Why a store did not do what it was asked.

use std::fmt;

use super::StoreName;

/// A failed operation. Says which store, which operation, on which key, and
/// why; never a credential or a signature.
#[derive(Debug, Clone, thiserror::Error)]
pub struct StoreError {
    /// The store's name in the configuration.
    pub store: StoreName,
    /// What was asked.
    pub operation: Operation,
    /// The key (or prefix) it was asked of.
    pub key: String,
    /// Why it failed.
    pub kind: StoreErrorKind,
    /// The cause in the words of the server, the library or the system.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a store can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Open it: addresses, certificates, directories.
    Open,
    /// Store an object.
    Put,
    /// Read an object or a part of it.
    Get,
    /// Describe an object.
    Head,
    /// List keys.
    List,
    /// Delete an object.
    Delete,
}

/// Why an operation failed, as far as somebody branches on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No connection: name not found, refused, reset, cut in the middle.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The store wants fewer requests (429, `SlowDown`).
    Throttled,
    /// The store failed (5xx).
    Server,
    /// What arrived is not what was sent, or the other way round.
    Damaged,
    /// The key may not do this.
    Forbidden,
    /// The store does not know the key, or its secret is another.
    BadCredentials,
    /// A credential could not be read on this host.
    NoCredentials,
    /// This host's clock and the store's differ too much to sign requests.
    ClockSkew {
        /// This clock minus the store's, in seconds.
        seconds: i64,
    },
    /// There is no such bucket.
    NoSuchBucket,
    /// What says whose place this is is not there, or names somebody else: the
    /// volume is not mounted, or the configuration names another place.
    Unclaimed,
    /// There is no such directory, for a store that is one.
    NoSuchDirectory,
    /// The server's certificate was not accepted, or there was no TLS.
    Tls,
    /// The object is locked against this.
    Locked,
    /// The server answered with a redirect, which is never followed.
    Redirected,
    /// The server does not implement what was asked.
    NotSupported,
    /// The configuration does not make a store.
    Configuration,
    /// The directory's disk is full.
    Full,
    /// The directory's file system refused.
    Io,
    /// The answer makes no sense.
    Unexpected,
}

impl StoreError {
    /// Whether asking again cannot help before somebody does something.
    pub fn is_permanent(&self) -> bool {
        self.kind.is_permanent()
    }

    /// Whether the store as a whole is out of reach or refuses, so that the
    /// next operation will fail as well.
    pub fn concerns_whole_store(&self) -> bool {
        !matches!(
            self.kind,
            StoreErrorKind::Locked | StoreErrorKind::Damaged | StoreErrorKind::Unexpected
        )
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        use StoreErrorKind as Kind;
        let name = &self.store;
        match &self.kind {
            Kind::Unreachable => "check the endpoint and this host's network".to_owned(),
            Kind::TimedOut | Kind::Server | Kind::Throttled => {
                "the provider's trouble: it is tried again by itself".to_owned()
            }
            Kind::Damaged => {
                "bytes change on the way: look for a proxy or failing memory".to_owned()
            }
            Kind::Forbidden => format!(
                "give the key of store \"{name}\" the right to list, read and write this bucket"
            ),
            Kind::BadCredentials => {
                format!("correct the access key id and the secret of store \"{name}\"")
            }
            Kind::NoCredentials => {
                format!("set access_key_id and secret_access_key (or their _file) of \"{name}\"")
            }
            Kind::ClockSkew { .. } => "set this host's clock (NTP)".to_owned(),
            Kind::NoSuchBucket => {
                format!("create the bucket, or correct `bucket` of store \"{name}\"")
            }
            Kind::Unclaimed => format!(
                "mount its volume, or correct `prefix` of store \"{name}\"; `walkeep init` claims a \
                 new place"
            ),
            Kind::NoSuchDirectory => {
                format!("create or mount the directory, or correct `path` of store \"{name}\"")
            }
            Kind::Tls => {
                "check the endpoint, or name its authority's certificate in ca_file".to_owned()
            }
            Kind::Locked => {
                "a lock or retention rule holds the object; wait for it to end".to_owned()
            }
            Kind::Redirected => {
                format!("correct endpoint, account or region of store \"{name}\"")
            }
            Kind::NotSupported => format!("check `type` of store \"{name}\""),
            Kind::Configuration => format!("correct the [[store]] table of \"{name}\""),
            Kind::Full => "make room on the directory's disk".to_owned(),
            Kind::Io => "look at the directory, its disk and its permissions".to_owned(),
            Kind::Unexpected => "is the endpoint really an S3 server?".to_owned(),
        }
    }
}

impl StoreErrorKind {
    /// A word for it, for scripts and metrics: it stays what it is.
    pub fn word(&self) -> &'static str {
        use StoreErrorKind as Kind;
        match self {
            Kind::Unreachable => "unreachable",
            Kind::TimedOut => "timed_out",
            Kind::Throttled => "throttled",
            Kind::Server => "server",
            Kind::Damaged => "damaged",
            Kind::Forbidden => "forbidden",
            Kind::BadCredentials => "bad_credentials",
            Kind::NoCredentials => "no_credentials",
            Kind::ClockSkew { .. } => "clock_skew",
            Kind::NoSuchBucket => "no_such_bucket",
            Kind::Unclaimed => "unclaimed",
            Kind::NoSuchDirectory => "no_such_directory",
            Kind::Tls => "tls",
            Kind::Locked => "locked",
            Kind::Redirected => "redirected",
            Kind::NotSupported => "not_supported",
            Kind::Configuration => "configuration",
            Kind::Full => "full",
            Kind::Io => "io",
            Kind::Unexpected => "unexpected",
        }
    }

    pub(super) fn is_permanent(&self) -> bool {
        !matches!(
            self,
            StoreErrorKind::Unreachable
                | StoreErrorKind::TimedOut
                | StoreErrorKind::Throttled
                | StoreErrorKind::Server
                | StoreErrorKind::Damaged
        )
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use StoreErrorKind as Kind;
        f.write_str(match self {
            Kind::Unreachable => "unreachable",
            Kind::TimedOut => "no answer in time",
            Kind::Throttled => "throttled",
            Kind::Server => "server error",
            Kind::Damaged => "damaged on the way",
            Kind::Forbidden => "forbidden",
            Kind::BadCredentials => "credentials refused",
            Kind::NoCredentials => "no credentials",
            Kind::ClockSkew { seconds } => {
                let way = if *seconds < 0 { "behind" } else { "ahead of" };
                return write!(
                    f,
                    "this host's clock is {} s {way} the store's",
                    seconds.abs()
                );
            }
            Kind::NoSuchBucket => "no such bucket",
            Kind::Unclaimed => "not this archive's place",
            Kind::NoSuchDirectory => "no such directory",
            Kind::Tls => "TLS refused",
            Kind::Locked => "object locked",
            Kind::Redirected => "redirected",
            Kind::NotSupported => "not supported",
            Kind::Configuration => "configuration",
            Kind::Full => "disk full",
            Kind::Io => "input/output error",
            Kind::Unexpected => "unexpected answer",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Open => "open",
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::List => "list",
            Operation::Delete => "delete",
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreError {
            store,
            operation,
            key,
            kind,
            detail,
            attempts,
        } = self;
        write!(f, "store \"{store}\": {operation} \"{key}\": {kind}")?;
        if !detail.is_empty() {
            write!(f, " ({detail})")?;
        }
        if *attempts > 1 {
            write!(f, " after {attempts} attempts")?;
        }
        write!(f, "; {}", self.hint())
    }
}
