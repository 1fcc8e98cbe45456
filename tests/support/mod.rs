//! What the tests stand on: this machine, a real PostgreSQL on it, and real S3
//! servers. Every test program includes all of it and uses what it needs.
#![allow(dead_code, unused_imports, reason = "each test program uses a part")]
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

pub mod archive;
pub mod daemon;
pub mod host;
pub mod postgres;
pub mod s3;
pub mod site;
pub mod volume;
