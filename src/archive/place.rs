//! One archive's place in one store.

use crate::{
    layout::{Format, Generation, Key, Layout},
    postgres::WalFileName,
    store::{Store, StoreName},
};

/// A store, and which keys in it are the archive's.
#[derive(Debug, Clone)]
pub struct Place {
    /// The store.
    pub store: Store,
    /// The keys.
    pub layout: Layout,
}

impl Place {
    /// The same place as `init` has claimed it: a directory without the
    /// archive's `cluster.json` is not taken for it.
    pub fn claimed(self) -> Self {
        let key = self.layout.key(Key::Cluster(Generation::FIRST));
        Place {
            store: self.store.anchored(&key),
            ..self
        }
    }

    /// The store's name.
    pub fn name(&self) -> &StoreName {
        self.store.name()
    }

    /// The key of an archived file.
    pub fn key(&self, generation: Generation, name: WalFileName, format: Format) -> String {
        self.layout.key(Key::Wal(generation, name, format))
    }
}
