//! Objects, read: a part of one into memory, or all of it piece by piece.

use bytes::{Bytes, BytesMut};
use reqwest::{Response, StatusCode, header};
use rusty_s3::Method;

use super::{
    super::{Profile, error::StoreErrorKind as Kind, object::ObjectInfo, retry::Failure},
    S3, describe,
    http::Request,
    list::Behind,
};

/// Where a download stands: it goes on from there after a failure.
#[derive(Debug, Default)]
pub(in crate::store) struct Progress {
    pub(in crate::store) received: u64,
    info: Option<ObjectInfo>,
    etag: Option<String>,
}

/// What a GET was answered with.
enum Answer {
    /// An object or a part of it, and the version that had to be named for it.
    Object(Response, Option<String>),
    /// The range begins behind the object's end (416).
    PastEnd,
    /// Proved absent.
    Absent,
}

impl S3 {
    /// Reads `length` bytes at most, from byte `from`; `None` is proved
    /// absence.
    pub(in crate::store) async fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
    ) -> Result<Option<Bytes>, Failure> {
        // Some servers keep a range in signed numbers.
        let last = from.saturating_add(length.max(1) - 1).min(i64::MAX as u64);
        let headers = vec![("range".to_owned(), format!("bytes={from}-{last}"))];
        let (mut response, version) = match self.get(key, headers).await? {
            Answer::Object(response, version) => (response, version),
            Answer::PastEnd => return Ok(Some(Bytes::new())),
            Answer::Absent => return Ok(None),
        };
        let size = describe(key, response.headers(), version)?.size;
        let wanted = size.saturating_sub(from).min(length);
        // A server that ignores the range sends everything (RFC 9110, 14.2).
        let mut skip = if is_part(&response, from)? { 0 } else { from };
        let longest = self
            .http
            .timeouts()
            .of_transfer(skip.saturating_add(wanted));
        let mut part = BytesMut::new();
        let reading = async {
            while (part.len() as u64) < wanted {
                let Some(piece) = self.http.piece(&mut response).await? else {
                    let detail = format!("{} of {wanted} bytes arrived", part.len());
                    return Err(Failure::new(Kind::Damaged, detail));
                };
                let new = &piece[skip.min(piece.len() as u64) as usize..];
                skip -= (piece.len() - new.len()) as u64;
                let room = (wanted - part.len() as u64).min(new.len() as u64);
                part.extend_from_slice(&new[..room as usize]);
            }
            Ok(())
        };
        match tokio::time::timeout(longest, reading).await {
            Err(_) => Err(Failure::new(Kind::TimedOut, "the download is too slow")),
            Ok(read) => read.map(|()| Some(part.freeze())),
        }
    }

    /// Reads the whole object into `sink`, from where `progress` stands;
    /// `None` is proved absence. The sink's own failure ends it.
    pub(in crate::store) async fn download(
        &self,
        key: &str,
        progress: &mut Progress,
        sink: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Result<Option<ObjectInfo>, Failure> {
        let mut headers = Vec::new();
        if progress.received > 0 {
            let strong = progress.etag.clone().filter(|etag| !etag.starts_with("W/"));
            headers.extend(strong.map(|etag| ("if-match".to_owned(), etag)));
            headers.push(("range".to_owned(), format!("bytes={}-", progress.received)));
        }
        let (mut response, version) = match self.get(key, headers).await? {
            Answer::Object(response, version) => (response, version),
            Answer::PastEnd => return Err(changed()),
            Answer::Absent => return Ok(None),
        };
        // A server that ignores the range sends everything again.
        let part = is_part(&response, progress.received)?;
        let mut skip = if part { 0 } else { progress.received };
        let etag = response.headers().get(header::ETAG);
        let etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let now = describe(key, response.headers(), version)?;
        let size = now.size;
        match &progress.info {
            Some(begun) if begun.size != now.size || progress.etag != etag => {
                return Err(changed());
            }
            Some(_) => {}
            None => (progress.info, progress.etag) = (Some(now), etag),
        }
        let transfer = async {
            while let Some(piece) = self.http.piece(&mut response).await? {
                let known = skip.min(piece.len() as u64);
                skip -= known;
                let new = &piece[known as usize..];
                sink(new)?;
                progress.received += new.len() as u64;
            }
            Ok::<(), Failure>(())
        };
        match tokio::time::timeout(self.http.timeouts().of_transfer(size), transfer).await {
            Err(_) => return Err(Failure::new(Kind::TimedOut, "the download is too slow")),
            Ok(ended) => ended?,
        }
        if progress.received != size {
            let detail = format!("{} of {size} bytes arrived", progress.received);
            return Err(Failure::new(Kind::Damaged, detail));
        }
        Ok(progress.info.take())
    }

    async fn get(&self, key: &str, headers: Vec<(String, String)>) -> Result<Answer, Failure> {
        let mut request = Request {
            key: Some(key),
            headers,
            ..Request::default()
        };
        let (mut version, mut looked_behind) = (None, false);
        loop {
            let refusal = match self.http.send(Method::Get, &request).await {
                Ok(response) => return Ok(Answer::Object(response, version)),
                Err(refusal) => refusal,
            };
            match refusal.status {
                Some(StatusCode::RANGE_NOT_SATISFIABLE) => return Ok(Answer::PastEnd),
                Some(StatusCode::PRECONDITION_FAILED) => return Err(changed()),
                _ if !looked_behind && refusal.is_no_such_key() => {}
                _ => return Err(refusal.failure),
            }
            if self.profile == Profile::R2 {
                return Ok(Answer::Absent);
            }
            // A hide marker answers as absence does; so do, with some servers,
            // missing buckets.
            match self.behind_absence(key).await? {
                Behind::Nothing => return Ok(Answer::Absent),
                Behind::Stored => {}
                Behind::Hidden(hidden) => {
                    request.query = vec![("versionId", hidden.clone())];
                    version = Some(hidden);
                }
            }
            looked_behind = true;
        }
    }
}

/// Whether the answer is a part that begins at byte `from`, rather than the
/// whole object.
fn is_part(response: &Response, from: u64) -> Result<bool, Failure> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(false);
    }
    let range = response.headers().get(header::CONTENT_RANGE);
    let begin = range
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes "))
        .and_then(|range| range.split_once('-')?.0.trim().parse::<u64>().ok());
    if begin == Some(from) {
        return Ok(true);
    }
    let detail = format!("byte {from} was asked for, and another part came");
    Err(Failure::new(Kind::Unexpected, detail))
}

/// The rest of another object does not go with what has been read of this one.
fn changed() -> Failure {
    Failure::new(Kind::Damaged, "the object changed while it was read")
}
