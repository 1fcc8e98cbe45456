//! What `[stream]` needs of the server.

use std::path::Path;

use super::{
    findings::{Findings, Severity},
    staging::size,
};
use crate::{
    cluster,
    config::Config,
    postgres::session::{Session, SessionError},
};

const SUBJECT: &str = "stream";

/// Examines the server that is streamed from, whose programs are in `bin`.
pub(super) fn examine(
    config: &Config,
    (bin, major): (Option<&Path>, u32),
    session: &mut Session,
    findings: &mut Findings,
) {
    if !config.stream.enabled {
        return;
    }
    if let Err(error) = ask(config, session, findings) {
        let next = "let cluster.connection's user read the settings (pg_monitor, or a superuser)";
        findings.add(Severity::Warning, SUBJECT, error.to_string(), next);
    }
    if cluster::receiver(bin, major).is_none() {
        findings.add(
            Severity::Warning,
            SUBJECT,
            format!("there is no pg_receivewal of version {major} or later: nothing is streamed"),
            "install PostgreSQL's client programs, or set cluster.bin_directory",
        );
    }
}

fn ask(
    config: &Config,
    session: &mut Session,
    findings: &mut Findings,
) -> Result<(), SessionError> {
    let names = [
        "max_slot_wal_keep_size",
        "max_wal_senders",
        "max_replication_slots",
    ];
    let settings = session.settings(&names)?;
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|it| it.value == value);
    if is("max_slot_wal_keep_size", "-1") {
        findings.add(
            Severity::Warning,
            SUBJECT,
            "max_slot_wal_keep_size is not set: while walkeep does not run, PostgreSQL keeps all \
             its WAL for the slot, until its volume is full",
            "set max_slot_wal_keep_size to what pg_wal may hold, such as '10GB'",
        );
    }
    for name in &names[1..] {
        if is(name, "0") {
            findings.add(
                Severity::Warning,
                SUBJECT,
                format!("{name} is 0: nothing can be streamed"),
                format!("set {name} = 10, and restart PostgreSQL"),
            );
        }
    }
    let slot = &config.stream.slot;
    match session.slot(slot)? {
        None => findings.add(
            Severity::Note,
            SUBJECT,
            format!("there is no replication slot \"{slot}\""),
            "`walkeep run` makes it",
        ),
        Some(found) if found.lost => findings.add(
            Severity::Warning,
            SUBJECT,
            format!("PostgreSQL has given up the replication slot \"{slot}\""),
            "`walkeep run` makes it anew; raise max_slot_wal_keep_size if that happens again",
        ),
        Some(found) => findings.ok(
            SUBJECT,
            format!(
                "by the replication slot \"{slot}\", which keeps {}",
                size(found.kept)
            ),
        ),
    }
    Ok(())
}
