//! What the catalog knows of base backups, and knows again after it was lost.

use std::fs;

use jiff::Timestamp;
use walkeep::catalog::{BackupRecord, Catalog};

use super::{archiving, backup, fill, support::site::Site};

/// The backups that the catalog knows, each since no particular time.
fn known(site: &Site) -> Vec<BackupRecord> {
    let catalog = Catalog::at(site.path("catalog/catalog.redb"));
    let mut backups = catalog.read(|reader| reader.backups()).expect("read it");
    for since in backups
        .iter_mut()
        .flat_map(|backup| backup.stores.values_mut())
    {
        assert!(*since > Timestamp::UNIX_EPOCH);
        *since = Timestamp::UNIX_EPOCH;
    }
    backups
}

fn of_store(backups: &[BackupRecord], store: &str) -> Vec<BackupRecord> {
    let mut backups = backups.to_vec();
    for backup in &mut backups {
        backup.stores.retain(|name, _| name == store);
    }
    backups
}

#[test]
fn a_lost_catalog_knows_the_backups_again_from_either_store() {
    let site = Site::empty();
    let cluster = archiving(&site);
    fill(&cluster);
    let first = backup(&site, &[]);
    let second = backup(&site, &[]);
    let before = known(&site);
    let ids: Vec<String> = before.iter().map(|backup| backup.id.to_string()).collect();
    assert_eq!(
        ids,
        [&first, &second].map(|backup| backup["id"].as_str().unwrap())
    );
    assert_eq!(before[1].based_on, Some(before[0].id));
    assert_eq!(
        before[0].stop_lsn.to_string(),
        first["stop_lsn"].as_str().unwrap()
    );
    assert_eq!(
        before[0].raw_bytes,
        first["totals"]["raw_bytes"].as_u64().unwrap()
    );
    assert!(before.iter().all(|backup| backup.stores.len() == 2));

    for stores in [&["one"][..], &["two"], &["one", "two"]] {
        fs::remove_file(site.path("catalog/catalog.redb")).expect("lose the catalog");
        for store in stores {
            let run = site.walkeep(&["catalog", "rebuild", "--store", store]);
            run.expect(0).says(", 2 backups");
        }
        match stores {
            [one] => assert_eq!(known(&site), of_store(&before, one)),
            _ => assert_eq!(known(&site), before),
        }
    }
    let status = site.walkeep(&["--json", "status"]).json();
    for store in status["stores"].as_array().expect("stores") {
        assert_eq!(
            (&store["backups"], &store["newest_backup"]),
            (&2.into(), &second["id"])
        );
    }

    // Somebody deleted one of them in one store.
    let id = &ids[0];
    fs::remove_dir_all(site.path(&format!("one/main/backup/{id}"))).expect("delete it");
    let run = site.walkeep(&["catalog", "rebuild", "--store", "one"]);
    run.expect(0).says("1 gone since they were recorded");
    let left: Vec<usize> = known(&site)
        .iter()
        .map(|backup| backup.stores.len())
        .collect();
    assert_eq!(left, [1, 2]);
    let manifest = site.path(&format!("two/main/backup/{id}/manifest.json.gz"));
    fs::write(&manifest, "no manifest").expect("damage it");
    let run = site.walkeep(&["catalog", "rebuild"]);
    run.expect(1).tells("manifest.json.gz\" in two is damaged");
}
