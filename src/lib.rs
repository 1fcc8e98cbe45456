//! walkeep keeps a PostgreSQL cluster's write-ahead log and base backups in
//! two clouds at once, and brings the cluster back to any moment of the last
//! 30 days. `ARCHITECTURE.md` is the map of these rooms.

pub mod archive;
pub mod audit;
pub mod backup;
pub mod catalog;
pub mod cli;
pub mod cluster;
pub mod codec;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod fs;
pub mod layout;
pub mod logging;
pub mod postgres;
pub mod privileges;
pub mod recovery;
pub mod retention;
pub mod serve;
pub mod store;
pub mod trail;
pub mod verbs;
