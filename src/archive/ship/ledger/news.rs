//! What a lane has to say.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use crate::{
    archive::ship::{bodies::LaneId, deliver::Delivered, pack::PackError},
    catalog::CatalogError,
    codec::{Facts, Sha256},
    postgres::WalFileName,
    store::StoreError,
};

/// How often it is looked whether a store that hangs keeps staging full.
const TICK: Duration = Duration::from_secs(2);

/// What a lane has to say.
pub(in crate::archive::ship) enum News {
    /// A store answered for a file.
    Delivered {
        name: WalFileName,
        lane: LaneId,
        facts: Facts,
        delivered: Delivered,
    },
    /// A store did not take this file; others it may.
    FileFailed {
        name: WalFileName,
        lane: LaneId,
        facts: Facts,
        error: StoreError,
    },
    /// A store takes nothing for now.
    StoreFailed { lane: LaneId, error: StoreError },
    /// A file that the store is owed could not be read anywhere.
    Unpaid {
        name: WalFileName,
        lane: LaneId,
        reason: String,
    },
    /// Another process has shipped the file.
    Gone { name: WalFileName },
    /// The staged file has become no object.
    Unpacked { name: WalFileName, error: PackError },
    /// The staged file is not the one that was archived under its name.
    OtherBytes {
        name: WalFileName,
        recorded: Sha256,
        staged: Sha256,
    },
    /// The catalog could not be asked.
    CatalogFailed(CatalogError),
}

pub(super) enum Received {
    News(Box<News>),
    /// Not for a while.
    Nothing,
    /// Every lane has ended.
    End,
}

/// Waits a while. On a thread for blocking work.
pub(super) fn receive(news: &mut Receiver<News>) -> Received {
    let runtime = tokio::runtime::Handle::current();
    match runtime.block_on(async { tokio::time::timeout(TICK, news.recv()).await }) {
        Ok(Some(news)) => Received::News(Box::new(news)),
        Ok(None) => Received::End,
        Err(_) => Received::Nothing,
    }
}
