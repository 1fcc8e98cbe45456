//! The daemon: ships what arrives, as it arrives, to every store at its own
//! pace.
//!
//! Passes of [`archive::ship`](crate::archive::ship) do the work, as the verb
//! `ship` has it done. A pass is for the stores that are free: one that still
//! drains a backlog, or rests after a failure, is left out of the next pass,
//! so that no store waits for another.

pub mod alerts;
mod answers;
mod arrivals;
mod concerns;
mod daemon;
pub mod facts;
mod history;
mod http;
mod jobs;
mod lanes;
mod metrics;
mod page;
pub mod report;
mod routes;
mod single;
pub mod sinks;
mod systemd;
mod watch;

pub use daemon::{Service, run};
pub use jobs::Program;
pub use watch::{Seen, Watch};
