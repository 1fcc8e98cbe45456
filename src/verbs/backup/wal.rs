//! The WAL that a backup needs: it can be restored only once that is stored.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    archive::{
        place::Place,
        ship::{Goal, ship},
    },
    backup::Manifest,
    layout::Format,
    postgres::{Lsn, SegmentName, WalFileName},
    store::{RetryPolicy, StoreError},
    verbs::{Host, block_on, setup::PROMPT},
};

/// How long PostgreSQL and the stores may take.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const PAUSE: Duration = Duration::from_millis(500);

/// Ships, and waits until every segment from the backup's start to its stop is
/// in a store. False where that takes too long, which is said.
pub(super) fn wait(host: &Host, manifest: &Manifest) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut said = false;
    loop {
        // What another `ship` or the daemon takes meanwhile is fine.
        let shipped = block_on(async {
            let shipping = host.shipping(RetryPolicy::default())?;
            Ok(ship(&shipping, Goal::Everything).await?)
        });
        if let Err(error) = shipped {
            tracing::warn!("ship: {error:#}");
        }
        let missing = block_on(async {
            let places = host.places(PROMPT)?;
            Ok(missing(&places, manifest).await?)
        });
        let reason = match missing {
            Ok(None) => return Ok(true),
            Ok(Some(segment)) => format!("\"{segment}\" is in no store yet"),
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > PATIENCE {
            tracing::error!(
                "backup {} is stored, and cannot be restored yet: {reason}; see `walkeep check`",
                manifest.id
            );
            return Ok(false);
        }
        if !said {
            said = true;
            let switch = match manifest.from_standby {
                true => {
                    "; a standby cannot switch segments: `SELECT pg_switch_wal()` on the primary"
                }
                false => "",
            };
            tracing::info!("waiting for the WAL that the backup needs: {reason}{switch}");
        }
        thread::sleep(PAUSE);
    }
}

/// The first segment that the backup needs and no store has.
async fn missing(places: &[Place], manifest: &Manifest) -> Result<Option<SegmentName>, StoreError> {
    let size = manifest.segment_size;
    let at = |lsn| SegmentName::containing(lsn, manifest.timeline, size);
    // The byte before the stop is the last one needed (XLByteToPrevSeg).
    let last = at(Lsn(manifest.stop_lsn.0.saturating_sub(1)));
    let mut next = Some(at(manifest.start_lsn));
    while let Some(segment) = next.filter(|segment| *segment <= last) {
        if !is_stored(places, manifest, segment).await? {
            return Ok(Some(segment));
        }
        next = segment.next(size);
    }
    Ok(None)
}

async fn is_stored(
    places: &[Place],
    manifest: &Manifest,
    segment: SegmentName,
) -> Result<bool, StoreError> {
    let mut unanswered = None;
    for place in places {
        for format in Format::ALL {
            let key = place.key(manifest.generation, WalFileName::Segment(segment), format);
            match place.store.head(&key).await {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
                Err(error) => unanswered = Some(error),
            }
        }
    }
    unanswered.map_or(Ok(false), Err)
}
