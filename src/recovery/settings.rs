//! The settings that make a restored cluster recover: a block of its own at the
//! end of `postgresql.auto.conf`, where nothing comes after it.

use std::fmt::Write;

use super::plan::Target;
use crate::postgres::control::Limits;

/// What the server does when it has reached the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It waits, to be looked at.
    Pause,
    /// It takes writes, on a timeline of its own.
    Promote,
    /// It stops.
    Shutdown,
}

/// How a restored cluster recovers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The command that brings WAL, as a shell understands it.
    pub restore_command: String,
    /// Where it stops.
    pub target: Target,
    /// Whether just before that.
    pub exclusive: bool,
    /// `recovery_target_timeline`.
    pub timeline: String,
    /// What happens there.
    pub action: Action,
    /// Whether it goes on as a standby.
    pub standby: bool,
}

const BEGIN: &str = "# walkeep restore: begin (may be removed once recovery has ended)";
const END: &str = "# walkeep restore: end";

/// What the backup may have inherited and would stop recovery somewhere else,
/// or not at all. A target after a blank of the same stays; a blank after a
/// target undoes it; two targets are refused (`error_multiple_recovery_targets`,
/// xlogrecovery.c).
const BLANK: [&str; 9] = [
    "recovery_target",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_name",
    "primary_conninfo",
    "primary_slot_name",
    "archive_cleanup_command",
    "recovery_end_command",
];

/// Everything of a restore that means nothing once recovery has ended, and
/// would mislead the next one.
pub const RECOVERY: [&str; 14] = [
    BLANK[0],
    BLANK[1],
    BLANK[2],
    BLANK[3],
    BLANK[4],
    BLANK[5],
    BLANK[6],
    BLANK[7],
    BLANK[8],
    "recovery_min_apply_delay",
    "restore_command",
    "recovery_target_timeline",
    "recovery_target_inclusive",
    "recovery_target_action",
];

impl Settings {
    /// `text`, of `postgresql.auto.conf`, with these settings at its end in
    /// the place of those of an earlier restore.
    pub fn append_to(&self, text: &str, limits: Option<Limits>) -> String {
        let mut text = without_block(text);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&self.block(limits));
        text
    }

    fn block(&self, limits: Option<Limits>) -> String {
        let target = self.target();
        let mut settings: Vec<(&str, String)> = Vec::new();
        let chosen = target.as_ref().map(|(name, _)| *name);
        let blank = BLANK.iter().filter(|name| Some(**name) != chosen);
        settings.extend(blank.map(|name| (*name, String::new())));
        settings.push(("recovery_min_apply_delay", "0".to_owned()));
        settings.push(("restore_command", self.restore_command.clone()));
        settings.push(("recovery_target_timeline", self.timeline.clone()));
        let inclusive = if self.exclusive { "off" } else { "on" };
        settings.push(("recovery_target_inclusive", inclusive.to_owned()));
        let action = match self.action {
            Action::Pause => "pause",
            Action::Promote => "promote",
            Action::Shutdown => "shutdown",
        };
        settings.push(("recovery_target_action", action.to_owned()));
        settings.push(("archive_mode", "off".to_owned()));
        if let Some(limits) = limits {
            settings.extend([
                ("max_connections", limits.connections.to_string()),
                ("max_worker_processes", limits.worker_processes.to_string()),
                ("max_wal_senders", limits.wal_senders.to_string()),
                (
                    "max_prepared_transactions",
                    limits.prepared_transactions.to_string(),
                ),
                (
                    "max_locks_per_transaction",
                    limits.locks_per_transaction.to_string(),
                ),
            ]);
        }
        settings.extend(target);
        let mut block = format!("{BEGIN}\n");
        for (name, value) in settings {
            let _ = writeln!(block, "{name} = '{}'", quoted(&value));
        }
        block + END + "\n"
    }

    fn target(&self) -> Option<(&'static str, String)> {
        Some(match &self.target {
            Target::Latest => return None,
            Target::Immediate => ("recovery_target", "immediate".to_owned()),
            // With its zone, so that the server's own does not matter.
            Target::Time(time) => (
                "recovery_target_time",
                time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string(),
            ),
            Target::Lsn(lsn) => ("recovery_target_lsn", lsn.to_string()),
            // The server compares the lower half (`recoveryTargetXid`).
            Target::Xid(xid) => ("recovery_target_xid", (xid & 0xFFFF_FFFF).to_string()),
            Target::Name(name) => ("recovery_target_name", name.clone()),
        })
    }
}

/// As `guc-file.l` reads strings: a quote is doubled, a backslash escapes.
pub(super) fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            character => quoted.push(character),
        }
    }
    quoted
}

/// The settings of a restore in `text`, of `postgresql.auto.conf`; empty where
/// there are none.
pub(super) fn block_in(text: &str) -> &str {
    let begin = text.rfind(BEGIN);
    let end = text.rfind(END).map(|at| at + END.len());
    begin.zip(end).map_or("", |(begin, end)| {
        text.get(begin..(end + 1).min(text.len())).unwrap_or("")
    })
}

/// What `text`, of `postgresql.conf`, sets `name` to: the last line wins
/// (`guc-file.l`).
pub fn value_in(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let line = line.trim_start();
        let head = line.get(..name.len())?;
        let rest = line.get(name.len()..)?;
        (head.eq_ignore_ascii_case(name) && rest.starts_with([' ', '\t', '=', '\'']))
            .then_some(())?;
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        Some(match rest.strip_prefix('\'') {
            Some(quoted) => {
                let text = quoted.replace("''", "\0");
                let end = text.find('\'');
                text[..end.unwrap_or(text.len())].replace('\0', "'")
            }
            None => {
                let end = rest.find(|c: char| c == '#' || c.is_whitespace());
                rest[..end.unwrap_or(rest.len())].to_owned()
            }
        })
    };
    text.lines().rev().find_map(value)
}

/// `text` without the settings of a restore.
pub fn without_block(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            BEGIN => inside = true,
            END => inside = false,
            _ if inside => {}
            _ => kept.push_str(line),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(target: Target) -> Settings {
        Settings {
            restore_command: "walkeep wal fetch --plan '/a b/plan' %f %p".to_owned(),
            target,
            exclusive: false,
            timeline: "2".to_owned(),
            action: Action::Promote,
            standby: false,
        }
    }

    #[test]
    fn the_target_is_the_last_of_its_kind_and_the_only_one() {
        let time = "2026-11-20T14:30:00.5Z".parse().unwrap();
        for (target, expected) in [
            (
                Target::Time(time),
                "recovery_target_time = '2026-11-20 14:30:00.500000+00'",
            ),
            (Target::Xid((1 << 32) + 7), "recovery_target_xid = '7'"),
            (
                Target::Lsn("4/24000028".parse().unwrap()),
                "recovery_target_lsn = '4/24000028'",
            ),
            (
                Target::Name("it's \\ here".to_owned()),
                "recovery_target_name = 'it''s \\\\ here'",
            ),
            (Target::Immediate, "recovery_target = 'immediate'"),
        ] {
            let text = settings(target).append_to("", None);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[lines.len() - 2], expected);
            let is_target = |line: &&&str| {
                BLANK[..5]
                    .iter()
                    .any(|name| line.starts_with(&format!("{name} = ")))
            };
            let targets: Vec<_> = lines.iter().filter(is_target).collect();
            assert_eq!(targets.len(), 5);
            let blank = targets.iter().filter(|line| line.ends_with("= ''"));
            assert_eq!(blank.count(), 4);
        }
    }

    #[test]
    fn a_block_and_a_value_are_found_again() {
        let block = settings(Target::Latest).append_to("", None);
        let text = settings(Target::Latest).append_to("work_mem = '1GB'", None);
        assert_eq!(block_in(&text), block);
        assert_eq!(block_in("work_mem = '1GB'\n"), "");
        let text = "#a = 1\nA = 'it''s' # one\n ab = 3\n  a 2 # two\nb=4";
        assert_eq!(value_in(text, "a").as_deref(), Some("2"));
        assert_eq!(value_in("a = 'it''s' # 1", "a").as_deref(), Some("it's"));
        assert_eq!(value_in(text, "b").as_deref(), Some("4"));
        assert_eq!(value_in(text, "c"), None);
        let text = "#data_directory = 'x'\n  HBA_FILE='/etc/x'\nident_file\t= 'y'\n";
        assert_eq!(value_in(text, "data_directory"), None);
        assert_eq!(value_in(text, "hba_file").as_deref(), Some("/etc/x"));
        assert_eq!(value_in(text, "ident_file").as_deref(), Some("y"));
        assert_eq!(value_in("hba_files = 1", "hba_file"), None);
    }

    #[test]
    fn an_earlier_restores_settings_are_replaced_and_others_stay() {
        let before = "# Do not edit this file manually!\nwork_mem = '1GB'";
        let once = settings(Target::Immediate).append_to(before, None);
        assert!(once.starts_with(&format!("{before}\n{BEGIN}\n")));
        let twice = settings(Target::Latest).append_to(&once, None);
        assert_eq!(twice, settings(Target::Latest).append_to(before, None));
        assert!(twice.contains("restore_command = 'walkeep wal fetch --plan ''/a b/plan'' %f %p'"));
    }
}
