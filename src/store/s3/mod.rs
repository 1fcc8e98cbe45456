//! S3, as R2, B2 and others speak it. Where they differ is in [`Profile`]; the
//! vendors' pages behind each line are named in `docs/FORMAT.md`.

mod http;
mod xml;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use rusty_s3::Method;

use super::{
    Profile, S3Settings,
    error::StoreErrorKind as Kind,
    object::{Body, ObjectInfo, Put},
    retry::Failure,
};
use crate::codec::Md5;
use http::{Http, Refusal, Request, transfer_time, transport};
use xml::{Entry, ListPage, Version, VersionsPage};

/// The bucket of one store.
#[derive(Debug, Clone)]
pub(super) struct S3 {
    http: Http,
    profile: Profile,
    /// Whether the server has been seen not to keep versions.
    no_versions: Arc<AtomicBool>,
}

/// Where a download stands: it goes on from there after a failure.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) received: u64,
    info: Option<ObjectInfo>,
    etag: Option<String>,
}

impl S3 {
    pub(super) fn open(settings: S3Settings) -> Result<Self, Failure> {
        let profile = settings.profile;
        let no_versions = Arc::new(AtomicBool::new(profile == Profile::R2));
        Ok(S3 {
            http: Http::open(settings)?,
            profile,
            no_versions,
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
        // B2's sources disagree on If-None-Match, and a server of no known
        // make may ignore it: those are asked first.
        if self.profile != Profile::R2
            && let Some(info) = self.head(key).await?
        {
            return Ok(Put::Exists(info));
        }
        let conditional = self.profile != Profile::B2;
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
                if self.profile == Profile::S3 && refusal.failure.kind == Kind::NotSupported =>
            {
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
        let request = Request {
            key: Some(key),
            headers,
            body: Some(body),
            ..Request::default()
        };
        let response = self.http.send(Method::Put, &request).await?;
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
            Ok(info) => Ok(Some(info)),
            Err(refusal) if refusal.status == Some(StatusCode::NOT_FOUND) => {
                // A HEAD's answer has no body that would tell a missing key
                // from a missing bucket.
                if self
                    .list(key, None, None, 1)
                    .await?
                    .0
                    .iter()
                    .any(|listed| listed.key == key)
                {
                    let detail = "the key is listed, but its object is not found";
                    return Err(Failure::new(Kind::Server, detail));
                }
                match self.hidden(key).await? {
                    Some(version) => {
                        let info = self.head_version(key, Some(version)).await;
                        info.map(Some).map_err(|refusal| refusal.failure)
                    }
                    None => Ok(None),
                }
            }
            Err(refusal) => Err(refusal.failure),
        }
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
        Ok(describe(key, response.headers(), version))
    }

    /// Reads `length` bytes at most, from byte `from`; `None` is proved
    /// absence.
    pub(super) async fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
    ) -> Result<Option<Bytes>, Failure> {
        let range = format!("bytes={from}-{}", from + length.max(1) - 1);
        let headers = vec![("range".to_owned(), range)];
        let Some((response, _)) = self.get(key, &headers).await? else {
            return Ok(None);
        };
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let whole = response.bytes().await.map_err(|error| transport(&error))?;
        // A server may ignore the range (RFC 9110, 14.2).
        let start = if partial {
            0
        } else {
            whole.len().min(from as usize)
        };
        let end = whole.len().min(start + length as usize);
        Ok(Some(whole.slice(start..end)))
    }

    /// Reads the whole object into `sink`, from where `progress` stands;
    /// `None` is proved absence. The sink's own failure ends it.
    pub(super) async fn download(
        &self,
        key: &str,
        progress: &mut Progress,
        sink: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Result<Option<ObjectInfo>, Failure> {
        let mut headers = Vec::new();
        if progress.received > 0 {
            headers.push(("range".to_owned(), format!("bytes={}-", progress.received)));
            headers.extend(
                progress
                    .etag
                    .clone()
                    .map(|etag| ("if-match".to_owned(), etag)),
            );
        }
        let Some((mut response, version)) = self.get(key, &headers).await? else {
            return Ok(None);
        };
        let resumed = response.status() == StatusCode::PARTIAL_CONTENT;
        // A server that ignores the range sends everything again.
        let mut skip = if resumed { 0 } else { progress.received };
        if progress.info.is_none() {
            progress.info = Some(describe(key, response.headers(), version));
            let etag = response.headers().get(reqwest::header::ETAG);
            progress.etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        }
        let size = progress.info.as_ref().map_or(0, |info| info.size);
        let transfer = async {
            while let Some(piece) = response.chunk().await.map_err(|error| transport(&error))? {
                let known = skip.min(piece.len() as u64);
                skip -= known;
                let new = &piece[known as usize..];
                sink(new)?;
                progress.received += new.len() as u64;
            }
            Ok::<(), Failure>(())
        };
        match tokio::time::timeout(transfer_time(size), transfer).await {
            Err(_) => return Err(Failure::new(Kind::TimedOut, "the download is too slow")),
            Ok(ended) => ended?,
        }
        if progress.received != size {
            let detail = format!("{} of {size} bytes arrived", progress.received);
            return Err(Failure::new(Kind::Damaged, detail));
        }
        Ok(progress.info.take())
    }

    /// The answer to a GET, and the version that had to be named for it.
    async fn get(
        &self,
        key: &str,
        headers: &[(String, String)],
    ) -> Result<Option<(reqwest::Response, Option<String>)>, Failure> {
        let mut request = Request {
            key: Some(key),
            headers: headers.to_vec(),
            ..Request::default()
        };
        match self.http.send(Method::Get, &request).await {
            Ok(response) => return Ok(Some((response, None))),
            Err(refusal) if refusal.is_no_such_key() => {}
            Err(refusal) => return Err(refusal.failure),
        }
        let Some(version) = self.hidden(key).await? else {
            return Ok(None);
        };
        request.query = vec![("versionId", version.clone())];
        let response = self.http.send(Method::Get, &request).await;
        response
            .map(|response| Some((response, Some(version))))
            .map_err(|refusal| refusal.failure)
    }

    /// One page of keys that begin with `prefix`: after the key `after`, or
    /// where the page before ended. With the way to the next page, if any.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        continuation: Option<String>,
        most: u32,
    ) -> Result<(Vec<ObjectInfo>, Option<String>), Failure> {
        let mut query = Vec::new();
        query.extend(continuation.map(|token| ("continuation-token", token)));
        query.push(("list-type", "2".to_owned()));
        query.push(("max-keys", most.to_string()));
        query.push(("prefix", prefix.to_owned()));
        query.extend(after.map(|key| ("start-after", key.to_owned())));
        let page: ListPage = self.page(query).await?;
        let listed = page.contents.into_iter().map(|listed| ObjectInfo {
            md5: listed.etag.as_deref().and_then(parse_md5),
            modified: listed.last_modified.and_then(|time| time.parse().ok()),
            key: listed.key,
            size: listed.size,
            metadata: BTreeMap::new(),
            version: None,
        });
        let next = page.next_continuation_token.filter(|_| page.is_truncated);
        Ok((listed.collect(), next))
    }

    /// Deletes an object; where the server keeps versions, all of them and
    /// every hide marker, so that the bytes are gone and not billed any more.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.versions(key).await? {
            None => self.delete_version(key, None).await,
            Some(entries) => {
                for (_, version) in entries {
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

    /// The newest version of a key whose newest entry is a hide marker.
    async fn hidden(&self, key: &str) -> Result<Option<String>, Failure> {
        let entries = self.versions(key).await?.unwrap_or_default();
        let newest = entries.into_iter().find(|(is_object, _)| *is_object);
        Ok(newest.map(|(_, version)| version.version_id))
    }

    /// The versions of exactly this key, newest first, and whether each is an
    /// object (or a hide marker); `None` where the server keeps none.
    async fn versions(&self, key: &str) -> Result<Option<Vec<(bool, Version)>>, Failure> {
        if self.no_versions.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut found = Vec::new();
        let mut marker: Option<(String, String)> = None;
        loop {
            let mut query = Vec::new();
            if let Some((key, _)) = &marker {
                query.push(("key-marker", key.clone()));
            }
            query.push(("prefix", key.to_owned()));
            if let Some((_, version)) = &marker {
                query.push(("version-id-marker", version.clone()));
            }
            query.push(("versions", String::new()));
            let page: VersionsPage = match self.page(query).await {
                Err(failure)
                    if failure.kind == Kind::NotSupported && self.profile == Profile::S3 =>
                {
                    self.no_versions.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                page => page?,
            };
            let (mut truncated, mut next_key, mut next_version) = (false, None, String::new());
            // Longer keys that begin with this one follow it.
            let mut past = false;
            for entry in page.entries {
                match entry {
                    Entry::Version(version) if version.key == key => found.push((true, version)),
                    Entry::DeleteMarker(version) if version.key == key => {
                        found.push((false, version));
                    }
                    Entry::Version(_) | Entry::DeleteMarker(_) => past = true,
                    Entry::IsTruncated(text) => truncated = text == "true",
                    Entry::NextKeyMarker(key) => next_key = Some(key),
                    Entry::NextVersionIdMarker(version) => next_version = version,
                    Entry::Other => {}
                }
            }
            marker = next_key
                .map(|key| (key, next_version))
                .filter(|_| truncated && !past);
            if marker.is_none() {
                return Ok(Some(found));
            }
        }
    }

    async fn page<T: serde::de::DeserializeOwned>(
        &self,
        query: Vec<(&'static str, String)>,
    ) -> Result<T, Failure> {
        let request = Request {
            query,
            ..Request::default()
        };
        let response = self.http.send(Method::Get, &request).await;
        let response = response.map_err(|refusal| refusal.failure)?;
        let body = response.text().await.map_err(|error| transport(&error))?;
        xml::read(&body).map_err(|error| {
            let detail = format!("the listing cannot be read: {error}");
            Failure::new(Kind::Unexpected, detail)
        })
    }
}

impl Refusal {
    /// A missing bucket is a 404 as well, and proves nothing of the key.
    fn is_no_such_key(&self) -> bool {
        let code = matches!(&*self.code, "NoSuchKey" | "NoSuchVersion");
        self.status == Some(StatusCode::NOT_FOUND) && code
    }
}

fn describe(key: &str, headers: &HeaderMap, version: Option<String>) -> ObjectInfo {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let modified = text("last-modified").and_then(|time| httpdate::parse_http_date(time).ok());
    // Of a part, Content-Range ends in the whole size (RFC 9110, 14.4).
    let whole = text("content-range")
        .and_then(|range| range.rsplit_once('/'))
        .map(|(_, all)| all);
    let size = whole
        .or_else(|| text("content-length"))
        .and_then(|size| size.parse().ok());
    let metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-amz-meta-")?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    ObjectInfo {
        key: key.to_owned(),
        size: size.unwrap_or(0),
        md5: etag_md5(headers),
        modified: modified.and_then(|time| Timestamp::try_from(time).ok()),
        metadata: metadata.collect(),
        version,
    }
}

fn etag_md5(headers: &HeaderMap) -> Option<Md5> {
    parse_md5(headers.get(reqwest::header::ETAG)?.to_str().ok()?)
}

/// An ETag that is an MD5, as that of a single PUT is; a multipart upload's
/// has a part count behind it.
fn parse_md5(etag: &str) -> Option<Md5> {
    etag.trim_matches('"').parse().ok()
}
