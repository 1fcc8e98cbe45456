//! What a store is owed: files that staging let go of while it was away. They
//! are copied store to store, and checked on the way.

use super::{
    Pass, Shipping,
    copy::bring,
    deliver::{Delivered, Object, deliver},
};
use crate::{
    archive::place::Place,
    catalog::{CatalogError, FileRecord, State},
    store::{StoreError, StoreName},
};

/// How many debts are looked up for one pass; the rest is for the next.
const DEBTS: usize = 10_000;

/// The files that `store` is owed.
pub(super) async fn debts(
    shipping: &Shipping,
    store: &StoreName,
) -> Result<Vec<FileRecord>, CatalogError> {
    let (catalog, store) = (shipping.catalog.clone(), store.clone());
    let read = tokio::task::spawn_blocking(move || {
        catalog.read(|reader| {
            let owed = |record: &Result<FileRecord, CatalogError>| {
                record.as_ref().map_or(true, |record| {
                    let replica = record.replicas.get(store.as_str());
                    replica.is_some_and(|replica| replica.state() == State::Owed)
                })
            };
            reader
                .unsettled(store.as_str())?
                .filter(owed)
                .take(DEBTS)
                .collect()
        })
    });
    // The thread can only have panicked.
    read.await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// What came of a debt.
pub(super) enum Paid {
    /// The store answered for it.
    Delivered(Delivered),
    /// No store that has it could give it: it stays owed, and this is why.
    Unpaid(String),
}

/// Copies one file into `place` from the first store that has it whole.
pub(super) async fn pay(
    pass: &Pass,
    place: &Place,
    record: &FileRecord,
) -> Result<Paid, StoreError> {
    let mut reasons = vec!["no other store can give it".to_owned()];
    for source in &pass.shipping.places {
        let replica = record.replicas.get(source.name().as_str());
        let is_held = replica.is_some_and(|replica| replica.object().is_some());
        if !is_held || source.name() == place.name() {
            continue;
        }
        let spools = pass.shipping.staging.temporaries();
        let brought = match bring(source, record, &spools).await {
            Ok(brought) => brought,
            Err(error) => {
                reasons.push(error.to_string());
                continue;
            }
        };
        pass.shipping.pace.wait(brought.body.length).await;
        let object = Object {
            generation: record.generation,
            name: record.name,
            format: brought.format,
        };
        let delivered = deliver(place, object, &brought.facts, &brought.body).await?;
        return Ok(Paid::Delivered(delivered));
    }
    Ok(Paid::Unpaid(reasons.join("; ")))
}
