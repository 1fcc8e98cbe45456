//! Alerts, sinks and clocks: kept, bounded, and read back as written.

use super::*;

fn alert(id: &str, second: i64) -> AlertRecord {
    AlertRecord {
        id: id.to_owned(),
        kind: "owed".to_owned(),
        subject: None,
        severity: Severity::Warning,
        message: "3 files are owed".to_owned(),
        since: at(second),
        raised: Some(at(second)),
        told: None,
        acknowledged: None,
        resolved: None,
    }
}

#[test]
fn an_alert_is_open_until_it_is_resolved() {
    let (_directory, catalog) = catalog();
    let open = alert("owed/b2", 1);
    catalog.write(|w| w.note_alert(&open)).unwrap();
    let changed = AlertRecord {
        told: Some(at(2)),
        ..open.clone()
    };
    catalog.write(|w| w.note_alert(&changed)).unwrap();
    let kept = catalog.read(|r| r.alerts()).unwrap();
    assert_eq!(kept, std::slice::from_ref(&changed));
    let resolved = AlertRecord {
        resolved: Some(at(3)),
        ..changed
    };
    catalog.write(|w| w.note_alert(&resolved)).unwrap();
    assert_eq!(catalog.read(|r| r.alerts()).unwrap(), []);
    assert_eq!(catalog.read(|r| r.resolved_alerts()).unwrap(), [resolved]);
    catalog.write(|w| w.note_alert(&open)).unwrap();
    catalog.write(|w| w.forget_alert("owed/b2")).unwrap();
    assert_eq!(catalog.read(|r| r.alerts()).unwrap(), []);
    catalog.prepare().unwrap();
}

#[test]
fn the_oldest_is_forgotten_first() {
    let (_directory, catalog) = catalog();
    let seconds = 0..RESOLVED_KEPT.cast_signed() + 3;
    catalog
        .write(|w| {
            for second in seconds.clone() {
                let mut alert = alert("owed/b2", second);
                alert.resolved = Some(at(second));
                w.note_alert(&alert)?;
            }
            Ok(())
        })
        .unwrap();
    let kept = catalog.read(|r| r.resolved_alerts()).unwrap();
    assert_eq!(kept.len() as u64, RESOLVED_KEPT);
    assert_eq!(kept[0].since, at(3));
}

#[test]
fn sinks_and_clocks_are_known_by_their_names() {
    let (_directory, catalog) = catalog();
    catalog
        .write(|w| {
            w.note_sink("slack", at(1), Some("404".to_owned()))?;
            w.note_sink("slack", at(2), Some("timed out".to_owned()))?;
            w.note_clock("b2", 70)?;
            w.note_clock("b2", -3)
        })
        .unwrap();
    let sinks = catalog.read(|r| r.sinks()).unwrap();
    let slack = &sinks["slack"];
    assert_eq!((slack.failures_in_a_row, slack.last_success), (2, None));
    assert_eq!(slack.last_failure.as_ref().unwrap().error, "timed out");
    catalog
        .write(|w| w.note_sink("slack", at(3), None))
        .unwrap();
    let slack = &catalog.read(|r| r.sinks()).unwrap()["slack"];
    assert_eq!(
        (slack.failures_in_a_row, slack.last_success),
        (0, Some(at(3)))
    );
    assert_eq!(
        catalog.read(|r| r.clocks()).unwrap(),
        [("b2".to_owned(), -3)].into()
    );
}
