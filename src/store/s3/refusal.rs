//! What kept a request from succeeding: the server's refusal, or the way to
//! it. Nothing here lets a credential or a signature into an error's text.

use std::{error::Error as _, io, time::Duration};

use reqwest::{StatusCode, header::HeaderMap};

use super::{
    super::{error::StoreErrorKind as Kind, retry::Failure},
    xml::ErrorBody,
};

/// Above this the provider refuses signatures (S3: `RequestTimeTooSkewed`), in
/// seconds.
const MOST_SKEW: i64 = 15 * 60;
/// How much of a server's message is passed on, in characters.
const LONGEST_MESSAGE: usize = 300;

/// A failed attempt, and what the server said where it said anything.
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) status: Option<StatusCode>,
    pub(super) code: String,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal {
            failure,
            status: None,
            code: String::new(),
        }
    }
}

/// What an error is made from.
pub(super) struct Answer<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// This clock minus the store's, in seconds.
    pub(super) skew: i64,
    /// What no error may show.
    pub(super) secrets: &'a [&'a str],
}

impl Refusal {
    /// Reads an error's answer.
    pub(super) fn read(answer: &Answer<'_>) -> Self {
        let ErrorBody { code, message } = ErrorBody::read(answer.body);
        let status = answer.status;
        let kind = classify(status, &code, &message, answer.skew);
        let mut detail = status.to_string();
        if !code.is_empty() {
            detail = format!("{detail}, {}", fit(&code, answer.secrets));
            let message = fit(&message, answer.secrets);
            if !message.is_empty() {
                detail = format!("{detail}: {message}");
            }
        }
        let date = answer.headers.get(reqwest::header::DATE);
        if let (Kind::ClockSkew { .. }, Some(Ok(date))) = (&kind, date.map(|date| date.to_str())) {
            detail = format!(
                "{detail}; the store's clock says {}",
                fit(date, answer.secrets)
            );
        }
        let failure = Failure {
            kind,
            detail,
            retry_after: retry_after(answer.headers),
        };
        Refusal {
            failure,
            status: Some(status),
            code,
        }
    }

    /// Whether it proves that the key has no object. A missing bucket is a 404
    /// as well, and proves nothing of the key.
    pub(super) fn is_no_such_key(&self) -> bool {
        let code = matches!(&*self.code, "NoSuchKey" | "NoSuchVersion");
        self.status == Some(StatusCode::NOT_FOUND) && code
    }
}

/// An error that came with status 200, as S3 allows for what takes long.
pub(super) fn despite_success(code: &str) -> Failure {
    let kind = classify(StatusCode::OK, code, "", 0);
    Failure::new(kind, format!("200 OK, and the error {code}"))
}

/// A server's words on one line, without the rest of a long text; nothing of
/// a text that repeats what no error may show.
fn fit(message: &str, secrets: &[&str]) -> String {
    let shows = |secret: &&str| !secret.is_empty() && message.contains(*secret);
    let lower = message.to_ascii_lowercase();
    if secrets.iter().any(shows)
        || lower.contains("x-amz-signature")
        || lower.contains("signature=")
    {
        return String::new();
    }
    let words: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_MESSAGE)
        .collect();
    words.trim().to_owned()
}

fn classify(status: StatusCode, code: &str, message: &str, skew: i64) -> Kind {
    match (status.as_u16(), code) {
        (_, "RequestTimeTooSkewed") => Kind::ClockSkew { seconds: skew },
        // A signature that is expired, or not valid yet, on arrival.
        (400 | 403, _) if skew.abs() >= MOST_SKEW => Kind::ClockSkew { seconds: skew },
        // The last two are s3s's and versitygw's words for an unknown key id.
        (401, _)
        | (
            _,
            "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "NotSignedUp" | "XAdminUserNotFound",
        ) => Kind::BadCredentials,
        // R2 on a key id that is none: "Credential access key has length 20,
        // should be 32".
        (400, "InvalidArgument") if message.contains("access key") => Kind::BadCredentials,
        // Another region than the server's, or a key id that is none.
        (_, "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError") => {
            Kind::Configuration
        }
        (_, "NoSuchBucket") => Kind::NoSuchBucket,
        (_, "BadDigest" | "InvalidDigest" | "IncompleteBody") => Kind::Damaged,
        (_, "ObjectLocked" | "InvalidObjectState") => Kind::Locked,
        (_, "RequestTimeout") | (408, _) => Kind::TimedOut,
        (_, "SlowDown" | "TooManyRequests") | (429, _) => Kind::Throttled,
        (_, "NotImplemented") | (405 | 501, _) => Kind::NotSupported,
        (_, "InternalError" | "ServiceUnavailable") => Kind::Server,
        (403, _) => Kind::Forbidden,
        (300..=399, _) => Kind::Redirected,
        // "OperationAborted" and "ConditionalRequestConflict": another write
        // to the key was under way.
        (409 | 500..=599, _) => Kind::Server,
        _ => Kind::Unexpected,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value)
        .ok()?
        .duration_since(std::time::SystemTime::now())
        .ok()
}

/// A transport's failure, without the URL: that holds the signature.
pub(super) fn transport(error: &reqwest::Error) -> Failure {
    let detail = describe(error);
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let kind = if causes.any(wraps_tls) {
        Kind::Tls
    } else if error.is_timeout() {
        Kind::TimedOut
    } else {
        Kind::Unreachable
    };
    Failure::new(kind, detail)
}

/// rustls' errors come wrapped into an `io::Error`, or several, which do not
/// give their inner error as their source.
fn wraps_tls(mut cause: &(dyn std::error::Error + 'static)) -> bool {
    while let Some(io) = cause.downcast_ref::<io::Error>() {
        match io.get_ref() {
            Some(inner) => cause = inner,
            None => return false,
        }
    }
    cause.is::<rustls::Error>()
}

/// The innermost cause, which is the one that says something.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    match causes.last() {
        Some(cause) => cause.to_string(),
        None if error.is_timeout() => "timed out".to_owned(),
        None => "the request could not be sent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Refusal {
        Refusal::read(&Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            skew: 0,
            secrets: &["AKIA1", "s3cret"],
        })
    }

    fn error(code: &str, message: &str) -> String {
        format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
    }

    #[test]
    fn a_servers_words_are_passed_on_without_secrets() {
        let said = |message: &str| answer(403, &error("AccessDenied", message)).failure.detail;
        assert_eq!(said("no &amp; no"), "403 Forbidden, AccessDenied: no & no");
        assert_eq!(said("a\nb\u{7f}c"), "403 Forbidden, AccessDenied: a b c");
        let silent = "403 Forbidden, AccessDenied";
        for message in [
            "key AKIA1 is unknown",
            "not s3cret",
            "/b/k?X-Amz-Signature=00",
            "?x-amz-signature=00",
        ] {
            assert_eq!(said(message), silent, "{message}");
        }
        assert!(said(&"long ".repeat(1000)).len() < 400);
        let odd = answer(403, &error("Access\u{1b}[31m", "no")).failure.detail;
        assert_eq!(odd, "403 Forbidden");
    }

    #[test]
    fn codes_and_statuses_become_kinds() {
        let kind = |status, code| answer(status, &error(code, "")).failure.kind;
        assert_eq!(kind(403, "SignatureDoesNotMatch"), Kind::BadCredentials);
        assert_eq!(kind(401, ""), Kind::BadCredentials);
        assert_eq!(kind(403, "AccessDenied"), Kind::Forbidden);
        assert_eq!(kind(404, "NoSuchBucket"), Kind::NoSuchBucket);
        assert_eq!(kind(503, "SlowDown"), Kind::Throttled);
        assert_eq!(kind(503, ""), Kind::Server);
        assert_eq!(kind(409, "ConditionalRequestConflict"), Kind::Server);
        assert_eq!(kind(307, "TemporaryRedirect"), Kind::Redirected);
        assert_eq!(kind(200, "InternalError"), Kind::Server);
        assert_eq!(
            kind(400, "AuthorizationQueryParametersError"),
            Kind::Configuration
        );
        let r2 = error(
            "InvalidArgument",
            "Credential access key has length 4, should be 32",
        );
        assert_eq!(answer(400, &r2).failure.kind, Kind::BadCredentials);
        assert_eq!(
            answer(404, "<html>lost</html>").failure.kind,
            Kind::Unexpected
        );
    }
}
