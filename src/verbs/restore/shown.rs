//! How a plan is shown.

use std::{collections::BTreeMap, io::Write, path::Path};

use bytesize::ByteSize;
use jiff::Timestamp;
use serde::Serialize;

use super::{arguments::Asked, planned::Planned};
use crate::{
    archive::plan::SegmentRange,
    backup::base::stored_size,
    postgres::{Lsn, SegmentName},
    recovery::{
        Destination,
        plan::{Gap, Holder, Plan, Streamed, Target},
    },
    verbs::counted,
};

/// A plan, as `--json` shows it.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    directory: &'a Path,
    backup: &'a str,
    because: &'a str,
    /// When the backup ended.
    stopped: Timestamp,
    timeline: u32,
    /// How many.
    segments: u64,
    first_segment: Option<SegmentName>,
    last_segment: Option<SegmentName>,
    /// What goes into `pg_wal` besides.
    streamed: Vec<ShownStreamed>,
    last_commit: Option<Timestamp>,
    /// The first position that is not reached.
    end: Lsn,
    stores: Vec<&'a str>,
    not_consulted: BTreeMap<&'a str, &'a str>,
    raw_bytes: u64,
    /// At the most; null where no store could say.
    fetch_bytes: Option<u64>,
    free_bytes: Option<u64>,
    gaps: Vec<String>,
    doubts: Vec<String>,
}

/// A segment of which the archive has streamed parts alone.
#[derive(Serialize)]
struct ShownStreamed {
    segment: SegmentName,
    bytes: u64,
    /// Everything that was flushed by then is in it; null for one that was
    /// streamed to its end.
    until: Option<Timestamp>,
}

impl<'a> Shown<'a> {
    pub(super) async fn of(planned: &'a Planned, destination: &'a Destination) -> Self {
        let Planned { plan, .. } = planned;
        Shown {
            directory: &destination.directory,
            backup: &plan.backup.id,
            because: plan.because,
            stopped: plan.backup.stopped,
            timeline: plan.timeline.0,
            segments: plan.count,
            first_segment: plan.first(),
            last_segment: plan.last(),
            streamed: plan.streamed.iter().map(streamed).collect(),
            last_commit: plan.last_commit.map(|commit| commit.time),
            end: plan.end,
            stores: planned
                .holding
                .iter()
                .map(|place| place.name().as_str())
                .collect(),
            not_consulted: planned
                .unable
                .iter()
                .map(|(store, reason)| (store.as_str(), reason.as_str()))
                .collect(),
            raw_bytes: plan.backup.raw_bytes,
            fetch_bytes: fetch_bytes(planned).await,
            free_bytes: destination.free(),
            gaps: plan.gaps.iter().map(gap).collect(),
            doubts: plan.doubts.iter().map(ToString::to_string).collect(),
        }
    }

    /// Says it, before a disk is touched.
    pub(super) fn print(&self, planned: &Planned, asked: &Asked) -> anyhow::Result<()> {
        let (shown, plan) = (self, &planned.plan);
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "backup    {} of {}, on timeline {}: {}",
            shown.backup, shown.stopped, plan.backup.timeline, shown.because
        )?;
        for (id, why) in &plan.passed_over {
            writeln!(out, "          not {id}: {why}")?;
        }
        let exclusive = if asked.request.exclusive {
            "just before "
        } else {
            ""
        };
        writeln!(
            out,
            "target    {exclusive}{}, on timeline {}",
            target(&asked.request.target),
            plan.timeline
        )?;
        for leg in &plan.way {
            let to = leg
                .left_at
                .map_or_else(|| "its end".to_owned(), |at| at.to_string());
            writeln!(
                out,
                "way       timeline {} from {} to {to}",
                leg.timeline, leg.from
            )?;
        }
        if let (Some(first), Some(last)) = (shown.first_segment, shown.last_segment) {
            let holders: Vec<String> = plan.holders.iter().map(|it| held(it, plan)).collect();
            writeln!(
                out,
                "WAL       {}, {first} to {last}; {}",
                counted(plan.count, "segment", "segments"),
                holders.join(", ")
            )?;
        }
        for one in &shown.streamed {
            let until = one.until.map(|time| format!(" until {time}"));
            writeln!(
                out,
                "          and {} of {}, streamed{}",
                ByteSize(one.bytes),
                one.segment,
                until.unwrap_or_default()
            )?;
        }
        match shown.last_commit {
            Some(time) => writeln!(out, "reaches   {} with the last commit at {time}", plan.end)?,
            None => writeln!(out, "reaches   {}", plan.end)?,
        }
        for gap in &shown.gaps {
            writeln!(out, "gap       {gap}")?;
        }
        for doubt in &shown.doubts {
            writeln!(out, "note      {doubt}")?;
        }
        for (store, reason) in &shown.not_consulted {
            writeln!(out, "without   {store}: {reason}")?;
        }
        let fetched = shown.fetch_bytes.map_or_else(
            || "an unknown amount".to_owned(),
            |bytes| format!("at most {}", ByteSize(bytes)),
        );
        writeln!(out, "fetches   {fetched} from {}", shown.stores.join(", "))?;
        let free = shown
            .free_bytes
            .map(|free| format!(", where {} is free", ByteSize(free)));
        writeln!(
            out,
            "writes    {} to \"{}\"{}",
            ByteSize(shown.raw_bytes),
            shown.directory.display(),
            free.unwrap_or_default()
        )?;
        Ok(())
    }
}

fn streamed(one: &Streamed) -> ShownStreamed {
    let Streamed {
        segment,
        bytes,
        until,
    } = *one;
    ShownStreamed {
        segment,
        bytes,
        until,
    }
}

/// A target in words.
pub(in crate::verbs) fn target(target: &Target) -> String {
    match target {
        Target::Latest => "the end of the WAL".to_owned(),
        Target::Immediate => "as soon as the backup is consistent".to_owned(),
        Target::Time(time) => time.to_string(),
        Target::Lsn(lsn) => lsn.to_string(),
        Target::Xid(xid) => format!("transaction {xid}"),
        Target::Name(name) => format!("restore point \"{name}\""),
    }
}

/// `r2 has all`, `staging has 3`.
fn held(holder: &Holder, plan: &Plan) -> String {
    let size = plan.segment_size;
    let count = |range: &SegmentRange| {
        let number = |name: SegmentName| name.number(size).unwrap_or_default();
        number(range.last) + 1 - number(range.first)
    };
    let has: u64 = holder.segments.iter().map(count).sum();
    match has == plan.count {
        true => format!("{} has all", holder.source),
        false => format!("{} has {has}", holder.source),
    }
}

fn gap(gap: &Gap) -> String {
    let moment = |time: Option<Timestamp>| time.map(|time| time.to_string());
    format!(
        "{} missing, {} to {}: lost from {} to {}",
        counted(gap.segments, "segment", "segments"),
        gap.first,
        gap.last,
        moment(gap.lost_from).unwrap_or_else(|| "before it".to_owned()),
        moment(gap.lost_to).unwrap_or_else(|| "the end".to_owned())
    )
}

/// What the packs have that hold blocks of the backup; `None` where nobody can
/// say.
async fn fetch_bytes(planned: &Planned) -> Option<u64> {
    let place = planned.holding.first()?;
    stored_size(place, &planned.manifest).await.ok()
}
