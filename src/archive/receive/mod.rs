//! What is streamed beside `archive_command`: PostgreSQL's `pg_receivewal`
//! brings the segment that is still being written, and each new part of it goes
//! to every store.

pub mod join;
