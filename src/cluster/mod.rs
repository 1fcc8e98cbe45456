//! The database cluster on this host, as its files, its processes and its
//! programs show it: for a server that is stopped, or that cannot be asked
//! yet. What a running server says is `postgres::session`.

mod identity;
mod programs;
mod running;

pub use identity::{ClusterError, Identity, read_identity};
pub use programs::{bin_directory, receiver};
pub use running::{Running, running, running_in};
