//! What the server, its archiver and a standby's recovery show.

use jiff::Timestamp;

use super::{
    Condition,
    Kind::*,
    conditions::{Thresholds, counted, signed, span},
};
use crate::{
    catalog::Severity::{Critical, Warning},
    postgres::{Lsn, WalFileName, session::Watched},
    serve::facts::{Facts, Server},
};

pub(super) fn server(facts: &Facts, thresholds: Thresholds, found: &mut Vec<Condition>) {
    if let Some(failure) = &facts.push_failure {
        let message = format!(
            "`wal push` of \"{}\" fails since {}: {}",
            failure.name, failure.since, failure.reason
        );
        found.push(Condition::new(Push, Critical, message).passing());
    }
    match &facts.server {
        Server::Answers(server) => answering(facts, server, thresholds, found),
        Server::Silent {
            reason,
            refuses,
            expected: true,
        } => {
            let next = match refuses {
                true => "correct cluster.connection, or let that user in (pg_hba.conf)",
                false => "start the server, or correct cluster.connection",
            };
            let message = format!("{reason}; {next}");
            found.push(Condition::new(super::Kind::Server, Critical, message).passing());
        }
        Server::Silent { .. } => {}
    }
    if let Some(waiting) = &facts.waiting
        && waiting.files > thresholds.alerts.waiting
    {
        let files = counted(waiting.files, "file waits", "files wait");
        let message = format!(
            "{files} in pg_wal for the archiver: see in PostgreSQL's log whether it archives, and \
             how fast"
        );
        found.push(Condition::new(Waiting, Warning, message));
    }
    if let Some(outage) = &facts.standby {
        let message = format!(
            "a standby cannot get \"{}\" from the archive since {}, and asks again: do not promote \
             it before ({})",
            outage.name, outage.since, outage.reason
        );
        found.push(Condition::new(Standby, Critical, message));
    }
}

fn answering(facts: &Facts, server: &Watched, thresholds: Thresholds, found: &mut Vec<Condition>) {
    if server.in_recovery {
        // What it archives, if anything, its primary does as well.
        return;
    }
    if !server.archives {
        found.push(Condition::new(
            Silent,
            Critical,
            "archive_mode is off, so that nothing is archived: run `walkeep init --apply` (after a \
             restore `walkeep init --rearm`), then restart PostgreSQL",
        ));
        return;
    }
    if let (true, Some((name, at))) = (server.is_failing(), &server.failed) {
        // The push itself says more.
        let told = facts.push_failure.as_ref();
        if told.is_none_or(|told| told.name != *name) {
            let failures = counted(server.failures, "failure", "failures");
            let message = format!(
                "PostgreSQL's archiver fails at \"{name}\", {failures}, the last at {at}: look for \
                 archive_command in PostgreSQL's log"
            );
            found.push(Condition::new(Archiver, Critical, message).passing());
        }
        return;
    }
    let limit = signed(thresholds.alerts.lag);
    let oldest = facts.waiting.as_ref().map(|waiting| waiting.oldest);
    let since = match oldest {
        Some(oldest) => oldest,
        // Where its directory cannot be seen, its position tells.
        None => behind(facts, server),
    };
    if let Some(since) = since.filter(|since| facts.at.duration_since(*since) > limit) {
        let long = span(facts.at.duration_since(since).as_secs());
        let message = format!(
            "PostgreSQL has WAL to archive for {long}, and neither archives nor fails: see whether \
             archive_command is set, and whether it hangs"
        );
        found.push(Condition::new(Silent, Critical, message));
    }
}

/// Since when the server has a whole segment that it has not archived, at
/// least; `None` where it has none, or that cannot be told.
fn behind(facts: &Facts, server: &Watched) -> Option<Timestamp> {
    let size = facts.segment_size?;
    let Lsn(lsn) = server.lsn?;
    let (name, at) = server.archived.as_ref()?;
    let archived = match name.parse().ok()? {
        WalFileName::Segment(segment) => segment.number(size)?,
        _ => return None,
    };
    let whole = (lsn / size.bytes()).checked_sub(archived + 1)?;
    (whole > 0).then_some((*at).max(server.counts_since))
}
