//! Stores that cannot be asked, and what verifies leave in the catalog.

use std::fs;

use walkeep::catalog::{Catalog, VerifyKind, VerifyRecord};

use super::{
    Clouds,
    support::archive::{MIB, segment_name},
    told, truncate,
};

fn records(it: &Clouds) -> Vec<VerifyRecord> {
    let catalog = Catalog::at(it.archive.catalog());
    catalog
        .read(|reader| reader.verifies())
        .expect("read the catalog")
}

#[test]
fn a_store_that_is_away_is_told_and_nothing_of_it_is_taken_for_absent() {
    let (it, _) = Clouds::filled(4);
    let name = |number| segment_name(1, number, MIB);
    truncate(&it.object("a", &name(1)));
    fs::remove_file(it.object("a", &name(2))).unwrap();
    it.server("b").stop();
    let found = it.verify(&["--repair"]);
    let expected = [
        ("unreachable", "b", ""),
        ("damaged", "a", &*name(1)),
        ("missing", "a", &*name(2)),
    ];
    assert_eq!(
        (found.code, found.problems()),
        (1, told(&expected)),
        "{}",
        found.outcome
    );
    assert_eq!(found.outcome["gaps"], serde_json::json!([]));
    assert!(found.store("b")["failure"].is_string());
    for number in 1..=4 {
        assert_eq!(it.archive.state(&name(number), "b"), "stored");
    }
    let ran = it.archive.run(&["verify", "--deep"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout
            .starts_with("! store \"b\": cannot be verified: "),
        "{}",
        ran.stdout
    );
    let [a, b] = ["a", "b"].map(|store| {
        let mut known = records(&it).into_iter();
        known
            .find(|it| it.store == store && it.kind == VerifyKind::Plain)
            .unwrap()
    });
    assert!(
        a.finished.is_some() && a.failure.is_none() && a.problems == 2,
        "{a:?}"
    );
    assert!(b.finished.is_none() && b.failure.is_some(), "{b:?}");

    // A volume that is not mounted, a mistyped prefix.
    it.server("b").restart();
    let cluster = it.server("b").object_path("wal", "main/cluster.json");
    let text = fs::read(&cluster).unwrap();
    fs::remove_file(&cluster).unwrap();
    let found = it.verify(&[]);
    assert_eq!(found.code, 1);
    assert!(
        found
            .problems()
            .contains(&told(&[("unreachable", "b", "")])[0])
    );
    assert_eq!(it.archive.state(&name(3), "b"), "stored");
    fs::write(&cluster, text).unwrap();
    assert_eq!(it.verify(&["--repair"]).code, 0);
    it.verify(&["--deep"]).is_clean();
}

#[test]
fn the_last_verify_of_each_store_and_kind_is_recorded() {
    let (it, _) = Clouds::filled(3);
    let of = |store: &str, kind| {
        let found = records(&it)
            .into_iter()
            .find(|it| it.store == store && it.kind == kind);
        found.expect("a record")
    };
    it.verify(&["--deep"]).is_clean();
    let [plain, deep] = [VerifyKind::Plain, VerifyKind::Deep].map(|kind| of("a", kind));
    assert_eq!((plain.objects, plain.problems, plain.repaired), (4, 0, 0));
    assert_eq!((deep.objects, deep.bytes), (plain.objects, plain.bytes));
    assert!(deep.finished.is_some() && deep.after.is_none());
    truncate(&it.object("a", &segment_name(1, 1, MIB)));
    it.verify(&["--repair"]).is_clean();
    let next = of("a", VerifyKind::Plain);
    assert_eq!(
        (next.problems, next.repaired, next.before),
        (1, 1, plain.finished)
    );
    assert_eq!(of("a", VerifyKind::Deep), deep);
}
