//! The catalog: an index of what is archived and where it is, in one redb
//! file. The buckets are the truth; losing this file loses nothing but the
//! time that a rebuild takes. The only room that knows redb.
//!
//! Nothing is open between two transactions. Each takes a lock file, opens
//! redb, does its work, closes and unlocks, so that every verb works beside
//! the daemon and beside any other verb: they wait for each other, a
//! millisecond or two, and never fail on each other. For this to hold, what
//! runs inside a transaction must be short: no network, no pipe, no terminal,
//! and no second transaction (it would wait for the first for ever). What
//! passes many records on uses [`Catalog::files`], which lets go of the file
//! between pages.
//!
//! All of it blocks; on an async runtime it belongs on a blocking thread.

mod acknowledged;
mod alerts;
mod backups;
mod check;
mod drills;
mod error;
mod facts;
mod file;
mod flaws;
mod gaps;
mod join;
mod lock;
mod pages;
mod reader;
mod record;
mod rows;
mod runs;
mod transaction;
mod verifies;
mod walk;
mod writer;

use std::path::{Path, PathBuf};

pub use acknowledged::{Acknowledged, Histories};
pub use alerts::{Acknowledgement, AlertRecord, RESOLVED_KEPT, Severity, SinkFacts};
pub use backups::BackupRecord;
pub use drills::{DRILLS_KEPT, DrillCheck, DrillRecord, JobRecord};
pub use error::CatalogError;
pub use facts::{
    Beginning, Cause, ClusterFacts, Event, EventKind, StoreFacts, StoreFailure, StoreTotals, Totals,
};
pub use file::Opened;
pub use flaws::{Flaw, FlawKind};
pub use gaps::{KnownGap, gaps, needs_person};
pub use join::Joined;
pub use pages::{Files, Select};
pub use reader::Reader;
pub use record::{Failures, FileRecord, Object, Replica, State};
pub use runs::{Gap, Run, Runs};
pub use verifies::{VerifyKind, VerifyRecord};
pub use writer::Writer;

/// The version of the catalog's schema that this program writes. It is raised
/// when an older program would misread or damage a catalog; a new table, which
/// an older one does not look at, does not raise it.
pub const VERSION: u32 = 1;

/// Where a catalog is. Cheap, and holds nothing open.
#[derive(Debug, Clone)]
pub struct Catalog {
    path: PathBuf,
}

impl Catalog {
    /// The catalog in the file `path`, which need not exist; its directory
    /// must. The lock file is beside it, under the same name with `.lock`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Catalog { path: path.into() }
    }

    /// The catalog's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks the catalog. Changes nothing on disk (but for redb's repair after
    /// a crash), and readers do not wait for each other. A missing catalog
    /// answers as an empty one; one of a later schema, or one that is damaged,
    /// is an error here and is set aside by the next [`write`](Self::write) or
    /// [`prepare`](Self::prepare).
    pub fn read<T>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        transaction::read(&self.path, ask)
    }

    /// Changes the catalog: everything that `change` does becomes durable, or,
    /// when it fails (or the process dies), nothing. Makes a missing catalog,
    /// and sets one aside that this program cannot use (see
    /// [`prepare`](Self::prepare)).
    pub fn write<T>(
        &self,
        change: impl FnOnce(&mut Writer) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        transaction::write(&self.path, change)
    }

    /// Makes the catalog usable and says what that took: a missing one is
    /// made; one of a later schema, or one that cannot be read, is renamed
    /// (never deleted) and a new one begun. A catalog that was begun while the
    /// stores may hold objects wants a rebuild, and says so to whichever
    /// process asks next: [`Reader::wants_rebuild`].
    ///
    /// Reads every row, so that it finds any damage, which takes a second for
    /// each few 100,000 files while others wait: for the start of the daemon,
    /// `check` and `catalog rebuild`, not for each verb.
    pub fn prepare(&self) -> Result<Opened, CatalogError> {
        transaction::prepare(&self.path)
    }
}

#[cfg(test)]
mod tests;
