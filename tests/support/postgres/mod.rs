//! A real PostgreSQL for a test: found, initialised, started as a child of
//! the test, asked, killed, copied and recovered.

mod builder;
mod cluster;
mod copy;
pub mod majors;
pub mod process;

pub use builder::Builder;
pub use cluster::Cluster;
pub use copy::BaseCopy;
pub use majors::{Server, default_server, every_major, installed, major};
