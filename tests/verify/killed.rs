//! SIGKILL in the middle of a deep verify, and of a repair.

use std::{fs, process::Stdio, thread, time::Duration};

use walkeep::catalog::{Catalog, VerifyKind, VerifyRecord};

use super::{
    Clouds, flip,
    support::{
        archive::{MIB, Running, segment_name},
        host::wait_until,
    },
    told,
};

/// So that reading takes seconds on any machine.
const SLOWLY: &str = "[ship]\nrate_limit = \"400KB\"\n";
const SEGMENTS: u64 = 40;

fn start(it: &Clouds, arguments: &[&str]) -> Running {
    let mut command = it
        .archive
        .walkeep(&[&["--json", "verify"], arguments].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("start walkeep"))
}

fn deep(it: &Clouds, store: &str) -> Option<VerifyRecord> {
    let catalog = Catalog::at(it.archive.catalog());
    let known = catalog
        .read(|reader| reader.verifies())
        .expect("read the catalog");
    let mut deep = known.into_iter().filter(|it| it.kind == VerifyKind::Deep);
    deep.find(|it| it.store == store)
}

#[test]
fn a_killed_deep_verify_goes_on_behind_what_it_had_read() {
    let (it, _) = Clouds::filled(SEGMENTS);
    it.configure(SLOWLY, &["a", "b"]);
    let mut running = start(&it, &["--deep"]);
    let read = || deep(&it, "b").is_some_and(|record| record.objects >= 16);
    wait_until("it has read some", Duration::from_secs(60), read);
    running.kill();
    let record = deep(&it, "b").expect("a record");
    assert!(
        record.finished.is_none() && record.objects < SEGMENTS,
        "{record:?}"
    );
    // What it had read by then is not read again; what it had not, is.
    flip(&it.object("b", &segment_name(1, 2, MIB)), 9_000);
    flip(&it.object("b", &segment_name(1, SEGMENTS, MIB)), 9_000);
    it.configure("", &["a", "b"]);
    let ended = it.verify(&["--deep"]);
    let late = segment_name(1, SEGMENTS, MIB);
    assert_eq!(
        (ended.code, ended.problems()),
        (1, told(&[("damaged", "b", &late)]))
    );
    let store = ended.store("b");
    assert_eq!(store["resumed_after"], record.after.expect("a key"));
    assert_eq!(store["read_objects"], SEGMENTS + 1);
    // The next one begins anew.
    let anew = it.verify(&["--deep"]);
    let early = segment_name(1, 2, MIB);
    let both = [("damaged", "b", &*early), ("damaged", "b", &*late)];
    assert_eq!(anew.problems(), told(&both));
    assert!(anew.store("b")["resumed_after"].is_null());
}

#[test]
fn a_killed_repair_leaves_each_object_as_it_was_or_whole() {
    let (it, files) = Clouds::filled(12);
    let whole = it.contents();
    for number in 1..=12 {
        let object = it.object("a", &segment_name(1, number, MIB));
        match number % 2 {
            0 => flip(&object, 9_000),
            _ => fs::remove_file(&object).unwrap(),
        }
    }
    assert_eq!(it.verify(&["--deep"]).code, 1);
    it.configure(SLOWLY, &["a", "b"]);
    let (damaged, mut kills) = (it.contents(), 0);
    let mended = || {
        it.contents()
            .iter()
            .filter(|one| !damaged.contains(one))
            .count()
    };
    for wanted in [1, 4, 7] {
        let mut running = start(&it, &["--repair"]);
        wait_until("it has mended some", Duration::from_secs(60), || {
            mended() >= wanted || running.0.try_wait().expect("wait").is_some()
        });
        running.kill();
        thread::sleep(Duration::from_millis(100));
        kills += usize::from(mended() < 12);
        for (path, bytes) in it.contents() {
            let (one, other) = (&(path.clone(), bytes.clone()), path);
            assert!(whole.contains(one) || damaged.contains(one), "{other:?}");
        }
    }
    assert!(kills >= 2, "it was killed {kills} times in the middle");
    it.configure("", &["a", "b"]);
    assert_eq!(it.verify(&["--repair"]).code, 0);
    assert!(it.contents() == whole);
    it.verify(&["--deep"]).is_clean();
    it.each_store_serves(&files);
}
