//! The WAL's way out and back: `push` takes a file from PostgreSQL into
//! staging, `ship` brings it to every store, `fetch` brings it back.

pub mod ask;
pub mod claim;
pub mod fetch;
mod format;
pub mod histories;
pub mod identity;
pub mod inspect;
pub mod moments;
pub mod notes;
pub mod object;
pub mod pace;
pub mod place;
pub mod plan;
pub mod push;
pub mod receipts;
pub mod receive;
pub mod ship;
mod socket;
pub mod staging;
