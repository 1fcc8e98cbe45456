//! Damaged copies, recorded for repair.

use jiff::Timestamp;

use super::Suspect;
use crate::catalog::{Catalog, CatalogError, Replica};

/// Notes in the catalog that these copies are damaged, as far as it knows of
/// them; a host without a catalog gets none by this. A fetch that could not
/// note it has fetched all the same.
pub fn record(catalog: &Catalog, suspects: &[Suspect]) -> Result<(), CatalogError> {
    if suspects.is_empty() || !catalog.path().exists() {
        return Ok(());
    }
    let found = Timestamp::now();
    catalog.write(|writer| {
        for suspect in suspects {
            writer.update(suspect.generation, suspect.name, |replicas| {
                let Some(replica) = replicas.get_mut(suspect.store.as_str()) else {
                    return;
                };
                if let Replica::Stored(object) = replica {
                    *replica = Replica::Suspect {
                        object: object.clone(),
                        found,
                        reason: suspect.reason.clone(),
                    };
                }
            })?;
        }
        Ok(())
    })
}
