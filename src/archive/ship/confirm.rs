//! One file, in as many stores as PostgreSQL waits for.

use std::time::Duration;

use super::{Goal, ShipError, Shipping, ship};
use crate::{
    archive::{place::Place, staging::StagingError},
    postgres::WalFileName,
    store::RetryPolicy,
};

/// How long PostgreSQL waits in one call. It calls again, and finds the file
/// staged.
const PATIENCE: RetryPolicy = RetryPolicy {
    attempts: 3,
    deadline: Duration::from_secs(20),
    base: Duration::from_secs(1),
    cap: Duration::from_secs(5),
};

/// How far a file has come.
#[derive(Debug)]
pub struct Held {
    /// So many stores hold it, as far as that was asked for.
    pub copies: usize,
    /// Everything that somebody should know, as sentences.
    pub problems: Vec<String>,
}

/// Ships a staged file now, until `copies` stores hold it or no more of them
/// take it for now.
pub async fn confirm(
    shipping: &Shipping,
    name: WalFileName,
    copies: usize,
) -> Result<Held, ShipError> {
    let mut shipping = shipping.clone();
    shipping.left_out = Default::default();
    let places = shipping.places.iter().map(|place| Place {
        store: place.store.with_retry(PATIENCE),
        layout: place.layout.clone(),
    });
    shipping.places = places.collect();
    let report = ship(&shipping, Goal::File { name, copies }).await?;
    let held = tokio::task::spawn_blocking(move || held(&shipping, name, copies)).await??;
    Ok(Held {
        copies: held,
        problems: report.problems,
    })
}

/// Where `ship` ran beside us, it may have been faster: then the receipt or the
/// catalog knows.
fn held(shipping: &Shipping, name: WalFileName, copies: usize) -> Result<usize, ShipError> {
    let staging = &shipping.staging;
    let receipt = staging.receipts().find(name);
    let receipt = receipt.map_err(StagingError::io("read receipts of", staging.root()))?;
    if receipt.is_some() {
        return Ok(copies);
    }
    let generation = staging.marker().generation;
    let record = shipping
        .catalog
        .read(|reader| reader.file(generation, name))?;
    Ok(record.map_or(0, |record| record.stored_in().count()))
}
