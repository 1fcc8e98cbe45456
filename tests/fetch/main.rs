//! `walkeep wal fetch` as PostgreSQL runs it: every row of its contract that
//! needs no PostgreSQL, by exit code, message and bytes.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod absence;
mod ahead;
mod archive;
mod ends;
mod servers;
mod sources;
#[path = "../support/mod.rs"]
mod support;
