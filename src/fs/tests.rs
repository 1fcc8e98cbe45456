//! Writes, copies and locks on a real file system.

use super::*;

#[test]
fn a_new_name_replaces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    write_new(&path, b"one").unwrap();
    assert_eq!(
        write_new(&path, b"two").unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
    assert_eq!(fs::read(&path).unwrap(), b"one");
    write(&path, b"three").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"three");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "a temporary stayed"
    );
}

#[test]
fn zeros_are_left_out_of_a_copy_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    for length in [0, 1, CHUNK, CHUNK + 1, 40 * CHUNK + 7] {
        let mut bytes = vec![0; length];
        for at in [0, 3 * CHUNK + 5] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = 7;
            }
        }
        let mut temporary = Temporary::create(directory.path(), "copy").unwrap();
        let copied = copy_sparse(&mut bytes.as_slice(), temporary.file()).unwrap();
        assert_eq!(copied, length as u64);
        let path = directory.path().join("kept");
        temporary.keep(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 <= 3 * CHUNK as u64);
        let (copy, other) = (File::open(&path).unwrap(), directory.path().join("other"));
        fs::write(&other, &bytes).unwrap();
        assert!(same_bytes(&copy, &File::open(&other).unwrap()).unwrap());
        bytes.push(1);
        fs::write(&other, &bytes).unwrap();
        assert!(!same_bytes(&copy, &File::open(&other).unwrap()).unwrap());
    }
}

/// A daemon of its own user and PostgreSQL write to the same places; the umask
/// of whoever came first must not lock the other one out.
#[test]
fn what_is_shared_is_the_groups_to_write() {
    let place = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let deep = place.path().join("made/too");
    create_dir_all(&deep, 0o2770).unwrap();
    assert_eq!(mode(&deep), 0o2770);
    assert_eq!(mode(&place.path().join("made")), 0o2770);
    // One that was there stays as it is.
    fs::set_permissions(&deep, Permissions::from_mode(0o2750)).unwrap();
    create_dir_all(&deep, 0o2770).unwrap();
    assert_eq!(mode(&deep), 0o2750);
    let own = place.path().join("own");
    create_dir_all(&own, 0o700).unwrap();
    assert_eq!(mode(&own), 0o700);

    write(&place.path().join("file"), b"one").unwrap();
    assert_eq!(mode(&place.path().join("file")), 0o640);
    let path = place.path().join("lines");
    append_lines(&path, "one\n").unwrap();
    assert_eq!(mode(&path), 0o660);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    append_lines(&path, "two\n").unwrap();
    assert_eq!(mode(&path), 0o640);
}

#[test]
fn a_torn_line_does_not_swallow_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    fs::write(&path, "whole\ntor").unwrap();
    append_lines(&path, "next\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ntor\nnext\n");
}

#[test]
fn the_sweep_leaves_a_living_writers_file() {
    let directory = tempfile::tempdir().unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let stale = directory.path().join("stale");
    File::create(&stale).unwrap().set_modified(old).unwrap();
    let mut busy = Temporary::create(directory.path(), "busy").unwrap();
    busy.file().set_modified(old).unwrap();
    assert_eq!(sweep_temporaries(directory.path()).unwrap(), 1);
    assert!(busy.path().exists() && !stale.exists());
}

#[test]
fn what_a_killed_writer_left_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("RECOVERYXLOG");
    for number in 0..MOST_BESIDE {
        let left = format!(".RECOVERYXLOG.walkeep{number}");
        fs::write(directory.path().join(left), b"left behind").unwrap();
    }
    let mut one = Temporary::beside(&to).unwrap();
    let mut two = Temporary::beside(&to).unwrap();
    assert_ne!(one.path(), two.path());
    one.file().write_all(b"one").unwrap();
    two.file().write_all(b"two").unwrap();
    let ours = two.path().to_owned();
    one.place(&to).unwrap();
    drop(two);
    assert_eq!(fs::read(&to).unwrap(), b"one");
    assert!(!ours.exists());
    let count = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(count as u32, MOST_BESIDE - 1);
}

#[test]
fn a_lock_has_one_holder_who_keeps_what_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    fs::write(&path, b"4711").unwrap();
    let held = try_lock(&path).unwrap().unwrap();
    assert!(try_lock(&path).unwrap().is_none());
    assert_eq!(fs::read(&path).unwrap(), b"4711");
    drop(held);
    assert!(try_lock(&path).unwrap().is_some());
}
