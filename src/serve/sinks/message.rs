//! What is told: as JSON for programs, and as text for people.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    catalog::{AlertRecord, Severity},
    serve::alerts::Turn,
};

/// Why something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// An alert was raised.
    Raised,
    /// It goes on.
    Repeated,
    /// It is over.
    Resolved,
    /// The report was asked for.
    Report,
    /// A unit of systemd failed.
    Failed,
    /// Somebody tries the sink.
    Test,
}

impl From<Turn> for Occasion {
    fn from(turn: Turn) -> Self {
        match turn {
            Turn::Raised => Occasion::Raised,
            Turn::Repeated => Occasion::Repeated,
            Turn::Resolved => Occasion::Resolved,
        }
    }
}

/// One message. Its fields are the JSON that a webhook and a command get
/// (docs/CONFIGURATION.md); they are only ever added to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Why it is told.
    pub event: Occasion,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// This host's name.
    pub host: String,
    /// When.
    pub at: Timestamp,
    /// One line that says it all.
    pub title: String,
    /// All of it, for people.
    pub text: String,
    /// The alert, where it is about one.
    pub alert: Option<AlertRecord>,
}

impl Message {
    /// About an alert.
    pub fn about(alert: AlertRecord, event: Occasion, cluster: &str, at: Timestamp) -> Self {
        let severity = match alert.severity {
            Severity::Critical => "CRITICAL",
            Severity::Warning => "WARNING",
        };
        let what = match event {
            Occasion::Resolved => "resolved",
            Occasion::Repeated => &format!("still {severity}"),
            _ => severity,
        };
        let mut text = format!("{}\n\nsince {}", alert.message, alert.since);
        if let Some(resolved) = alert.resolved {
            let took = resolved.duration_since(alert.since).as_secs();
            let took = SignedDuration::from_secs(took);
            let _ = write!(text, ", over since {resolved} ({took:#})");
        } else {
            let _ = write!(
                text,
                "; `walkeep alerts ack {}` if you know of it",
                alert.id
            );
        }
        text.push('\n');
        let mut message = Message::new(event, cluster, at, text);
        message.title = format!("[{cluster}] {what}: {}", alert.id);
        message.alert = Some(alert);
        message
    }

    /// The report.
    pub fn report(text: String, cluster: &str, at: Timestamp) -> Self {
        let mut message = Message::new(Occasion::Report, cluster, at, text);
        message.title = format!("[{cluster}] report of {}", at.strftime("%Y-%m-%d"));
        message
    }

    /// About a unit of systemd.
    pub fn failed(unit: &str, cluster: &str, at: Timestamp) -> Self {
        let text = String::new();
        let mut message = Message::new(Occasion::Failed, cluster, at, text);
        message.title = format!("[{cluster}] FAILED: {unit}");
        message.text = format!(
            "The systemd unit \"{unit}\" failed on {}. `journalctl -u {unit}` says why, \
             `systemctl start {unit}` tries again.\n",
            message.host
        );
        message
    }

    /// For trying a sink.
    pub fn test(cluster: &str, at: Timestamp) -> Self {
        let text = "Somebody ran `walkeep alerts test`: this way works, and nothing is wrong by \
                    this message.\n";
        let mut message = Message::new(Occasion::Test, cluster, at, text.to_owned());
        message.title = format!("[{cluster}] a test");
        message
    }

    fn new(event: Occasion, cluster: &str, at: Timestamp, text: String) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Message {
            event,
            cluster: cluster.to_owned(),
            host: host.to_string_lossy().into_owned(),
            at,
            title: String::new(),
            text,
            alert: None,
        }
    }

    /// For a webhook and a command.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As Slack's incoming webhooks take it
    /// (<https://api.slack.com/messaging/webhooks>), and Mattermost's,
    /// Rocket.Chat's and Discord's at `/slack`.
    pub(super) fn slack(&self) -> Vec<u8> {
        // Slack reads these three as markup, and no others
        // (<https://api.slack.com/reference/surfaces/formatting#escaping>).
        let escape = |text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            text.replace('>', "&gt;")
        };
        let (title, text) = (escape(&self.title), escape(self.text.trim_end()));
        let text = format!("*{title}* on {}\n{text}", escape(&self.host));
        serde_json::to_vec(&serde_json::json!({ "text": text })).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact text is documented.
    #[test]
    fn a_message_is_as_documented() {
        let at: Timestamp = "2026-11-20T14:30:02Z".parse().unwrap();
        let alert = AlertRecord {
            id: "owed/b2".to_owned(),
            kind: "owed".to_owned(),
            subject: Some("b2".to_owned()),
            severity: Severity::Warning,
            message: "3 files are <owed> to store \"b2\"".to_owned(),
            since: at,
            raised: Some(at),
            told: Some(at),
            acknowledged: None,
            resolved: None,
        };
        let mut message = Message::about(alert, Occasion::Raised, "main", at);
        message.host = "db1".to_owned();
        let text = String::from_utf8(message.json()).unwrap();
        let expected = [
            r#"{"event":"raised","cluster":"main","host":"db1","at":"2026-11-20T14:30:02Z","#,
            r#""title":"[main] WARNING: owed/b2","text":"3 files are <owed> to store \"b2\"\n\n"#,
            r#"since 2026-11-20T14:30:02Z; `walkeep alerts ack owed/b2` if you know of it\n","#,
            r#""alert":{"id":"owed/b2","kind":"owed","subject":"b2","severity":"warning","#,
            r#""message":"3 files are <owed> to store \"b2\"","since":"2026-11-20T14:30:02Z","#,
            r#""raised":"2026-11-20T14:30:02Z","told":"2026-11-20T14:30:02Z","#,
            r#""acknowledged":null,"resolved":null}}"#,
        ];
        assert_eq!(text, expected.concat());
        let slack = String::from_utf8(message.slack()).unwrap();
        assert!(
            slack.starts_with(
                r#"{"text":"*[main] WARNING: owed/b2* on db1\n3 files are &lt;owed&gt; to"#
            ),
            "{slack}"
        );
    }
}
