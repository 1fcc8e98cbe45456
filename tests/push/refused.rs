//! What is refused, and in which words. Nothing of it is staged.

use crate::support::archive::{Archive, MIB, SYSTEM, files_in, header, ran, segment, segment_name};

/// Pushes made-up bytes under a name, expects a refusal, and that nothing was
/// written.
#[track_caller]
fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    let archive = Archive::new(&["a"]);
    // All but the note for whoever watches.
    let staged = || {
        let files = files_in(&archive.staging()).into_iter();
        files
            .filter(|name| name != "push.failed")
            .collect::<Vec<_>>()
    };
    let before = staged();
    let ran = archive.push(&archive.incoming(name, bytes));
    ran.says(1, words);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert_eq!(staged(), before);
    assert!(files_in(&archive.staging().join("tmp")).is_empty());
}

fn one() -> String {
    segment_name(1, 1, MIB)
}

#[test]
fn a_name_that_postgresql_does_not_give_is_refused() {
    let good = segment(&one(), MIB, 100, 1);
    for name in [
        "000000010000000000000001.gz",
        "00000001000000000000000a",
        "00000001000000000000001",
        "0000000100000000000000011",
        "000000010000000000000001.0000028.backup",
        "2.history",
        "xlogtemp.123",
    ] {
        refused(
            name,
            &good,
            &[&format!("\"{name}\" is not the name of a WAL file")],
        );
    }
}

#[test]
fn an_empty_file_is_refused() {
    refused(
        &one(),
        b"",
        &["is refused: it is 0 bytes long, too short for a page header"],
    );
}

#[test]
fn a_file_shorter_than_a_header_is_refused() {
    refused(
        &one(),
        &header(1, MIB, SYSTEM, MIB as u32)[..39],
        &["it is 39 bytes long"],
    );
}

#[test]
fn a_segment_cut_short_is_refused() {
    let cut = &segment(&one(), MIB, 100, 1)[..MIB as usize - 1];
    refused(
        &one(),
        cut,
        &["it is 1048575 bytes long instead of 1048576; nothing was written"],
    );
}

#[test]
fn a_segment_with_bytes_behind_its_end_is_refused() {
    let mut long = segment(&one(), MIB, 100, 1);
    long.push(0);
    refused(
        &one(),
        &long,
        &["it is 1048577 bytes long instead of 1048576"],
    );
}

#[test]
fn a_segment_of_zeros_is_refused() {
    refused(&one(), &vec![0; MIB as usize], &["its header is all zero"]);
}

#[test]
fn a_recycled_segment_with_another_position_is_refused() {
    let old = segment(&segment_name(1, 7, MIB), MIB, 100, 1);
    refused(
        &one(),
        &old,
        &["its header says that it begins at 0/700000, its name says 0/100000"],
    );
}

#[test]
fn bytes_that_are_no_wal_are_refused() {
    refused(
        &one(),
        &vec![b'x'; MIB as usize],
        &["are not those of a WAL page"],
    );
    let mut short_header = segment(&one(), MIB, 100, 1);
    short_header[2] = 0;
    refused(
        &one(),
        &short_header,
        &["its first page has no long header"],
    );
    let mut odd = segment(&one(), MIB, 100, 1);
    odd[32..36].copy_from_slice(&12345_u32.to_le_bytes());
    refused(
        &one(),
        &odd,
        &["its header names a segment size of 12345 bytes"],
    );
}

#[test]
fn a_header_of_a_later_timeline_is_refused() {
    let mut later = segment(&one(), MIB, 100, 1);
    later[4] = 2;
    refused(
        &one(),
        &later,
        &["its header says timeline 2, its name timeline 1"],
    );
}

#[test]
fn a_header_of_an_earlier_timeline_is_accepted() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(3, 1, MIB);
    let mut bytes = segment(&name, MIB, 100, 1);
    bytes[4] = 1;
    archive.push_well(&archive.incoming(&name, &bytes));
    assert_eq!(std::fs::read(archive.staged(&name)).unwrap(), bytes);
}

#[test]
fn another_clusters_segment_is_refused() {
    let mut other = segment(&one(), MIB, 100, 1);
    other[24..32].copy_from_slice(&42_u64.to_le_bytes());
    refused(
        &one(),
        &other,
        &[&format!(
            "it belongs to the cluster 42, this archive to {SYSTEM}"
        )],
    );
}

#[test]
fn a_segment_of_another_size_is_refused() {
    let name = segment_name(1, 1, 2 * MIB);
    refused(
        &name,
        &segment(&name, 2 * MIB, 100, 1),
        &["it is a segment of 2 MiB, those of this cluster are of 1 MiB"],
    );
}

#[test]
fn history_files_that_hold_nothing_of_the_kind_are_refused() {
    refused("00000002.history", b"", &["it is 0 bytes long"]);
    refused(
        "00000002.history",
        b"gibberish\n",
        &["line 1 of the history file is not"],
    );
    let backup = format!("{}.00000028.backup", one());
    refused(
        &backup,
        b"nothing",
        &["it does not begin with \"START WAL LOCATION\""],
    );
}

#[test]
fn a_directory_and_a_missing_file_are_refused() {
    let archive = Archive::new(&["a"]);
    let path = archive.directory().join("incoming").join(one());
    archive
        .push(&path)
        .says(1, &["open \"", "No such file or directory"]);
    std::fs::create_dir(&path).unwrap();
    archive.push(&path).says(1, &["it is not a regular file"]);
    archive
        .push(std::path::Path::new("/"))
        .says(1, &["\"/\" names no file"]);
}

/// Above 125, or dead by a signal, aborts the archiver.
#[test]
fn no_failure_leaves_the_codes_that_postgresql_expects() {
    let archive = Archive::new(&["a"]);
    let path = archive.incoming(&one(), &segment(&one(), MIB, 100, 1));
    let path = path.to_str().unwrap();
    archive.run(&["wal", "push"]).says(2, &["<PATH>"]);
    archive
        .run(&["wal", "push", "--no-such", path])
        .says(2, &["--no-such"]);
    archive
        .run(&["wal", "push", path, path])
        .says(2, &["unexpected argument"]);
    archive
        .run(&["--config", "/no/such", "wal", "push", path])
        .says(2, &[]);

    std::fs::write(archive.config(), "[staging]\nmax_sise = \"1GiB\"\n").unwrap();
    archive
        .run(&["wal", "push", path])
        .says(2, &["max_sise", "max_size"]);
    std::fs::remove_file(archive.config()).unwrap();
    archive
        .run(&["wal", "push", path])
        .says(2, &["read", "walkeep.toml"]);
    // Nothing at all to go by.
    let mut bare = archive.walkeep(&[]);
    bare = {
        let mut command = std::process::Command::new(bare.get_program());
        command.env_clear().args(["wal", "push", path]);
        crate::support::host::as_server_user(&mut command);
        command
    };
    if !std::path::Path::new("/etc/walkeep/walkeep.toml").exists() {
        ran(&mut bare).says(2, &[]);
    }
}
