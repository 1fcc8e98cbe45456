//! What is in no store any more, and what only looks as if it were.

use std::fs;

use walkeep::{catalog::Catalog, postgres::history};

use super::{
    Clouds, Verified, flip,
    support::archive::{Archive, MIB, files_in, gzip, put, segment, segment_name},
    told,
};

/// (first, last, needs a person, acknowledged) of each gap.
fn gaps(found: &Verified) -> Vec<(String, String, bool, bool)> {
    let gaps = found.outcome["gaps"].as_array().expect("gaps");
    let text = |gap: &serde_json::Value, key: &str| gap[key].as_str().expect("text").to_owned();
    gaps.iter()
        .map(|gap| {
            let needs = gap["needs_person"].as_bool().expect("a boolean");
            let known = !gap["acknowledged"].is_null();
            (text(gap, "first"), text(gap, "last"), needs, known)
        })
        .collect()
}

#[test]
fn what_both_stores_lost_is_a_gap_by_name_until_somebody_knows() {
    let (it, _) = Clouds::filled(9);
    let name = |number| segment_name(1, number, MIB);
    // Gone in both; gone in one and damaged in the other; the last one gone.
    for store in ["a", "b"] {
        fs::remove_file(it.object(store, &name(4))).unwrap();
        fs::remove_file(it.object(store, &name(9))).unwrap();
    }
    fs::remove_file(it.object("a", &name(5))).unwrap();
    flip(&it.object("b", &name(5)), 9_000);
    let damaged = fs::read(it.object("b", &name(5))).unwrap();
    let found = it.verify(&["--deep", "--repair"]);
    let expected = [
        (name(4), name(5), true, false),
        (name(9), name(9), true, false),
    ];
    assert_eq!(
        (found.code, gaps(&found)),
        (1, expected.to_vec()),
        "{}",
        found.outcome
    );
    assert!(fs::read(it.object("b", &name(5))).unwrap() == damaged);
    assert!(!it.object("a", &name(5)).exists());
    // They do not go away by themselves, the last one included.
    assert_eq!(gaps(&it.verify(&[])), expected);
    let list = it.archive.run(&["wal", "list"]);
    assert_eq!(list.code, 1);
    let line = format!("{} .. {}  GAP: 2 segments are missing\n", name(4), name(5));
    assert!(list.stdout.contains(&line), "{}", list.stdout);
    let ran = it.archive.run(&["verify"]);
    let line = format!("! gap: {} .. {}: 2 segments are missing", name(4), name(5));
    assert!(ran.stdout.contains(&line), "{}", ran.stdout);

    let ack = |arguments: &[&str]| it.archive.run(&[&["gap", "ack"], arguments].concat());
    ack(&[]).says(
        2,
        &[
            "name a segment of the one that is meant",
            &name(4),
            &name(9),
        ],
    );
    ack(&[&name(3)]).says(1, &["is in no gap"]);
    let ran = ack(&[&name(5)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout
            .contains(&format!("acknowledged: {} .. {}", name(4), name(5)))
    );
    assert!(
        ran.stdout
            .contains("the next base backup in every store settles it")
    );
    assert_eq!(ack(&["--all"]).code, 0);
    assert!(
        ack(&["--all"])
            .stdout
            .contains("there is no gap to acknowledge")
    );
    // Known, and still to be settled by a base backup.
    let found = it.verify(&[]);
    let known = expected.map(|(first, last, needs, _)| (first, last, needs, true));
    assert_eq!((found.code, gaps(&found)), (1, known.to_vec()));
    let list = it.archive.run(&["wal", "list"]);
    assert!(
        list.stdout.contains("missing, acknowledged by "),
        "{}",
        list.stdout
    );
    // What was acknowledged and comes back is not acknowledged for ever.
    for number in [4, 5] {
        let bytes = segment(&name(number), MIB, 20_000, number);
        fs::write(it.object("a", &name(number)), gzip(&bytes)).unwrap();
    }
    assert_eq!(it.verify(&["--repair"]).code, 1, "the last one");
    fs::remove_file(it.object("a", &name(4))).unwrap();
    fs::remove_file(it.object("b", &name(4))).unwrap();
    let found = it.verify(&[]);
    assert_eq!(
        gaps(&found)[0],
        (name(4), name(4), true, false),
        "{}",
        found.outcome
    );
}

#[test]
fn a_lost_history_file_is_told_until_somebody_lets_go_of_it() {
    let (it, _) = Clouds::filled(1);
    for store in ["a", "b"] {
        fs::remove_file(it.object(store, "00000002.history")).unwrap();
    }
    for _ in 0..2 {
        let found = it.verify(&["--repair"]);
        let expected = told(&[("lost", "", "00000002.history")]);
        assert_eq!(
            (found.code, found.problems()),
            (1, expected),
            "{}",
            found.outcome
        );
    }
    let present = segment_name(1, 1, MIB) + ".partial";
    it.archive
        .run(&["gap", "ack", &present])
        .says(1, &["is not lost"]);
    assert_eq!(it.archive.run(&["gap", "ack", "00000002.history"]).code, 0);
    it.verify(&[]).is_clean();
}

/// Everything in a directory store, as an older script or another host puts it
/// there; verify alone makes the catalog.
#[test]
fn switches_of_timelines_and_generations_are_no_gaps() {
    let archive = Archive::new(&["a"]);
    let store = archive.store("a").join("main");
    let file = |directory: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(store.join(directory)).unwrap();
        put(
            &store.join(directory).join(format!("{name}.gz")),
            &gzip(bytes),
        );
    };
    let put_segments = |directory: &str, timeline, numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            let name = segment_name(timeline, number, MIB);
            file(directory, &name, &segment(&name, MIB, 500, number));
        }
    };
    put_segments("wal", 1, 0xFFE..=0x1003);
    // The unfinished copy of the segment that timeline 2 begins in.
    let unfinished = segment_name(1, 0x1004, MIB);
    file(
        "wal",
        &format!("{unfinished}.partial"),
        &segment(&unfinished, MIB, 500, 7),
    );
    let left_at = |number: u64| {
        let position = number * MIB + 0x28;
        format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
    };
    let second = format!("1\t{}\tno recovery target specified\n", left_at(0x1004));
    assert_eq!(history::parse(&second).unwrap().len(), 1);
    file("wal", "00000002.history", second.as_bytes());
    put_segments("wal", 2, 0x1004..=0x1005);
    // Another branch, restored from further back.
    let third = format!("1\t{}\tbefore 2026-11-20\n", left_at(0xFFF));
    file("wal", "00000003.history", third.as_bytes());
    put_segments("wal", 3, 0xFFF..=0x1000);
    put_segments("g2/wal", 1, 1..=2);
    let run = || Verified::of(&archive.run(&["--json", "verify"]));
    let first = run();
    first.is_clean();
    assert_eq!(
        first.settled().len(),
        6 + 1 + 1 + 2 + 1 + 2 + 2,
        "{}",
        first.outcome
    );
    assert_eq!(gaps(&first), []);
    run().is_clean();
    let list = archive.run(&["wal", "list"]);
    assert_eq!(list.code, 0, "{}", list.stdout);

    // The last segment before the switch, and the first one behind it.
    for (timeline, number) in [(1, 0x1003), (2, 0x1004)] {
        let name = segment_name(timeline, number, MIB);
        fs::remove_file(store.join(format!("wal/{name}.gz"))).unwrap();
    }
    // In a new catalog, to which nobody has ever told of them.
    for file in files_in(archive.directory()) {
        if file.starts_with("catalog.redb") {
            fs::remove_file(archive.directory().join(file)).unwrap();
        }
    }
    let found = run();
    let expected = [(1, 0x1003), (2, 0x1004)].map(|(timeline, number)| {
        let name = segment_name(timeline, number, MIB);
        (name.clone(), name, true, false)
    });
    assert_eq!(
        (found.code, gaps(&found)),
        (1, expected.to_vec()),
        "{}",
        found.outcome
    );
    let known = Catalog::at(archive.catalog()).read(|reader| reader.gaps(&["a"]));
    assert_eq!(known.unwrap().len(), 2);
    assert_eq!(archive.run(&["wal", "list"]).code, 1);
}
