//! Listings: of keys, and of a key's versions.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use rusty_s3::Method;
use serde::de::DeserializeOwned;

use super::{
    super::{Profile, error::StoreErrorKind as Kind, object::ObjectInfo, retry::Failure},
    S3,
    http::Request,
    parse_md5,
    refusal::despite_success,
    xml::{self, Entry, ErrorBody, ListPage, Page, Version, VersionsPage},
};

/// How long a listing's page may be, in bytes: 1000 keys of 1024 bytes, each
/// byte three as an entity, and what is said of them.
const LARGEST_PAGE: usize = 16 << 20;

/// What is behind the answer that a key has no object.
pub(super) enum Behind {
    /// Nothing: proved absent.
    Nothing,
    /// An object that was stored in the meantime.
    Stored,
    /// A hide marker, and behind it this version.
    Hidden(String),
}

impl S3 {
    /// One page of keys that begin with `prefix`: after the key `after`, or
    /// where the page before ended. With the way to the next page, if any.
    pub(in crate::store) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        continuation: Option<String>,
        most: u32,
    ) -> Result<(Vec<ObjectInfo>, Option<String>), Failure> {
        let mut query = Vec::new();
        query.extend(
            continuation
                .clone()
                .map(|token| ("continuation-token", token)),
        );
        query.push(("list-type", "2".to_owned()));
        query.push(("max-keys", most.to_string()));
        query.push(("prefix", prefix.to_owned()));
        query.extend(after.map(|key| ("start-after", key.to_owned())));
        let page: ListPage = self.page(query).await?;
        // What a server sends that ignores a part of the question.
        let asked = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let listed = page
            .contents
            .into_iter()
            .filter(|listed| asked(&listed.key));
        let listed = listed.map(|listed| ObjectInfo {
            md5: listed.etag.as_deref().and_then(parse_md5),
            modified: listed.last_modified.and_then(|time| time.parse().ok()),
            key: listed.key,
            size: listed.size,
            metadata: BTreeMap::new(),
            version: None,
        });
        let next = page.next_continuation_token.filter(|_| page.is_truncated);
        if page.is_truncated && (next.is_none() || next == continuation) {
            return Err(no_way_on());
        }
        Ok((listed.collect(), next))
    }

    /// Looks behind the answer that a key has no object.
    pub(super) async fn behind_absence(&self, key: &str) -> Result<Behind, Failure> {
        if let Some(entries) = self.versions(key).await? {
            let newest = entries.into_iter().find(|(is_object, _)| *is_object);
            return Ok(match newest {
                None => Behind::Nothing,
                Some((_, version)) if version.is_latest => Behind::Stored,
                Some((_, version)) => Behind::Hidden(version.version_id),
            });
        }
        let (listed, _) = self.list(key, None, None, 1).await?;
        if listed.iter().any(|listed| listed.key == key) {
            let detail = "the key is listed, but its object is not found";
            return Err(Failure::new(Kind::Server, detail));
        }
        Ok(Behind::Nothing)
    }

    /// The versions of exactly this key, newest first, and whether each is an
    /// object (or a hide marker); `None` where the server keeps none.
    pub(super) async fn versions(
        &self,
        key: &str,
    ) -> Result<Option<Vec<(bool, Version)>>, Failure> {
        if self.seen.no_versions.load(Ordering::Relaxed) {
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
                    self.seen.no_versions.store(true, Ordering::Relaxed);
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
            if !truncated || past {
                return Ok(Some(found));
            }
            let next = next_key.map(|key| (key, next_version));
            if next.is_none() || next == marker {
                return Err(no_way_on());
            }
            marker = next;
        }
    }

    async fn page<T: Page + DeserializeOwned>(
        &self,
        query: Vec<(&'static str, String)>,
    ) -> Result<T, Failure> {
        let request = Request {
            query,
            ..Request::default()
        };
        let response = self.http.send(Method::Get, &request).await;
        let response = response.map_err(|refusal| refusal.failure)?;
        let mut body = Vec::new();
        self.http.read(response, LARGEST_PAGE, &mut body).await?;
        let error = ErrorBody::read(&body);
        if !error.code.is_empty() {
            return Err(despite_success(&error.code));
        }
        xml::read(&body).map_err(|error| {
            let detail = format!("the listing cannot be read: {error}");
            Failure::new(Kind::Unexpected, detail)
        })
    }
}

/// A listing that may not be whole proves nothing absent.
fn no_way_on() -> Failure {
    let detail = "the listing goes on, but the server does not say where";
    Failure::new(Kind::Unexpected, detail)
}
