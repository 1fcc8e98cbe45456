//! Exit 0 only for what survives a power cut, and PostgreSQL's own files are
//! left alone.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use crate::support::{
    archive::{Archive, MIB, files_in, ran, segment, segment_name},
    host::{as_server_user, hand_over, skip, walkeep_binary},
};

/// The system calls that a push makes, one a line, each with the path that its
/// descriptor stands for. `None` where they cannot be watched.
fn system_calls(archive: &Archive, path: &str) -> Option<Vec<String>> {
    let log = archive.directory().join("strace");
    let mut strace = Command::new("strace");
    as_server_user(&mut strace)
        .args(["-f", "-y", "-qq", "-e"])
        .arg("trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,write,pwrite64,exit_group")
        .arg("-o")
        .arg(&log)
        .arg(walkeep_binary())
        .arg("--config")
        .arg(archive.config())
        .args(["wal", "push", path]);
    let watched = Command::new("strace").arg("-V").output().is_ok()
        && ran(&mut strace).code == 0
        && log.exists();
    if !watched {
        skip("strace", "`apt install strace`, where ptrace is allowed");
        return None;
    }
    let text = fs::read_to_string(log).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

#[track_caller]
fn position(calls: &[String], call: &str, on: &str) -> usize {
    let found = calls
        .iter()
        .position(|line| line.contains(call) && line.contains(on));
    found.unwrap_or_else(|| panic!("no {call} on {on}:\n{}", calls.join("\n")))
}

#[test]
fn the_file_is_fsynced_then_named_then_its_directory_fsynced() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let path = archive.incoming(&name, &segment(&name, MIB, 100_000, 1));
    let Some(calls) = system_calls(&archive, path.to_str().unwrap()) else {
        return;
    };
    let staging = archive.staging().display().to_string();
    let written = calls
        .iter()
        .rposition(|line| line.contains("write") && line.contains("/staging/tmp/"))
        .expect("it is written in tmp/");
    let flushed = position(&calls, "sync(", &format!("{staging}/tmp/{name}"));
    let renamed = position(&calls, "rename", &format!("{staging}/{name}\""));
    let named = position(&calls, "fsync(", &format!("<{staging}>"));
    let ended = position(&calls, "exit_group(0)", "");
    let order = [written, flushed, renamed, named, ended];
    assert!(order.is_sorted(), "{order:?}\n{}", calls.join("\n"));
    assert!(
        calls
            .iter()
            .all(|line| !line.contains("link(") || line.contains("unlink"))
    );
}

/// The copy that answers a repeated push may be one that a crashed push left
/// in the page cache.
#[test]
fn an_earlier_copy_is_fsynced_before_it_counts() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let bytes = segment(&name, MIB, 100_000, 1);
    archive.stage(&name, &bytes);
    let path = archive.incoming(&name, &bytes);
    let Some(calls) = system_calls(&archive, path.to_str().unwrap()) else {
        return;
    };
    let staging = archive.staging().display().to_string();
    let order = [
        position(&calls, "sync(", &format!("<{staging}/{name}>")),
        position(&calls, "fsync(", &format!("<{staging}>")),
        position(&calls, "exit_group(0)", ""),
    ];
    assert!(order.is_sorted(), "{order:?}\n{}", calls.join("\n"));
}

#[test]
fn a_copy_is_staged_not_a_link_and_archive_status_is_left_alone() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let data = archive.directory().join("data");
    let status = data.join("pg_wal/archive_status");
    fs::create_dir_all(&status).unwrap();
    let path = data.join("pg_wal").join(&name);
    fs::write(&path, segment(&name, MIB, 100_000, 1)).unwrap();
    fs::write(status.join(format!("{name}.ready")), "").unwrap();
    hand_over(&data);
    let before = fs::metadata(&path).unwrap();

    // As the archiver does: in PGDATA, %p relative to it.
    let relative = format!("pg_wal/{name}");
    let mut push = archive.walkeep(&["wal", "push", &relative]);
    ran(push.current_dir(&data)).says(0, &[]);
    let (after, staged) = (
        fs::metadata(&path).unwrap(),
        fs::metadata(archive.staged(&name)).unwrap(),
    );
    assert_eq!((after.nlink(), staged.nlink()), (1, 1));
    assert_ne!(after.ino(), staged.ino());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(files_in(&status), [format!("{name}.ready")]);
    assert_eq!(
        files_in(&data.join("pg_wal")),
        [name.as_str(), "archive_status"]
    );

    // PostgreSQL recycles it: same inode, other bytes.
    let kept = fs::read(archive.staged(&name)).unwrap();
    let next = segment_name(1, 9, MIB);
    fs::write(&path, segment(&next, MIB, 100_000, 9)).unwrap();
    assert_eq!(fs::read(archive.staged(&name)).unwrap(), kept);
}

#[test]
fn zeros_take_no_room() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let bytes = segment(&name, MIB, 5000, 1);
    archive.push_well(&archive.incoming(&name, &bytes));
    let staged = archive.staged(&name);
    assert_eq!(fs::read(&staged).unwrap(), bytes);
    assert!(fs::metadata(&staged).unwrap().blocks() * 512 <= 256 << 10);
}
