//! A mail server of a few lines on loopback, which knows one user and writes
//! down what it gets; and mails by TLS.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{
    PATIENCE, Scene,
    sinks::secret,
    support::{host::wait_until, s3::raw::self_signed},
};

#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The lines that say whom it is for.
    pub to: String,
    /// The lines by which the sender said who it is.
    pub logins: Vec<String>,
    pub body: String,
}

/// How a server wants to be spoken to.
#[derive(Clone)]
pub enum Tls {
    No,
    /// After the sender has asked for it.
    Starttls(Arc<ServerConfig>),
    /// From the first byte on.
    Wrapped(Arc<ServerConfig>),
}

pub struct Mail {
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Mail {
    pub fn start(tls: Tls) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        let mail = Mail {
            port: listener.local_addr().expect("an address").port(),
            received: Arc::default(),
        };
        let received = Arc::clone(&mail.received);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(mail) = serve(stream, tls.clone()) {
                    received.lock().unwrap().push(mail);
                }
            }
        });
        mail
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, tls: Tls) -> Option<Received> {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    let secure = |config, stream| {
        let connection = ServerConnection::new(config).ok()?;
        Some(BufReader::new(StreamOwned::new(connection, stream)))
    };
    match tls {
        Tls::No => converse(&mut BufReader::new(stream), "250 AUTH PLAIN"),
        Tls::Wrapped(config) => converse(&mut secure(config, stream)?, "250 AUTH PLAIN"),
        Tls::Starttls(config) => {
            let mut plain = BufReader::new(stream);
            converse(&mut plain, "250 STARTTLS")?;
            let mut secure = secure(config, plain.into_inner())?;
            // No greeting a second time (RFC 3207).
            continued(&mut secure, "250 AUTH PLAIN")
        }
    }
}

fn converse(stream: &mut BufReader<impl Read + Write>, offers: &str) -> Option<Received> {
    say(stream, "220 test")?;
    continued(stream, offers)
}

fn say(stream: &mut BufReader<impl Read + Write>, line: &str) -> Option<()> {
    let stream = stream.get_mut();
    stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
    stream.flush().ok()
}

/// RFC 5321, as far as a client that sends one mail needs it; up to STARTTLS
/// where the client asks for that.
fn continued(stream: &mut BufReader<impl Read + Write>, offers: &str) -> Option<Received> {
    let mut mail = Received::default();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim_end();
        match line.split_once([' ', ':']).map_or(line, |(verb, _)| verb) {
            "EHLO" => say(stream, &format!("250-test\r\n{offers}"))?,
            "STARTTLS" => {
                say(stream, "220 go on")?;
                return Some(mail);
            }
            "AUTH" => {
                mail.logins.push(line.to_owned());
                say(stream, "235 welcome")?
            }
            "RCPT" => {
                mail.to += line;
                say(stream, "250 ok")?
            }
            "DATA" => {
                say(stream, "354 go on")?;
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    mail.body += &line;
                }
                say(stream, "250 ok")?
            }
            "QUIT" => {
                say(stream, "221 bye")?;
                return (!mail.body.is_empty()).then_some(mail);
            }
            "" => return (!mail.body.is_empty()).then_some(mail),
            _ => say(stream, "250 ok")?,
        }
    }
}

#[test]
fn mail_goes_by_tls_and_only_to_whom_the_authority_vouches_for() {
    let scene = Scene::new();
    let (config, certificate) = self_signed("127.0.0.1");
    let authority = secret(&scene, "authority.pem", &certificate);
    let password = secret(&scene, "password", "s3cret-password");
    let configure = |port: u16, tls: &str, ca_file: &str| {
        let table = format!(
            "[[alerts.sink]]\ntype = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             from = \"db@example.org\"\nto = [\"one@example.org\"]\nusername = \"db\"\n\
             password_file = \"{password}\"\n{tls}\n{ca_file}\n"
        );
        scene.configure("", "", &table);
        scene.archive.run(&["alerts", "test", "smtp"])
    };
    let trusting = format!("ca_file = \"{authority}\"");
    for (tls, server) in [
        ("", Tls::Starttls(config.clone())),
        ("tls = \"tls\"", Tls::Wrapped(config)),
    ] {
        let mail = Mail::start(server);
        let refused = configure(mail.port, tls, "");
        refused.says(1, &["did not take the test", "UnknownIssuer"]);
        let taken = configure(mail.port, tls, &trusting);
        assert_eq!(taken.code, 0, "{}", taken.stderr);
        wait_until("the mail is there", PATIENCE, || {
            !mail.received().is_empty()
        });
        let received = mail.received();
        assert_eq!((received.len(), received[0].logins.len()), (1, 1));
        assert!(received[0].body.contains("Subject: [main] a test\r\n"));
    }
    // Nothing is said in the clear to who does not offer it.
    let plain = Mail::start(Tls::No);
    let refused = configure(plain.port, "", &trusting);
    refused.says(1, &["did not take the test", "STARTTLS"]);
    assert_eq!(plain.received().len(), 0);
    fs::remove_file(authority).expect("remove it");
    let refused = configure(plain.port, "", &trusting);
    refused.says(1, &["TLS: read ", "authority.pem"]);
}
