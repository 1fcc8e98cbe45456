//! Formats Nix files as alejandra does, or with `--check` names those that are
//! not so, and exits with 1.

use std::{env, process::ExitCode};

use alejandra::format::{Status, in_fs};

fn main() -> ExitCode {
    let mut files: Vec<String> = env::args().skip(1).collect();
    let check = files.first().is_some_and(|first| first == "--check");
    if check {
        files.remove(0);
    }
    let mut failed = false;
    for file in files {
        match in_fs(file.clone(), !check) {
            Status::Changed(false) => {}
            Status::Changed(true) => {
                eprintln!(
                    "{file}: {}",
                    if check {
                        "is not formatted"
                    } else {
                        "formatted"
                    }
                );
                failed |= check;
            }
            Status::Error(error) => {
                eprintln!("{file}: {error}");
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}
