//! Where a file comes from, and what it is checked against.

use std::{fs, time::Instant};

use walkeep::{layout::Generation, postgres::SegmentSize};

use super::archive::{Archive, OTHERS, OURS, TO, nobody, silent_server};

const NAME: &str = "000000010000000400000024";
const NEXT: &str = "000000010000000400000025";
const HISTORY: &str = "00000002.history";

#[test]
fn a_segment_comes_byte_for_byte_from_a_store() {
    let archive = Archive::new(&["r2", "b2"]);
    let raw = archive.store("b2", NAME);
    archive.run(NAME).served(&archive, &raw);
    // Over what an earlier fetch, or PostgreSQL, left there.
    fs::write(archive.data().join(TO), "left").unwrap();
    fs::write(archive.data().join("pg_wal/.RECOVERYXLOG.walkeep0"), "left").unwrap();
    archive.run(NAME).served(&archive, &raw);
}

#[test]
fn a_large_segment_comes_too() {
    for mib in [16, 64] {
        let mut archive = Archive::new(&[]);
        archive.size = SegmentSize::new(mib << 20).unwrap();
        let archive = archive.directory_store("r2");
        archive.cluster_file("r2", &[OURS]);
        let name = "000000010000000000000003";
        let raw = archive.store("r2", name);
        archive.run(name).served(&archive, &raw);
        // And where it is damaged, it does not.
        let path = archive.object("r2", name);
        let mut object = fs::read(&path).unwrap();
        let middle = object.len() / 2;
        object[middle] ^= 1;
        fs::write(&path, object).unwrap();
        archive.run(name).failed(&archive, 200, &["damaged"]);
    }
}

#[test]
fn text_files_come_as_they_were_archived() {
    let archive = Archive::new(&["r2"]);
    let history = b"1\t4/24000110\tno recovery target specified\n";
    archive.store_bytes("r2", HISTORY, history);
    archive.run(HISTORY).served(&archive, history);
    let (name, text) = (
        "000000010000000400000024.00000028.backup",
        b"START WAL LOCATION: 4/24000028 (file 000000010000000400000024)\n",
    );
    archive.store_bytes("r2", name, text);
    archive.run(name).served(&archive, text);
    // An object under another file's name is not that file.
    let path = archive.object("r2", HISTORY);
    fs::copy(&path, archive.object("r2", "00000003.history")).unwrap();
    archive.run("00000003.history").failed(
        &archive,
        200,
        &["it holds the file \"00000002.history\""],
    );
}

#[test]
fn staging_is_the_first_source_and_may_be_the_only_one() {
    let (archive, staging) = Archive::new(&["r2"]).staging(OURS);
    let raw = archive.segment(NAME, OURS);
    fs::write(staging.root().join(NAME), &raw).unwrap();
    archive.run(NAME).served(&archive, &raw);
    assert!(
        staging.root().join(NAME).exists(),
        "it is still to be shipped"
    );
    // A copy, not a link: PostgreSQL writes over what it was given.
    archive.run(NAME);
    fs::write(archive.data().join(TO), "recycled").unwrap();
    assert_eq!(fs::read(staging.root().join(NAME)).unwrap(), raw);
    fs::remove_file(archive.data().join(TO)).unwrap();
    // With every store gone, too.
    let (archive, staging) = Archive::new(&[]).s3_store("r2", nobody()).staging(OURS);
    fs::write(staging.root().join(NAME), &raw).unwrap();
    archive.run(NAME).served(&archive, &raw);
}

#[test]
fn a_staged_file_that_is_not_valid_is_not_served() {
    let (archive, staging) = Archive::new(&["r2"]).staging(OURS);
    let raw = archive.segment(NAME, OURS);
    fs::write(staging.root().join(NAME), &raw[..700_000]).unwrap();
    archive
        .run(NAME)
        .failed(&archive, 200, &["is damaged wherever it is", "staging"]);
    let raw = archive.store("r2", NAME);
    archive.run(NAME).served(&archive, &raw);
}

#[test]
fn whole_objects_with_other_bytes_are_not_served() {
    let archive = Archive::new(&["r2"]);
    // Of another cluster, of another place in the WAL, of another size.
    archive.store_bytes("r2", NAME, &archive.segment(NAME, OTHERS));
    archive.run(NAME).failed(
        &archive,
        200,
        &["it belongs to the cluster 7300000000000000002"],
    );
    archive.store_bytes("r2", NAME, &archive.segment(NEXT, OURS));
    archive
        .run(NAME)
        .failed(&archive, 200, &["its header says that it begins at"]);
    archive.store_bytes("r2", NAME, &archive.segment(NAME, OURS)[..1 << 19]);
    archive
        .run(NAME)
        .failed(&archive, 200, &["524288 bytes long instead of 1048576"]);
    archive.store_bytes("r2", NAME, &vec![0; 1 << 20]);
    archive
        .run(NAME)
        .failed(&archive, 200, &["its header is all zero"]);
}

#[test]
fn an_adopted_object_without_our_facts_is_checked_by_what_it_has() {
    use std::io::Write;
    let archive = Archive::new(&[]).directory_store("r2");
    let raw = archive.segment(NAME, OURS);
    let path = archive.object("r2", NAME);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let gzip = |raw: &[u8]| {
        let mut gzip = std::process::Command::new("gzip")
            .stdin(std::process::Stdio::piped())
            .stdout(fs::File::create(&path).unwrap())
            .spawn()
            .unwrap();
        gzip.stdin.take().unwrap().write_all(raw).unwrap();
        assert!(gzip.wait().unwrap().success());
    };
    gzip(&raw);
    archive.run(NAME).served(&archive, &raw);
    gzip(&archive.segment(NAME, OTHERS));
    archive
        .run(NAME)
        .failed(&archive, 200, &["it belongs to the cluster"]);
}

#[test]
fn a_dead_or_silent_store_does_not_hold_up_the_other() {
    for address in [nobody(), silent_server()] {
        let archive = Archive::new(&[])
            .s3_store("dead", address)
            .directory_store("b2");
        archive.cluster_file("b2", &[OURS]);
        let raw = archive.store("b2", NAME);
        let second = archive.store("b2", NEXT);
        archive.run(NAME).served(&archive, &raw);
        // By now it is known to be slow.
        let begun = Instant::now();
        archive.run(NEXT).served(&archive, &second);
        assert!(begun.elapsed().as_millis() < 900, "{:?}", begun.elapsed());
    }
}

#[test]
fn the_wrong_cluster_gets_nothing() {
    // By cluster.json.
    let archive = Archive::new(&["r2"]);
    archive.store("r2", NAME);
    archive.pg_control(OTHERS);
    let words = [
        "wrong cluster",
        "7300000000000000002",
        "7300000000000000001",
    ];
    archive.run(NAME).failed(&archive, 200, &words);
    // By the plan.
    let plan = archive.plan(&["r2"], false, &[(NAME, NEXT)], &[]);
    archive
        .run_planned(NAME, &plan)
        .failed(&archive, 200, &["wrong cluster"]);
    // By staging's marker: its files are not this cluster's.
    let (archive, staging) = Archive::new(&["r2"]).staging(OTHERS);
    fs::write(staging.root().join(NAME), archive.segment(NAME, OTHERS)).unwrap();
    let raw = archive.store("r2", NAME);
    archive.run(NAME).served(&archive, &raw);
}

#[test]
fn each_generation_has_its_own_cluster() {
    let mut archive = Archive::new(&["r2"]);
    archive.cluster_file("r2", &[OTHERS, OURS]);
    let first = archive.segment(NAME, OTHERS);
    archive.store_bytes("r2", NAME, &first);
    archive.generation = Generation(2);
    let second = archive.store("r2", NAME);
    archive.run(NAME).served(&archive, &second);
    archive.pg_control(OTHERS);
    archive.run(NAME).served(&archive, &first);
    fs::remove_file(archive.data().join("global/pg_control")).unwrap();
    archive
        .run(NAME)
        .failed(&archive, 200, &["several clusters", "data directory"]);
}
