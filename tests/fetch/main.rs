//! `walkeep wal fetch` as PostgreSQL runs it: every row of its contract, by
//! exit code, message and bytes; and what a real PostgreSQL makes of each exit
//! code (`recovering`).
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod absence;
mod ahead;
mod archive;
mod ends;
mod formats;
mod recovering;
mod servers;
mod sources;
#[path = "../support/mod.rs"]
mod support;
