//! What goes and what stays, as `prune` and `backup delete` say it.

use std::{collections::BTreeMap, io::Write};

use bytesize::ByteSize;
use serde::Serialize;

use crate::{
    layout::{Generation, Key},
    postgres::{SegmentName, WalFileName},
    retention::{
        delete::{Outcome, Sum},
        gather::Gathered,
        plan::{Decision, Gone, Object},
    },
    trail::Deed,
    verbs::counted,
};

/// The result, as `--json` prints it. Sizes in bytes.
#[derive(Serialize)]
pub(super) struct Shown {
    /// Whether this is all that was asked for.
    dry_run: bool,
    /// Every backup that goes or stays, oldest first.
    backups: Vec<Backup>,
    /// Runs of the WAL's files.
    wal: Vec<Wal>,
    /// What goes of backups' data.
    data: Vec<Data>,
    /// What goes of what was streamed, segment by segment.
    streamed: Vec<Streamed>,
    /// The markers of dead backups that go.
    markers: Vec<Marker>,
    stores: Vec<Store>,
}

#[derive(Serialize)]
struct Backup {
    generation: Generation,
    id: String,
    goes: bool,
    why: String,
}

#[derive(Serialize)]
struct Wal {
    generation: Generation,
    first: WalFileName,
    last: WalFileName,
    files: u64,
    goes: bool,
    why: String,
}

#[derive(Serialize)]
struct Data {
    generation: Generation,
    /// Whose packs; null for index objects, which are nobody's own.
    backup: Option<String>,
    objects: u64,
    why: String,
}

#[derive(Serialize)]
struct Streamed {
    generation: Generation,
    segment: SegmentName,
    /// How many of its parts.
    parts: u64,
    why: String,
}

#[derive(Serialize)]
struct Marker {
    generation: Generation,
    id: String,
    why: String,
}

#[derive(Serialize)]
struct Store {
    store: String,
    /// What goes.
    goes: Sum,
    /// What has gone.
    deleted: Sum,
    /// Why not all of it has.
    failure: Option<String>,
}

impl Shown {
    pub(super) fn of(gathered: &Gathered, decision: &Decision, dry_run: bool) -> Self {
        let stores = gathered.held.iter().map(|held| Store {
            store: held.store().to_string(),
            goes: held.sum(decision),
            deleted: Sum::default(),
            failure: None,
        });
        Shown {
            dry_run,
            backups: backups(decision),
            wal: wal(decision),
            data: data(gathered, decision),
            streamed: streamed(decision),
            markers: markers(decision),
            stores: stores.collect(),
        }
    }

    /// Adds what came of it.
    pub(super) fn note(&mut self, outcomes: &[Outcome]) {
        for (store, outcome) in self.stores.iter_mut().zip(outcomes) {
            store.deleted = outcome.deleted;
            store.failure = outcome.failure.as_ref().map(ToString::to_string);
        }
    }

    /// What has gone, for the audit trail.
    pub(super) fn deeds(&self) -> Vec<Deed> {
        let gone = self.backups.iter().filter(|backup| backup.goes);
        let backups: Vec<String> = gone.map(|backup| backup.id.clone()).collect();
        let gone = self.wal.iter().filter(|run| run.goes);
        let names = |run: &Wal| (run.first.to_string(), run.last.to_string());
        let wal: Vec<_> = gone.map(names).collect();
        let stores = self.stores.iter().filter(|store| store.deleted.objects > 0);
        let deed = |store: &Store| Deed::Deleted {
            store: store.store.clone(),
            objects: store.deleted.objects,
            bytes: store.deleted.bytes,
            backups: backups.clone(),
            wal: wal.clone(),
        };
        stores.map(deed).collect()
    }

    /// Why not everything has gone, for each store that failed.
    pub(super) fn failures(&self) -> impl Iterator<Item = &str> {
        let failures = self.stores.iter();
        failures.filter_map(|store| store.failure.as_deref())
    }

    pub(super) fn print_plan(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for Backup { id, goes, why, .. } in &self.backups {
            writeln!(out, "backup {id} {}: {why}", verb(*goes))?;
        }
        for run in &self.wal {
            let files = counted(run.files, "file", "files");
            let (first, last) = (run.first, run.last);
            let names = match first == last {
                true => first.to_string(),
                false => format!("{first} .. {last}"),
            };
            writeln!(out, "WAL {names} ({files}) {}: {}", verb(run.goes), run.why)?;
        }
        for Data {
            backup,
            objects,
            why,
            ..
        } in &self.data
        {
            let what = match backup {
                Some(id) => format!("packs of {id}"),
                None => "index".to_owned(),
            };
            let objects = counted(*objects, "object goes", "objects go");
            writeln!(out, "{what}: {objects}: {why}")?;
        }
        for Streamed {
            segment,
            parts,
            why,
            ..
        } in &self.streamed
        {
            let parts = counted(*parts, "streamed part", "streamed parts");
            writeln!(out, "{parts} of {segment}: {why}")?;
        }
        for Marker { id, why, .. } in &self.markers {
            writeln!(out, "the marker of {id} goes: {why}")?;
        }
        let some = self.stores.iter().any(|store| store.goes.objects > 0);
        if !some {
            writeln!(out, "nothing goes")?;
            return Ok(());
        }
        for Store { store, goes, .. } in &self.stores {
            let objects = counted(goes.objects, "object goes", "objects go");
            writeln!(out, "{store}: {objects}, {}", ByteSize(goes.bytes))?;
        }
        if self.backups.iter().any(|it| it.goes) && self.backups.iter().all(|it| it.goes) {
            writeln!(
                out,
                "no backup is left then: nothing can be restored before the next one"
            )?;
        }
        Ok(())
    }

    pub(super) fn print_done(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for Store { store, deleted, .. } in &self.stores {
            let objects = counted(deleted.objects, "object", "objects");
            let bytes = ByteSize(deleted.bytes);
            writeln!(out, "{store}: {objects} deleted, {bytes} freed")?;
        }
        Ok(())
    }
}

fn verb(goes: bool) -> &'static str {
    if goes { "goes" } else { "stays" }
}

fn backups(decision: &Decision) -> Vec<Backup> {
    let stays = decision.backups.iter().map(|kept| Backup {
        generation: kept.generation,
        id: kept.id.clone(),
        goes: false,
        why: kept.why.to_string(),
    });
    let goes = decision.delete.iter().filter_map(|it| match &it.what {
        Object::Manifest(id) => Some(Backup {
            generation: it.generation,
            id: id.clone(),
            goes: true,
            why: it.why.to_string(),
        }),
        _ => None,
    });
    let mut backups: Vec<Backup> = stays.chain(goes).collect();
    backups.sort_by(|one, next| (one.generation, &one.id).cmp(&(next.generation, &next.id)));
    backups
}

fn wal(decision: &Decision) -> Vec<Wal> {
    let mut files: Vec<(Generation, WalFileName, &Gone)> = decision
        .delete
        .iter()
        .filter_map(|it| match it.what {
            Object::Wal(name) => Some((it.generation, name, &it.why)),
            _ => None,
        })
        .collect();
    files
        .sort_by_key(|(generation, name, _)| (*generation, name.timeline(), name.segment(), *name));
    let mut runs: Vec<Wal> = Vec::new();
    for (generation, name, why) in files {
        let why = why.to_string();
        match runs.last_mut() {
            Some(run)
                if run.generation == generation
                    && run.first.timeline() == name.timeline()
                    && run.why == why =>
            {
                run.last = name;
                run.files += 1;
            }
            _ => runs.push(Wal {
                generation,
                first: name,
                last: name,
                files: 1,
                goes: true,
                why,
            }),
        }
    }
    runs.extend(decision.wal.iter().map(|kept| Wal {
        generation: kept.generation,
        first: kept.first,
        last: kept.last,
        files: kept.files,
        goes: false,
        why: kept.why.to_string(),
    }));
    runs.sort_by_key(|run| (run.generation, run.first.timeline(), run.first.segment()));
    runs
}

fn data(gathered: &Gathered, decision: &Decision) -> Vec<Data> {
    let mut objects: BTreeMap<(Generation, Option<String>, String), u64> = BTreeMap::new();
    for deletion in &decision.delete {
        let Object::Data(id) = deletion.what else {
            continue;
        };
        let backup = match gathered.data(id) {
            Some(Key::Pack(_, backup, ..)) => Some(backup.to_string()),
            _ => None,
        };
        let of = (deletion.generation, backup, deletion.why.to_string());
        *objects.entry(of).or_default() += 1;
    }
    let data = objects.into_iter();
    data.map(|((generation, backup, why), objects)| Data {
        generation,
        backup,
        objects,
        why,
    })
    .collect()
}

fn streamed(decision: &Decision) -> Vec<Streamed> {
    let mut parts: BTreeMap<(Generation, SegmentName, String), u64> = BTreeMap::new();
    for deletion in &decision.delete {
        if let Object::Streamed(part) = deletion.what {
            let of = (deletion.generation, part.segment, deletion.why.to_string());
            *parts.entry(of).or_default() += 1;
        }
    }
    let parts = parts.into_iter();
    parts
        .map(|((generation, segment, why), parts)| Streamed {
            generation,
            segment,
            parts,
            why,
        })
        .collect()
}

fn markers(decision: &Decision) -> Vec<Marker> {
    let markers = decision.delete.iter().filter_map(|it| match &it.what {
        Object::Marker(id) => Some(Marker {
            generation: it.generation,
            id: id.clone(),
            why: it.why.to_string(),
        }),
        _ => None,
    });
    markers.collect()
}
