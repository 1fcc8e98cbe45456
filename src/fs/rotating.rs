//! Logs that several processes append to, of a bounded size: `NAME`, then
//! `NAME.1`, the one before, and so on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{create_dir_all, names, open_shared};

/// Adds `lines`, each with its newline, in one piece: nobody's lines get in
/// between, and none is lost to a rotation. Not fsynced. A log that would grow
/// above `most` bytes becomes `NAME.1` first, and the oldest of `keep` such
/// goes.
pub fn append_rotating(path: &Path, lines: &str, most: u64, keep: u32) -> io::Result<()> {
    loop {
        let mut file = open(path)?;
        file.lock()?;
        // Whoever rotates holds the lock of the file that goes.
        if !names(path, &file) {
            continue;
        }
        let length = file.metadata()?.len();
        if length > 0 && length.saturating_add(lines.len() as u64) > most {
            rotate(path, keep)?;
            continue;
        }
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        // A line that a power cut has cut short must not swallow this one.
        let separator = if last == *b"\n" { "" } else { "\n" };
        let written = file.write_all(format!("{separator}{lines}").as_bytes());
        if written.is_err() {
            // A full disk has taken a part of it.
            let _ = file.set_len(length);
        }
        return written;
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = || open_shared(OpenOptions::new().append(true).read(true), path);
    match (open(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            create_dir_all(parent, 0o750)?;
            open()
        }
        (opened, _) => opened,
    }
}

fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    for number in (1..keep.max(1)).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    #[test]
    fn nobodys_lines_are_torn_or_lost_when_it_rotates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/log.jsonl");
        let (writers, lines) = (8, 200);
        thread::scope(|scope| {
            for writer in 0..writers {
                let path = &path;
                scope.spawn(move || {
                    for line in 0..lines {
                        let text = format!("{writer}-{line}-{}\n", "x".repeat(line % 50));
                        append_rotating(path, &text, 4000, 50).unwrap();
                    }
                });
            }
        });
        let mut seen = BTreeSet::new();
        let mut files = 0;
        for file in fs::read_dir(path.parent().unwrap()).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(text.len() <= 4000 && text.ends_with('\n'));
            files += 1;
            for line in text.lines() {
                let parts: Vec<&str> = line.split('-').collect();
                let number: usize = parts[1].parse().unwrap();
                assert_eq!(parts[2], "x".repeat(number % 50));
                assert!(seen.insert((parts[0].to_owned(), number)), "{line}");
            }
        }
        assert_eq!(seen.len(), writers * lines);
        assert!(files > 8, "{files}");
    }

    #[test]
    fn the_oldest_goes_and_a_torn_line_stays_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for number in 0..6 {
            append_rotating(&path, &format!("line {number}\n"), 10, 3).unwrap();
        }
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("log"), "line 5\n");
        assert_eq!([read("log.1"), read("log.3")], ["line 4\n", "line 2\n"]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
        fs::write(&path, "half").unwrap();
        append_rotating(&path, "whole\n", 100, 3).unwrap();
        assert_eq!(read("log"), "half\nwhole\n");
        // Longer than all that may be in it: by itself.
        append_rotating(&path, &format!("{}\n", "x".repeat(200)), 100, 3).unwrap();
        assert_eq!(read("log").len(), 201);
    }
}
