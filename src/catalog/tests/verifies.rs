//! What verifies leave behind: their records, flaws, and histories.

use super::*;
use crate::postgres::{Lsn, history::Ancestor};

#[test]
fn a_verify_is_recorded_by_store_and_kind() {
    let (_directory, catalog) = catalog();
    assert_eq!(catalog.read(|r| r.verifies()).unwrap(), []);
    let note = |record: &VerifyRecord| catalog.write(|w| w.note_verify(record)).unwrap();
    let mut first = VerifyRecord::begin("a", VerifyKind::Deep, at(0));
    note(&first);
    first.after = Some("main/wal/x.gz".to_owned());
    (first.objects, first.bytes) = (7, 700);
    note(&first);
    note(&VerifyRecord::begin("a", VerifyKind::Plain, at(1)));
    let known = catalog.read(|r| r.verifies()).unwrap();
    assert_eq!(known[0], first);
    assert_eq!(known[0].last_finished(), None);
    first.finished = Some(at(50));
    note(&first);
    // The next one remembers when everything was last looked at.
    let second = VerifyRecord::begin("a", VerifyKind::Deep, at(60));
    note(&second);
    note(&second);
    note(&VerifyRecord::begin("a", VerifyKind::Deep, at(70)));
    let known = catalog.read(|r| r.verifies()).unwrap();
    assert_eq!(known.len(), 2);
    assert_eq!(
        (known[0].begun, known[0].last_finished()),
        (at(70), Some(at(50)))
    );
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
}

#[test]
fn a_flaw_stays_until_it_is_mended() {
    let (_directory, catalog) = catalog();
    let flaw = |key: &str, second| Flaw {
        store: "a".to_owned(),
        key: key.to_owned(),
        generation: FIRST,
        kind: FlawKind::Missing,
        reason: "it is not there".to_owned(),
        found: at(second),
    };
    catalog
        .write(|w| {
            w.note_flaw(&flaw("k/2", 5))?;
            w.note_flaw(&flaw("k/1", 6))?;
            // Found again: it was found first when it was.
            w.note_flaw(&flaw("k/2", 9))
        })
        .unwrap();
    let known = catalog.read(|r| r.flaws()).unwrap();
    assert_eq!(known, [flaw("k/1", 6), flaw("k/2", 5)]);
    let mended = catalog.write(|w| Ok([w.mend_flaw("a", "k/2")?, w.mend_flaw("b", "k/1")?]));
    assert_eq!(mended.unwrap(), [true, false]);
    assert_eq!(catalog.read(|r| r.flaws()).unwrap(), [flaw("k/1", 6)]);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
}

#[test]
fn histories_and_acknowledgements_come_back() {
    let (_directory, catalog) = catalog();
    let ancestors = vec![Ancestor {
        timeline: TimelineId(1),
        left_at: Lsn(0x900_0028),
    }];
    let WalFileName::Segment(first) = segment(1, 6) else {
        panic!("a segment")
    };
    let it = Acknowledged {
        generation: FIRST,
        first,
        last: first,
        by: "ann@db1".to_owned(),
        at: at(3),
    };
    catalog
        .write(|w| {
            w.note_history(Generation(2), TimelineId(2), &ancestors)?;
            w.acknowledge(&it)
        })
        .unwrap();
    let known = catalog.read(|r| r.histories()).unwrap();
    assert_eq!(known[&Generation(2)][&TimelineId(2)], ancestors);
    assert_eq!(catalog.read(|r| r.acknowledged()).unwrap(), [it]);
    assert_eq!(catalog.prepare().unwrap(), Opened::Existing);
    catalog
        .write(|w| w.forget_acknowledged(FIRST, first))
        .unwrap();
    assert_eq!(catalog.read(|r| r.acknowledged()).unwrap(), []);
}
