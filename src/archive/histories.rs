//! Timelines' history files, read from whoever has them.

use super::{place::Place, staging::Staging};
use crate::{
    codec::decode,
    layout::{Format, Generation},
    postgres::{
        TimelineId, WalFileName,
        history::{self, Ancestor},
    },
};

/// More than any history file, in bytes.
const LARGEST: u64 = 1 << 20;

/// The ancestors that the history file of `timeline` names, from staging or
/// the first store that can give it; why nobody can, where nobody can.
pub async fn read(
    places: &[Place],
    staging: Option<&Staging>,
    generation: Generation,
    timeline: TimelineId,
) -> Result<Vec<Ancestor>, String> {
    let name = WalFileName::History(timeline);
    let mut reasons = Vec::new();
    if let Some(staging) = staging
        && let Ok(Some(file)) = staging.file(name)
    {
        let text = std::io::read_to_string(file).unwrap_or_default();
        match history::parse(&text) {
            Ok(ancestors) if !ancestors.is_empty() => return Ok(ancestors),
            Ok(_) => reasons.push("staging: it is empty".to_owned()),
            Err(error) => reasons.push(format!("staging: {error}")),
        }
    }
    for place in places {
        match stored(place, generation, timeline).await {
            Ok(Some(ancestors)) => return Ok(ancestors),
            Ok(None) => {}
            Err(reason) => reasons.push(format!("{}: {reason}", place.name())),
        }
    }
    Err(reasons.join("; "))
}

async fn stored(
    place: &Place,
    generation: Generation,
    timeline: TimelineId,
) -> Result<Option<Vec<Ancestor>>, String> {
    let text = text(place, generation, timeline).await?;
    let ancestors = text.map(|text| history::parse(&text));
    ancestors.transpose().map_err(|error| error.to_string())
}

/// The history file of `timeline` as a store has it; `None` where it has none.
pub async fn text(
    place: &Place,
    generation: Generation,
    timeline: TimelineId,
) -> Result<Option<String>, String> {
    let name = WalFileName::History(timeline);
    for format in Format::ALL {
        let key = place.key(generation, name, format);
        let stored = place.store.get_range(&key, 0..LARGEST).await;
        let Some(stored) = stored.map_err(|error| error.to_string())? else {
            continue;
        };
        let mut raw = Vec::new();
        decode(format, &stored, LARGEST, &mut raw).map_err(|error| error.to_string())?;
        return Ok(Some(String::from_utf8_lossy(&raw).into_owned()));
    }
    Ok(None)
}
