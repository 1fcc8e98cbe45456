//! The environment over the file, under the names that existing deployments
//! use. It changes the stores that the file has, or makes them where the file
//! names none.

use secrecy::SecretString;

use super::file::{File, Store, StoreType};

/// The variables that make or change a store of one type.
struct Names {
    kind: StoreType,
    store: &'static str,
    bucket: &'static str,
    /// The account (R2) or the region (B2).
    place: &'static str,
    access_key_id: &'static str,
    secret_access_key: &'static str,
}

const STORES: [Names; 2] = [
    Names {
        kind: StoreType::R2,
        store: "r2",
        bucket: "R2_BUCKET_NAME",
        place: "R2_ACCOUNT_ID",
        access_key_id: "R2_ACCESS_KEY_ID",
        secret_access_key: "R2_SECRET_ACCESS_KEY",
    },
    Names {
        kind: StoreType::B2,
        store: "b2",
        bucket: "B2_BUCKET_NAME",
        place: "B2_REGION",
        access_key_id: "B2_ACCESS_KEY_ID",
        secret_access_key: "B2_SECRET_ACCESS_KEY",
    },
];

/// Puts what `variable` knows over what the file says.
pub(super) fn apply(file: &mut File, variable: &dyn Fn(&str) -> Option<String>) {
    // Empty is a prefix too: the bucket's root.
    let prefix = variable("WALKEEP_PREFIX");
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(directory) = variable("PGDATA") {
        file.cluster.data_directory = Some(directory.into());
    }
    if let Some(directory) = variable("PG_WAL_ARCHIVE_DIR") {
        file.staging.path = Some(directory.into());
    }
    let makes_stores = file.store.is_empty();
    for names in &STORES {
        let place = variable(names.place);
        let given = [
            variable(names.bucket),
            variable(names.access_key_id),
            place.clone(),
        ];
        if makes_stores && given.iter().any(Option::is_some) {
            file.store.push(Store::named(names.store, names.kind));
        }
        let [bucket, access_key_id, _] = given;
        let secret = variable(names.secret_access_key).map(SecretString::from);
        // The first of its type: with several, the file has to tell them apart.
        let Some(store) = file.store.iter_mut().find(|store| store.kind == names.kind) else {
            continue;
        };
        match names.kind {
            StoreType::R2 => replace(&mut store.account_id, place),
            _ => replace(&mut store.region, place),
        }
        replace(&mut store.bucket, bucket);
        if access_key_id.is_some() {
            (store.access_key_id, store.access_key_id_file) = (access_key_id, None);
        }
        if secret.is_some() {
            (store.secret_access_key, store.secret_access_key_file) = (secret, None);
        }
    }
    if let Some(prefix) = prefix {
        for store in &mut file.store {
            store.prefix = Some(prefix.clone());
        }
    }
}

fn replace(value: &mut Option<String>, by: Option<String>) {
    if by.is_some() {
        *value = by;
    }
}
