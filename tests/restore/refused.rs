//! What `restore` refuses, and with which words.

use std::fs;

use super::{
    support::host::hand_over,
    world::{World, make},
};

#[test]
fn directories_that_are_not_to_be_written_to_are_left_alone() {
    let world = World::new();
    world.cluster.sql("CREATE TABLE kept (i int)");
    world.backup();
    let data = world.cluster.data().to_str().unwrap().to_owned();
    for arguments in [&["restore", &data][..], &["restore", &data, "--delta"]] {
        let run = world.site.walkeep(arguments);
        run.expect(1).tells("a server runs in");
    }
    assert_eq!(world.cluster.value::<i64>("SELECT count(*) FROM kept"), 0);

    let target = world.target();
    make(&target);
    fs::write(target.join("precious"), "x").unwrap();
    hand_over(&target);
    world
        .restore(&[])
        .expect(1)
        .tells("is not empty")
        .tells("--delta");
    world
        .restore(&["--delta"])
        .expect(1)
        .tells("holds no cluster that --delta could begin with");
    assert_eq!(fs::read(target.join("precious")).unwrap(), b"x");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);

    let file = world.site.path("file");
    fs::write(&file, "").unwrap();
    let run = world.site.walkeep(&["restore", file.to_str().unwrap()]);
    run.expect(1).tells("is not a directory");
}

#[test]
fn arguments_that_contradict_themselves_are_wrong_usage() {
    let world = World::new();
    for (arguments, word) in [
        (
            &["--exclusive", "--to-name", "x"][..],
            "cannot be used with",
        ),
        (&["--exclusive", "--immediate"], "cannot be used with"),
        (&["--exclusive"], "required"),
        (&["--to-xid", "7", "--immediate"], "cannot be used with"),
        (
            &["--to-time", "2026-11-20 14:30:00"],
            "does not say in which zone",
        ),
        (&["--to-time", "yesterday"], "is no time"),
        (&["--to-lsn", "7"], "is not an LSN"),
        (&["--tablespace", "/x"], "is not OLD=NEW"),
        (&["--store", "three"], "there is no store \"three\""),
    ] {
        world.restore(arguments).expect(2).tells(word);
    }
}
