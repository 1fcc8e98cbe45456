//! The end of the WAL, a hole in it, and not knowing.

use std::{fs, time::Instant};

use super::archive::{Archive, OTHERS, OURS, nobody, silent_server};

const NAME: &str = "000000010000000400000024";
const NEXT: &str = "000000010000000400000025";
const LATER: &str = "000000010000000400000027";
const HISTORY: &str = "00000002.history";

#[test]
fn the_end_of_the_archive_is_told_by_exit_code_1() {
    let archive = Archive::new(&["r2", "b2"]);
    archive.store("r2", NAME);
    archive.store("b2", NAME);
    let words = [
        "store \"r2\" and store \"b2\"",
        "the archive ends before it",
    ];
    archive.run(NEXT).failed(&archive, 1, &words);
    // Neither a branch's segment nor the notes of a backup are WAL behind it.
    archive.store("r2", "000000020000000400000030");
    let backup = "000000010000000400000030.00000028.backup";
    archive.store_bytes("r2", backup, b"START WAL LOCATION: 4/30000028\n");
    archive.run(NEXT).failed(&archive, 1, &[]);
}

#[test]
fn a_probe_for_a_timeline_is_answered_quietly() {
    let (archive, _) = Archive::new(&["r2", "b2"]).staging(OURS);
    archive.store("r2", LATER);
    let ended = archive.run(HISTORY);
    ended.failed(&archive, 1, &[]);
    assert_eq!(ended.stderr, "");
}

#[test]
fn wal_behind_it_makes_it_a_gap() {
    let archive = Archive::new(&["r2", "b2"]);
    archive.store("b2", NAME);
    archive.store("b2", LATER);
    let words = [
        "a gap in the archive",
        NEXT,
        LATER,
        "store \"b2\" has",
        "walkeep wal list",
    ];
    archive.run(NEXT).failed(&archive, 200, &words);
    // In staging, too.
    let (archive, staging) = Archive::new(&["r2"]).staging(OURS);
    archive.store("r2", NAME);
    archive.run(NEXT).failed(&archive, 1, &[]);
    fs::write(staging.root().join(LATER), archive.segment(LATER, OURS)).unwrap();
    let words = ["a gap in the archive", "staging has"];
    archive.run(NEXT).failed(&archive, 200, &words);
}

#[test]
fn many_pages_of_notes_do_not_hide_the_wal_behind_them() {
    let archive = Archive::new(&["r2"]);
    archive.store("r2", NAME);
    for offset in 0..1200 {
        let name = format!("{NEXT}.{offset:08X}.backup");
        fs::write(archive.object("r2", &name), "").unwrap();
    }
    archive.run(NEXT).failed(&archive, 1, &[]);
    archive.store("r2", LATER);
    archive.run(NEXT).failed(&archive, 200, &["a gap"]);
}

#[test]
fn a_store_that_cannot_be_asked_proves_nothing() {
    for (address, says) in [(nobody(), "unreachable"), (silent_server(), "no answer")] {
        let archive = Archive::new(&["r2"]).s3_store("b2", address);
        archive.store("r2", NAME);
        let begun = Instant::now();
        let ended = archive.run(NEXT);
        let words = ["neither be fetched nor proved absent", "store \"b2\"", says];
        ended.failed(&archive, 200, &words);
        let waited = begun.elapsed().as_secs_f64();
        assert!(
            (1.5..12.0).contains(&waited),
            "{waited} s: {}",
            ended.stderr
        );
    }
    // It is said while it is waited for, not only at the end.
    let archive = Archive::new(&["r2"]).s3_store("b2", nobody());
    let ended = archive.run(HISTORY);
    ended.failed(&archive, 200, &["warning: store \"b2\"", "asking for"]);
}

#[test]
fn a_store_that_is_not_there_is_not_an_empty_one() {
    let archive = Archive::new(&["r2", "b2"]);
    fs::remove_dir_all(archive.path("stores/b2")).unwrap();
    let begun = Instant::now();
    let words = [
        "neither be fetched nor proved absent",
        "store \"b2\"",
        "does not exist",
    ];
    archive.run(NEXT).failed(&archive, 200, &words);
    assert!(begun.elapsed().as_millis() < 1500, "asking again is no use");
    let raw = archive.store("r2", NEXT);
    archive.run(NEXT).served(&archive, &raw);
}

#[test]
fn a_volume_that_is_not_mounted_is_not_an_empty_store() {
    let archive = Archive::new(&["r2", "nas"]);
    let raw = archive.store("nas", NEXT);
    archive.store("r2", NAME);
    let history = b"1\t4/25000000\tno recovery target specified\n";
    archive.store_bytes("nas", HISTORY, history);
    let (mounted, away) = (archive.path("stores/nas"), archive.path("away"));
    let unmount = || {
        fs::rename(&mounted, &away).unwrap();
        fs::create_dir(&mounted).unwrap();
    };
    let mount = || {
        fs::remove_dir_all(&mounted).unwrap();
        fs::rename(&away, &mounted).unwrap();
    };
    unmount();
    let words = [
        "neither be fetched nor proved absent",
        "store \"nas\": get \"main/cluster.json\": not this archive's place (it is not there, nor any \
         WAL); mount its volume, or correct `prefix`",
    ];
    let plan = archive.plan(&["nas"], false, &[(NAME, NAME)], &[]);
    let begun = Instant::now();
    for name in [NEXT, HISTORY] {
        archive.run(name).failed(&archive, 200, &words);
        archive
            .run_planned(name, &plan)
            .failed(&archive, 200, &words);
    }
    assert!(begun.elapsed().as_secs() < 6, "asking again is no use");
    mount();
    archive.run(NEXT).served(&archive, &raw);
    // Nobody can tell whose archive it is: nothing may be made of that.
    let alone = Archive::new(&["nas"]);
    fs::remove_dir_all(alone.path("stores/nas/main")).unwrap();
    for name in [NEXT, HISTORY] {
        let words = ["learn whose archive this is", "store \"nas\"", words[1]];
        alone.run(name).failed(&alone, 200, &words);
    }
}

/// An older script's archive proves absence by its WAL; not once `init` has
/// been run, which claims every store.
#[test]
fn wal_that_nobody_claimed_is_a_proof_where_nothing_is_claimed() {
    let archive = Archive::new(&[]).directory_store("old");
    archive.store("old", NAME);
    archive.run(NEXT).failed(&archive, 1, &[]);
    archive.run(HISTORY).failed(&archive, 1, &[]);
    let (archive, _) = archive.staging(OURS);
    let words = [
        "neither be fetched nor proved absent",
        "\"main/cluster.json\": not this archive's place (it is not there); mount",
    ];
    archive.run(NEXT).failed(&archive, 200, &words);
    archive.cluster_file("old", &[OURS]);
    archive.run(NEXT).failed(&archive, 1, &[]);
}

#[test]
fn another_clusters_place_proves_nothing() {
    let archive = Archive::new(&["r2", "b2"]);
    archive.store("r2", NAME);
    archive.cluster_file("b2", &[OTHERS]);
    let words = [
        "neither be fetched nor proved absent",
        "store \"b2\": get \"main/cluster.json\": not this archive's place (it is that of the \
         cluster \"main\", system identifier 7300000000000000002)",
    ];
    archive.run(NEXT).failed(&archive, 200, &words);
    // Where nobody claimed it, its WAL tells.
    fs::remove_file(archive.path("stores/b2/main/cluster.json")).unwrap();
    let theirs = archive.segment(NAME, OTHERS);
    archive.store_bytes("b2", NAME, &theirs);
    let words = ["store \"b2\"", "is WAL of the cluster 7300000000000000002"];
    archive.run(HISTORY).failed(&archive, 200, &words);
}

#[test]
fn staging_that_is_not_mounted_proves_nothing() {
    let (archive, staging) = Archive::new(&["r2"]).staging(OURS);
    fs::remove_dir_all(staging.root()).unwrap();
    fs::create_dir(staging.root()).unwrap();
    archive.store("r2", NAME);
    let words = [
        "neither be fetched nor proved absent",
        "walkeep.json",
        "not mounted",
    ];
    for name in [NEXT, HISTORY] {
        archive.run(name).failed(&archive, 200, &words);
    }
    let raw = archive.store("r2", NEXT);
    archive.run(NEXT).served(&archive, &raw);
    // A plan that was made without it does.
    let plan = archive.plan(&["r2"], false, &[(NAME, NEXT)], &[]);
    archive.run_planned(LATER, &plan).failed(&archive, 1, &[]);
    let plan = archive.plan(&["r2"], true, &[(NAME, NEXT)], &[]);
    archive
        .run_planned(LATER, &plan)
        .failed(&archive, 200, &words);
}

#[test]
fn a_planned_file_that_is_missing_is_a_hole() {
    let archive = Archive::new(&["r2", "b2"]);
    archive.store("r2", NAME);
    let plan = archive.plan(&["r2", "b2"], false, &[(NAME, LATER)], &[2]);
    let words = [
        "this recovery needs it",
        "store \"r2\" and store \"b2\"",
        "a hole",
    ];
    archive
        .run_planned(NEXT, &plan)
        .failed(&archive, 200, &words);
    archive
        .run_planned(HISTORY, &plan)
        .failed(&archive, 200, &words);
    let raw = archive.store("b2", NEXT);
    archive.run_planned(NEXT, &plan).served(&archive, &raw);
}

#[test]
fn an_unplanned_file_asks_the_plans_stores_alone() {
    let archive = Archive::new(&["r2"]).s3_store("dead", nobody());
    let raw = archive.store("r2", NAME);
    let plan = archive.plan(&["r2"], false, &[(NAME, NAME)], &[]);
    let begun = Instant::now();
    for name in [NEXT, HISTORY] {
        archive.run_planned(name, &plan).failed(&archive, 1, &[]);
    }
    archive.run_planned(NAME, &plan).served(&archive, &raw);
    assert!(
        begun.elapsed().as_secs_f64() < 1.5,
        "the dead one was asked"
    );
    // What others archived behind the plan's end is not its business.
    archive.store("r2", LATER);
    archive.run_planned(NEXT, &plan).failed(&archive, 1, &[]);
    // One that was consulted and is dead now may have it.
    let plan = archive.plan(&["r2", "dead"], false, &[(NAME, NAME)], &[]);
    let words = ["neither be fetched nor proved absent", "store \"dead\""];
    archive
        .run_planned(NEXT, &plan)
        .failed(&archive, 200, &words);
}

#[test]
fn a_plan_counts_staging_only_if_it_was_consulted() {
    let (archive, staging) = Archive::new(&["r2"]).staging(OURS);
    let raw = archive.segment(NEXT, OURS);
    fs::write(staging.root().join(NEXT), &raw).unwrap();
    let plan = archive.plan(&["r2"], false, &[(NAME, NAME)], &[]);
    archive.run_planned(NEXT, &plan).failed(&archive, 1, &[]);
    let plan = archive.plan(&["r2"], true, &[(NAME, NEXT)], &[]);
    archive.run_planned(NEXT, &plan).served(&archive, &raw);
}

#[test]
fn a_plan_that_is_not_understood_is_an_error() {
    let archive = Archive::new(&["r2"]);
    let plan = archive.plan(&["r2", "gone"], false, &[(NAME, NAME)], &[]);
    let words = ["store \"gone\"", "configuration"];
    archive
        .run_planned(NAME, &plan)
        .failed(&archive, 200, &words);
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    archive
        .run_planned(NAME, &plan)
        .failed(&archive, 200, &["plan.json", "format 9"]);
    fs::write(&plan, &text[..40]).unwrap();
    archive
        .run_planned(NAME, &plan)
        .failed(&archive, 200, &["plan.json", "cannot be read"]);
    fs::remove_file(&plan).unwrap();
    archive
        .run_planned(NAME, &plan)
        .failed(&archive, 200, &["read the plan", "plan.json"]);
}

#[test]
fn a_standby_is_told_to_ask_again() {
    let archive = Archive::new(&["r2"]);
    fs::write(archive.data().join("standby.signal"), "").unwrap();
    archive.store("r2", NAME);
    // The end: without a word, it asks every few seconds.
    let ended = archive.run(NEXT);
    ended.failed(&archive, 1, &[]);
    assert_eq!(ended.stderr, "");
    // A gap.
    archive.store("r2", LATER);
    let words = ["warning", "a gap in the archive", "do not promote"];
    archive.run(NEXT).failed(&archive, 1, &words);
    // An outage; what is there is served all the same.
    let archive = archive.s3_store("b2", nobody());
    let words = [
        "warning",
        "nor proved absent",
        "store \"b2\"",
        "do not promote",
    ];
    archive.run(HISTORY).failed(&archive, 1, &words);
    let raw = archive.segment(NAME, OURS);
    archive.run(NAME).served(&archive, &raw);
    // Damage is for somebody to look at.
    fs::write(archive.object("r2", NAME), "damaged").unwrap();
    let archive = archive.fetch("timeout = \"30s\"\nprefetch = 0");
    let begun = Instant::now();
    archive.run(NEXT).failed(&archive, 1, &["warning"]);
    let waited = begun.elapsed().as_secs();
    assert!((8..20).contains(&waited), "{waited} s");
}
