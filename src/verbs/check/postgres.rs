//! PostgreSQL's settings, and how archiving goes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::{
    command::{Invocation, Kind, Verdict, judge},
    findings::{Findings, Severity},
    staging::size,
    stream,
};
use crate::{
    cli::Global,
    cluster,
    config::{Config, default_path},
    postgres::session::{Archiver, Session, SessionError, Setting},
    verbs::{counted, this_cluster::ThisCluster},
};

const SUBJECT: &str = "postgresql";
const APPLY: &str = "run `walkeep init --apply`";
/// Files waiting for the archiver that are worth a word.
const MANY: u64 = 100;

const NAMES: [&str; 8] = [
    "archive_mode",
    "archive_command",
    "archive_library",
    "archive_timeout",
    "wal_level",
    "restore_command",
    "full_page_writes",
    "fsync",
];

/// How much WAL the cluster completes, in bytes per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct WalRate(pub(super) f64);

/// Neither the server nor the data directory says which cluster this is.
pub(super) fn unknown(error: &anyhow::Error, findings: &mut Findings) {
    findings.add(
        Severity::Warning,
        SUBJECT,
        format!("{error:#}"),
        "its settings were not examined",
    );
}

/// Examines the server; says how fast it writes, where that is known.
pub(super) fn examine(
    global: &Global,
    config: &Config,
    cluster: &mut ThisCluster,
    findings: &mut Findings,
) -> Option<WalRate> {
    let identity = cluster.identity;
    let bin = cluster::bin_directory(
        config.cluster.bin_directory.as_deref(),
        config.cluster.data_directory.as_deref(),
        Some(identity.postgres_major),
    );
    if bin
        .as_deref()
        .is_none_or(|bin| !bin.join("postgres").is_file())
    {
        findings.add(
            Severity::Note,
            SUBJECT,
            format!(
                "the programs of version {} are not found",
                identity.postgres_major
            ),
            "set cluster.bin_directory",
        );
    }
    let session = match &mut cluster.session {
        Ok(session) => session,
        Err(error) => {
            findings.add(
                Severity::Warning,
                SUBJECT,
                format!("{error}; its settings were not examined"),
                "start the server, or correct cluster.connection",
            );
            return None;
        }
    };
    if cluster.in_recovery {
        findings.add(
            Severity::Note,
            SUBJECT,
            "it is a standby: it archives with archive_mode = always alone",
            "nothing, where its primary archives here too",
        );
    }
    let programs = (bin.as_deref(), identity.postgres_major);
    stream::examine(config, programs, session, findings);
    match ask(session) {
        Ok((settings, archiver)) => {
            let names = Settings {
                values: settings,
                global,
                config,
            };
            names.examine(findings);
            archiving(&archiver, findings);
            let bytes = archiver.archived as f64 * identity.segment_size.bytes() as f64;
            let known = archiver.counted_for > 600.0 && archiver.archived > 0;
            known.then(|| WalRate(bytes / archiver.counted_for))
        }
        Err(error) => {
            findings.add(
                Severity::Warning,
                SUBJECT,
                error.to_string(),
                "let cluster.connection's user read the settings (pg_monitor, or a superuser)",
            );
            None
        }
    }
}

fn ask(session: &mut Session) -> Result<(BTreeMap<String, Setting>, Archiver), SessionError> {
    let mut settings = session.settings(&NAMES)?;
    // While archive_mode is off the server shows "(disabled)"; the files tell,
    // where the session may see them.
    let written = session.file_settings(&["archive_command"]);
    if let (Some(setting), Ok(written)) = (settings.get_mut("archive_command"), written)
        && setting.value == "(disabled)"
    {
        let last = written.into_iter().next_back();
        setting.value = last.map(|line| line.value).unwrap_or_default();
    }
    Ok((settings, session.archiver()?))
}

fn archiving(archiver: &Archiver, findings: &mut Findings) {
    let waiting = archiver.waiting.unwrap_or(0);
    let wait = format!("{} in pg_wal", counted(waiting, "file waits", "files wait"));
    let last_failed = archiver.last_failed.as_deref().unwrap_or("a file");
    if archiver.failing {
        findings.add(
            Severity::Loss,
            SUBJECT,
            format!(
                "archiving fails: \"{last_failed}\", {}; {wait}",
                counted(archiver.failed, "failure", "failures")
            ),
            "look for archive_command in PostgreSQL's log, and at what follows here",
        );
    } else if waiting > MANY {
        findings.add(
            Severity::Warning,
            SUBJECT,
            format!("{wait} for the archiver"),
            "see in PostgreSQL's log whether it archives, and how fast",
        );
    } else {
        let last = archiver.last_archived.as_deref().unwrap_or("none yet");
        let what = format!("archives; last: {last}; {wait}");
        findings.ok(SUBJECT, what);
    }
}

struct Settings<'a> {
    values: BTreeMap<String, Setting>,
    global: &'a Global,
    config: &'a Config,
}

impl Settings<'_> {
    fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |setting| &setting.value)
    }

    fn examine(&self, findings: &mut Findings) {
        let mut loss = |what: &str, next: &str| findings.add(Severity::Loss, SUBJECT, what, next);
        if self.get("archive_mode") == "off" {
            match self.pending("archive_mode") {
                true => loss("archive_mode is off until a restart", "restart PostgreSQL"),
                false => loss(
                    "archive_mode is off: nothing is archived",
                    "run `walkeep init --apply`, then restart PostgreSQL",
                ),
            }
        }
        if self.get("wal_level") == "minimal" {
            loss(
                "wal_level is minimal: its WAL restores no base backup",
                "run `walkeep init --apply`, then restart PostgreSQL",
            );
        }
        if self.get("fsync") == "off" {
            loss(
                "fsync is off: a power cut may damage the cluster, and its backups with it",
                "set fsync = on",
            );
        }
        let library = self.get("archive_library");
        if library.is_empty() {
            self.archive_command(findings);
        } else {
            findings.add(
                Severity::Loss,
                SUBJECT,
                format!("archive_library is \"{library}\": archive_command is not used"),
                "set archive_library = ''",
            );
        }
        self.restore_command(findings);
        if self.get("full_page_writes") == "off" {
            findings.add(
                Severity::Warning,
                SUBJECT,
                "full_page_writes is off: a crash may tear pages",
                "set full_page_writes = on, unless the file system never tears one (ZFS)",
            );
        }
        match self.get("archive_timeout").parse() {
            Ok(0) => findings.add(
                Severity::Warning,
                SUBJECT,
                "archive_timeout is 0: the last commits of a quiet hour wait for the next ones",
                format!("set archive_timeout = 300, or {APPLY}"),
            ),
            Ok(seconds @ 3601_u64..) => findings.add(
                Severity::Note,
                SUBJECT,
                format!("archive_timeout is {seconds} s: as much may be lost with the host"),
                "set archive_timeout = 300",
            ),
            _ => {}
        }
    }

    fn pending(&self, name: &str) -> bool {
        let setting = self.values.get(name);
        setting.is_some_and(|setting| setting.pending_restart)
    }

    fn archive_command(&self, findings: &mut Findings) {
        let text = self.get("archive_command");
        let mut add = |severity, what: String, next: &str| {
            findings.add(severity, SUBJECT, what, next);
        };
        let shown = format!("archive_command = '{text}'");
        match judge(Kind::Archive, text) {
            _ if text.is_empty() => add(
                Severity::Loss,
                "archive_command is empty: PostgreSQL keeps all its WAL in pg_wal".to_owned(),
                APPLY,
            ),
            Verdict::Walkeep(invocation) => {
                if self.same_walkeep("archive_command", &invocation, findings) {
                    findings.ok(SUBJECT, shown);
                }
            }
            Verdict::Other => add(
                Severity::Loss,
                format!("{shown}: that is not walkeep, so nothing reaches the stores"),
                APPLY,
            ),
            Verdict::Changes(by) => add(
                Severity::Loss,
                format!("{shown}: \"{by}\" tells PostgreSQL \"archived\" when it is not"),
                APPLY,
            ),
            Verdict::Through(by) => add(
                Severity::Warning,
                format!("{shown}: \"{by}\" may change what walkeep answers"),
                APPLY,
            ),
            Verdict::Arguments(expected) => add(
                Severity::Loss,
                format!("{shown}: walkeep needs \"{expected}\""),
                APPLY,
            ),
        }
    }

    /// Only a restored cluster or a standby has one.
    fn restore_command(&self, findings: &mut Findings) {
        let text = self.get("restore_command");
        if text.is_empty() {
            return;
        }
        let shown = format!("restore_command = '{text}'");
        let next = "set restore_command = 'walkeep wal fetch %f %p', and nothing round it";
        let mut loss = |what: String| findings.add(Severity::Loss, SUBJECT, what, next);
        match judge(Kind::Restore, text) {
            Verdict::Walkeep(invocation) => {
                if self.same_walkeep("restore_command", &invocation, findings) {
                    findings.ok(SUBJECT, shown);
                }
            }
            Verdict::Other => findings.add(
                Severity::Warning,
                SUBJECT,
                format!("{shown}: that is not walkeep, and takes an outage for the end of WAL"),
                next,
            ),
            Verdict::Changes(by) | Verdict::Through(by) => loss(format!(
                "{shown}: \"{by}\" may make an outage (200) the end of WAL (1 to 125): recovery \
                 would end there"
            )),
            Verdict::Arguments(expected) => loss(format!("{shown}: walkeep needs \"{expected}\"")),
        }
    }

    /// Whether the command runs a walkeep that is there, with the
    /// configuration that is examined here.
    fn same_walkeep(&self, name: &str, invocation: &Invocation, findings: &mut Findings) -> bool {
        let program = Path::new(&invocation.program);
        if program.is_absolute() && access(program, AccessFlags::X_OK).is_err() {
            findings.add(
                Severity::Loss,
                SUBJECT,
                format!(
                    "{name} runs \"{}\", which is no program here",
                    program.display()
                ),
                APPLY,
            );
            return false;
        }
        let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let theirs = match (&invocation.config, &invocation.cluster) {
            (Some(config), _) => real(config.into()),
            (None, cluster) => real(default_path(cluster.as_deref())),
        };
        // Without a file the environment has to be the server's as well.
        let ours = self.config.path.clone().or(self.global.config.clone());
        let ours = real(ours.unwrap_or_else(|| default_path(None)));
        if theirs != ours {
            findings.add(
                Severity::Loss,
                SUBJECT,
                format!(
                    "{name} uses the configuration \"{}\", not \"{}\"",
                    theirs.display(),
                    ours.display()
                ),
                format!("{APPLY} with the right one"),
            );
            return false;
        }
        if !program.is_absolute() {
            findings.add(
                Severity::Note,
                SUBJECT,
                format!(
                    "{name} finds \"{}\" by the server's PATH",
                    program.display()
                ),
                "write its absolute path",
            );
        }
        true
    }
}

/// `1.5 MiB/s`, for people.
impl std::fmt::Display for WalRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/s", size(self.0 as u64))
    }
}
