//! PostgreSQL's own formats, as pure code: names, positions, page headers,
//! history files, `pg_control`. Nothing here opens a file or a connection, but
//! `session`, which is the server itself.

pub mod ancestry;
pub mod checksum;
pub mod control;
pub mod history;
pub mod label;
pub mod lsn;
pub mod moments;
pub mod page;
pub mod record;
pub mod segment;
pub mod session;
pub mod wal_file;

pub use lsn::Lsn;
pub use moments::{Commit, Moments, RestorePoint};
pub use segment::{SegmentName, SegmentSize, SystemId, TimelineId};
pub use wal_file::WalFileName;
