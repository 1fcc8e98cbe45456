//! `walkeep restore` on real input: clusters that are written to while they
//! are backed up, S3 servers that check signatures, and PostgreSQL's own
//! `pg_verifybackup` and `pg_amcheck` on what comes back.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod delta;
mod elsewhere;
mod formats;
mod imported;
mod load;
mod promotion;
mod rearmed;
mod refused;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod whole;
mod world;

/// How long a server may take for anything.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
