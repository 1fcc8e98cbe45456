//! One request to an S3 server: signed, sent, and its answer classified.

use std::{
    error::Error as _,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Client, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rusty_s3::{Bucket, Method, UrlStyle, signing};
use secrecy::ExposeSecret;
use url::{Host, Url};

use super::{
    super::{
        S3Settings,
        error::StoreErrorKind as Kind,
        object::{Body, Source},
        retry::Failure,
    },
    xml::ErrorBody,
};

/// How long a signature is good for. Longer than any transfer may wait in a
/// queue, shorter than a leaked one is of use.
const SIGNATURE_LIFETIME: u64 = 15 * 60;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No byte for so long, and the connection is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A transfer slower than this is given up for a new attempt, bytes per second.
const SLOWEST: u64 = 64 << 10;
/// Above this the provider refuses signatures (S3: `RequestTimeTooSkewed`).
const MOST_SKEW: i64 = 15 * 60;
/// How much of an error's body is read, in bytes.
const LARGEST_ERROR: usize = 64 << 10;
const UNKNOWN: i64 = i64::MIN;

/// Sends requests for one bucket. Clones share connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    bucket: Bucket,
    settings: Arc<S3Settings>,
    skew: Arc<AtomicI64>,
}

/// One request, before it is signed.
#[derive(Default)]
pub(super) struct Request<'a> {
    /// None for the bucket itself.
    pub(super) key: Option<&'a str>,
    /// Sorted by name.
    pub(super) query: Vec<(&'static str, String)>,
    /// Names in lower case; all are signed and sent.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<&'a Body>,
}

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

impl Http {
    pub(super) fn open(settings: S3Settings) -> Result<Self, Failure> {
        let wrong = |detail: String| Failure::new(Kind::Configuration, detail);
        let endpoint = Url::parse(&settings.endpoint)
            .map_err(|error| wrong(format!("endpoint \"{}\": {error}", settings.endpoint)))?;
        if endpoint.scheme() != "https" && !settings.allow_http && !is_loopback(&endpoint) {
            return Err(wrong(format!(
                "endpoint \"{endpoint}\": http is for loopback only, unless allow_http = true"
            )));
        }
        let (name, region) = (settings.bucket.clone(), settings.region.clone());
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name, region)
            .map_err(|error| wrong(format!("endpoint \"{}\": {error}", settings.endpoint)))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls(settings.ca_file.as_deref())?)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("walkeep/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(describe(&error)))?;
        let skew = Arc::new(AtomicI64::new(UNKNOWN));
        Ok(Http {
            client,
            bucket,
            settings: Arc::new(settings),
            skew,
        })
    }

    /// This clock minus the store's in seconds, as of the last answer.
    pub(super) fn clock_skew(&self) -> Option<i64> {
        Some(self.skew.load(Ordering::Relaxed)).filter(|&skew| skew != UNKNOWN)
    }

    /// Sends a request, signed anew, its body from the first byte. An answer
    /// other than 2xx is a refusal, its error body read.
    pub(super) async fn send(
        &self,
        method: Method,
        request: &Request<'_>,
    ) -> Result<reqwest::Response, Refusal> {
        let http_method = match method {
            Method::Head => reqwest::Method::HEAD,
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
            Method::Post => reqwest::Method::POST,
        };
        let (url, headers) = self.sign(method, request)?;
        let length = request.body.map_or(0, |body| body.length);
        let mut builder = self.client.request(http_method, url).headers(headers);
        // A download's size is known once it has begun: see `transfer_time`.
        if request.body.is_some() || method != Method::Get {
            builder = builder.timeout(transfer_time(length));
        }
        if let Some(body) = request.body {
            builder = builder.body(payload(body).await?);
        }
        let response = builder.send().await.map_err(|error| transport(&error))?;
        self.note_clock(response.headers());
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    fn sign(&self, method: Method, request: &Request<'_>) -> Result<(Url, HeaderMap), Failure> {
        let (id, secret) = self.settings.credentials.read()?;
        let url = match request.key {
            Some(key) => self.bucket.object_url(key),
            None => self.bucket.base_url().clone(),
        };
        let mut signed = request.headers.clone();
        if let Some(body) = request.body {
            signed.push(("content-md5".to_owned(), body.md5.base64()));
        }
        signed.sort();
        let mut headers = HeaderMap::new();
        for (name, value) in &signed {
            let pair = (HeaderName::try_from(name), HeaderValue::try_from(value));
            let (Ok(name), Ok(value)) = pair else {
                let detail = format!("the header {name} cannot be sent");
                return Err(Failure::new(Kind::Unexpected, detail));
            };
            headers.insert(name, value);
        }
        if let Some(body) = request.body {
            headers.insert(
                reqwest::header::CONTENT_LENGTH,
                HeaderValue::from(body.length),
            );
        }
        let url = signing::sign(
            &Timestamp::now(),
            method,
            url,
            &id,
            secret.expose_secret(),
            None,
            self.bucket.region(),
            SIGNATURE_LIFETIME,
            request
                .query
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
            signed
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        Ok((url, headers))
    }

    fn note_clock(&self, headers: &HeaderMap) {
        let date = headers
            .get(reqwest::header::DATE)
            .and_then(|date| date.to_str().ok());
        let theirs = date.and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(Ok(theirs)) = theirs.map(Timestamp::try_from) {
            let skew = Timestamp::now().as_second() - theirs.as_second();
            self.skew.store(skew, Ordering::Relaxed);
        }
    }

    async fn refusal(&self, mut response: reqwest::Response) -> Refusal {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let mut body = Vec::new();
        // An error's body that breaks off still has its status.
        while let Ok(Some(piece)) = response.chunk().await {
            body.extend_from_slice(&piece);
            if body.len() > LARGEST_ERROR {
                break;
            }
        }
        let ErrorBody { code, message } = ErrorBody::read(&body);
        let kind = self.classify(status, &code);
        let detail = match (code.is_empty(), message.is_empty()) {
            (true, _) => status.to_string(),
            (false, true) => format!("{status}, {code}"),
            (false, false) => format!("{status}, {code}: {message}"),
        };
        let failure = Failure {
            kind,
            detail,
            retry_after,
        };
        Refusal {
            failure,
            status: Some(status),
            code,
        }
    }

    fn classify(&self, status: StatusCode, code: &str) -> Kind {
        let skew = self.clock_skew().unwrap_or(0);
        match (status.as_u16(), code) {
            (_, "RequestTimeTooSkewed") => Kind::ClockSkew { seconds: skew },
            // A signature that is expired, or not valid yet, on arrival.
            (400 | 403, _) if skew.abs() >= MOST_SKEW => Kind::ClockSkew { seconds: skew },
            (
                _,
                "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "AuthorizationHeaderMalformed",
            ) => Kind::BadCredentials,
            (401, _) => Kind::BadCredentials,
            (_, "NoSuchBucket") => Kind::NoSuchBucket,
            (_, "BadDigest" | "InvalidDigest" | "IncompleteBody") => Kind::Damaged,
            (_, "ObjectLocked" | "InvalidObjectState") => Kind::Locked,
            (_, "RequestTimeout") | (408, _) => Kind::TimedOut,
            (_, "SlowDown" | "TooManyRequests") | (429, _) => Kind::Throttled,
            (_, "NotImplemented") | (405 | 501, _) => Kind::NotSupported,
            (403, _) => Kind::Forbidden,
            (300..=399, _) => Kind::Redirected,
            // "OperationAborted" and "ConditionalRequestConflict": another
            // write to the key was under way.
            (409 | 500..=599, _) => Kind::Server,
            _ => Kind::Unexpected,
        }
    }
}

/// How long a transfer of `length` bytes may take at the most.
pub(super) fn transfer_time(length: u64) -> Duration {
    Duration::from_secs(60 + length / SLOWEST)
}

/// A transport's failure, without the URL: that holds the signature.
pub(super) fn transport(error: &reqwest::Error) -> Failure {
    let detail = describe(error);
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let kind = if causes.any(|cause| cause.is::<rustls::Error>() || wraps_tls(cause)) {
        Kind::Tls
    } else if error.is_timeout() {
        Kind::TimedOut
    } else {
        Kind::Unreachable
    };
    Failure::new(kind, detail)
}

/// rustls' errors come wrapped into an `io::Error`, which does not give its
/// inner error as its source.
fn wraps_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let io = cause.downcast_ref::<std::io::Error>();
    io.and_then(std::io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// The innermost cause, which is the one that says something.
fn describe(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    match causes.last() {
        Some(cause) => cause.to_string(),
        None if error.is_timeout() => "timed out".to_owned(),
        None => "the request could not be sent".to_owned(),
    }
}

async fn payload(body: &Body) -> Result<reqwest::Body, Failure> {
    match &body.source {
        Source::Bytes(bytes) => Ok(reqwest::Body::from(Bytes::clone(bytes))),
        Source::File(path) => match tokio::fs::File::open(&**path).await {
            Ok(file) => Ok(reqwest::Body::from(file)),
            Err(error) => {
                let detail = format!("open the spool file \"{}\": {error}", path.display());
                Err(Failure::new(Kind::Io, detail))
            }
        },
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

fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// rustls on ring, with Mozilla's roots, or the given authority alone.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| {
                let detail = format!("ca_file \"{}\": {error}", path.display());
                Failure::new(Kind::Configuration, detail)
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"it holds no certificate"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| Failure::new(Kind::Tls, error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
