//! `walkeep gap ack`.

use std::io::Write;

use anyhow::bail;
use jiff::Timestamp;
use nix::unistd::{Uid, User, gethostname};

use super::{Host, caller::USAGE, counted, print_json};
use crate::{
    catalog::{Acknowledged, FileRecord, KnownGap, Replica, Select},
    postgres::WalFileName,
    trail::Deed,
};

pub(super) fn run_ack(host: &Host, name: Option<WalFileName>, all: bool) -> anyhow::Result<u8> {
    let catalog = host.catalog()?;
    let stores: Vec<&str> = host
        .config
        .stores
        .iter()
        .map(|it| it.name().as_str())
        .collect();
    let gaps = catalog.read(|reader| reader.gaps(&stores))?;
    let chosen: Vec<&KnownGap> = match name {
        Some(WalFileName::Segment(segment)) => {
            let holds = |known: &&KnownGap| {
                let gap = &known.gap;
                gap.first.timeline == segment.timeline && (gap.first..=gap.last).contains(&segment)
            };
            let chosen: Vec<&KnownGap> = gaps.iter().filter(holds).collect();
            if chosen.is_empty() {
                bail!(
                    "segment \"{segment}\" is in no gap; `walkeep wal list` shows those there are"
                );
            }
            chosen
        }
        Some(name) => return forget(host, name),
        None => gaps
            .iter()
            .filter(|known| known.acknowledged.is_none())
            .collect(),
    };
    if name.is_none() && !all && chosen.len() > 1 {
        for known in &chosen {
            tracing::error!("gap: {}", described(known));
        }
        tracing::error!("name a segment of the one that is meant, or `--all`");
        return Ok(USAGE);
    }
    let acknowledged: Vec<Acknowledged> = chosen
        .iter()
        .map(|known| Acknowledged {
            generation: known.generation,
            first: known.gap.first,
            last: known.gap.last,
            by: who(),
            at: Timestamp::now(),
        })
        .collect();
    catalog.write(|writer| {
        acknowledged
            .iter()
            .try_for_each(|it| writer.acknowledge(it))
    })?;
    let deed = |it: &Acknowledged| Deed::GapAcknowledged {
        generation: it.generation,
        first: it.first,
        last: it.last,
        by: it.by.clone(),
    };
    let deeds: Vec<Deed> = acknowledged.iter().map(deed).collect();
    host.trail().note_all(&deeds);
    let gaps = catalog.read(|reader| reader.gaps(&stores))?;
    if host.json {
        print_json(&gaps)?;
        return Ok(0);
    }
    let mut out = std::io::stdout().lock();
    for it in &acknowledged {
        let known = gaps.iter().find(|known| known.gap.first == it.first);
        let then = match known.is_some_and(|known| known.needs_person) {
            true => "; the next base backup in every store settles it: `walkeep backup create`",
            false => "; every store has a newer base backup, so it needs nobody any more",
        };
        writeln!(out, "acknowledged: {} .. {}{then}", it.first, it.last)?;
    }
    if acknowledged.is_empty() {
        writeln!(out, "there is no gap to acknowledge")?;
    }
    Ok(0)
}

/// A file that is no segment and in no store any more is let go of.
fn forget(host: &Host, name: WalFileName) -> anyhow::Result<u8> {
    let catalog = host.catalog()?;
    let is_lost = |record: &FileRecord| {
        let mut replicas = record.replicas.values();
        record.name == name
            && !replicas.any(|it| matches!(it, Replica::Stored(_) | Replica::Pending { .. }))
    };
    let mut lost = Vec::new();
    for record in catalog.files(Select::All) {
        let record = record?;
        if is_lost(&record) {
            lost.push(record.generation);
        }
    }
    if lost.is_empty() {
        bail!("\"{name}\" is not lost; `walkeep verify` shows what is");
    }
    catalog.write(|writer| {
        lost.iter()
            .try_for_each(|generation| writer.remove(*generation, name).map(drop))
    })?;
    if host.json {
        print_json(&serde_json::json!([]))?;
    } else {
        writeln!(
            std::io::stdout(),
            "acknowledged: \"{name}\" is not missed any more"
        )?;
    }
    Ok(0)
}

/// A gap in words: its segments, and what it costs.
pub(super) fn described(known: &KnownGap) -> String {
    let KnownGap { gap, .. } = known;
    let segments = counted(gap.segments, "segment is", "segments are");
    let mut text = format!("{} .. {}: {segments} missing", gap.first, gap.last);
    let time = |at: Timestamp| format!("{at:.0}");
    text += &match (known.last_commit_before, known.first_commit_after) {
        (Some(from), Some(to)) => {
            format!(
                "; what was committed between {} and {} is lost",
                time(from),
                time(to)
            )
        }
        (Some(from), None) => format!("; what was committed after {} is lost", time(from)),
        (None, Some(to)) => format!("; what was committed before {} is lost", time(to)),
        (None, None) => String::new(),
    };
    text += &match known.restorable_from {
        Some(from) => format!("; moments from {} on can be restored", time(from)),
        None => "; no moment behind it can be restored before the next base backup".to_owned(),
    };
    if let Some(it) = &known.acknowledged {
        text += &format!("; acknowledged by {} at {}", it.by, time(it.at));
    }
    text
}

/// The user that a person was before `sudo`, and the host.
pub(super) fn who() -> String {
    let user = User::from_uid(Uid::current()).ok().flatten();
    let user = std::env::var("SUDO_USER").ok().or(user.map(|it| it.name));
    let host = gethostname().unwrap_or_default();
    let user = user.unwrap_or_else(|| Uid::current().to_string());
    format!("{user}@{}", host.to_string_lossy())
}
