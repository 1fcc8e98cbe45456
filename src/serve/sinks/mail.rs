//! A mail, by SMTP.

use std::{fs, time::Duration};

use lettre::{
    SmtpTransport, Transport,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use secrecy::ExposeSecret;

use super::{Message, SinkError, hook::reveal};
use crate::config::{Smtp, SmtpTls};

pub(super) async fn send(
    settings: Smtp,
    message: Message,
    patience: Duration,
) -> Result<(), SinkError> {
    let sent = tokio::task::spawn_blocking(move || deliver(&settings, &message, patience));
    sent.await
        .map_err(|_| SinkError("the mail's thread died".to_owned()))?
}

fn deliver(settings: &Smtp, message: &Message, patience: Duration) -> Result<(), SinkError> {
    let wrong = |error: &dyn std::fmt::Display| SinkError(error.to_string());
    let mailbox = |address: &str| -> Result<Mailbox, SinkError> {
        address.parse().map_err(|error| wrong(&error))
    };
    let mut mail = lettre::Message::builder()
        .from(mailbox(&settings.from)?)
        .subject(&message.title)
        .header(ContentType::TEXT_PLAIN);
    for to in &settings.to {
        mail = mail.to(mailbox(to)?);
    }
    let body = format!("{}\nwalkeep on {}\n", message.text, message.host);
    let mail = mail.body(body).map_err(|error| wrong(&error))?;

    let mut transport = SmtpTransport::builder_dangerous(&settings.host)
        .port(settings.port)
        .tls(tls(settings)?)
        .timeout(Some(patience));
    if let Some((user, password)) = &settings.login {
        let password = reveal(password)?.expose_secret().to_owned();
        transport = transport.credentials(Credentials::new(user.clone(), password));
    }
    let sent = transport.build().send(&mail);
    sent.map(drop).map_err(|error| {
        let (host, port) = (&settings.host, settings.port);
        let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
        SinkError(format!(
            "mail by {host}:{port}: {error}{}",
            cause.unwrap_or_default()
        ))
    })
}

fn tls(settings: &Smtp) -> Result<Tls, SinkError> {
    if settings.tls == SmtpTls::None {
        return Ok(Tls::None);
    }
    let wrong = |error: &dyn std::fmt::Display| SinkError(format!("TLS: {error}"));
    let mut parameters = TlsParameters::builder(settings.host.clone())
        .certificate_store(CertificateStore::WebpkiRoots);
    if let Some(path) = &settings.ca_file {
        let pem = fs::read(path);
        let pem = pem.map_err(|error| wrong(&format!("read \"{}\": {error}", path.display())))?;
        let authority = Certificate::from_pem(&pem).map_err(|error| wrong(&error))?;
        parameters = parameters
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authority);
    }
    let parameters = parameters.build_rustls().map_err(|error| wrong(&error))?;
    Ok(match settings.tls {
        SmtpTls::Tls => Tls::Wrapper(parameters),
        SmtpTls::Starttls | SmtpTls::None => Tls::Required(parameters),
    })
}
