//! What the tests stand on: this machine, and a real PostgreSQL on it. Every
//! test program includes all of it and uses what it needs.
#![allow(dead_code, unused_imports, reason = "each test program uses a part")]
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

pub mod host;
pub mod postgres;
