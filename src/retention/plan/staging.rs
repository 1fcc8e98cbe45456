//! `local_window`: what the staging volume keeps of what every store has.

use std::time::Duration;

use jiff::Timestamp;

use crate::postgres::WalFileName;

/// A staged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Its name.
    pub name: WalFileName,
    /// When the server last wrote it.
    pub modified: Timestamp,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether every store has confirmed it.
    pub shipped: bool,
}

/// Which files may leave the staging volume, the oldest first: those that every
/// store has and that are older than the window. Where the volume must give up
/// `wanted` bytes, younger ones too until it has, since they would be in the
/// way of what is in no store yet. What is not shipped never leaves.
pub fn leaves_staging(
    now: Timestamp,
    window: Duration,
    wanted: u64,
    files: &[Staged],
) -> Vec<WalFileName> {
    let begin = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    let mut shipped: Vec<_> = files.iter().filter(|file| file.shipped).collect();
    shipped.sort_by_key(|file| (file.modified, file.name));
    let mut freed = 0;
    let leaving = shipped.into_iter().take_while(|file| {
        let leaves = file.modified <= begin || freed < wanted;
        freed += file.bytes;
        leaves
    });
    leaving.map(|file| file.name).collect()
}
