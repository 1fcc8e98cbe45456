//! `archive_command = 'walkeep wal push %p'`: each thing that PostgreSQL, or
//! the field, demands of it, one scenario each. The real program is run, as
//! the server's user, and its exit code and its words are held to.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod acknowledge;
mod again;
mod durable;
mod refused;
mod room;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod trail;
