//! S3, as R2, B2 and others speak it. Where they differ is in [`Profile`]; the
//! vendors' pages behind each line are named in `docs/FORMAT.md`.

mod http;
mod list;
mod read;
mod refusal;
mod tls;
mod upload;
mod xml;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use rusty_s3::Method;

use super::{
    Profile, S3Settings,
    error::StoreErrorKind as Kind,
    object::{Body, ObjectInfo, Put, check_key},
    retry::Failure,
};
use crate::codec::Md5;
use http::{Http, Request};
use list::Behind;
pub(super) use read::Progress;
use refusal::Refusal;

/// Whom to believe beyond stores as well: the authority in `ca_file` alone, or
/// Mozilla's roots; or why that file is of no use.
pub fn trust(ca_file: Option<&std::path::Path>) -> Result<rustls::ClientConfig, String> {
    tls::tls(ca_file).map_err(|failure| failure.detail)
}

/// The bucket of one store.
#[derive(Debug, Clone)]
pub(super) struct S3 {
    http: Http,
    profile: Profile,
    seen: Arc<Seen>,
}

/// What a server has been seen not to implement.
#[derive(Debug)]
struct Seen {
    no_versions: AtomicBool,
    no_conditions: AtomicBool,
}

impl S3 {
    pub(super) fn open(settings: S3Settings) -> Result<Self, Failure> {
        let profile = settings.profile;
        let seen = Seen {
            no_versions: AtomicBool::new(profile == Profile::R2),
            // B2's sources disagree on If-None-Match.
            no_conditions: AtomicBool::new(profile == Profile::B2),
        };
        Ok(S3 {
            http: Http::open(settings)?,
            profile,
            seen: Arc::new(seen),
        })
    }

    pub(super) fn clock_skew(&self) -> Option<i64> {
        self.http.clock_skew()
    }

    /// Stores an object under a key that has none.
    pub(super) async fn put_new(
        &self,
        key: &str,
        body: &Body,
        metadata: &[(&str, String)],
    ) -> Result<Put, Failure> {
        // A server of no known make may ignore If-None-Match: that is asked
        // first, as B2 is.
        if self.profile != Profile::R2
            && let Some(info) = self.head(key).await?
        {
            return Ok(Put::Exists(info));
        }
        let conditional = !self.seen.no_conditions.load(Ordering::Relaxed);
        match self.put(key, body, metadata, conditional).await {
            Ok(()) => Ok(Put::Created),
            Err(refusal) if refusal.status == Some(StatusCode::PRECONDITION_FAILED) => {
                let info = self.head(key).await?.ok_or_else(|| {
                    // Deleted since: the next attempt will create it.
                    Failure::new(Kind::Server, "the key was taken, and is not any more")
                })?;
                Ok(Put::Exists(info))
            }
            Err(refusal)
                if conditional
                    && self.profile == Profile::S3
                    && refusal.failure.kind == Kind::NotSupported =>
            {
                self.seen.no_conditions.store(true, Ordering::Relaxed);
                let plain = self.put(key, body, metadata, false).await;
                plain
                    .map(|()| Put::Created)
                    .map_err(|refusal| refusal.failure)
            }
            Err(refusal) => Err(refusal.failure),
        }
    }

    /// Stores an object, whatever the key held before.
    pub(super) async fn replace(
        &self,
        key: &str,
        body: &Body,
        metadata: &[(&str, String)],
    ) -> Result<(), Failure> {
        self.put(key, body, metadata, false)
            .await
            .map_err(|refusal| refusal.failure)
    }

    async fn put(
        &self,
        key: &str,
        body: &Body,
        metadata: &[(&str, String)],
        only_new: bool,
    ) -> Result<(), Refusal> {
        let mut headers: Vec<(String, String)> = metadata
            .iter()
            .map(|(name, value)| (format!("x-amz-meta-{name}"), value.clone()))
            .collect();
        if only_new {
            headers.push(("if-none-match".to_owned(), "*".to_owned()));
        }
        if let Some((name, _)) = metadata.iter().find(|(_, value)| !is_portable(value)) {
            let detail = format!("the metadata \"{name}\" is not plain ASCII");
            return Err(Failure::new(Kind::Unexpected, detail).into());
        }
        let request = Request {
            key: Some(key),
            headers,
            body: Some(body),
            ..Request::default()
        };
        let response = self.http.send(Method::Put, &request).await?;
        // S3 API, PutObject: every answer has one. A proxy's page has none.
        if !response.headers().contains_key(reqwest::header::ETAG) {
            let detail = "the answer to a PUT has no ETag";
            return Err(Failure::new(Kind::Unexpected, detail).into());
        }
        match etag_md5(response.headers()) {
            Some(stored) if stored != body.md5 => {
                let detail = format!("the store has MD5 {stored}, {} was sent", body.md5);
                Err(Failure::new(Kind::Damaged, detail).into())
            }
            _ => Ok(()),
        }
    }

    /// Describes an object; `None` is proved absence.
    pub(super) async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, Failure> {
        match self.head_version(key, None).await {
            Ok(info) => return Ok(Some(info)),
            Err(refusal) if refusal.status == Some(StatusCode::NOT_FOUND) => {}
            Err(refusal) => return Err(self.reason(key, refusal).await),
        }
        // A HEAD's answer has no body that would tell a missing key from a
        // missing bucket: a listing does.
        let version = match self.behind_absence(key).await? {
            Behind::Nothing => return Ok(None),
            Behind::Stored => None,
            Behind::Hidden(version) => Some(version),
        };
        let info = self.head_version(key, version).await;
        info.map(Some).map_err(|refusal| refusal.failure)
    }

    /// Why a HEAD was refused: that answer has no body either.
    async fn reason(&self, key: &str, refusal: Refusal) -> Failure {
        let silent = matches!(refusal.status, Some(status) if status.is_client_error());
        if silent
            && let Err(said) = self.list(key, None, None, 1).await
            && said.kind.is_permanent()
        {
            return said;
        }
        refusal.failure
    }

    async fn head_version(
        &self,
        key: &str,
        version: Option<String>,
    ) -> Result<ObjectInfo, Refusal> {
        let query = version.iter().map(|id| ("versionId", id.clone())).collect();
        let request = Request {
            key: Some(key),
            query,
            ..Request::default()
        };
        let response = self.http.send(Method::Head, &request).await?;
        Ok(describe(key, response.headers(), version)?)
    }

    /// Deletes an object; where the server keeps versions, all of them and
    /// every hide marker, so that the bytes are gone and not billed any more.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        check_key(key)?;
        match self.versions(key).await? {
            None => self.delete_version(key, None).await,
            // The newest last: an older one must not come to light should
            // this end in the middle.
            Some(entries) => {
                for (_, version) in entries.into_iter().rev() {
                    self.delete_version(key, Some(version.version_id)).await?;
                }
                Ok(())
            }
        }
    }

    async fn delete_version(&self, key: &str, version: Option<String>) -> Result<(), Failure> {
        let query = version.into_iter().map(|id| ("versionId", id)).collect();
        let request = Request {
            key: Some(key),
            query,
            ..Request::default()
        };
        match self.http.send(Method::Delete, &request).await {
            Err(refusal) if !refusal.is_no_such_key() => Err(refusal.failure),
            _ => Ok(()),
        }
    }
}

/// Whether a header's value comes back as it was sent: others are encoded, cut
/// or refused, by each server in its own way.
fn is_portable(value: &str) -> bool {
    let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    value.bytes().all(printable) && value.split(' ').all(|word| !word.is_empty())
}

/// An object, as the headers of a HEAD or GET describe it.
fn describe(
    key: &str,
    headers: &HeaderMap,
    version: Option<String>,
) -> Result<ObjectInfo, Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let modified = text("last-modified").and_then(|time| httpdate::parse_http_date(time).ok());
    // Of a part, Content-Range ends in the whole size (RFC 9110, 14.4).
    let whole = text("content-range")
        .and_then(|range| range.rsplit_once('/'))
        .map(|(_, all)| all);
    let size = whole
        .or_else(|| text("content-length"))
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| Failure::new(Kind::Unexpected, "the answer does not tell the size"))?;
    let metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-amz-meta-")?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    Ok(ObjectInfo {
        key: key.to_owned(),
        size,
        md5: etag_md5(headers),
        modified: modified.and_then(|time| Timestamp::try_from(time).ok()),
        metadata: metadata.collect(),
        version,
    })
}

/// The ETag as an MD5, unless the server encrypts with a key of the user's:
/// then it is something else that looks alike
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>, "ETag").
fn etag_md5(headers: &HeaderMap) -> Option<Md5> {
    let encryption = headers.get("x-amz-server-side-encryption");
    let kms = encryption.is_some_and(|kind| kind.as_bytes().starts_with(b"aws:kms"));
    if kms || headers.contains_key("x-amz-server-side-encryption-customer-algorithm") {
        return None;
    }
    parse_md5(headers.get(reqwest::header::ETAG)?.to_str().ok()?)
}

/// An ETag that is an MD5, as that of a single PUT is; a multipart upload's
/// has a part count behind it.
fn parse_md5(etag: &str) -> Option<Md5> {
    etag.trim_matches('"').parse().ok()
}
