//! `walkeep catalog rebuild` and `walkeep catalog export`.

use std::{collections::BTreeMap, io::Write};

use anyhow::bail;
use jiff::Timestamp;

use super::{Host, NO, block_on, counted, print_json};
use crate::{audit::rebuild::rebuild, store::RetryPolicy};

pub(super) fn run_rebuild(host: &Host, only: Option<&str>) -> anyhow::Result<u8> {
    let known = host
        .config
        .stores
        .iter()
        .any(|store| only.is_none_or(|name| name == store.name().as_str()));
    if !known {
        let names: Vec<&str> = host
            .config
            .stores
            .iter()
            .map(|store| store.name().as_str())
            .collect();
        bail!(
            "--store: there is no such store; the configuration has \"{}\"",
            names.join("\", \"")
        );
    }
    let catalog = host.catalog()?;
    catalog.prepare()?;
    let outcomes = block_on(async {
        let mut outcomes = BTreeMap::new();
        for place in host.places(RetryPolicy::default())? {
            if only.is_none_or(|name| name == place.name().as_str()) {
                outcomes.insert(place.name().clone(), rebuild(&place, &catalog).await?);
            }
        }
        Ok(outcomes)
    })?;
    if only.is_none() {
        catalog.write(|writer| writer.rebuilt(Timestamp::now()))?;
    }
    if host.json {
        print_json(&outcomes)?;
    } else {
        let mut out = std::io::stdout().lock();
        for (store, found) in &outcomes {
            let crate::audit::rebuild::Rebuilt {
                files,
                backups,
                adopted,
                foreign,
                gone,
                ..
            } = found;
            write!(out, "{store}: {}", counted(*files, "file", "files"))?;
            if *backups > 0 {
                write!(out, ", {}", counted(*backups, "backup", "backups"))?;
            }
            for (number, what) in [
                (adopted, "adopted from an older set-up"),
                (gone, "gone since they were recorded"),
                (foreign, "keys that are not walkeep's"),
            ] {
                if *number > 0 {
                    write!(out, ", {number} {what}")?;
                }
            }
            writeln!(out)?;
        }
    }
    let problems: Vec<&String> = outcomes
        .values()
        .flat_map(|found| &found.problems)
        .collect();
    for problem in &problems {
        tracing::error!("{problem}");
    }
    Ok(if problems.is_empty() { 0 } else { NO })
}

pub(super) fn run_export(host: &Host) -> anyhow::Result<u8> {
    host.catalog()?.export(&mut std::io::stdout().lock())?;
    Ok(0)
}
