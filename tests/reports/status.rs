//! `walkeep status`.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};
use walkeep::codec::Sha256;

use crate::{
    age, json, prints, stage,
    support::{
        archive::{Archive, MIB, files_in, gzip, segment},
        host::hand_over,
        s3::S3Server,
    },
};

/// `status --json`: its exit code and its one document.
fn document(archive: &Archive) -> (i32, Value) {
    let (code, mut documents) = json(archive, &["status"]);
    assert_eq!(documents.len(), 1);
    (code, documents.remove(0))
}

fn attention(document: &Value) -> Vec<&str> {
    let notes = document["attention"].as_array().expect("attention");
    notes
        .iter()
        .map(|note| note.as_str().expect("a text"))
        .collect()
}

/// With these `[[store]]` tables and staging settings; a store is "a" or "b".
fn on_servers(settings: &str) -> (Archive, [S3Server; 2]) {
    let servers = [S3Server::start_s3s(), S3Server::start_s3s()];
    let archive = Archive::new(&[]);
    let tables = servers.iter().zip(["a", "b"]).map(|(server, name)| {
        server.create_bucket("wal");
        server.put_plainly("wal", "main/cluster.json", &archive.cluster_json());
        server.toml_store_table(name, "s3", "wal")
    });
    archive.configure(settings, &tables.collect::<String>());
    crate::begin_catalog(&archive);
    (archive, servers)
}

#[test]
fn an_empty_archive_needs_nobody() {
    let archive = crate::archive(&["a", "b"]);
    prints(
        &archive.run(&["status"]),
        0,
        "cluster main\n\
         restore  nothing yet: there is no base backup with its WAL\n\
         staging  0 files wait (0 B of 20.0 GiB)\n\
         a        0 files stored (0 B), nothing to go\n\
         b        0 files stored (0 B), nothing to go\n\
         nothing needs you\n",
    );
    let store = |name: &str| {
        json!({"store": name, "files": 0, "stored_bytes": 0, "waiting_files": 0,
               "waiting_bytes": 0, "lag_seconds": null, "owed": 0, "suspect": 0, "conflicts": 0,
               "backups": 0, "newest_backup": null, "last_success": null, "failing": null,
               "owed_bytes": 0, "window": [], "clock_skew_seconds": null})
    };
    let (code, mut found) = document(&archive);
    let server = found["server"].take();
    assert_eq!(server["answers"], false, "{server}");
    assert!(server["reason"].is_string(), "{server}");
    assert!(found["at"].take().is_string());
    let expected = json!({
        "cluster": "main",
        "staging": {"path": archive.staging(), "files": 0, "bytes": 0,
                    "max_bytes": 20_u64 << 30, "oldest_seconds": null,
                    "kept_files": 0, "kept_bytes": 0},
        "stores": [store("a"), store("b")],
        "attention": [],
        "conditions": [],
        "window": [],
        "server": null,
        "stream": null,
        "newest_backup_seconds": null,
        "last_drill": null,
        "at": null,
    });
    assert_eq!((code, found), (0, expected));
}

#[test]
fn watching_says_it_again() {
    let archive = crate::archive(&["a"]);
    let mut command = archive.walkeep(&["--json", "status", "--watch"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().expect("start it");
    let lines = BufReader::new(watching.stdout.take().expect("its output")).lines();
    let documents: Vec<Value> = lines
        .take(2)
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    watching.kill().expect("end it");
    watching.wait().expect("it ends");
    assert!(
        documents.iter().all(|it| it["cluster"] == "main"),
        "{documents:?}"
    );
    assert_ne!(documents[0]["at"], documents[1]["at"]);
}

#[test]
fn a_backlog_is_counted_and_an_old_one_needs_somebody() {
    let archive = crate::archive(&["a", "b"]);
    let names = stage(&archive, [1]);
    let (code, fresh) = document(&archive);
    assert_eq!((code, attention(&fresh)), (0, vec![]));
    assert_eq!(fresh["staging"]["files"], 1);
    assert_eq!(fresh["stores"][1]["waiting_files"], 1);
    assert_eq!(fresh["stores"][1]["waiting_bytes"], MIB);
    assert!(fresh["stores"][1]["lag_seconds"].as_i64().unwrap() < 60);
    let ran = archive.run(&["status"]);
    assert!(
        ran.stdout.contains("\nstaging  1 file waits ("),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout
            .contains("\na        0 files stored (0 B), 1 to go, "),
        "{}",
        ran.stdout
    );

    age(&archive.staged(&names[0]), 14);
    assert_eq!(document(&archive).0, 0, "a quarter of an hour is not over");
    age(&archive.staged(&names[0]), 80);
    let ran = archive.run(&["status"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    let late =
        |store: &str| format!("! store \"{store}\" lacks 1 staged file, the oldest for 1h 20m");
    for store in ["a", "b"] {
        assert!(ran.stdout.contains(&late(store)), "{}", ran.stdout);
    }
    assert!(
        ran.stdout.contains("is `walkeep ship` run?\n"),
        "{}",
        ran.stdout
    );
    archive.ship_well();
    let (code, shipped) = document(&archive);
    assert_eq!((code, attention(&shipped)), (0, vec![]));
    let store = &shipped["stores"][0];
    assert_eq!(
        (&store["files"], &store["waiting_files"]),
        (&json!(1), &json!(0))
    );
    let size = fs::metadata(archive.object("a", &names[0])).unwrap().len();
    assert_eq!(store["stored_bytes"], size);
    assert!(store["last_success"].as_str().unwrap().ends_with('Z'));
    let ran = archive.run(&["status"]);
    assert!(
        ran.stdout.contains("\na        1 file stored ("),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_store_that_is_down_is_named_until_it_works_again() {
    let (archive, servers) = on_servers("");
    stage(&archive, [1, 2]);
    servers[1].stop();
    assert_eq!(archive.ship().0, 1);
    let (code, down) = document(&archive);
    assert_eq!(code, 1);
    let [note] = attention(&down)[..] else {
        panic!("{down}");
    };
    assert!(
        note.starts_with("store \"b\": get \"main/cluster.json\": "),
        "{note}"
    );
    assert!(
        note.contains("unreachable (")
            && note.ends_with("check the endpoint and this host's network"),
        "{note}"
    );
    let [a, b] = [&down["stores"][0], &down["stores"][1]];
    assert_eq!(
        (&a["failing"], &a["waiting_files"]),
        (&Value::Null, &json!(0))
    );
    assert_eq!(
        (&b["failing"], &b["waiting_files"]),
        (&json!(note), &json!(2))
    );
    assert_eq!(b["last_success"], Value::Null);
    let ran = archive.run(&["status"]);
    assert!(
        ran.stdout.contains(&format!("\n! {note}\n")),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains(" stored (0 B), 2 to go, "),
        "{}",
        ran.stdout
    );

    servers[1].restart();
    archive.ship_well();
    let (code, up) = document(&archive);
    assert_eq!((code, attention(&up)), (0, vec![]));
    assert_eq!(up["stores"][1]["failing"], Value::Null);
}

#[test]
fn what_is_owed_is_told_until_it_is_paid() {
    let (archive, servers) = on_servers("high_water = \"0%\"");
    stage(&archive, [1]);
    servers[1].stop();
    archive.ship();
    let (code, owing) = document(&archive);
    assert_eq!(code, 1);
    assert_eq!(owing["stores"][1]["owed"], 1);
    assert_eq!(owing["staging"]["files"], 0);
    let owed = |document: &Value, words: &str| {
        let notes = attention(document);
        assert!(
            notes.iter().any(|note| note.starts_with(words)),
            "{notes:?}"
        );
    };
    owed(&owing, "1 file is owed to store \"b\": ");
    let ran = archive.run(&["status"]);
    assert!(
        ran.stdout.contains("nothing to go, 1 owed\n"),
        "{}",
        ran.stdout
    );
    stage(&archive, [2]);
    archive.ship();
    owed(&document(&archive).1, "2 files are owed to store \"b\": ");
    servers[1].restart();
    archive.ship_well();
    assert_eq!(document(&archive).0, 0);
}

#[test]
fn staging_above_its_mark_is_told() {
    let archive = crate::archive(&["a"]);
    let stores = archive.directory_store("a");
    let settings = "max_size = \"1MiB\"\n[alerts]\nstaging = \"0%\"";
    archive.configure(settings, &stores);
    stage(&archive, [1]);
    let ran = archive.run(&["status"]);
    assert_eq!(ran.code, 1);
    let line = "of 1.0 MiB: when it is full PostgreSQL keeps its WAL in pg_wal";
    assert!(
        ran.stdout.contains("! staging holds ") && ran.stdout.contains(line),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_conflict_names_both_hashes_until_somebody_has_looked() {
    let archive = crate::archive(&["a", "b"]);
    let names = stage(&archive, [1]);
    let ours = Sha256::of(&fs::read(archive.staged(&names[0])).unwrap());
    let other = segment(&names[0], MIB, 5000, 99);
    let object = archive.object("b", &names[0]);
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(&object, gzip(&other)).unwrap();
    hand_over(&archive.store("b"));
    assert_eq!(archive.ship().0, 1);
    let note = format!(
        "split brain: \"{}\" has SHA-256 {ours}, but \"b\" has {}; find out which server should \
         write to this archive",
        names[0],
        Sha256::of(&other)
    );
    let (code, found) = document(&archive);
    assert_eq!((code, attention(&found)), (1, vec![note.as_str()]));
    assert_eq!(found["stores"][1]["conflicts"], 1);
    let ran = archive.run(&["status"]);
    assert!(ran.stdout.contains(", 1 in conflict\n"), "{}", ran.stdout);
    fs::remove_file(&object).unwrap();
    archive.ship_well();
    assert_eq!(document(&archive).0, 0);
}

#[test]
fn a_refused_file_and_a_damaged_object_are_told() {
    let archive = crate::archive(&["a", "b"]);
    let names = stage(&archive, [1, 2]);
    archive.stage(&names[0], b"short");
    let object = archive.object("b", &names[1]);
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(&object, "damaged").unwrap();
    hand_over(&archive.store("b"));
    assert_eq!(archive.ship().0, 1);
    let (code, found) = document(&archive);
    assert_eq!(code, 1);
    let notes = attention(&found);
    let refused = format!(
        "\"{}\" in staging is not shipped: it is 5 bytes long",
        names[0]
    );
    assert!(notes[0].starts_with(&refused), "{notes:?}");
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("1 damaged object in store \"b\": run `walkeep verify")),
        "{notes:?}"
    );
    assert_eq!(found["stores"][1]["suspect"], 1);
    // Somebody takes the file away, and the object.
    fs::remove_file(archive.staged(&names[0])).unwrap();
    fs::remove_file(&object).unwrap();
    archive.ship_well();
    assert_eq!(document(&archive).0, 0);
}

#[test]
fn staging_that_is_not_mounted_and_a_lost_catalog_are_told() {
    let archive = crate::archive(&["a"]);
    stage(&archive, [1]);
    archive.ship_well();
    let away = archive.directory().join("away");
    fs::rename(archive.staging(), &away).unwrap();
    let (code, found) = document(&archive);
    assert_eq!((code, &found["staging"]), (1, &Value::Null));
    assert!(
        attention(&found)[0].contains("its volume is not mounted"),
        "{found}"
    );
    assert_eq!(found["stores"][0]["files"], 1);
    fs::rename(&away, archive.staging()).unwrap();

    fs::write(archive.catalog(), "not a catalog").unwrap();
    let (code, found) = document(&archive);
    assert_eq!(code, 1, "{found}");
    assert!(
        attention(&found)
            .iter()
            .any(|note| note.contains("`walkeep catalog rebuild`")),
        "{found}"
    );
    assert!(
        archive
            .object(
                "a",
                &files_in(&archive.store("a").join("main/wal"))[0].replace(".gz", "")
            )
            .exists()
    );
    assert_eq!(archive.run(&["catalog", "rebuild"]).code, 0);
    assert_eq!(document(&archive).0, 0);
}

#[test]
fn wrong_usage_and_configuration_are_exit_code_2() {
    let archive = crate::archive(&["a"]);
    archive
        .run(&["status", "--no-such"])
        .says(2, &["--no-such"]);
    fs::write(archive.config(), "[stagin]\n").unwrap();
    for verb in [&["status"][..], &["wal", "list"]] {
        archive
            .run(verb)
            .says(2, &[":1:2: ", "did you mean `staging`?"]);
    }
}
