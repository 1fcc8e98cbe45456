//! Stores: one suite over every kind of them, and servers that misbehave.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod kinds;
mod mounts;
mod outages;
mod secrets;
mod suite;
mod tls;
mod transfers;

use support::s3::raw;
