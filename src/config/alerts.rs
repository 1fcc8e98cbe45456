//! `[alerts]` and `[[alerts.sink]]`: from which point on somebody is told, and
//! how.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{
    Schedule, value,
    wrong::{self, Wrong, secret, wrong},
};
use crate::store::Secret;

/// When somebody is told, and how.
#[derive(Debug, Clone)]
pub struct AlertSettings {
    /// How often what goes on is told again.
    pub repeat: Duration,
    /// How long a staged file may be missing from a store.
    pub lag: Duration,
    /// How many files may wait for the archiver in `pg_wal`.
    pub waiting: u64,
    /// How much may wait in staging, in bytes.
    pub staging: u64,
    /// How old the newest base backup may be; none where nobody is told.
    pub backup_age: Option<Duration>,
    /// How old the newest successful drill may be, where drills are made at
    /// all; none where nobody is told.
    pub drill_age: Option<Duration>,
    /// Whether drills are expected: the file names `drill_age`.
    pub expects_drills: bool,
    /// How much WAL the server may keep for the stream's slot, in bytes.
    pub slot_lag: u64,
    /// What is called while all is well; each time it is read again.
    pub heartbeat: Option<Secret>,
    /// How often.
    pub heartbeat_interval: Duration,
    /// When the report of the day is sent to every sink.
    pub report: Schedule,
    /// Who is told.
    pub sinks: Vec<SinkSettings>,
}

/// One way to tell somebody.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// What it is called.
    pub name: String,
    /// How long one message may take.
    pub timeout: Duration,
    /// Which way.
    pub way: Way,
}

/// A way to tell somebody. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum Way {
    /// A POST of JSON; see docs/CONFIGURATION.md.
    Webhook(Hook),
    /// A POST as Slack's incoming webhooks take it.
    Slack(Hook),
    /// A mail.
    Smtp(Smtp),
    /// A program, with JSON on its standard input.
    Command(Vec<String>),
}

/// A URL that is posted to.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The URL. It is a secret: whoever knows it can post.
    pub url: Secret,
    /// What `Authorization: Bearer` carries.
    pub token: Option<Secret>,
    /// The authority that is believed instead of Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// Whether it may be plain http beyond loopback.
    pub allow_http: bool,
}

/// A mail server, and who writes to whom.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Whom it lets in, and by which password.
    pub login: Option<(String, Secret)>,
    /// The sender.
    pub from: String,
    /// Whom it is for; at least one.
    pub to: Vec<String>,
    /// The authority that is believed instead of Mozilla's.
    pub ca_file: Option<PathBuf>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// It begins plainly and becomes TLS, or nothing is sent (port 587).
    Starttls,
    /// TLS from the beginning (port 465).
    Tls,
    /// None (port 25): for a relay on this host or its network.
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Alerts {
    #[serde(deserialize_with = "value::duration")]
    repeat: Duration,
    #[serde(deserialize_with = "value::duration")]
    lag: Duration,
    waiting: u64,
    #[serde(deserialize_with = "value::share")]
    staging: f64,
    #[serde(deserialize_with = "value::duration")]
    backup_age: Duration,
    #[serde(deserialize_with = "value::some_duration")]
    drill_age: Option<Duration>,
    #[serde(deserialize_with = "value::size")]
    slot_lag: u64,
    heartbeat_url: Option<SecretString>,
    heartbeat_url_file: Option<PathBuf>,
    #[serde(deserialize_with = "value::duration")]
    heartbeat_interval: Duration,
    report: Schedule,
    sink: Vec<Sink>,
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts {
            repeat: Duration::from_secs(4 * 3600),
            lag: Duration::from_secs(15 * 60),
            waiting: 100,
            staging: 0.8,
            backup_age: Duration::from_secs(26 * 3600),
            drill_age: None,
            slot_lag: 1 << 30,
            heartbeat_url: None,
            heartbeat_url_file: None,
            heartbeat_interval: Duration::from_secs(60),
            report: Schedule::Never,
            sink: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SinkType {
    Webhook,
    Slack,
    Smtp,
    Command,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sink {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: SinkType,
    #[serde(default, deserialize_with = "value::some_duration")]
    timeout: Option<Duration>,
    url: Option<SecretString>,
    url_file: Option<PathBuf>,
    token: Option<SecretString>,
    token_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
    ca_file: Option<PathBuf>,
    host: Option<String>,
    port: Option<u16>,
    tls: Option<SmtpTls>,
    username: Option<String>,
    password: Option<SecretString>,
    password_file: Option<PathBuf>,
    from: Option<String>,
    to: Option<Vec<String>>,
    command: Option<Vec<String>>,
}

impl Alerts {
    /// Whether the file itself holds a secret. Whoever knows the heartbeat's
    /// URL can pretend that all is well, and nothing else.
    pub(super) fn holds_secret(&self) -> bool {
        let of_sink = |sink: &Sink| {
            [&sink.url, &sink.token, &sink.password]
                .iter()
                .any(|secret| secret.is_some())
        };
        self.sink.iter().any(of_sink)
    }
}

/// `max_size` is what may be in staging, in bytes.
pub(super) fn check(table: Alerts, max_size: u64) -> Result<AlertSettings, Wrong> {
    for (key, value) in [
        ("alerts.repeat", table.repeat),
        ("alerts.lag", table.lag),
        ("alerts.heartbeat_interval", table.heartbeat_interval),
    ] {
        if value.is_zero() {
            return Err(wrong(key, "0 is no time; write how long, such as \"15m\""));
        }
    }
    let heartbeat = secret(
        "heartbeat_url",
        table.heartbeat_url,
        table.heartbeat_url_file,
    );
    let heartbeat = heartbeat.map_err(|it| it.of("alerts"))?;
    let mut sinks: Vec<SinkSettings> = Vec::new();
    for (index, sink) in table.sink.into_iter().enumerate() {
        let name = sink.name.clone().unwrap_or_else(|| sink.kind.name().into());
        let place = format!("alerts.sink[{index}] (\"{name}\")");
        if sinks.iter().any(|other| other.name == name) {
            return Err(wrong(
                place,
                "another sink has the same name; give it one by `name`",
            ));
        }
        let checked = sink.check(name);
        sinks.push(checked.map_err(|it| it.of(&place))?);
    }
    let week = Duration::from_secs(8 * 24 * 3600);
    let age = |age: Duration| Some(age).filter(|age| !age.is_zero());
    Ok(AlertSettings {
        repeat: table.repeat,
        lag: table.lag,
        waiting: table.waiting,
        staging: (max_size as f64 * table.staging) as u64,
        backup_age: age(table.backup_age),
        drill_age: age(table.drill_age.unwrap_or(week)),
        expects_drills: table.drill_age.is_some(),
        slot_lag: table.slot_lag,
        heartbeat,
        heartbeat_interval: table.heartbeat_interval,
        report: table.report,
        sinks,
    })
}

impl SinkType {
    fn name(self) -> &'static str {
        match self {
            SinkType::Webhook => "webhook",
            SinkType::Slack => "slack",
            SinkType::Smtp => "smtp",
            SinkType::Command => "command",
        }
    }
}

impl Sink {
    fn check(mut self, name: String) -> Result<SinkSettings, Wrong> {
        let way = match self.kind {
            SinkType::Webhook => {
                let mut hook = self.hook()?;
                hook.token = secret("token", self.token.take(), self.token_file.take())?;
                Way::Webhook(hook)
            }
            SinkType::Slack => Way::Slack(self.hook()?),
            SinkType::Smtp => Way::Smtp(self.smtp()?),
            SinkType::Command => Way::Command(self.command()?),
        };
        self.refuse_rest()?;
        Ok(SinkSettings {
            name,
            timeout: self.timeout.unwrap_or(Duration::from_secs(15)),
            way,
        })
    }

    fn hook(&mut self) -> Result<Hook, Wrong> {
        let url = secret("url", self.url.take(), self.url_file.take())?;
        Ok(Hook {
            url: url.ok_or_else(|| missing("url_file"))?,
            token: None,
            ca_file: self.ca_file.take(),
            allow_http: std::mem::take(&mut self.allow_http),
        })
    }

    fn smtp(&mut self) -> Result<Smtp, Wrong> {
        let tls = self.tls.take().unwrap_or(SmtpTls::Starttls);
        let host = self.host.take().ok_or_else(|| missing("host"))?;
        let to = self.to.take().unwrap_or_default();
        if to.is_empty() {
            return Err(missing("to"));
        }
        let from = self.from.take().ok_or_else(|| missing("from"))?;
        for (key, address) in to.iter().map(|to| ("to", to)).chain([("from", &from)]) {
            if address.parse::<lettre::message::Mailbox>().is_err() {
                return Err(wrong(key, format!("\"{address}\" is no mail address")));
            }
        }
        let password = secret("password", self.password.take(), self.password_file.take())?;
        let login = match (self.username.take(), password) {
            (Some(name), Some(password)) => Some((name, password)),
            (None, None) => None,
            (Some(_), None) => return Err(missing("password_file")),
            (None, Some(_)) => return Err(missing("username")),
        };
        if tls == SmtpTls::None && login.is_some() && !is_loopback(&host) {
            return Err(wrong(
                "tls",
                "\"none\" would send the password in the clear; use \"starttls\" or \"tls\"",
            ));
        }
        let port = self.port.take().unwrap_or(match tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        });
        Ok(Smtp {
            host,
            port,
            tls,
            login,
            from,
            to,
            ca_file: self.ca_file.take(),
        })
    }

    fn command(&mut self) -> Result<Vec<String>, Wrong> {
        let command = self.command.take().unwrap_or_default();
        match command.first() {
            Some(program) if program.starts_with('/') => Ok(command),
            Some(program) => Err(wrong(
                "command",
                format!("\"{program}\" is no absolute path"),
            )),
            None => Err(missing("command")),
        }
    }

    /// What is left belongs to another type of sink.
    fn refuse_rest(&self) -> Result<(), Wrong> {
        let left = [
            ("url", self.url.is_some()),
            ("url_file", self.url_file.is_some()),
            ("token", self.token.is_some()),
            ("token_file", self.token_file.is_some()),
            ("allow_http", self.allow_http),
            ("ca_file", self.ca_file.is_some()),
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls.is_some()),
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("password_file", self.password_file.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("command", self.command.is_some()),
        ];
        wrong::refuse_rest(left, "sink")
    }
}

fn missing(key: &str) -> Wrong {
    wrong::missing(key, "sink")
}

/// Whether what is said to this host stays on it.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A URL that may be called: https, or http on loopback or where `allow_http`
/// says so. The error does not repeat it.
pub fn callable(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("it is no URL ({error})"))?;
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || is_loopback(host) => Ok(url),
        "http" => Err("it is plain http beyond loopback; use https, or set allow_http".to_owned()),
        scheme => Err(format!("\"{scheme}\" is neither https nor http")),
    }
}
