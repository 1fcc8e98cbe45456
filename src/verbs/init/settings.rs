//! The settings that PostgreSQL archives by: what they should be, what they
//! are, and making them so.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use crate::postgres::session::{FileSetting, Session, SessionError, Setting};

/// The settings, in the order in which they are said.
pub(super) const NAMES: [&str; 4] = [
    "archive_mode",
    "archive_command",
    "archive_timeout",
    "wal_level",
];

/// A quiet cluster completes a segment this often, in seconds.
const TIMEOUT: u32 = 300;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    /// What it should be; what it is, where that will do.
    pub(super) value: String,
    pub(super) state: State,
}

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It works already.
    InEffect,
    /// The files say so; the server has to be restarted.
    AfterRestart,
    /// It says something else.
    Differs {
        /// What.
        is: String,
        /// Whether it stands on the server's command line, which wins.
        command_line: bool,
    },
    /// The server could not be asked.
    Unknown,
}

/// What `ALTER SYSTEM` left, and what it hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) hidden: String,
    pub(super) hidden_in: PathBuf,
}

/// What the server has.
pub(super) struct Current {
    settings: BTreeMap<String, Setting>,
    files: Vec<FileSetting>,
}

impl Current {
    pub(super) fn ask(session: &mut Session) -> Result<Self, SessionError> {
        Ok(Current {
            settings: session.settings(&NAMES)?,
            files: session.file_settings(&NAMES)?,
        })
    }

    /// The value that the files give: the last line wins.
    fn written(&self, name: &str) -> Option<&str> {
        let mut lines = self.files.iter().rev();
        let last = lines.find(|line| line.name == name);
        last.map(|line| &*line.value)
    }

    /// Whether `fits` what works now, or will after a restart.
    fn state(&self, name: &str, fits: impl Fn(&str) -> bool) -> (State, String) {
        let Some(setting) = self.settings.get(name) else {
            return (State::Unknown, String::new());
        };
        // Shown instead of the command while archive_mode is off.
        let shown = if setting.value == "(disabled)" {
            self.written(name).unwrap_or_default()
        } else {
            &*setting.value
        };
        let written = self.written(name).filter(|_| setting.pending_restart);
        if fits(written.unwrap_or(shown)) {
            let state = match written {
                Some(_) => State::AfterRestart,
                None => State::InEffect,
            };
            return (state, written.unwrap_or(shown).to_owned());
        }
        let state = State::Differs {
            is: written.unwrap_or(shown).to_owned(),
            command_line: setting.source == "command line",
        };
        (state, String::new())
    }

    /// What `ALTER SYSTEM` left that hides another value.
    pub(super) fn leftovers(&self) -> Vec<Leftover> {
        let mut left = Vec::new();
        for name in NAMES {
            let lines = || self.files.iter().filter(move |line| line.name == name);
            let auto = lines().rfind(|line| line.is_auto());
            let other = lines().rfind(|line| !line.is_auto());
            if let Some((auto, other)) = auto.zip(other)
                && auto.value != other.value
            {
                left.push(Leftover {
                    name: name.to_owned(),
                    value: auto.value.clone(),
                    hidden: other.value.clone(),
                    hidden_in: other.file.clone(),
                });
            }
        }
        left
    }

    /// The settings that `ALTER SYSTEM` has set, with their values.
    pub(super) fn altered(&self) -> Vec<(String, String)> {
        let auto = self.files.iter().filter(|line| line.is_auto());
        auto.map(|line| (line.name.clone(), line.value.clone()))
            .collect()
    }
}

/// What the settings should be with this `archive_command`. Of what will do,
/// nothing is changed: `wal_level` is never lowered.
pub(super) fn wanted(command: &str, current: Option<&Current>) -> Vec<Wanted> {
    let on = |text: &str| matches!(text, "on" | "always" | "true" | "yes" | "1");
    let often = |text: &str| {
        let seconds = seconds(text);
        seconds.is_some_and(|seconds| (1..=TIMEOUT).contains(&seconds))
    };
    let enough = |text: &str| matches!(text, "replica" | "logical" | "archive" | "hot_standby");
    let timeout = TIMEOUT.to_string();
    let one = |name, value: &str, fits: &dyn Fn(&str) -> bool| {
        let (state, is) = match current {
            Some(current) => current.state(name, fits),
            None => (State::Unknown, String::new()),
        };
        let is = Some(is).filter(|is| !is.is_empty());
        Wanted {
            name,
            value: is.unwrap_or_else(|| value.to_owned()),
            state,
        }
    };
    vec![
        one("archive_mode", "on", &on),
        one("archive_command", command, &|text| text == command),
        one("archive_timeout", &timeout, &often),
        one("wal_level", "replica", &enough),
    ]
}

/// `300`, `300s`, `5min`: as `archive_timeout` is written.
fn seconds(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: u32 = number.parse().ok()?;
    let unit = match unit.trim() {
        "" | "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// The file that `config_file` leads to, where that is a link to something
/// that this server's user may not write: Nix's store, or another tool's
/// place. Such a server is configured there.
pub(super) fn managed(config_file: &Path) -> Option<PathBuf> {
    let metadata = config_file.symlink_metadata().ok()?;
    if !metadata.is_symlink() {
        return None;
    }
    let target = config_file.canonicalize().ok()?;
    access(&target, AccessFlags::W_OK)
        .is_err()
        .then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_server_reads_them() {
        for (text, expected) in [
            ("300", Some(300)),
            ("5min", Some(300)),
            ("1 h", Some(3600)),
            ("0", Some(0)),
            ("1ms", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
