//! Which archives a bucket has: on a bare machine nobody knows the prefix.

use crate::{
    layout::{Generation, Key, Layout, Prefix},
    store::{Store, StoreError},
};

/// How deep prefixes are looked into, and how often a store is asked.
const DEEPEST: usize = 4;
const MOST_REQUESTS: usize = 300;

/// The prefixes of the archives in a store, in order: one request for each
/// directory that is none, whatever is in it.
pub async fn prefixes(store: &Store) -> Result<Vec<Prefix>, StoreError> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    let mut requests = 0;
    while let Some(directory) = open.pop() {
        if let Ok(prefix) = directory.parse::<Prefix>() {
            requests += 1;
            let key = Layout::new(&prefix).key(Key::Cluster(Generation::FIRST));
            if store.head(&key).await?.is_some() {
                // What is below it is its own.
                found.push(prefix);
                continue;
            }
        }
        if directory.matches('/').count() >= DEEPEST {
            continue;
        }
        let mut after = None;
        while requests < MOST_REQUESTS {
            requests += 1;
            let listing = store.list(&directory, after.as_deref());
            let Some(first) = listing.first().await? else {
                break;
            };
            match first.key[directory.len()..].split_once('/') {
                Some((name, _)) => {
                    open.push(format!("{directory}{name}/"));
                    // Behind every key below it: '0' follows '/'.
                    after = Some(format!("{directory}{name}0"));
                }
                None => after = Some(first.key),
            }
        }
    }
    found.sort_by_key(Prefix::to_string);
    Ok(found)
}
