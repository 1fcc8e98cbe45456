//! One request to an S3 server: signed, sent, and its answer read.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Client, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use rusty_s3::{Bucket, Method, UrlStyle, signing};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::{
    super::{
        S3Settings, Timeouts,
        error::StoreErrorKind as Kind,
        object::{Body, check_key, is_plain},
        retry::Failure,
    },
    refusal::{Answer, Refusal, describe, transport},
    tls::tls,
    upload::Upload,
};

/// How long a signature is good for, in seconds. Longer than a request waits
/// before it is sent, shorter than a leaked one is of use.
const SIGNATURE_LIFETIME: u64 = 15 * 60;
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

/// A request's URL and headers, and what they were signed with.
struct Signed {
    url: Url,
    headers: HeaderMap,
    key: (String, SecretString),
}

impl Http {
    pub(super) fn open(settings: S3Settings) -> Result<Self, Failure> {
        let wrong = |detail: String| Failure::new(Kind::Configuration, detail);
        let endpoint = Url::parse(&settings.endpoint)
            .map_err(|error| wrong(format!("the endpoint is no URL: {error}")))?;
        // A password in it would turn up in errors.
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(wrong("the endpoint holds a user or a password".to_owned()));
        }
        if endpoint.scheme() != "https" && !settings.allow_http && !is_loopback(&endpoint) {
            return Err(wrong(format!(
                "endpoint \"{endpoint}\": http is for loopback only, unless allow_http = true"
            )));
        }
        let name = settings.bucket.clone();
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !is_plain(&name) || !name.bytes().all(valid) {
            return Err(wrong(format!("\"{name}\" cannot name a bucket")));
        }
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name, settings.region.clone())
            .map_err(|error| wrong(format!("endpoint \"{}\": {error}", settings.endpoint)))?;
        // No read timeout here: see `upload`.
        let client = Client::builder()
            .tls_backend_preconfigured(tls(settings.ca_file.as_deref())?)
            .connect_timeout(settings.timeouts.connect)
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

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.settings.timeouts
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
    ) -> Result<Response, Refusal> {
        let http_method = match method {
            Method::Head => reqwest::Method::HEAD,
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
            Method::Post => reqwest::Method::POST,
        };
        let Signed { url, headers, key } = self.sign(method, request)?;
        let builder = self.client.request(http_method, url).headers(headers);
        let answer = match request.body {
            None => self.in_time("the answer", builder.send()).await,
            Some(body) => {
                let (upload, body) = Upload::open(body).await?;
                let answer = upload.answered(builder.body(body).send(), self.timeouts());
                match answer.await {
                    Ok(Err(error)) => match upload.unreadable() {
                        Some(failure) => return Err(failure.into()),
                        None => Ok(Err(error)),
                    },
                    answer => answer,
                }
            }
        };
        let response = answer?.map_err(|error| transport(&error))?;
        self.note_clock(response.headers());
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        // An error's body that breaks off still has its status.
        let mut body = Vec::new();
        let _ = self.read(response, LARGEST_ERROR, &mut body).await;
        let (id, secret) = &key;
        Err(Refusal::read(&Answer {
            status,
            headers: &headers,
            body: &body,
            skew: self.clock_skew().unwrap_or(0),
            secrets: &[id, secret.expose_secret()],
        }))
    }

    /// Reads an answer's body to its end, or until it has `most` bytes.
    pub(super) async fn read(
        &self,
        mut response: Response,
        most: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let reading = async {
            while let Some(piece) = self.piece(&mut response).await? {
                let room = most.saturating_sub(body.len());
                body.extend_from_slice(&piece[..piece.len().min(room)]);
                if body.len() >= most {
                    break;
                }
            }
            Ok(())
        };
        let longest = self.timeouts().of_transfer(most as u64);
        tokio::time::timeout(longest, reading)
            .await
            .unwrap_or_else(|_| Err(Failure::new(Kind::TimedOut, "the answer is too slow")))
    }

    /// The next piece of an answer's body.
    pub(super) async fn piece(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let piece = self.in_time("more of the answer", response.chunk()).await?;
        piece.map_err(|error| transport(&error))
    }

    async fn in_time<T>(&self, what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
        let idle = self.timeouts().idle;
        tokio::time::timeout(idle, future)
            .await
            .map_err(|_| Failure::new(Kind::TimedOut, format!("waited {idle:?} for {what}")))
    }

    fn sign(&self, method: Method, request: &Request<'_>) -> Result<Signed, Failure> {
        request.key.map_or(Ok(()), check_key)?;
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
        Ok(Signed {
            url,
            headers,
            key: (id, secret),
        })
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
}

fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}
