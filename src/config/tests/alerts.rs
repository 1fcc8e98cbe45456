//! When somebody is told, and how.

use super::*;

fn alerts(text: &str) -> AlertSettings {
    good(&format!("{text}\n{NAS}")).alerts
}

/// What is wrong, without the file's name.
fn wrong(text: &str) -> String {
    let error = error(&format!("{text}\n{NAS}"));
    error.replace("/etc/walkeep/walkeep.toml: ", "")
}

#[test]
fn thresholds_have_their_defaults() {
    let alerts = alerts("");
    assert_eq!(alerts.repeat, Duration::from_secs(4 * 3600));
    assert_eq!(alerts.lag, Duration::from_secs(900));
    assert_eq!((alerts.waiting, alerts.staging), (100, 16 << 30));
    assert_eq!(alerts.backup_age, Some(Duration::from_secs(26 * 3600)));
    assert_eq!(alerts.drill_age, Some(Duration::from_secs(8 * 86_400)));
    assert!(!alerts.expects_drills && alerts.sinks.is_empty() && alerts.heartbeat.is_none());
    let off = self::alerts("[alerts]\nbackup_age = \"0s\"\ndrill_age = \"2d\"");
    assert_eq!(off.backup_age, None);
    assert!(off.expects_drills);
    assert_eq!(
        wrong("[alerts]\nlag = \"0s\""),
        "alerts.lag: 0 is no time; write how long, such as \"15m\""
    );
}

#[test]
fn every_type_of_sink_is_read() {
    let text = r#"
[[alerts.sink]]
type = "webhook"
url_file = "/run/keys/hook"
token_file = "/run/keys/token"
[[alerts.sink]]
type = "slack"
name = "ops"
url_file = "/run/keys/slack"
timeout = "3s"
[[alerts.sink]]
type = "smtp"
host = "mail.example.org"
from = "walkeep <db@example.org>"
to = ["ops@example.org"]
username = "db"
password_file = "/run/keys/mail"
[[alerts.sink]]
type = "command"
command = ["/usr/local/bin/page", "--urgent"]
"#;
    let sinks = alerts(text).sinks;
    let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["webhook", "ops", "smtp", "command"]);
    assert_eq!(sinks[1].timeout, Duration::from_secs(3));
    let Way::Smtp(smtp) = &sinks[2].way else {
        panic!("{sinks:?}");
    };
    assert_eq!((smtp.port, smtp.tls), (587, SmtpTls::Starttls));
    let Way::Command(command) = &sinks[3].way else {
        panic!("{sinks:?}");
    };
    assert_eq!(command.len(), 2);
}

#[test]
fn what_is_wrong_with_a_sink_is_named() {
    for (sink, problem) in [
        (
            "type = \"webhook\"",
            "(\"webhook\").url_file: missing; a sink of this type needs it",
        ),
        (
            "type = \"slack\"\nurl_file = \"/a\"\nto = [\"a@b\"]",
            "(\"slack\").to: means nothing to a sink of this type",
        ),
        (
            "type = \"webhook\"\nurl_file = \"/a\"\ntoken = \"a\"\ntoken_file = \"/a\"",
            "(\"webhook\").token: given twice: as a value and as a file",
        ),
        (
            "type = \"command\"\ncommand = [\"page\"]",
            "(\"command\").command: \"page\" is no absolute path",
        ),
        (
            "type = \"smtp\"\nhost = \"h\"\nfrom = \"nobody\"\nto = [\"a@b.org\"]",
            "(\"smtp\").from: \"nobody\" is no mail address",
        ),
        (
            "type = \"smtp\"\nhost = \"h\"\ntls = \"none\"\nfrom = \"a@b.org\"\nto = [\"a@b.org\"]\n\
             username = \"u\"\npassword_file = \"/p\"",
            "(\"smtp\").tls: \"none\" would send the password in the clear; use \"starttls\" or \
             \"tls\"",
        ),
    ] {
        let found = wrong(&format!("[[alerts.sink]]\n{sink}"));
        assert_eq!(found, format!("alerts.sink[0] {problem}"), "{sink}");
    }
    let twice = "[[alerts.sink]]\ntype = \"slack\"\nurl_file = \"/a\"\n".repeat(2);
    assert!(wrong(&twice).contains("another sink has the same name"));
    // Unknown keys and types name the nearest.
    for (text, nearest) in [
        ("[alerts]\nreapeat = \"4h\"", "`repeat`"),
        ("[[alerts.sink]]\ntype = \"webhok\"", "`webhook`"),
        (
            "[[alerts.sink]]\ntype = \"slack\"\nurl_fil = \"/a\"",
            "`url_file`",
        ),
    ] {
        let found = wrong(text);
        assert!(
            found.ends_with(&format!("did you mean {nearest}?")),
            "{found}"
        );
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    let text = "[alerts]\nheartbeat_url = \"https://hc.example/s3cret\"\n[[alerts.sink]]\n\
                type = \"webhook\"\nurl = \"https://hook.example/s3cret\"\ntoken = \"s3cret\"\n";
    let shown = format!("{:?}", alerts(text));
    assert!(!shown.contains("s3cret"), "{shown}");
    // Plain http beyond this host gives it away on the way.
    assert!(callable("http://127.0.0.1:80/x", false).is_ok());
    assert!(callable("http://[::1]/x", false).is_ok());
    assert!(callable("https://example.org/x", false).is_ok());
    assert!(callable("http://example.org/x", true).is_ok());
    for url in [
        "http://example.org/s3cret",
        "ftp://example.org/s3cret",
        "s3cret",
    ] {
        let error = callable(url, false).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
