//! Drills and scheduled jobs: in order, bounded, and read back as written.

use super::*;
use crate::layout::BackupId;

fn drill(second: i64, store: &str) -> DrillRecord {
    DrillRecord {
        begun: at(second),
        ended: at(second + 90),
        store: store.to_owned(),
        generation: Some(FIRST),
        backup: Some(BackupId::at(at(0))),
        target: "the end of the WAL".to_owned(),
        last_commit: Some(at(second - 1)),
        ok: true,
        rto_seconds: Some(61.5),
        restore_seconds: Some(40.25),
        bytes: 1_100_000_000,
        fetched_bytes: 70_000_000,
        error: None,
        checks: vec![DrillCheck {
            check: "select count(*) from accounts".to_owned(),
            ok: true,
            answer: "1000".to_owned(),
        }],
    }
}

#[test]
fn drills_come_back_in_the_order_of_time() {
    let (_directory, catalog) = catalog();
    assert_eq!(catalog.read(|r| r.drills()).unwrap(), []);
    let failed = DrillRecord {
        ok: false,
        generation: None,
        backup: None,
        last_commit: None,
        rto_seconds: None,
        restore_seconds: None,
        error: Some("no store has a base backup".to_owned()),
        checks: Vec::new(),
        ..drill(60, "b2")
    };
    let records = [drill(0, "r2"), failed, drill(60, "r2"), drill(300, "b2")];
    for record in [&records[3], &records[1], &records[0], &records[2]] {
        catalog.write(|w| w.note_drill(record)).unwrap();
    }
    assert_eq!(catalog.read(|r| r.drills()).unwrap(), records);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
}

#[test]
fn the_oldest_drills_go() {
    let (_directory, catalog) = catalog();
    let kept = i64::try_from(DRILLS_KEPT).unwrap();
    let note = |w: &mut Writer<'_>| {
        (0..kept + 3).try_for_each(|second| w.note_drill(&drill(second, "r2")))
    };
    catalog.write(note).unwrap();
    let drills = catalog.read(|r| r.drills()).unwrap();
    assert_eq!(drills.len() as i64, kept);
    assert_eq!(drills[0].begun, at(3));
}

#[test]
fn a_job_is_known_from_its_schedule_on() {
    let (_directory, catalog) = catalog();
    let known = || catalog.read(|r| r.jobs()).unwrap();
    assert!(known().is_empty());
    catalog.write(|w| w.schedule_job("backup", at(5))).unwrap();
    let again = catalog.write(|w| w.schedule_job("backup", at(50)));
    assert_eq!((again.unwrap().since, known().len()), (at(5), 1));

    catalog.write(|w| w.begin_job("backup", at(60))).unwrap();
    let running = known()["backup"].clone();
    let of = |job: &JobRecord| (job.since, job.begun, job.ended, job.ok, job.succeeded);
    assert_eq!(of(&running), (at(5), Some(at(60)), None, None, None));
    catalog
        .write(|w| w.end_job("backup", at(70), None))
        .unwrap();
    let ended = known()["backup"].clone();
    let good = (at(5), Some(at(60)), Some(at(70)), Some(true), Some(at(60)));
    assert_eq!((of(&ended), ended.error), (good, None));

    catalog.write(|w| w.begin_job("backup", at(80))).unwrap();
    let why = Some("no store answers".to_owned());
    catalog
        .write(|w| w.end_job("backup", at(81), why.clone()))
        .unwrap();
    let failed = known()["backup"].clone();
    let bad = (at(5), Some(at(80)), Some(at(81)), Some(false), Some(at(60)));
    assert_eq!((of(&failed), failed.error), (bad, why));

    catalog.write(|w| w.unschedule_job("backup")).unwrap();
    assert!(known().is_empty());
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
}
