//! The WAL's way out and back: `push` takes a file from PostgreSQL into
//! staging, `ship` brings it to every store, `fetch` brings it back.

pub mod inspect;
pub mod place;
pub mod push;
pub mod receipts;
pub mod staging;
