//! The WAL that a backup needs: it can be restored only once that is stored.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use crate::{
    archive::{
        place::Place,
        ship::{Goal, ship},
    },
    backup::Manifest,
    layout::{Format, Generation},
    postgres::{Lsn, SegmentName, SegmentSize, TimelineId, WalFileName},
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
            Ok(Needed::of(manifest)
                .missing(&places)
                .await?
                .into_iter()
                .next())
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

/// The WAL that a backup needs.
pub(super) struct Needed {
    pub(super) generation: Generation,
    pub(super) timeline: TimelineId,
    pub(super) size: SegmentSize,
    /// From where to where.
    pub(super) wal: Range<Lsn>,
}

impl Needed {
    fn of(manifest: &Manifest) -> Self {
        Needed {
            generation: manifest.generation,
            timeline: manifest.timeline,
            size: manifest.segment_size,
            wal: manifest.start_lsn..manifest.stop_lsn,
        }
    }

    /// The segments that no store has.
    pub(super) async fn missing(&self, places: &[Place]) -> Result<Vec<SegmentName>, StoreError> {
        let mut missing = Vec::new();
        for number in self.size.numbers(&self.wal) {
            let segment = SegmentName::numbered(number, self.timeline, self.size);
            let name = WalFileName::Segment(segment);
            if !is_stored(places, self.generation, name).await? {
                missing.push(segment);
            }
        }
        Ok(missing)
    }
}

/// Whether any store has the file.
pub(super) async fn is_stored(
    places: &[Place],
    generation: Generation,
    name: WalFileName,
) -> Result<bool, StoreError> {
    let mut unanswered = None;
    for place in places {
        for format in Format::ALL {
            let key = place.key(generation, name, format);
            match place.store.head(&key).await {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
                Err(error) => unanswered = Some(error),
            }
        }
    }
    unanswered.map_or(Ok(false), Err)
}
