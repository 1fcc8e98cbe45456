//! Staged files that every store has: copies, which stay for
//! `retention.local_window`, or until staging needs their room.

use super::ShipError;
use crate::{
    archive::staging::{Staged, Staging, StagingError},
    catalog::{Catalog, CatalogError, FileRecord, State},
    codec::Sha256,
    postgres::WalFileName,
    store::StoreName,
};

/// A staged file that every store has.
#[derive(Debug, Clone)]
pub struct LocalCopy {
    /// The file.
    pub staged: Staged,
    /// The raw SHA-256 that the stores have under its name.
    pub raw_sha256: Sha256,
}

/// The staged files, told apart.
#[derive(Debug, Default, Clone)]
pub struct Apart {
    /// Those that a store is still to get.
    pub waiting: Vec<Staged>,
    /// Those that every store has.
    pub copies: Vec<LocalCopy>,
}

/// What is staged, told apart by what the catalog knows.
pub fn tell_apart<'a>(
    staging: &Staging,
    catalog: &Catalog,
    stores: impl Iterator<Item = &'a StoreName> + Clone,
) -> Result<Apart, ShipError> {
    let files = staging.files()?;
    let generation = staging.marker().generation;
    let apart = catalog.read(|reader| {
        let mut apart = Apart::default();
        for staged in files {
            let record = reader.file(generation, staged.name)?;
            match record.filter(|record| is_everywhere(record, stores.clone())) {
                Some(FileRecord { raw_sha256, .. }) => {
                    apart.copies.push(LocalCopy { staged, raw_sha256 });
                }
                None => apart.waiting.push(staged),
            }
        }
        Ok::<_, CatalogError>(apart)
    })?;
    Ok(apart)
}

fn is_everywhere<'a>(record: &FileRecord, mut stores: impl Iterator<Item = &'a StoreName>) -> bool {
    stores.all(|store| {
        let replica = record.replicas.get(store.as_str());
        replica.is_some_and(|replica| replica.state() == State::Stored)
    })
}

/// Lets go of copies, of those that still are what the stores have. Returns
/// the names of the others: somebody has put another file there.
pub fn release<'a>(
    staging: &Staging,
    copies: impl IntoIterator<Item = &'a LocalCopy>,
) -> Result<Vec<WalFileName>, StagingError> {
    let (mut same, mut others) = (Vec::new(), Vec::new());
    for LocalCopy { staged, raw_sha256 } in copies {
        match staging.digest(staged.name)? {
            Some(found) if found == *raw_sha256 => same.push((staged.name, found)),
            // Another process has let go of it.
            None => {}
            Some(_) => others.push(staged.name),
        }
    }
    staging.release(&same)?;
    Ok(others)
}
