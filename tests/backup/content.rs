//! What is in a backup, what is not, and what the second one costs.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
};

use super::{
    archiving, archiving_with, backup, fill, listed, number,
    support::{host::TempDir, site::Site},
};

#[test]
fn the_second_backup_costs_what_changed() {
    let site = Site::empty();
    let cluster = archiving(&site);
    fill(&cluster);
    let full = backup(&site, &[]);
    assert!(number(&full, "raw_bytes") > 30 << 20, "{full}");
    assert!(full["based_on"].is_null());

    let none = backup(&site, &[]);
    assert_eq!(none["based_on"], full["id"]);
    // A checkpoint's traces: pg_control, the transaction status, and pages of
    // the manifest.
    assert!(number(&none, "changed_bytes") < 300 << 10, "{none}");
    assert!(number(&none, "stored_bytes") < 300 << 10, "{none}");

    cluster.sql("UPDATE kept SET word = 'changed' WHERE i BETWEEN 40000 AND 41000; CHECKPOINT");
    let some = backup(&site, &[]);
    assert!(number(&some, "changed_bytes") < 2 << 20, "{some}");
    assert!(number(&some, "changed_bytes") > 200 << 10, "{some}");

    let anew = backup(&site, &["--full"]);
    assert!(anew["based_on"].is_null());
    assert_eq!(
        number(&anew, "changed_bytes") >> 20,
        number(&full, "changed_bytes") >> 20
    );

    let list = listed(site.walkeep(&["--json", "backup", "list"]).expect(0));
    let ids: Vec<_> = list.iter().map(|backup| &backup["id"]).collect();
    assert_eq!(ids, [&full["id"], &none["id"], &some["id"], &anew["id"]]);
    assert_eq!(list[0]["stores"], serde_json::json!(["one", "two"]));
    let id = some["id"].as_str().unwrap();
    let shown = site.walkeep(&["backup", "show", id]).expect(0).json();
    assert_eq!(shown["stop_lsn"], some["stop_lsn"]);
}

#[test]
fn what_would_harm_or_is_of_no_use_stays_out() {
    let site = Site::empty();
    let tablespace = TempDir::new();
    let spaces = tablespace.subdirectory("space");
    let cluster = archiving(&site);
    cluster.sql(&format!(
        "CREATE TABLESPACE far LOCATION '{}'",
        spaces.display()
    ));
    cluster.sql(
        "CREATE TABLE away (i int) TABLESPACE far; INSERT INTO away VALUES (1); \
         CREATE UNLOGGED TABLE fleeting (i int); INSERT INTO fleeting VALUES (1); CHECKPOINT",
    );
    let path = |table: &str| -> String {
        cluster.value(&format!("SELECT pg_relation_filepath('{table}')"))
    };
    let (away, fleeting) = (path("away"), path("fleeting"));
    for harmful in ["standby.signal", "postmaster.opts.x", "backup_manifest"] {
        fs::write(cluster.data().join(harmful), "").unwrap();
    }
    // Root's on a real file system; here at least nobody's to read.
    let lost = cluster.data().join("lost+found");
    fs::create_dir(&lost).unwrap();
    fs::set_permissions(&lost, fs::Permissions::from_mode(0o000)).unwrap();
    let made = backup(&site, &[]);
    fs::set_permissions(&lost, fs::Permissions::from_mode(0o755)).unwrap();
    let space = spaces.display().to_string();
    assert_eq!(made["tablespaces"][0]["path"], space.as_str());
    assert!(made["tablespace_map"].as_str().unwrap().contains(&space));

    let lines = lines(&site, &made);
    let has = |path: &str| lines.iter().any(|line| line["path"] == path);
    assert!(has(&away) && has("base") && has("pg_wal") && has("pg_wal/archive_status"));
    assert!(has("PG_VERSION") && has("postmaster.opts.x") && has("pg_replslot"));
    assert!(has(&format!("{fleeting}_init")) && !has(&fleeting));
    for out in [
        "standby.signal",
        "backup_manifest",
        "postmaster.pid",
        "global/pg_control",
        "lost+found",
    ] {
        assert!(!has(out), "{out}");
    }
    let of_wal = |line: &&serde_json::Value| {
        let path = line["path"].as_str().unwrap_or_default();
        path.starts_with("pg_wal/0")
    };
    assert_eq!(lines.iter().filter(of_wal).count(), 0);
    assert_eq!(made["control"]["path"], "global/pg_control");
}

/// Every line of a backup's pages, by `gunzip`.
fn lines(site: &Site, backup: &serde_json::Value) -> Vec<serde_json::Value> {
    let pages = backup["pages"].as_array().unwrap();
    let text = pages.iter().flat_map(|page| {
        let name = format!("one/main/backup/index/{}.gz", page.as_str().unwrap());
        let text = super::support::archive::gunzip(&site.path(&name));
        String::from_utf8(text)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    text.map(|line| serde_json::from_str(&line).unwrap())
        .collect()
}

#[test]
fn a_damaged_page_is_reported_and_the_backup_completes() {
    let site = Site::empty();
    let cluster = archiving(&site);
    fill(&cluster);
    let path: String = cluster.value("SELECT pg_relation_filepath('kept')");
    let file = OpenOptions::new()
        .write(true)
        .open(cluster.data().join(&path))
        .unwrap();
    file.write_all_at(b"rot", 7 * 8192 + 4000).unwrap();
    let run = site.walkeep(&["--json", "backup", "create"]);
    run.expect(1).tells("checksums of").tells(&path);
    let made = run.json();
    assert_eq!(made["damaged"][0]["path"], path.as_str());
    assert_eq!(made["damaged"][0]["blocks"], serde_json::json!([7]));
    assert_eq!(made["usable"], true);
}

#[test]
fn configuration_beside_the_data_directory_comes_along() {
    let site = Site::empty();
    let outside = TempDir::new();
    let hba = outside.join("pg_hba.conf");
    fs::write(
        &hba,
        "local all all trust\nhost all all 127.0.0.1/32 trust\n",
    )
    .unwrap();
    super::support::host::hand_over(&hba);
    let setting = format!("hba_file = '{}'", hba.display());
    let cluster = archiving_with(&site, &[&setting]);
    let made = backup(&site, &[]);
    let files = made["configuration"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0]["setting"], "hba_file");
    assert!(files[0]["text"].as_str().unwrap().contains("127.0.0.1/32"));
    drop(cluster);
}
