//! Restores a base backup: all of its files, then what makes PostgreSQL
//! recover, and last `pg_control`, without which no server starts.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::available_parallelism,
    time::Duration,
};

use tokio::task::block_in_place;

use super::{
    Destination, Joining, Progress, RestoreError, Settings,
    backup_manifest::BackupManifest,
    chunks::Bringing,
    data,
    directory::MARKER,
    finish::{Finishing, write},
    sources::Sources,
    tree::{Tree, failed},
};
use crate::{archive::place::Place, backup::Manifest, postgres::control::Control};

/// Everything that a restore needs.
pub struct Restoring<'a> {
    /// The backup.
    pub manifest: &'a Manifest,
    /// Where it goes.
    pub destination: &'a Destination,
    /// Who has it, opened to be asked once.
    pub places: Vec<Place>,
    /// Who may have parts of it.
    pub spare: Vec<Place>,
    /// How long stores that cannot be reached are asked again.
    pub patience: Duration,
    /// How the cluster recovers.
    pub settings: &'a Settings,
    /// What was streamed of the WAL, and is not archived.
    pub streamed: &'a Joining,
    /// The plan's file, where the settings name one.
    pub plan: Option<Vec<u8>>,
    /// How far it has come.
    pub progress: Arc<Progress>,
}

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// Bytes that were written.
    pub written: u64,
    /// Bytes that came from the stores.
    pub fetched: u64,
    /// Names that were in the way, or not in the backup.
    pub removed: u64,
    /// Where the `pg_wal` of the directory is that was restored over.
    pub old_wal: Option<PathBuf>,
}

/// Restores the backup. Inside a runtime with several threads.
pub async fn restore(restoring: Restoring<'_>) -> Result<Restored, RestoreError> {
    let Restoring {
        manifest,
        destination,
        places,
        spare,
        patience,
        settings,
        streamed,
        plan,
        progress,
    } = restoring;
    let sources = Arc::new(Sources::new(places, patience).and(spare));
    let cores = available_parallelism().map_or(2, |cores| cores.get());
    let bringing = Bringing::new(sources, manifest, Arc::clone(&progress), cores);
    let bringing = Arc::new(bringing);

    let outside = data::tablespace_sizes(&bringing, manifest).await?;
    destination.check_space(manifest.totals.raw_bytes, &outside)?;
    let directory = &destination.directory;
    let control = data::read_small(&bringing, &manifest.control, directory.clone()).await?;
    destination.begin()?;

    let tablespaces = destination.tablespaces.iter();
    let tablespaces = tablespaces.map(|one| (one.oid, one.to.clone()));
    let tree = Tree::new(directory, tablespaces, vec![MARKER, "lost+found"])?;
    let mut verifiable = BackupManifest::begin(directory, manifest)?;
    let removed = data::restore(&bringing, manifest, tree, &mut verifiable).await?;

    let mode = manifest.control.mode;
    streamed.place(&directory.join("pg_wal"), mode).await?;
    if let Some(file) = &manifest.control.file {
        let path = &manifest.control.path;
        let added = verifiable.add(path, file.size, file.modified, file.crc32c);
        added.map_err(verifiable.failed())?;
    }
    let limits = Control::parse(&control).ok();
    let limits = limits.and_then(|parsed| parsed.limits(&control));
    block_in_place(|| {
        let finishing = Finishing {
            manifest,
            destination,
            verifiable,
            mode,
        };
        finishing.run(settings, plan.as_deref(), limits)?;
        let path = destination.control();
        write(&path, &control, mode).map_err(failed("write", &path))?;
        destination.end()
    })?;
    progress
        .done
        .fetch_add(control.len() as u64, Ordering::Relaxed);
    Ok(Restored {
        written: progress.written.load(Ordering::Relaxed),
        fetched: progress.fetched.load(Ordering::Relaxed),
        removed,
        old_wal: destination.old_wal(),
    })
}

/// Sizes by the OID of a tablespace.
pub(super) type Sizes = BTreeMap<u32, u64>;
