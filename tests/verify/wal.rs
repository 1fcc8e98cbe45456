//! Damage of every kind to the WAL, in one store and in both.

use std::fs;

use super::{
    Clouds, flip,
    support::archive::{MIB, gzip, put, segment, segment_name},
    told, truncate,
};

#[test]
fn what_one_store_lost_is_told_owed_and_brought_back_by_ship() {
    let (it, files) = Clouds::filled(6);
    it.verify(&[]).is_clean();
    let lost = segment_name(1, 3, MIB);
    fs::remove_file(it.object("a", &lost)).unwrap();
    let ran = it.archive.run(&["verify"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let line = format!("! store \"a\": \"{lost}\" missing: another store has it; owed since ");
    assert!(ran.stdout.starts_with(&line), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("`walkeep verify --repair` copies"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("\nb: 7 files of WAL, "),
        "{}",
        ran.stdout
    );
    assert_eq!(it.archive.state(&lost, "a"), "owed");
    // It is told as long as it lasts.
    let again = it.verify(&[]);
    assert_eq!(
        (again.code, again.problems()),
        (1, told(&[("missing", "a", &lost)]))
    );
    assert_eq!(again.outcome["gaps"], serde_json::json!([]));
    it.archive.ship_well();
    it.verify(&["--deep"]).is_clean();
    it.each_store_serves(&files);
}

#[test]
fn every_kind_of_damage_is_found_and_mended_from_the_other_store() {
    let (it, files) = Clouds::filled(9);
    let name = |number| segment_name(1, number, MIB);
    let whole = it.contents();
    fs::remove_file(it.object("a", &name(1))).unwrap();
    truncate(&it.object("a", &name(2)));
    flip(&it.object("a", &name(3)), 9_000);
    // Another segment's object under this one's name.
    fs::copy(it.object("a", &name(5)), it.object("a", &name(4))).unwrap();
    put(&it.object("a", "00000002.history"), b"no gzip at all");
    fs::write(it.object("b", &name(6)), "").unwrap();
    fs::remove_file(it.object("b", &name(7))).unwrap();
    flip(&it.object("b", &name(8)), 30);
    let plainly = [
        ("missing", "a", name(1)),
        ("damaged", "a", name(2)),
        ("damaged", "a", name(4)),
        ("damaged", "a", "00000002.history".to_owned()),
        ("damaged", "b", name(6)),
        ("missing", "b", name(7)),
    ];
    let deeply = [("damaged", "a", name(3)), ("damaged", "b", name(8))];
    let expected = |list: &[(&str, &str, String)]| {
        let list: Vec<_> = list.iter().map(|it| (it.0, it.1, it.2.as_str())).collect();
        told(&list)
    };
    let plain = it.verify(&[]);
    // Of two objects of one size a listing does not tell where they differ.
    let mut visible = plain.problems();
    visible.retain(|problem| problem.2 != name(4));
    let mut sure = expected(&plainly);
    sure.retain(|problem| problem.2 != name(4));
    assert_eq!((plain.code, visible), (1, sure), "{}", plain.outcome);
    assert_eq!(it.archive.state(&name(2), "a"), "suspect");

    let all: Vec<_> = plainly.iter().chain(&deeply).cloned().collect();
    let deep = it.verify(&["--deep"]);
    assert_eq!(
        (deep.code, deep.problems()),
        (1, expected(&all)),
        "{}",
        deep.outcome
    );
    assert_eq!(deep.outcome["gaps"], serde_json::json!([]));
    let repaired = it.verify(&["--repair"]);
    assert_eq!(repaired.code, 0, "{}", repaired.outcome);
    assert_eq!(repaired.settled(), expected(&all));
    assert_eq!(repaired.store("a")["settled"], 5);
    assert!(it.contents() == whole, "every object is what it was");
    let after = it.verify(&["--deep"]);
    after.is_clean();
    assert_eq!(after.store("a")["read_objects"], 10);
    it.each_store_serves(&files);
    assert_eq!(it.archive.run(&["status"]).code, 0);
}

#[test]
fn deep_and_repair_go_together() {
    let (it, files) = Clouds::filled(3);
    let name = segment_name(1, 2, MIB);
    flip(&it.object("b", &name), 9_000);
    it.verify(&["--repair"]).is_clean();
    let done = it.verify(&["--deep", "--repair"]);
    assert_eq!(
        (done.code, done.settled()),
        (0, told(&[("damaged", "b", &name)]))
    );
    it.verify(&["--deep"]).is_clean();
    it.each_store_serves(&files);
}

#[test]
fn another_valid_file_of_the_name_is_a_conflict_and_never_overwritten() {
    let (it, _) = Clouds::filled(4);
    let name = segment_name(1, 2, MIB);
    let theirs = gzip(&segment(&name, MIB, 30_000, 99));
    fs::write(it.object("b", &name), &theirs).unwrap();
    for arguments in [&["--repair"][..], &["--deep", "--repair"], &[]] {
        let told_now = it.verify(arguments);
        let expected = told(&[("conflict", "b", &name)]);
        assert_eq!(
            (told_now.code, told_now.problems()),
            (1, expected),
            "{arguments:?}"
        );
        assert!(fs::read(it.object("b", &name)).unwrap() == theirs);
    }
    let ran = it.archive.run(&["verify"]);
    assert!(ran.stdout.contains("split brain"), "{}", ran.stdout);
    assert_eq!(it.archive.state(&name, "b"), "conflict");
    // The last copy of another segment, moved onto this one's name, is not
    // taken for damage either.
    let (one, other) = (segment_name(1, 3, MIB), segment_name(1, 4, MIB));
    let moved = fs::read(it.object("a", &other)).unwrap();
    fs::write(it.object("a", &one), &moved).unwrap();
    for store in ["a", "b"] {
        fs::remove_file(it.object(store, &other)).unwrap();
    }
    let done = it.verify(&["--deep", "--repair"]);
    assert!(
        done.problems()
            .contains(&told(&[("conflict", "a", &one)])[0]),
        "{}",
        done.outcome
    );
    assert!(fs::read(it.object("a", &one)).unwrap() == moved);
}

#[test]
fn what_was_compressed_anew_is_the_same_file() {
    let (it, files) = Clouds::filled(2);
    let name = segment_name(1, 1, MIB);
    let anew = gzip(&files[&name]);
    fs::write(it.object("a", &name), &anew).unwrap();
    it.verify(&[]).is_clean();
    let replica = &it.archive.records()[&name]["replicas"]["a"];
    assert_eq!(
        (&replica["state"], &replica["stored_size"]),
        (&"stored".into(), &anew.len().into())
    );
}

#[test]
fn what_the_catalog_does_not_know_is_told_and_adopted() {
    let (it, mut files) = Clouds::filled(3);
    let name = segment_name(1, 4, MIB);
    let bytes = segment(&name, MIB, 20_000, 4);
    for store in ["a", "b"] {
        fs::write(it.object(store, &name), gzip(&bytes)).unwrap();
    }
    // One that is nobody's file, and one that nobody can read.
    it.server("a")
        .put_plainly("wal", "main/notes.txt", "somebody else's");
    let broken = segment_name(1, 5, MIB);
    it.server("b")
        .put_plainly("wal", &format!("main/wal/{broken}.gz"), "nothing");
    let found = it.verify(&[]);
    let expected = [("unknown", "a", &*name), ("unknown", "b", &*name)];
    assert_eq!(found.settled(), told(&expected));
    assert_eq!(
        (found.code, found.problems()),
        (1, told(&[("damaged", "b", &broken)]))
    );
    assert_eq!(found.store("a")["foreign"], 1);
    fs::remove_file(it.object("b", &broken)).unwrap();
    files.insert(name.clone(), bytes);
    let next = it.verify(&["--deep"]);
    next.is_clean();
    assert_eq!(next.settled(), []);
    assert_eq!(it.archive.state(&name, "b"), "stored");
    it.each_store_serves(&files);
}

#[test]
fn what_is_staged_is_sent_again_and_is_no_gap() {
    let (it, _) = Clouds::filled(2);
    it.configure("[retention]\nlocal_window = \"1d\"\n", &["a", "b"]);
    let name = segment_name(1, 3, MIB);
    it.archive.stage(&name, &segment(&name, MIB, 20_000, 3));
    it.archive.ship_well();
    assert_eq!(
        it.archive.waiting(),
        std::slice::from_ref(&name),
        "kept for a day"
    );
    for store in ["a", "b"] {
        fs::remove_file(it.object(store, &name)).unwrap();
    }
    let found = it.verify(&[]);
    assert_eq!(found.outcome["gaps"], serde_json::json!([]));
    assert_eq!(it.archive.state(&name, "a"), "pending");
    it.archive.ship_well();
    // Damaged everywhere, it is mended from staging.
    truncate(&it.object("a", &name));
    fs::write(it.object("b", &name), "no gzip at all").unwrap();
    let mended = it.verify(&["--repair"]);
    let both = [("damaged", "a", &*name), ("damaged", "b", &name)];
    assert_eq!(
        (mended.code, mended.settled()),
        (0, told(&both)),
        "{}",
        mended.outcome
    );
    it.verify(&["--deep"]).is_clean();
}
