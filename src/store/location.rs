//! Where a store is, and how to reach it.

use std::{path::PathBuf, time::Duration};

use super::Credentials;

/// Where a store is.
#[derive(Debug, Clone)]
pub enum Location {
    /// A bucket.
    S3(S3Settings),
    /// A directory that exists.
    Directory(PathBuf),
}

/// A bucket, and how to reach it.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// Whose S3 it is.
    pub profile: Profile,
    /// `https://…`; requests are path style.
    pub endpoint: String,
    /// The region in the signature.
    pub region: String,
    /// The bucket's name.
    pub bucket: String,
    /// Its key.
    pub credentials: Credentials,
    /// A PEM file with the only authority that is accepted, instead of
    /// Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// Whether plain http may go beyond loopback.
    pub allow_http: bool,
    /// How long it may keep us waiting.
    pub timeouts: Timeouts,
}

/// Where providers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Cloudflare R2: creates by `If-None-Match`, keeps no versions.
    R2,
    /// Backblaze B2: keeps versions and hide markers; asked before a PUT.
    B2,
    /// Any other: asked before a PUT, `If-None-Match` besides; versions where
    /// the server has them.
    S3,
}

/// How long one attempt waits for a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection, TLS included. 10 s.
    pub connect: Duration,
    /// Without a byte, in the direction in which bytes should go. 30 s; once
    /// a body is sent, a second more for each 64 KiB of it that may still be
    /// on its way.
    pub idle: Duration,
    /// For a transfer as a whole: this, and a second for each 64 KiB. 60 s.
    pub transfer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            transfer: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    /// How long a transfer of `length` bytes may take at the most: what is
    /// slower is given up for a new attempt.
    pub(super) fn of_transfer(&self, length: u64) -> Duration {
        self.transfer + Self::slowest(length)
    }

    /// How long to wait for the answer, when `length` bytes may still be on
    /// their way to the server.
    pub(super) fn of_answer(&self, length: u64) -> Duration {
        self.idle + Self::slowest(length)
    }

    fn slowest(length: u64) -> Duration {
        Duration::from_secs(length / (64 << 10))
    }
}
