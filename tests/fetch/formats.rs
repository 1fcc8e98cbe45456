//! Segments in both formats in one bucket: each is found, and is absent only
//! where neither is there.

use std::fs;

use walkeep::{layout::Format, postgres::SegmentSize};

use super::archive::{Archive, OURS};

const NAME: &str = "000000010000000400000024";
const NEXT: &str = "000000010000000400000025";
const LATER: &str = "000000010000000400000027";
const HISTORY: &str = "00000002.history";

#[test]
fn each_comes_in_the_format_that_it_has() {
    let archive = Archive::new(&["r2"]);
    let old = archive.store("r2", NAME);
    let new = archive.store_in(Format::Zstd, "r2", NEXT);
    let history = b"1\t4/24000110\tno recovery target specified\n";
    archive.store_bytes_in(Format::Zstd, "r2", HISTORY, history);
    archive.run(NAME).served(&archive, &old);
    archive.run(NEXT).served(&archive, &new);
    archive.run(HISTORY).served(&archive, history);
}

/// Larger than what is unpacked in memory.
#[test]
fn a_large_segment_comes_too() {
    let mut archive = Archive::new(&[]);
    archive.size = SegmentSize::new(64 << 20).unwrap();
    let archive = archive.directory_store("r2");
    archive.cluster_file("r2", &[OURS]);
    let name = "000000010000000000000003";
    let raw = archive.store_in(Format::Zstd, "r2", name);
    archive.run(name).served(&archive, &raw);
    let path = archive.object_in(Format::Zstd, "r2", name);
    let mut object = fs::read(&path).unwrap();
    let middle = object.len() / 2;
    object[middle] ^= 1;
    fs::write(&path, object).unwrap();
    archive.run(name).failed(&archive, 200, &["damaged"]);
}

#[test]
fn damage_in_one_format_is_no_reason_to_pass_the_other_over() {
    for format in Format::ALL {
        let archive = Archive::new(&["r2"]);
        let raw = archive.store("r2", NAME);
        archive.store_in(Format::Zstd, "r2", NAME);
        let path = archive.object_in(format, "r2", NAME);
        fs::write(&path, "no object").unwrap();
        archive.run(NAME).served(&archive, &raw);
        let other = format.others().next().unwrap();
        fs::write(archive.object_in(other, "r2", NAME), "none either").unwrap();
        let words = ["damaged", &format!("not a {other} object")];
        archive.run(NAME).failed(&archive, 200, &words);
    }
}

#[test]
fn absent_is_what_is_there_in_neither_format() {
    let archive = Archive::new(&["r2", "b2"]);
    archive.store_in(Format::Zstd, "r2", NAME);
    archive
        .run(NEXT)
        .failed(&archive, 1, &["the archive ends before it"]);
    archive.run(HISTORY).failed(&archive, 1, &[]);
    // WAL behind it, in either format, makes it a gap.
    archive.store_in(Format::Zstd, "b2", LATER);
    let words = ["a gap in the archive", LATER, "store \"b2\" has"];
    archive.run(NEXT).failed(&archive, 200, &words);
}

#[test]
fn a_format_that_cannot_be_asked_for_proves_nothing() {
    for format in Format::ALL {
        let archive = Archive::new(&["r2"]);
        archive.store("r2", NAME);
        // Something that leads to itself.
        let object = archive.object_in(format, "r2", NEXT);
        std::os::unix::fs::symlink(&object, &object).unwrap();
        let words = ["neither be fetched nor proved absent"];
        archive.run(NEXT).failed(&archive, 200, &words);
    }
}
