//! Which generation of the archive the asking cluster's WAL is in, from the
//! stores' `cluster.json`. Needed where neither a plan nor staging's marker
//! tells.

use super::{
    FetchError,
    answer::{Answer, Not, Source, Testimony},
    error::reasons,
    known::Known,
    survey::{Candidate, Heard, Patience, survey},
};
use crate::{
    archive::{
        claim,
        identity::{ClusterFile, GenerationFacts, LARGEST},
        place::Place,
    },
    layout::{Generation, Key},
    postgres::SystemId,
};

/// Fills in what is not known. An archive without `cluster.json` (an older
/// script's) has one generation, and what its files say must do.
pub(super) async fn identify(
    known: &mut Known,
    stores: &[Candidate],
    order: &[usize],
    patience: &Patience,
) -> Result<(), FetchError> {
    let ours = known.system_id;
    let ask = async |place: &Place, heard: &Heard| generations(place, ours, heard).await;
    let survey = survey(stores, order, patience, ask).await?;
    let Some((index, generations)) = &survey.found else {
        let testimony = survey.testimony(stores);
        if !testimony.iter().all(is_absent) {
            return Err(FetchError::Unidentified(reasons(&testimony)));
        }
        known.generation = Some(Generation::FIRST);
        return Ok(());
    };
    let source = Source::Store(stores[*index].name.clone());
    let facts = choose(known, generations, &source)?;
    known.system_id = Some(facts.system_identifier);
    known.segment_size = Some(facts.segment_size);
    known.generation = Some(facts.generation);
    Ok(())
}

/// The same, asking once. Where nobody could tell, but for who could not be
/// asked, the first generation is good enough to *find* a segment in: its own
/// header will tell whose it is. It is not good enough to prove an absence;
/// `known` has no generation then.
pub(super) async fn guess(
    known: &mut Known,
    stores: &[Candidate],
    order: &[usize],
) -> Result<Option<Generation>, FetchError> {
    match identify(known, stores, order, &Patience::once()).await {
        Ok(()) => Ok(known.generation),
        Err(FetchError::Unidentified(_)) if known.system_id.is_some() => {
            Ok(Some(Generation::FIRST))
        }
        Err(FetchError::Unidentified(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(one: &Testimony) -> bool {
    matches!(one.said, Not::Absent { .. })
}

fn choose<'a>(
    known: &Known,
    generations: &'a [GenerationFacts],
    source: &Source,
) -> Result<&'a GenerationFacts, FetchError> {
    match (known.system_id, generations) {
        (Some(id), _) => {
            let of_it = |facts: &&GenerationFacts| facts.system_identifier == id;
            generations.iter().rev().find(of_it).ok_or_else(|| {
                let newest = generations.last();
                FetchError::OtherCluster {
                    asker: "the data directory",
                    expected: id,
                    archive: format!("the archive in {source}"),
                    found: newest.map_or(id, |facts| facts.system_identifier),
                }
            })
        }
        (None, [only]) => Ok(only),
        (None, several) => {
            let ids = several
                .iter()
                .map(|facts| facts.system_identifier.to_string());
            Err(FetchError::Ambiguous(
                ids.collect::<Vec<String>>().join(", "),
            ))
        }
    }
}

/// All generations that a store's archive has, from the first; absent where
/// it has no `cluster.json`, and is an archive all the same.
async fn generations(
    place: &Place,
    ours: Option<SystemId>,
    heard: &Heard,
) -> Result<Answer<Vec<GenerationFacts>>, FetchError> {
    let mut generations: Vec<GenerationFacts> = Vec::new();
    for number in 1.. {
        let key = place.layout.key(Key::Cluster(Generation(number)));
        let bytes = match place.store.get_range(&key, 0..LARGEST).await {
            Err(error) => return Ok(Answer::Not(error.into())),
            Ok(None) => break,
            Ok(Some(bytes)) => bytes,
        };
        heard.note(bytes.len());
        let file = match ClusterFile::parse(&bytes) {
            Ok(file) => file,
            Err(error) => {
                let reason = format!("\"{key}\": {error}");
                return Ok(Answer::Not(Not::Damaged { reason }));
            }
        };
        // A generation's file may repeat the earlier ones.
        for facts in file.generations {
            if !generations
                .iter()
                .any(|known| known.generation == facts.generation)
            {
                generations.push(facts);
            }
        }
    }
    generations.sort_by_key(|facts| facts.generation);
    if !generations.is_empty() {
        return Ok(Answer::Has(generations));
    }
    let confirmed = claim::confirm(place, Generation::FIRST, ours, false).await;
    Ok(Answer::Not(match confirmed {
        Ok(()) => Not::Absent { later: None },
        Err(error) => error.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::SegmentSize;

    fn facts(generation: u32, id: u64) -> GenerationFacts {
        GenerationFacts {
            generation: Generation(generation),
            system_identifier: SystemId(id),
            segment_size: SegmentSize::DEFAULT,
            postgres_major: None,
        }
    }

    #[test]
    fn the_clusters_own_generation_is_chosen_and_no_other() {
        let archive = [facts(1, 71), facts(2, 72)];
        let choose = |id: Option<u64>, archive| {
            let known = Known {
                system_id: id.map(SystemId),
                ..Known::default()
            };
            choose(&known, archive, &Source::Staging).map(|facts| facts.generation.0)
        };
        assert_eq!(choose(Some(71), &archive[..]).unwrap(), 1);
        assert_eq!(choose(Some(72), &archive[..]).unwrap(), 2);
        assert_eq!(choose(None, &archive[..1]).unwrap(), 1);
        assert!(matches!(
            choose(Some(73), &archive[..]),
            Err(FetchError::OtherCluster {
                found: SystemId(72),
                ..
            })
        ));
        assert!(matches!(
            choose(None, &archive[..]),
            Err(FetchError::Ambiguous(_))
        ));
    }
}
