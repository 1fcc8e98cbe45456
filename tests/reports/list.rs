//! `walkeep wal list`.

use std::process::Stdio;

use serde_json::json;

use crate::{
    json, prints, stage,
    support::archive::{MIB, segment, segment_name},
};

fn name(number: u64) -> String {
    segment_name(1, number, MIB)
}

#[test]
fn an_empty_archive_says_so() {
    let archive = crate::archive(&["a"]);
    prints(
        &archive.run(&["wal", "list"]),
        0,
        "nothing is archived yet\n",
    );
    for arguments in [&["wal", "list"][..], &["wal", "list", "--files"]] {
        assert_eq!(json(&archive, arguments), (0, vec![]));
    }
    prints(&archive.run(&["wal", "list", "--files"]), 0, "");
}

#[test]
fn unbroken_stretches_are_a_line_each_and_a_gap_is_exit_code_1() {
    let archive = crate::archive(&["a", "b"]);
    stage(&archive, [1, 2, 3]);
    archive.ship_well();
    let three = format!("{} .. {}  3 segments\n", name(1), name(3));
    prints(&archive.run(&["wal", "list"]), 0, &three);

    stage(&archive, [5, 8]);
    archive.ship_well();
    let text = format!(
        "{three}{four} .. {four}  GAP: 1 segment is missing\n{five} .. {five}  1 segment\n\
         {six} .. {seven}  GAP: 2 segments are missing\n{eight} .. {eight}  1 segment\n",
        four = name(4),
        five = name(5),
        six = name(6),
        seven = name(7),
        eight = name(8),
    );
    prints(&archive.run(&["wal", "list"]), 1, &text);
    let line = |kind: &str, first: u64, last: u64| {
        json!({"kind": kind, "generation": 1, "timeline": 1, "first": name(first),
               "last": name(last), "segments": last - first + 1})
    };
    let gap = |first: u64, last: u64| {
        let mut gap = line("gap", first, last);
        gap["needs_person"] = json!(true);
        for unknown in [
            "last_commit_before",
            "first_commit_after",
            "restorable_from",
            "acknowledged",
        ] {
            gap[unknown] = json!(null);
        }
        gap
    };
    let lines = vec![
        line("stretch", 1, 3),
        gap(4, 4),
        line("stretch", 5, 5),
        gap(6, 7),
        line("stretch", 8, 8),
    ];
    assert_eq!(json(&archive, &["wal", "list"]), (1, lines));

    // What is missing comes after all.
    stage(&archive, [4, 6, 7]);
    archive.ship_well();
    let eight = format!("{} .. {}  8 segments\n", name(1), name(8));
    prints(&archive.run(&["wal", "list"]), 0, &eight);
}

#[test]
fn timelines_are_listed_apart_each_after_its_history_file() {
    let archive = crate::archive(&["a"]);
    stage(&archive, [1, 2, 3]);
    let history = "00000002.history";
    archive.stage(history, b"1\t0/280000\tno recovery target specified\n");
    let first = segment_name(2, 2, MIB);
    archive.stage(&first, &segment(&first, MIB, 5000, 9));
    archive.ship_well();
    let one = format!("{} .. {}  3 segments\n", name(1), name(3));
    let two = format!("{history}\n{first} .. {first}  1 segment\n");
    prints(&archive.run(&["wal", "list"]), 0, &format!("{one}{two}"));
    let timeline = |n: &str| archive.run(&["wal", "list", "--timeline", n]);
    prints(&timeline("1"), 0, &one);
    prints(&timeline("2"), 0, &two);
    prints(&timeline("3"), 0, "nothing is archived yet\n");
    let (code, lines) = json(&archive, &["wal", "list", "--timeline", "2"]);
    assert_eq!(code, 0);
    assert_eq!(
        lines[0],
        json!({"kind": "history", "generation": 1, "timeline": 2, "name": history})
    );
    let generation = |n: &str| archive.run(&["wal", "list", "--generation", n]);
    prints(&generation("1"), 0, &format!("{one}{two}"));
    prints(&generation("2"), 0, "nothing is archived yet\n");
    archive
        .run(&["wal", "list", "--timeline", "two"])
        .says(2, &["--timeline"]);
}

#[test]
fn files_are_listed_with_their_state_in_each_store() {
    let archive = crate::archive(&["a", "b"]);
    stage(&archive, [1, 3]);
    archive.ship_well();
    let text = format!(
        "{:<40}     1048576  a: stored  b: stored\n{:<40}     1048576  a: stored  b: stored\n",
        name(1),
        name(3)
    );
    // File by file, a gap is not what was asked for.
    prints(&archive.run(&["wal", "list", "--files"]), 0, &text);
    let (code, lines) = json(&archive, &["wal", "list", "--files"]);
    assert_eq!((code, lines.len()), (0, 2));
    let exported = &archive.records()[&name(1)];
    assert_eq!(
        &lines[0], exported,
        "docs/FORMAT.md has one form of a record"
    );
}

/// What no store holds is not archived, though the catalog knows of it.
#[test]
fn what_no_store_holds_is_missing() {
    let archive = crate::archive(&["a", "b"]);
    stage(&archive, [1, 2, 3]);
    archive.ship_well();
    let fourth = segment(&name(4), MIB, 5000, 4);
    for store in ["a", "b"] {
        std::fs::write(archive.object(store, &name(4)), "damaged").unwrap();
    }
    archive.stage(&name(4), &fourth);
    stage(&archive, [5]);
    assert_eq!(archive.ship().0, 1);
    assert_eq!(archive.state(&name(4), "a"), "suspect");
    let text = format!(
        "{} .. {}  3 segments\n{four} .. {four}  GAP: 1 segment is missing\n{five} .. {five}  1 \
         segment\n",
        name(1),
        name(3),
        four = name(4),
        five = name(5),
    );
    prints(&archive.run(&["wal", "list"]), 1, &text);
}

/// `walkeep wal list | head`.
#[test]
fn a_reader_that_goes_away_is_no_failure_to_speak_of() {
    let archive = crate::archive(&["a"]);
    stage(&archive, 1..=2);
    archive.ship_well();
    let mut command = archive.walkeep(&["wal", "list", "--files"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
