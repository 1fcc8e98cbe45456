//! The WAL: what each store lists, held against the catalog, which is put
//! right.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{
    Scene, VerifyError,
    judge::{Verdict, judge},
    look::Listed,
    report::{Problem, ProblemKind},
};
use crate::{
    archive::object::ExamineError,
    audit::rebuild,
    catalog::{FileRecord, Object, Replica, Select, State},
    layout::{Format, Generation, Key},
    postgres::WalFileName,
};

/// How many objects are asked for at once: each costs a round trip or two.
const AT_ONCE: usize = 16;
/// How many changes are written in one transaction.
const BATCH: usize = 256;

/// A file of the WAL.
pub(super) type File = (Generation, WalFileName);

/// Stores, with what the catalog knows of a file in each.
type Claims = Vec<(usize, Option<Replica>)>;

/// What the listings and the catalog do not agree on. Stores are numbers in
/// the scene.
#[derive(Default)]
struct Disagreements {
    /// The store has something else than what it confirmed.
    doubts: Vec<(usize, FileRecord)>,
    /// The store has a file that the catalog does not know there.
    unknown: Vec<(usize, File)>,
    /// The store does not list the file; with what the catalog knows.
    absent: BTreeMap<File, Claims>,
}

/// Puts the catalog right, and tells what its records will not show.
pub(super) async fn hold(scene: &mut Scene<'_>) -> Result<Vec<Problem>, VerifyError> {
    let mut problems = Vec::new();
    let Disagreements {
        doubts,
        unknown,
        mut absent,
    } = disagreements(scene)?;
    // What was pushed and recorded since staging was looked at waits there: now
    // that the catalog was read, staging has it, or a store has taken it.
    scene.look_at_staging()?;
    for (file, stores) in &mut absent {
        let waits = scene.staged.contains(file);
        stores
            .retain(|(_, known)| !waits || !matches!(known, None | Some(Replica::Pending { .. })));
    }
    adopt(scene, unknown, &mut problems).await?;

    let judging = doubts.into_iter().map(|(store, record)| {
        let (place, catalog) = (&scene.places[store], &scene.verifying.catalog);
        async move {
            let verdict = judge(place, &record, catalog).await;
            (store, record, verdict)
        }
    });
    let mut judged = stream::iter(judging).buffer_unordered(AT_ONCE);
    let mut verdicts = Vec::new();
    while let Some((store, record, verdict)) = judged.next().await {
        match verdict {
            Ok(Verdict::Gone) => {
                let before = record.replicas.get(scene.name(store)).cloned();
                let absent = absent.entry((record.generation, record.name)).or_default();
                absent.push((store, before));
            }
            Ok(verdict) => verdicts.push((store, record, verdict)),
            Err(error) => problems.push(Problem::unread(scene.name(store), Some(&record), &error)),
        }
    }
    drop(judged);
    for batch in verdicts.chunks(BATCH) {
        note(scene, batch)?;
    }
    confirm(scene, &mut absent, &mut problems).await;
    let absent: Vec<_> = absent.into_iter().collect();
    for batch in absent.chunks(BATCH) {
        take_back(scene, batch)?;
    }
    Ok(problems)
}

fn disagreements(scene: &Scene<'_>) -> Result<Disagreements, VerifyError> {
    let mut found = Disagreements::default();
    let mut recorded: BTreeSet<File> = BTreeSet::new();
    for record in scene.verifying.catalog.files(Select::All) {
        let record = record?;
        let file = (record.generation, record.name);
        recorded.insert(file);
        for (store, seen) in scene.reached() {
            let replica = record.replicas.get(scene.name(store));
            match (seen.wal.get(&file), replica) {
                (Some(objects), Some(Replica::Stored(object))) => {
                    if !objects.iter().any(|(_, listed)| is_same(listed, object)) {
                        found.doubts.push((store, record.clone()));
                    }
                }
                (Some(_), Some(Replica::Suspect { .. } | Replica::Conflict { .. })) => {
                    found.doubts.push((store, record.clone()));
                }
                (Some(_), Some(Replica::Pending { .. } | Replica::Owed { .. }) | None) => {
                    found.unknown.push((store, file));
                }
                (None, replica) if scene.should_have(&record, replica) => {
                    let absent = found.absent.entry(file).or_default();
                    absent.push((store, replica.cloned()));
                }
                (None, _) => {}
            }
        }
    }
    for (store, seen) in scene.reached() {
        // What was known when this began and is not now is being pruned.
        let new = seen.wal.keys().filter(|file| !recorded.contains(file));
        let new = new.filter(|file| !scene.known.contains(file));
        for file in new {
            found.unknown.push((store, *file));
            let lacking = scene
                .reached()
                .filter(|(_, seen)| !seen.wal.contains_key(file));
            let lacking: Vec<_> = lacking.map(|(other, _)| (other, None)).collect();
            if !scene.staged.contains(file) && !lacking.is_empty() {
                found.absent.insert(*file, lacking);
            }
        }
    }
    Ok(found)
}

fn is_same(listed: &Listed, object: &Object) -> bool {
    listed.size == object.stored_size && listed.md5.is_none_or(|md5| md5 == object.md5)
}

impl Scene<'_> {
    /// Whether the catalog's view of a store that does not list the file has to
    /// change.
    fn should_have(&self, record: &FileRecord, replica: Option<&Replica>) -> bool {
        let since = |at: &Timestamp| *at >= self.begun;
        match replica {
            // Stored since the listing began.
            Some(Replica::Stored(object) | Replica::Suspect { object, .. }) => !since(&object.at),
            Some(Replica::Conflict { found, .. }) => !since(found),
            // Perhaps nobody has it any more.
            Some(Replica::Owed { .. }) => true,
            Some(Replica::Pending { .. }) => self.staging_known && !self.is_staged(record),
            None => !self.is_staged(record),
        }
    }

    fn is_staged(&self, record: &FileRecord) -> bool {
        self.staged.contains(&(record.generation, record.name))
    }
}

/// Takes over what the catalog did not know, as `catalog rebuild` does.
async fn adopt(
    scene: &Scene<'_>,
    unknown: Vec<(usize, File)>,
    problems: &mut Vec<Problem>,
) -> Result<(), VerifyError> {
    let catalog = &scene.verifying.catalog;
    let reads = unknown.into_iter().map(|(store, (generation, name))| {
        let (place, file) = (&scene.places[store], (generation, name));
        let listed = scene.seen[store]
            .as_ref()
            .and_then(|seen| seen.wal.get(&file));
        let format = listed
            .and_then(|it| it.first())
            .map_or(Format::Gzip, |it| it.0);
        async move {
            let key = place.key(generation, name, format);
            let read = match place.store.head(&key).await {
                Ok(Some(info)) => rebuild::read(place, generation, name, info).await,
                Ok(None) => return (store, file, None),
                Err(error) => Err(error.into()),
            };
            (store, file, Some(read))
        }
    });
    let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
    let mut damaged = Vec::new();
    while let Some((store, (generation, name), read)) = reads.next().await {
        let place = &scene.places[store];
        match read {
            // Gone since it was listed.
            None => {}
            Some(Ok(found)) => {
                let was_known = catalog.read(|reader| reader.file(generation, name))?;
                let was_known =
                    was_known.and_then(|it| it.replicas.get(scene.name(store)).cloned());
                rebuild::note(
                    place,
                    catalog,
                    vec![found],
                    &mut rebuild::Rebuilt::default(),
                )?;
                // On its way while this looked.
                if was_known.is_some() || scene.staged.contains(&(generation, name)) {
                    continue;
                }
                problems.push(Problem {
                    kind: ProblemKind::Unknown,
                    store: Some(scene.name(store).to_owned()),
                    generation: Some(generation),
                    object: Some(name.to_string()),
                    detail: "the catalog did not know it, and does now".to_owned(),
                    settled: true,
                });
            }
            Some(Err(ExamineError::Store(error))) => {
                problems.push(Problem::unread(scene.name(store), None, &error));
            }
            Some(Err(ExamineError::Damaged { cause, .. })) => {
                damaged.push((store, (generation, name), cause.to_string()));
            }
        }
    }
    // Another store may have told by now what it should be.
    for (store, (generation, name), reason) in damaged {
        let listed = scene.seen[store]
            .as_ref()
            .and_then(|it| it.wal.get(&(generation, name)));
        let object = listed.and_then(|it| it.first()).map(|(_, listed)| Object {
            stored_size: listed.size,
            md5: listed.md5.unwrap_or(crate::codec::Md5::of(b"")),
            at: listed.modified.unwrap_or(scene.begun),
            attempts: 1,
        });
        let suspect = object.map(|object| Replica::Suspect {
            object,
            found: Timestamp::now(),
            reason: reason.clone(),
        });
        let known = catalog.write(|writer| {
            writer.update(generation, name, |replicas| {
                replicas.extend(suspect.map(|it| (scene.name(store).to_owned(), it)));
            })
        })?;
        if known.is_none() {
            problems.push(Problem {
                kind: ProblemKind::Damaged,
                store: Some(scene.name(store).to_owned()),
                generation: Some(generation),
                object: Some(name.to_string()),
                detail: format!("{reason}; nothing else is known of this file"),
                settled: false,
            });
        }
    }
    Ok(())
}

/// Writes down what was found of objects that were read. What has changed in
/// the catalog meanwhile is left to the next verify.
pub(super) fn note(
    scene: &Scene<'_>,
    verdicts: &[(usize, FileRecord, Verdict)],
) -> Result<(), VerifyError> {
    let found = Timestamp::now();
    scene.verifying.catalog.write(|writer| {
        for (store, record, verdict) in verdicts {
            let name = scene.name(*store);
            let before = record.replicas.get(name);
            let Some(after) = verdict.replica(before, found) else {
                continue;
            };
            writer.update(record.generation, record.name, |replicas| {
                if replicas.get(name) == before {
                    replicas.insert(name.to_owned(), after);
                }
            })?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Leaves those in `absent` that are proved so: a listing shows neither what is
/// behind a hide marker nor what came meanwhile.
async fn confirm(
    scene: &Scene<'_>,
    absent: &mut BTreeMap<File, Claims>,
    problems: &mut Vec<Problem>,
) {
    let claimed = absent.iter().flat_map(|(file, stores)| {
        let confirmed = stores.iter().filter(|(_, replica)| {
            let state = replica.as_ref().map(Replica::state);
            !matches!(state, None | Some(State::Pending | State::Owed))
        });
        confirmed.map(|(store, _)| (*store, *file))
    });
    let asks = claimed.map(|(store, (generation, name))| async move {
        let place = &scene.places[store];
        for format in Format::ALL {
            let key = place.layout.key(Key::Wal(generation, name, format));
            match place.store.head(&key).await {
                Ok(None) => {}
                Ok(Some(_)) => return (store, (generation, name), Ok(true)),
                Err(error) => return (store, (generation, name), Err(error)),
            }
        }
        (store, (generation, name), Ok(false))
    });
    let asks: Vec<_> = asks.collect();
    let answers: Vec<_> = stream::iter(asks).buffer_unordered(AT_ONCE).collect().await;
    for (store, file, answer) in answers {
        if let Err(error) = &answer {
            problems.push(Problem::unread(scene.name(store), None, error));
        }
        if !matches!(answer, Ok(false))
            && let Some(stores) = absent.get_mut(&file)
        {
            stores.retain(|(other, _)| *other != store);
        }
    }
}

/// Takes back that stores have files. Where another store has one, it is owed;
/// where it is staged, it is to be sent again; else it is lost, and its record
/// stays to tell so.
fn take_back(scene: &Scene<'_>, absent: &[(File, Claims)]) -> Result<(), VerifyError> {
    let since = Timestamp::now();
    scene.verifying.catalog.write(|writer| {
        for ((generation, name), stores) in absent {
            let is_staged = scene.staged.contains(&(*generation, *name));
            writer.update(*generation, *name, |replicas| {
                let gone: Vec<_> = stores
                    .iter()
                    .filter(|(store, before)| replicas.get(scene.name(*store)) == before.as_ref())
                    .collect();
                let is_gone = |name: &str| gone.iter().any(|(it, _)| scene.name(*it) == name);
                let held = |(store, replica): (&String, &Replica)| {
                    replica.state() == State::Stored && !is_gone(store)
                };
                let elsewhere = replicas.iter().any(held);
                for (store, before) in &gone {
                    let store = scene.name(*store).to_owned();
                    match before {
                        _ if is_staged => drop(replicas.insert(store, Replica::PENDING)),
                        Some(Replica::Owed { .. }) if elsewhere => {}
                        _ if elsewhere => {
                            let failures = None;
                            let owed = Replica::Owed { since, failures };
                            replicas.insert(store, owed);
                        }
                        _ => drop(replicas.remove(&store)),
                    }
                }
            })?;
        }
        Ok(())
    })?;
    Ok(())
}
