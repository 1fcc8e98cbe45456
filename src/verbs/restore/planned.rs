//! From what is asked for to a plan: which archive, which of its generations,
//! and what can be reached in it.

use anyhow::{Context, bail};

use super::usage;
use crate::{
    archive::{claim, identity::GenerationFacts, place::Place},
    backup::Manifest,
    config::ConfigError,
    postgres::TimelineId,
    recovery::{
        Joining, archives,
        gather::Gathered,
        plan::{Plan, Reason, Refusal, Request, Step, TimelineChoice},
    },
    store::{RetryPolicy, StoreName},
    verbs::Host,
};

/// A plan, and what it was made from.
pub(in crate::verbs) struct Planned {
    pub(in crate::verbs) plan: Plan,
    pub(in crate::verbs) manifest: Manifest,
    /// The stores that were consulted: those that have the backup, and others.
    pub(in crate::verbs) holding: Vec<Place>,
    pub(in crate::verbs) others: Vec<Place>,
    /// What was streamed, and goes into `pg_wal`.
    pub(in crate::verbs) streamed: Joining,
    /// Why each of the rest was not.
    pub(super) unable: Vec<(StoreName, String)>,
}

/// The target cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Unreachable {
    text: String,
}

/// `--timeline`.
pub(super) fn timeline(text: &str) -> Result<TimelineChoice, ConfigError> {
    match text {
        "latest" => Ok(TimelineChoice::Latest),
        "current" => Ok(TimelineChoice::Current),
        number => match number.parse() {
            Ok(number) => Ok(TimelineChoice::Number(TimelineId(number))),
            Err(_) => {
                let problem = format!("\"{text}\" is neither a number nor latest or current");
                Err(usage("--timeline", problem))
            }
        },
    }
}

/// Plans in the newest generation that leads to the target.
pub(in crate::verbs) async fn plan(
    host: &Host,
    store: Option<&str>,
    request: &Request,
    retry: RetryPolicy,
) -> anyhow::Result<Planned> {
    let mut places = host.places(retry)?;
    if let Some(name) = store {
        places.retain(|place| place.name().as_str() == name);
        if places.is_empty() {
            return Err(usage("--store", format!("there is no store \"{name}\"")).into());
        }
    }
    let staging = host.config.staging.path.is_some() && store.is_none();
    let mut refusal = None;
    for facts in generations(&places).await?.into_iter().rev() {
        // A host that only restores has none, or not its volume.
        let staging = staging.then(|| host.staging().ok()).flatten();
        let gathered = Gathered::from(&places, &facts, staging).await?;
        match gathered.plan(request).await {
            Step::Done(plan) => return planned(*plan, gathered),
            Step::Refused(refused) => {
                refusal.get_or_insert((refused, gathered.unable));
            }
            // It plans until it needs nothing more.
            Step::Need(_) => bail!("planning came to no end"),
        }
    }
    let (refusal, unable) = refusal.context("the archive has no generation")?;
    let text = explain(&refusal, &unable);
    Err(Unreachable { text }.into())
}

fn planned(plan: Plan, mut gathered: Gathered) -> anyhow::Result<Planned> {
    let id = plan.backup.id.parse()?;
    let manifest = gathered.manifests.remove(&id);
    let holds = |place: &Place| {
        let mut holders = plan.backup.holders.iter();
        holders.any(|holder| holder.to_string() == place.name().as_str())
    };
    let (holding, others) = gathered.consulted().iter().cloned().partition(holds);
    Ok(Planned {
        manifest: manifest.with_context(|| format!("the manifest of {id} is gone"))?,
        streamed: Joining {
            parts: gathered.parts,
            segments: plan.streamed.clone(),
            segment_size: plan.segment_size,
        },
        plan,
        holding,
        others,
        unable: gathered.unable,
    })
}

/// All generations that any of the stores knows. Where there is no archive, the
/// archives that there are.
async fn generations(places: &[Place]) -> anyhow::Result<Vec<GenerationFacts>> {
    let mut known: Vec<GenerationFacts> = Vec::new();
    let mut problems = Vec::new();
    for place in places {
        match claim::known_generations(place).await {
            Ok(found) => {
                for facts in found {
                    if known.iter().all(|one| one.generation != facts.generation) {
                        known.push(facts);
                    }
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    known.sort_by_key(|facts| facts.generation);
    if !known.is_empty() {
        for problem in problems {
            tracing::warn!("{problem}");
        }
        return Ok(known);
    }
    let mut found = Vec::new();
    for place in places {
        match archives::prefixes(&place.store).await {
            Ok(prefixes) => {
                let prefixes = prefixes.iter().map(ToString::to_string);
                found.push((place, prefixes.collect::<Vec<String>>()));
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    let there: Vec<String> = found
        .iter()
        .filter(|(_, prefixes)| !prefixes.is_empty())
        .map(|(place, prefixes)| {
            format!(
                "store \"{}\" has \"{}\"",
                place.name(),
                prefixes.join("\", \"")
            )
        })
        .collect();
    let roots: Vec<String> = places
        .iter()
        .map(|place| {
            format!(
                "at \"{}\" in store \"{}\"",
                place.layout.root(),
                place.name()
            )
        })
        .collect();
    let nothing = format!("there is no archive {}", roots.join(" nor "));
    if !there.is_empty() {
        let problem = format!(
            "{nothing}, but {}: set WALKEEP_PREFIX (or `prefix` in the configuration) to the one \
             that is to be restored",
            there.join("; ")
        );
        return Err(usage("WALKEEP_PREFIX", problem).into());
    }
    if problems.is_empty() {
        bail!("{nothing}, and none elsewhere in them: correct the bucket or the prefix");
    }
    bail!("no archive was found: {}", problems.join("; "))
}

fn explain(refusal: &Refusal, unable: &[(StoreName, String)]) -> String {
    let mut text = refusal.reason.to_string();
    if let Reason::NoFitBackup { why, .. } = &refusal.reason {
        for (id, why) in why {
            text += &format!("\n  backup {id}: {why}");
        }
    }
    if let Reason::UnknownName { nearest, .. } = &refusal.reason
        && !nearest.is_empty()
    {
        text += &format!("\n  the nearest: {}", nearest.join(", "));
    }
    for reach in &refusal.reachable {
        let to = match reach.to_time {
            Some(time) => format!("before {time} ({})", reach.to),
            None => reach.to.to_string(),
        };
        text += &format!(
            "\n  what can be reached on timeline {}: from {} ({}, the end of backup {}) to {to}",
            reach.timeline, reach.from_time, reach.from, reach.backup
        );
    }
    for (store, reason) in unable {
        text += &format!("\n  {store} was not consulted: {reason}");
    }
    text
}
