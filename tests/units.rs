//! The systemd units that Debian's package and the NixOS module are made of:
//! systemd itself examines them.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::host::{TempDir, systemd_analyze};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd");
/// As `systemd-analyze security` prints and takes it, in tenths: 2.0.
const MOST_EXPOSED: &str = "20";

/// The unit files, by name.
fn units() -> Vec<PathBuf> {
    let entries = fs::read_dir(UNITS).expect("list the units");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let kind = path.extension().unwrap_or_default();
        kind == "service" || kind == "timer"
    });
    paths.sort();
    assert!(paths.len() > 20, "{paths:?}");
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The commands of all services, each with its unit's name.
fn commands() -> Vec<(String, String)> {
    let mut commands = Vec::new();
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap();
        let lines = text.lines();
        for command in lines.filter_map(|line| line.strip_prefix("ExecStart=")) {
            commands.push((name(&unit).to_owned(), command.to_owned()));
        }
    }
    commands
}

/// Syntax, names of settings, specifiers, time expressions, and that what they
/// run is there.
#[test]
fn systemd_understands_every_unit() {
    let place = TempDir::new();
    let drop_ins = place.join("walkeep-.service.d");
    fs::create_dir(&drop_ins).unwrap();
    let common = "walkeep-.service.d/10-job.conf";
    fs::copy(Path::new(UNITS).join(common), place.join(common)).unwrap();
    let mut copies = Vec::new();
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap();
        let here = env!("CARGO_BIN_EXE_walkeep");
        let copy = place.join(name(&unit));
        fs::write(&copy, text.replace("/usr/bin/walkeep", here)).unwrap();
        copies.push(copy.to_str().unwrap().to_owned());
    }
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(copies.iter().map(String::as_str));
    let Some(output) = systemd_analyze(&arguments) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // It warns of unknown settings, and ends well.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("walkeep"))
        .collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn the_daemon_is_exposed_to_little() {
    for unit in ["walkeep.service", "walkeep@.service"] {
        let path = Path::new(UNITS).join(unit);
        let threshold = format!("--threshold={MOST_EXPOSED}");
        let arguments = ["security", "--offline=true", "--no-pager", &threshold];
        let path = path.to_str().unwrap();
        let Some(output) = systemd_analyze(&[&arguments[..], &[path]].concat()) else {
            return;
        };
        assert!(output.status.success(), "{output:?}");
        // A threshold that nothing was held against would pass as well.
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn units_run_verbs_that_there_are() {
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for (unit, command) in commands {
        let arguments = command
            .strip_prefix("/usr/bin/walkeep ")
            .unwrap_or_else(|| panic!("{unit}: {command}"));
        let output = Command::new(env!("CARGO_BIN_EXE_walkeep"))
            .args(arguments.split(' '))
            .arg("--help")
            .output()
            .expect("run walkeep");
        assert!(output.status.success(), "{unit}: {output:?}");
    }
}

/// What a unit of one cluster says, its template says.
#[test]
fn templates_are_as_they_are_made() {
    let place = TempDir::new();
    let made = Command::new(Path::new(UNITS).join("make-templates.sh"))
        .arg(&*place)
        .status()
        .expect("run make-templates.sh");
    assert!(made.success());
    let mut count = 0;
    for unit in units() {
        let name = name(&unit);
        let made = fs::read_to_string(place.join(name));
        match made {
            Ok(made) => {
                assert_eq!(made, fs::read_to_string(&unit).unwrap(), "{name}");
                assert!(made.contains("%i"), "{name}");
                count += 1;
            }
            // Made of nothing: those of one cluster, and what is for both.
            Err(_) => assert!(!name.contains('@') || name == "walkeep-failed@.service"),
        }
    }
    assert_eq!(count, fs::read_dir(&*place).unwrap().count());
}

/// `RemoveIPC` removes what belongs to the unit's user *or its group*: when the
/// daemon ended, the living server lost its shared memory.
#[test]
fn no_unit_takes_the_servers_memory_away() {
    let common = Path::new(UNITS).join("walkeep-.service.d/10-job.conf");
    for unit in units().into_iter().chain([common]) {
        let text = fs::read_to_string(&unit).unwrap();
        assert!(!text.contains("\nRemoveIPC="), "{}", unit.display());
    }
}
