//! What the doctor finds, and how it is said.

use std::io::{self, Write};

use serde_json::json;

use crate::verbs::print_json;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Worth a change.
    Warning,
    /// Data would be lost, or is not in every store.
    Loss,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Loss => "loss",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Of what: `postgresql`, `staging`, `store r2`…
    pub(super) subject: String,
    pub(super) what: String,
    /// What to do about it; none where all is well.
    pub(super) next: Option<String>,
}

/// All of them, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, subject: &str, what: impl Into<String>) {
        self.0.push(Finding {
            severity: Severity::Ok,
            subject: subject.to_owned(),
            what: what.into(),
            next: None,
        });
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        subject: &str,
        what: impl Into<String>,
        next: impl Into<String>,
    ) {
        self.0.push(Finding {
            severity,
            subject: subject.to_owned(),
            what: what.into(),
            next: Some(next.into()),
        });
    }

    pub(super) fn extend(&mut self, more: Findings) {
        self.0.extend(more.0);
    }

    pub(super) fn loses_data(&self) -> bool {
        self.0.iter().any(|one| one.severity == Severity::Loss)
    }

    /// The findings on stdout: a line each, and the next action below it.
    pub(super) fn print(&self, cluster: &str, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            let findings = self.0.iter().map(|one| {
                json!({
                    "severity": one.severity.word(),
                    "subject": one.subject,
                    "what": one.what,
                    "next": one.next,
                })
            });
            let document = json!({
                "ok": !self.loses_data(),
                "cluster": cluster,
                "findings": findings.collect::<Vec<_>>(),
            });
            return print_json(&document);
        }
        let mut out = io::stdout().lock();
        for one in &self.0 {
            writeln!(
                out,
                "{:<8} {}: {}",
                one.severity.word(),
                one.subject,
                one.what
            )?;
            if let Some(next) = &one.next {
                writeln!(out, "           {next}")?;
            }
        }
        let losses = self.count(Severity::Loss);
        let warnings = self.count(Severity::Warning);
        match (losses, warnings) {
            (0, 0) => writeln!(out, "all is well"),
            (0, 1) => writeln!(out, "nothing would lose data; 1 warning"),
            (0, warnings) => writeln!(out, "nothing would lose data; {warnings} warnings"),
            (1, _) => writeln!(out, "1 finding would lose data"),
            (losses, _) => writeln!(out, "{losses} findings would lose data"),
        }?;
        Ok(())
    }

    fn count(&self, severity: Severity) -> usize {
        let such = |one: &&Finding| one.severity == severity;
        self.0.iter().filter(such).count()
    }
}
