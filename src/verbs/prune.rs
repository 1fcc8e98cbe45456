//! `walkeep prune` and `walkeep backup delete`: show what goes and what stays,
//! ask, delete.

mod shown;

use std::io::{BufRead, IsTerminal, Write};

use anyhow::bail;
use jiff::Timestamp;

use super::{Host, NO, caller::USAGE, print_json, setup::runtime};
use crate::{
    archive::{
        place::Place,
        ship::copies::{self, Apart},
        staging::Staging,
    },
    catalog::Catalog,
    cli::Consent,
    layout::BackupId,
    retention::{
        delete::{Beside, Outcome, delete},
        gather::{GatherError, Gathered, gather},
        plan::{self, Decision, Deletion, Gone, Object, Rules},
    },
    store::RetryPolicy,
};
use shown::Shown;

pub(super) fn run(host: &Host, consent: Consent) -> anyhow::Result<u8> {
    let rules = rules(host);
    remove(host, consent, |gathered| {
        check_readable(gathered, &[])?;
        Ok(plan::prune(&rules, &gathered.archive))
    })
}

pub(super) fn run_delete(host: &Host, ids: &[BackupId], consent: Consent) -> anyhow::Result<u8> {
    let rules = rules(host);
    remove(host, consent, |gathered| {
        check_readable(gathered, ids)?;
        decide(&rules, gathered, ids)
    })
}

fn rules(host: &Host) -> Rules {
    let retention = &host.config.retention;
    Rules {
        now: Timestamp::now(),
        window: retention.window,
        min_backups: retention.min_backups,
    }
}

/// What nobody can read may need anything. It can be deleted itself.
fn check_readable(gathered: &Gathered, deleted: &[BackupId]) -> anyhow::Result<()> {
    let mut unreadable = gathered.unreadable.iter();
    if let Some(((_, id), reason)) = unreadable.find(|((_, id), _)| !deleted.contains(id)) {
        bail!(
            "nobody knows what backup {id} needs ({reason}), so nothing was deleted; if it is lost \
             for good, `walkeep backup delete {id}` removes it"
        );
    }
    Ok(())
}

fn decide(rules: &Rules, gathered: &Gathered, ids: &[BackupId]) -> anyhow::Result<Decision> {
    let names: Vec<String> = ids.iter().map(BackupId::to_string).collect();
    let mut all = Decision::default();
    for &(generation, id) in gathered.unreadable.keys() {
        all.delete.push(Deletion {
            generation,
            what: Object::Manifest(id.to_string()),
            why: Gone::Asked,
        });
    }
    for holdings in &gathered.archive {
        let decision = plan::delete_backups(rules, holdings, &names);
        all.delete.extend(decision.delete);
        all.backups.extend(decision.backups);
    }
    // Of several generations: each one's manifests still before all data.
    all.delete.sort_by_key(|it| !is_manifest(&it.what));
    for name in &names {
        let stays = all.backups.iter().find(|backup| backup.id == *name);
        if let Some(stays) = stays {
            bail!("backup {name} cannot be deleted: {}", stays.why);
        }
        let goes = |it: &Deletion| it.what == Object::Manifest(name.clone());
        if !all.delete.iter().any(goes) {
            bail!("there is no backup {name}; `walkeep backup list` shows those there are");
        }
    }
    Ok(all)
}

fn is_manifest(what: &Object) -> bool {
    matches!(what, Object::Manifest(_))
}

/// Everything that a deletion works on.
struct Scene {
    places: Vec<Place>,
    staging: Staging,
    catalog: Catalog,
    apart: Apart,
}

impl Scene {
    fn of(host: &Host) -> anyhow::Result<Self> {
        let staging = host.staging()?;
        let catalog = host.catalog()?;
        let stores = host.config.stores.iter().map(|store| store.name());
        let apart = copies::tell_apart(&staging, &catalog, stores)?;
        let places = host.places(RetryPolicy::default())?;
        Ok(Scene {
            places: places.into_iter().map(Place::claimed).collect(),
            staging,
            catalog,
            apart,
        })
    }

    async fn gather(&self) -> Result<Gathered, GatherError> {
        gather(&self.places, &self.staging, &self.apart).await
    }

    async fn delete(
        &self,
        gathered: &Gathered,
        decision: &Decision,
    ) -> anyhow::Result<Vec<Outcome>> {
        let beside = Beside {
            catalog: &self.catalog,
            staging: &self.staging,
            copies: &self.apart.copies,
        };
        Ok(delete(gathered, decision, &beside).await?)
    }
}

fn remove(
    host: &Host,
    consent: Consent,
    decide: impl Fn(&Gathered) -> anyhow::Result<Decision>,
) -> anyhow::Result<u8> {
    let can_ask = !host.json && std::io::stdin().is_terminal();
    if !consent.yes && !consent.dry_run && !can_ask {
        tracing::error!(
            "there is nobody to ask, so nothing was deleted; `--dry-run` shows what would be, \
             `--yes` deletes it"
        );
        return Ok(USAGE);
    }
    let runtime = runtime()?;
    // Stores are opened inside of a runtime.
    let scene = runtime.block_on(async { Scene::of(host) })?;
    let gathered = runtime.block_on(scene.gather())?;
    let decision = decide(&gathered)?;
    let mut shown = Shown::of(&gathered, &decision, consent.dry_run);
    if !host.json {
        shown.print_plan()?;
    }
    if !consent.dry_run && !decision.delete.is_empty() {
        if !consent.yes && !agreed()? {
            tracing::error!("nothing was deleted");
            return Ok(NO);
        }
        let outcomes = runtime.block_on(scene.delete(&gathered, &decision))?;
        shown.note(&outcomes);
        host.trail().note_all(&shown.deeds());
        if !host.json {
            shown.print_done()?;
        }
    }
    runtime.shutdown_background();
    if host.json {
        print_json(&shown)?;
    }
    let mut code = 0;
    for failure in shown.failures() {
        tracing::error!("{failure}; what is left there goes with the next `walkeep prune`");
        code = NO;
    }
    Ok(code)
}

/// Asks on the terminal.
fn agreed() -> anyhow::Result<bool> {
    eprint!("Delete what goes? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
