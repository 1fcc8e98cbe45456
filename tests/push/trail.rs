//! The audit trail: every deed has its line, whoever else writes and though
//! the log rotates.

use std::{collections::BTreeMap, fs, process::Stdio};

use serde_json::Value;

use crate::support::archive::{Archive, MIB, files_in, segment, segment_name};

const PUSHES: u64 = 24;

/// Every line of the log and of those before it.
fn lines(archive: &Archive) -> Vec<Value> {
    let names = files_in(archive.directory()).into_iter();
    let logs = names.filter(|name| name.starts_with("audit.jsonl"));
    let mut lines = Vec::new();
    for log in logs {
        let text = fs::read_to_string(archive.directory().join(&log)).unwrap();
        assert!(text.ends_with('\n'), "{log}: {text}");
        let parsed = text.lines().map(serde_json::from_str);
        lines.extend(parsed.map(|line| line.unwrap_or_else(|error| panic!("{error}: {text}"))));
    }
    lines
}

fn configure(archive: &Archive, audit: &str) {
    let tables: String = ["a", "b"]
        .map(|name| archive.directory_store(name))
        .concat();
    archive.configure("", &format!("[audit]\n{audit}\n{tables}"));
}

#[test]
fn concurrent_pushes_and_a_pass_are_all_told_over_rotations() {
    let archive = Archive::new(&[]);
    configure(&archive, "max_size = 600\nkeep = 99");
    let path = |number: u64| {
        let name = segment_name(1, number, MIB);
        archive.incoming(&name, &segment(&name, MIB, 1000, number))
    };
    let paths: Vec<_> = (1..=PUSHES).map(path).collect();
    let pushes = paths.iter().map(|path| {
        let mut push = archive.walkeep(&["wal", "push", path.to_str().unwrap()]);
        push.stderr(Stdio::null()).spawn().unwrap()
    });
    let pushes: Vec<_> = pushes.collect();
    for mut push in pushes {
        assert!(push.wait().unwrap().success());
    }
    // Once more, it does nothing, and tells nothing.
    archive.push_well(&paths[0]);
    archive.ship_well();

    let lines = lines(&archive);
    let mut told: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for line in &lines {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("cluster"), "main");
        assert!(!text("host").is_empty() && line["pid"].as_u64().is_some());
        let by = told.entry((text("what"), text("store"))).or_default();
        by.push(text("file"));
    }
    let expected: Vec<String> = (1..=PUSHES)
        .map(|number| segment_name(1, number, MIB))
        .collect();
    for (what, store) in [("pushed", ""), ("shipped", "a"), ("shipped", "b")] {
        let mut files = told.remove(&(what.to_owned(), store.to_owned())).unwrap();
        files.sort();
        assert_eq!(files, expected, "{what} {store}");
    }
    assert!(told.is_empty(), "{told:?}");
    assert!(files_in(archive.directory()).contains(&"audit.jsonl.3".to_owned()));
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let archive = Archive::new(&[]);
    configure(&archive, "path = \"/proc/no/such/audit.jsonl\"");
    let name = segment_name(1, 1, MIB);
    let path = archive.incoming(&name, &segment(&name, MIB, 1000, 1));
    archive
        .push(&path)
        .says(0, &["write the audit trail \"/proc/no/such/audit.jsonl\""]);
    archive.ship_well();
    // PostgreSQL's log is not for it, and the journal is.
    configure(&archive, "");
    let push = |number: u64| {
        let name = segment_name(1, number, MIB);
        let path = archive.incoming(&name, &segment(&name, MIB, 1000, number));
        archive.walkeep(&["wal", "push", path.to_str().unwrap()])
    };
    let quiet = push(2).output().unwrap();
    assert!(
        quiet.status.success() && quiet.stderr.is_empty(),
        "{quiet:?}"
    );
    let journal = push(3).env("JOURNAL_STREAM", "8:1").output().unwrap();
    let told = String::from_utf8(journal.stderr).unwrap();
    assert!(told.starts_with("<6>walkeep: {\"at\":\""), "{told}");
    assert!(told.contains("\"what\":\"pushed\""), "{told}");
}
