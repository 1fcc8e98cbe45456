//! The XML that S3 answers with: errors and listings.

use quick_xml::{Reader, de::from_str, events::Event};
use serde::{Deserialize, de::DeserializeOwned};

/// An error's code and message (S3 API, "Error responses").
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ErrorBody {
    pub(super) code: String,
    pub(super) message: String,
}

impl ErrorBody {
    /// Reads an error's body; one that is no XML (a proxy's page, nothing at
    /// all after a HEAD) has an empty code.
    pub(super) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let error: ErrorBody = match root(&text) {
            Ok(root) if root == "Error" => from_str(&text).unwrap_or_default(),
            _ => ErrorBody::default(),
        };
        let plain = |code: &str| code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if error.code.len() > 64 || !plain(&error.code) {
            return ErrorBody::default();
        }
        error
    }
}

/// One page of ListObjectsV2.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPage {
    #[serde(default)]
    pub(super) contents: Vec<Listed>,
    pub(super) next_continuation_token: Option<String>,
    #[serde(default)]
    pub(super) is_truncated: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size: u64,
    #[serde(rename = "ETag")]
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// One page of ListObjectVersions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VersionsPage {
    /// Versions and delete markers in one list keep the server's order, the
    /// newest of a key first.
    #[serde(rename = "$value", default)]
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
pub(super) enum Entry {
    Version(Version),
    DeleteMarker(Version),
    IsTruncated(String),
    NextKeyMarker(String),
    NextVersionIdMarker(String),
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) key: String,
    pub(super) version_id: String,
    #[serde(default)]
    pub(super) is_latest: bool,
}

/// A page of a listing.
pub(super) trait Page {
    /// Its root element.
    const ROOT: &str;
}

impl Page for ListPage {
    const ROOT: &str = "ListBucketResult";
}

impl Page for VersionsPage {
    const ROOT: &str = "ListVersionsResult";
}

/// Reads a page; the error says why it is none. The reader below does not
/// look at the root's name: any document at all, such as a proxy's page or an
/// error with status 200, would be a listing without keys.
pub(super) fn read<T: Page + DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let found = root(text)?;
    if found != T::ROOT {
        return Err(format!("it is no {}", T::ROOT));
    }
    from_str(text).map_err(|error| error.to_string())
}

/// The local name of a document's root element.
fn root(text: &str) -> Result<String, String> {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(element) | Event::Empty(element) => {
                return Ok(element.local_name().as_ref().to_owned());
            }
            Event::Eof => return Err("it is empty".to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_errors_and_what_is_none() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
            <Error><Code>NoSuchKey</Code><Message>gone</Message><Key>a</Key></Error>"#;
        assert_eq!(ErrorBody::read(body).code, "NoSuchKey");
        assert_eq!(ErrorBody::read(b"<html>busy</html>").code, "");
        assert_eq!(ErrorBody::read(b"").code, "");
    }

    #[test]
    fn reads_listings() {
        let page: ListPage = read(
            br#"<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
            <IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>
            <Contents><Key>a&amp;b</Key><LastModified>2026-11-20T14:30:00.000Z</LastModified>
            <ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag><Size>3</Size></Contents>
            <Contents><Key>c</Key><Size>0</Size></Contents></ListBucketResult>"#,
        )
        .unwrap();
        assert!(page.is_truncated);
        assert_eq!(
            (page.contents[0].key.as_str(), page.contents[0].size),
            ("a&b", 3)
        );
        let page: ListPage = read(b"<ListBucketResult/>").unwrap();
        assert!(page.contents.is_empty());
    }

    #[test]
    fn reads_versions_in_their_order() {
        let page: VersionsPage = read(
            br#"<ListVersionsResult><Name>b</Name><IsTruncated>false</IsTruncated>
            <DeleteMarker><Key>a</Key><VersionId>3</VersionId><IsLatest>true</IsLatest></DeleteMarker>
            <Version><Key>a</Key><VersionId>2</VersionId><Size>5</Size></Version>
            <DeleteMarker><Key>a</Key><VersionId>1</VersionId></DeleteMarker></ListVersionsResult>"#,
        )
        .unwrap();
        let ids: Vec<_> = page
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Version(version) => Some(format!("v{}", version.version_id)),
                Entry::DeleteMarker(version) => Some(format!("d{}", version.version_id)),
                _ => None,
            })
            .collect();
        assert_eq!(ids, ["d3", "v2", "d1"]);
    }

    #[test]
    fn what_is_no_listing_is_not_an_empty_one() {
        let wrong: [&[u8]; 7] = [
            b"",
            b"<html><body>Please log in</body></html>",
            b"<Error><Code>InternalError</Code></Error>",
            b"<ListVersionsResult/>",
            b"<ListBucketResult>",
            b"<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents>",
            b"<ListBucketResult><Contents><Key>\xff</Key><Size>1</Size></Contents></ListBucketResult>",
        ];
        for body in wrong {
            let text = String::from_utf8_lossy(body);
            assert!(read::<ListPage>(body).is_err(), "{text} was accepted");
        }
        assert!(read::<VersionsPage>(b"<ListBucketResult/>").is_err());
        assert_eq!(
            ErrorBody::read(b"<html><Code>NoSuchKey</Code></html>").code,
            ""
        );
    }

    #[test]
    fn keys_keep_their_spaces() {
        let page: ListPage = read(
            b"<ListBucketResult><Contents><Key> a  b </Key><Size>0</Size></Contents>\
              <Contents><Key>&lt;&#38;&gt; </Key><Size>0</Size></Contents></ListBucketResult>",
        )
        .unwrap();
        let keys: Vec<_> = page.contents.iter().map(|listed| &*listed.key).collect();
        assert_eq!(keys, [" a  b ", "<&> "]);
    }
}
