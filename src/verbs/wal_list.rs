//! `walkeep wal list`: what the catalog has, in unbroken stretches or file by
//! file.

use std::{collections::BTreeMap, io::Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{Host, NO, counted};
use crate::{
    catalog::{Catalog, FileRecord, KnownGap, Replica, Runs, Select, State},
    cli,
    layout::Generation,
    postgres::{Commit, Moments, SegmentName, SegmentSize, TimelineId, WalFileName},
};

pub(super) fn run(host: &Host, arguments: &cli::List) -> anyhow::Result<u8> {
    let generation = Generation(arguments.generation.unwrap_or(1));
    let select = match (arguments.generation, arguments.timeline) {
        (_, Some(timeline)) => Select::Timeline(generation, TimelineId(timeline)),
        (Some(_), None) => Select::Generation(generation),
        (None, None) => Select::All,
    };
    let catalog = host.catalog()?;
    let records = catalog.files(select);
    if arguments.files {
        return files(host, &catalog, records);
    }
    let stores: Vec<&str> = host
        .config
        .stores
        .iter()
        .map(|it| it.name().as_str())
        .collect();
    let mut gaps = catalog.read(|reader| reader.gaps(&stores))?;
    gaps.retain(|known| {
        let timeline = known.gap.first.timeline;
        arguments
            .timeline
            .is_none_or(|it| (generation, TimelineId(it)) == (known.generation, timeline))
            && arguments
                .generation
                .is_none_or(|it| Generation(it) == known.generation)
    });
    stretches(host, records, gaps)
}

type Record = Result<FileRecord, crate::catalog::CatalogError>;

/// How many records' moments are asked for at once.
const AT_ONCE: usize = 1024;

/// A record and, where they are known, when the first and the last transaction
/// in its segment were committed.
#[derive(Serialize)]
struct File<'r> {
    #[serde(flatten)]
    record: &'r FileRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_commit: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_commit: Option<Timestamp>,
}

fn files(
    host: &Host,
    catalog: &Catalog,
    records: impl Iterator<Item = Record>,
) -> anyhow::Result<u8> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if host.json {
        files_as_json(&mut out, catalog, records)?;
        return Ok(0);
    }
    for record in records {
        let record = record?;
        write!(
            out,
            "{:<40} {:>11}",
            record.name.to_string(),
            record.raw_size
        )?;
        for (store, replica) in &record.replicas {
            write!(out, "  {store}: {}", replica.state())?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(0)
}

fn files_as_json(
    out: &mut impl Write,
    catalog: &Catalog,
    mut records: impl Iterator<Item = Record>,
) -> anyhow::Result<()> {
    loop {
        let page: Vec<FileRecord> = records.by_ref().take(AT_ONCE).collect::<Result<_, _>>()?;
        if page.is_empty() {
            return Ok(out.flush()?);
        }
        let moments: Vec<Option<Moments>> = catalog.read(|reader| {
            let moments = page.iter().map(|record| reader.moments_of(record));
            moments.collect()
        })?;
        for (record, moments) in page.iter().zip(moments) {
            let time = |commit: Option<Commit>| commit.map(|commit| commit.time);
            let file = File {
                record,
                first_commit: moments.as_ref().and_then(|it| time(it.first_commit)),
                last_commit: moments.as_ref().and_then(|it| time(it.last_commit)),
            };
            serde_json::to_writer(&mut *out, &file)?;
            writeln!(out)?;
        }
    }
}

/// One line of the output.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    /// Segments without a gap.
    Stretch {
        generation: Generation,
        timeline: TimelineId,
        first: SegmentName,
        last: SegmentName,
        segments: u64,
    },
    /// Segments that are missing: between two stretches, at a switch of
    /// timelines, or from an end.
    Gap {
        timeline: TimelineId,
        #[serde(flatten)]
        known: KnownGap,
    },
    /// A timeline's history file.
    History {
        generation: Generation,
        timeline: TimelineId,
        name: WalFileName,
    },
}

fn stretches(
    host: &Host,
    records: impl Iterator<Item = Record>,
    gaps: Vec<KnownGap>,
) -> anyhow::Result<u8> {
    let mut segments: BTreeMap<Generation, (Option<SegmentSize>, Vec<SegmentName>)> =
        BTreeMap::new();
    let mut lines = Vec::new();
    for record in records {
        let record = record?;
        let generation = record.generation;
        // Known from staging, or damaged wherever it is: nothing could be
        // recovered from it.
        let holds = |replica: &Replica| replica.state() == State::Stored;
        if !record.replicas.values().any(holds) {
            continue;
        }
        match record.name {
            WalFileName::Segment(segment) => {
                let entry = segments.entry(generation).or_default();
                entry.0 = entry.0.or_else(|| SegmentSize::new(record.raw_size).ok());
                entry.1.push(segment);
            }
            name @ WalFileName::History(timeline) => {
                lines.push(Line::History {
                    generation,
                    timeline,
                    name,
                });
            }
            WalFileName::BackupHistory(..) | WalFileName::Partial(_) => {}
        }
    }
    for (generation, (size, names)) in segments {
        let runs = Runs::of(size.unwrap_or(SegmentSize::DEFAULT), names);
        lines.extend(runs.iter().map(|run| Line::Stretch {
            generation,
            timeline: run.first.timeline,
            first: run.first,
            last: run.last,
            segments: run.segments,
        }));
    }
    let needs_person = gaps.iter().any(|known| known.needs_person);
    lines.extend(gaps.into_iter().map(|known| Line::Gap {
        timeline: known.gap.first.timeline,
        known,
    }));
    lines.sort_by_key(Line::place);
    print(host, &lines)?;
    Ok(if needs_person { NO } else { 0 })
}

impl Line {
    /// By generation and timeline; a history file before its segments.
    fn place(&self) -> (Generation, TimelineId, Option<SegmentName>) {
        match self {
            Line::Stretch {
                generation,
                timeline,
                first,
                ..
            } => (*generation, *timeline, Some(*first)),
            Line::Gap { timeline, known } => (known.generation, *timeline, Some(known.gap.first)),
            Line::History {
                generation,
                timeline,
                ..
            } => (*generation, *timeline, None),
        }
    }
}

fn print(host: &Host, lines: &[Line]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if host.json {
            serde_json::to_writer(&mut out, line)?;
            writeln!(out)?;
            continue;
        }
        match line {
            Line::Stretch {
                first,
                last,
                segments,
                ..
            } => {
                let segments = counted(*segments, "segment", "segments");
                writeln!(out, "{first} .. {last}  {segments}")?;
            }
            Line::Gap { known, .. } => {
                let KnownGap { gap, .. } = known;
                let missing = counted(gap.segments, "segment is", "segments are");
                write!(out, "{} .. {}  GAP: {missing} missing", gap.first, gap.last)?;
                match &known.acknowledged {
                    Some(it) => writeln!(out, ", acknowledged by {} at {:.0}", it.by, it.at)?,
                    None => writeln!(out)?,
                }
            }
            Line::History { name, .. } => writeln!(out, "{name}")?,
        }
    }
    if lines.is_empty() && !host.json {
        writeln!(out, "nothing is archived yet")?;
    }
    Ok(())
}
