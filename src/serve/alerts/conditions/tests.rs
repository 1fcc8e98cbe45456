//! Facts one by one, from an archive in which all is well.

use std::collections::BTreeMap;

use super::*;
use crate::{
    archive::{notes::Note, receive::SlotLoss},
    catalog::{BackupRecord, DrillRecord, Event, JobRecord, Severity},
    config::Config,
    layout::{BackupId, Generation},
    postgres::{
        Lsn, TimelineId,
        session::{Slot, Waiting, Watched},
    },
    serve::facts::{Server, SinkView, SlotFacts, Span, StagingFacts, StreamFacts, StreamedTo},
};

const DAY: i64 = 24 * 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_185_000 + second).unwrap()
}

fn backup(stopped: i64) -> BackupRecord {
    BackupRecord {
        generation: Generation::FIRST,
        id: BackupId::at(at(stopped)),
        timeline: TimelineId(1),
        start_lsn: Lsn(0x28),
        stop_lsn: Lsn(0x100),
        started: at(stopped - 5),
        stopped: at(stopped),
        based_on: None,
        raw_bytes: 1,
        stored_bytes: 1,
        stores: BTreeMap::new(),
    }
}

fn drill(ended: i64, ok: bool) -> DrillRecord {
    DrillRecord {
        begun: at(ended - 60),
        ended: at(ended),
        store: "b2".to_owned(),
        generation: None,
        backup: None,
        target: "the end of the WAL".to_owned(),
        last_commit: None,
        ok,
        rto_seconds: None,
        restore_seconds: None,
        bytes: 0,
        fetched_bytes: 0,
        error: (!ok).then(|| "it does not start".to_owned()),
        checks: Vec::new(),
    }
}

fn server() -> Watched {
    Watched {
        system_id: crate::postgres::SystemId(7),
        in_recovery: false,
        archives: true,
        lsn: Some(Lsn(16 << 20)),
        archived: Some(("000000010000000000000000".to_owned(), at(-300))),
        failed: None,
        failures: 0,
        counts_since: at(-DAY),
        waiting: None,
    }
}

/// A day-old archive with a store, a server and a backup of an hour ago.
fn well() -> Facts {
    let window = vec![Span {
        from: at(-3600),
        to: at(-60),
    }];
    let store = StoreView {
        name: "b2".to_owned(),
        files: 10,
        raw_bytes: 10,
        stored_bytes: 5,
        waiting_files: 0,
        waiting_bytes: 0,
        lag_seconds: None,
        owed: 0,
        owed_bytes: 0,
        suspect: 0,
        conflicts: 0,
        flaws: Vec::new(),
        backups: Vec::new(),
        backup_bytes: 0,
        last_success: Some(at(-300)),
        failing: None,
        clock_skew_seconds: Some(1),
        window: window.clone(),
    };
    Facts {
        at: at(0),
        cluster: "main".to_owned(),
        generation: Generation::FIRST,
        staging: Some(Ok(StagingFacts {
            max_bytes: 1000,
            ..StagingFacts::default()
        })),
        no_catalog: None,
        wants_rebuild: false,
        stores: vec![store],
        files: 10,
        raw_bytes: 10,
        events: Vec::new(),
        backups: vec![backup(-3600)],
        since: Some(at(-DAY)),
        window,
        gaps: Vec::new(),
        timelines: Vec::new(),
        hours: Vec::new(),
        drills: Vec::new(),
        jobs: BTreeMap::new(),
        verifies: Vec::new(),
        server: Server::Answers(server()),
        waiting: None,
        slot: None,
        stream: None,
        push_failure: None,
        standby: None,
        alerts: Vec::new(),
        resolved: Vec::new(),
        sinks: Vec::new(),
        segment_size: None,
    }
}

/// The ids of what is not as it should be after this change.
fn ids(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    ids_with(|_| {}, change)
}

fn ids_with(
    settings: impl FnOnce(&mut AlertSettings),
    change: impl FnOnce(&mut Facts),
) -> Vec<String> {
    let mut alerts = Config::defaults_for_tests().alerts;
    alerts.staging = 800;
    settings(&mut alerts);
    let mut facts = well();
    change(&mut facts);
    let window = Duration::from_secs(30 * 24 * 3600);
    let thresholds = Thresholds {
        alerts: &alerts,
        window,
    };
    let found = conditions(&facts, thresholds);
    found.iter().map(Condition::id).collect()
}

fn asked(facts: &mut Facts) -> &mut Watched {
    match &mut facts.server {
        Server::Answers(server) => server,
        Server::Silent { .. } => unreachable!("it answers"),
    }
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(ids(|_| {}), Vec::<String>::new());
}

#[test]
fn each_store_has_its_own() {
    let of = |change: fn(&mut StoreView)| ids(|facts| change(&mut facts.stores[0]));
    assert_eq!(of(|it| it.lag_seconds = Some(900)), Vec::<String>::new());
    assert_eq!(of(|it| it.lag_seconds = Some(901)), ["lag/b2"]);
    assert_eq!(of(|it| it.owed = 1), ["owed/b2"]);
    assert_eq!(of(|it| it.suspect = 1), ["damaged/b2"]);
    assert_eq!(
        of(|it| it.failing = Some(("down".into(), at(0)))),
        ["store/b2"]
    );
    assert_eq!(of(|it| it.clock_skew_seconds = Some(-60)), ["clock/b2"]);
    assert_eq!(
        of(|it| it.clock_skew_seconds = Some(59)),
        Vec::<String>::new()
    );
}

#[test]
fn staging_and_catalog_are_told() {
    let bytes = |bytes: u64| {
        ids(|facts| {
            if let Some(Ok(staging)) = &mut facts.staging {
                staging.bytes = bytes;
            }
        })
    };
    assert_eq!(bytes(800), Vec::<String>::new());
    assert_eq!(bytes(801), ["staging-full"]);
    assert_eq!(ids(|it| it.staging = Some(Err("gone".into()))), ["staging"]);
    assert_eq!(ids(|it| it.no_catalog = Some("bad".into())), ["catalog"]);
    assert_eq!(ids(|it| it.wants_rebuild = true), ["catalog"]);
    let refused = EventKind::Refused {
        file: "000000010000000000000001".to_owned(),
        reason: "it is short".to_owned(),
    };
    let event = Event {
        kind: refused,
        first: at(0),
        last: at(0),
        times: 1,
    };
    assert_eq!(
        ids(|it| it.events.push(event)),
        ["refused/000000010000000000000001"]
    );
}

#[test]
fn a_server_is_missed_where_it_is_expected() {
    let silent = |expected| {
        ids(|facts| {
            facts.server = Server::Silent {
                reason: "refused".to_owned(),
                refuses: false,
                expected,
            }
        })
    };
    assert_eq!(silent(true), ["server"]);
    assert_eq!(silent(false), Vec::<String>::new());
}

#[test]
fn an_archiver_fails_or_keeps_silent_or_is_behind() {
    let failed = Some(("000000010000000000000001".to_owned(), at(-10)));
    assert_eq!(
        ids(|facts| asked(facts).failed.clone_from(&failed)),
        ["archiver"]
    );
    // It has succeeded since.
    assert_eq!(
        ids(|facts| {
            asked(facts).failed.clone_from(&failed);
            asked(facts).archived = Some(("x".to_owned(), at(-5)));
        }),
        Vec::<String>::new()
    );
    // The push says it better.
    let note = Note {
        name: "000000010000000000000001".to_owned(),
        reason: "full".to_owned(),
        since: at(-20),
        last: at(-10),
    };
    assert_eq!(
        ids(|facts| {
            asked(facts).failed.clone_from(&failed);
            facts.push_failure = Some(note.clone());
        }),
        ["push"]
    );
    assert_eq!(ids(|facts| facts.standby = Some(note.clone())), ["standby"]);
    let waits = |files, oldest: Option<i64>| {
        ids(|facts| {
            facts.waiting = Some(Waiting {
                files,
                oldest: oldest.map(at),
            })
        })
    };
    assert_eq!(waits(100, Some(-900)), Vec::<String>::new());
    assert_eq!(waits(101, Some(-10)), ["waiting"]);
    assert_eq!(waits(1, Some(-901)), ["silent"]);
    assert_eq!(ids(|facts| asked(facts).archives = false), ["silent"]);
    // A standby does not archive.
    assert_eq!(
        ids(|facts| {
            asked(facts).archives = false;
            asked(facts).in_recovery = true;
        }),
        Vec::<String>::new()
    );
    // Where pg_wal cannot be seen: two segments further than what it archived.
    let ahead = |segments: u64, archived: i64| {
        ids(|facts| {
            facts.segment_size = Some(crate::postgres::SegmentSize::DEFAULT);
            asked(facts).lsn = Some(Lsn((segments << 24) + 5));
            asked(facts).archived = Some(("000000010000000000000000".to_owned(), at(archived)));
        })
    };
    assert_eq!(ahead(1, -DAY), Vec::<String>::new(), "an idle server");
    assert_eq!(ahead(2, -901), ["silent"]);
    assert_eq!(ahead(2, -900), Vec::<String>::new());
}

#[test]
fn a_slot_lags_or_is_lost() {
    let slot = |state: Option<Slot>| {
        ids(|facts| {
            facts.slot = Some(SlotFacts {
                name: "walkeep".to_owned(),
                state,
            })
        })
    };
    let state = |kept, lost| {
        Some(Slot {
            active: true,
            kept,
            lost,
        })
    };
    assert_eq!(slot(state(1 << 30, false)), Vec::<String>::new());
    assert_eq!(slot(state((1 << 30) + 1, false)), ["slot-lag/walkeep"]);
    assert_eq!(slot(state(u64::MAX, true)), ["slot-lost/walkeep"]);
    assert_eq!(slot(None), ["slot-lost/walkeep"]);
}

#[test]
fn a_stream_stops_or_is_behind_or_has_lost_its_slot() {
    let stream = |change: fn(&mut StreamFacts)| {
        ids(|facts| {
            let mut stream = StreamFacts {
                receiving_since: Some(at(-DAY)),
                problem: None,
                received: Some(Lsn(16 << 20)),
                slot_lost: None,
                stores: vec![StreamedTo {
                    store: "b2".to_owned(),
                    until: Some(at(-900)),
                    behind_seconds: 900,
                    behind_bytes: 1,
                    problem: None,
                }],
            };
            change(&mut stream);
            facts.stream = Some(stream);
            facts.slot = Some(SlotFacts {
                name: "walkeep".to_owned(),
                state: Some(Slot {
                    active: true,
                    kept: 0,
                    lost: false,
                }),
            });
        })
    };
    assert_eq!(stream(|_| {}), Vec::<String>::new());
    assert_eq!(stream(|it| it.receiving_since = None), ["stream"]);
    let behind = stream(|it| it.stores[0].behind_seconds += 1);
    assert_eq!(behind, ["stream/b2"]);
    fn lost(ago: i64) -> SlotLoss {
        SlotLoss {
            at: at(-ago),
            why: "somebody has dropped it".to_owned(),
        }
    }
    // Made anew, and told all the same.
    assert_eq!(
        stream(|it| it.slot_lost = Some(lost(900))),
        ["slot-lost/walkeep"]
    );
    assert_eq!(
        stream(|it| it.slot_lost = Some(lost(901))),
        Vec::<String>::new()
    );
}

#[test]
fn nothing_is_too_old_for_an_archive_that_is_younger() {
    let of = |since: i64, backups: &[i64]| {
        ids(|facts| {
            facts.since = Some(at(since));
            facts.backups = backups.iter().map(|stopped| backup(*stopped)).collect();
            facts.window.clear();
        })
    };
    assert_eq!(of(-25 * 3600, &[]), Vec::<String>::new());
    assert_eq!(of(-27 * 3600, &[]), ["backup-age"]);
    assert_eq!(of(-27 * 3600, &[-3600]), Vec::<String>::new());
    assert_eq!(of(-60 * 3600, &[-27 * 3600, -50 * 3600]), ["backup-age"]);
    // Whoever wants to be left alone is.
    let off = |alerts: &mut AlertSettings| alerts.backup_age = None;
    let none = ids_with(off, |facts| {
        facts.since = Some(at(-10 * DAY));
        facts.backups.clear();
    });
    assert_eq!(none, Vec::<String>::new());
}

#[test]
fn drills_are_missed_where_there_were_some() {
    assert_eq!(
        ids(|facts| facts.since = Some(at(-20 * DAY))),
        Vec::<String>::new()
    );
    let of = |drills: &[DrillRecord]| ids(|facts| facts.drills = drills.to_vec());
    assert_eq!(of(&[drill(-7 * DAY, true)]), Vec::<String>::new());
    assert_eq!(of(&[drill(-9 * DAY, true)]), ["drill-age"]);
    assert_eq!(
        of(&[drill(-9 * DAY, true), drill(-DAY, false)]),
        ["drill", "drill-age"]
    );
    assert_eq!(
        of(&[drill(-DAY, false), drill(-3600, true)]),
        Vec::<String>::new()
    );
    let asked = |alerts: &mut AlertSettings| alerts.expects_drills = true;
    assert_eq!(
        ids_with(asked, |facts| facts.since = Some(at(-20 * DAY))),
        ["drill-age"]
    );
}

#[test]
fn a_scheduled_job_that_failed_is_told() {
    let of = |name: &str, ok: Option<bool>| {
        ids(|facts| {
            let mut job = JobRecord::scheduled(at(-3600));
            (job.ok, job.ended) = (ok, ok.map(|_| at(-60)));
            facts.jobs.insert(name.to_owned(), job);
        })
    };
    assert_eq!(of("prune", Some(false)), ["job/prune"]);
    assert_eq!(of("prune", Some(true)), Vec::<String>::new());
    assert_eq!(of("prune", None), Vec::<String>::new());
    assert_eq!(of("drill", Some(false)), Vec::<String>::new());
}

#[test]
fn a_window_is_too_short_only_once_it_could_be_long_enough() {
    let of = |since: i64, from: i64| {
        ids(|facts| {
            facts.since = Some(at(since));
            facts.window[0].from = at(from);
        })
    };
    assert_eq!(of(-20 * DAY, -19 * DAY), Vec::<String>::new());
    assert_eq!(of(-32 * DAY, -29 * DAY), Vec::<String>::new());
    assert_eq!(of(-34 * DAY, -29 * DAY), ["window"]);
    assert_eq!(of(-34 * DAY, -31 * DAY), Vec::<String>::new());
}

#[test]
fn a_sink_that_fails_is_told_by_the_others() {
    let sink = SinkView {
        name: "slack".to_owned(),
        last_success: None,
        failing: Some(("the server answered 404 Not Found".to_owned(), at(0))),
    };
    assert_eq!(ids(|facts| facts.sinks.push(sink)), ["sink/slack"]);
}

#[test]
fn worse_is_worse() {
    let alerts = Config::defaults_for_tests().alerts;
    let thresholds = Thresholds {
        alerts: &alerts,
        window: Duration::from_secs(1),
    };
    let mut facts = well();
    let mut severity = |skew| {
        facts.stores[0].clock_skew_seconds = Some(skew);
        conditions(&facts, thresholds)[0].severity
    };
    assert_eq!(severity(100), Severity::Warning);
    assert_eq!(severity(-300), Severity::Critical);
}
