//! What a server's answers are taken for.

use std::time::{Duration, SystemTime};

use walkeep::{
    codec::Md5,
    store::{Body, Profile, Put, RetryPolicy, StoreErrorKind as Kind},
};

use crate::raw::{ACCESS_KEY, Answer, Intake, Raw, Request, SECRET_KEY, attempts};

/// A bucket with nothing in it, which takes what it is sent.
fn empty(request: &Request) -> Answer {
    match &*request.method {
        "PUT" => Answer::stored(request),
        "HEAD" => Answer::new("404 Not Found"),
        _ if request.is_list() => Answer::listing(""),
        _ if request.is_versions() => Answer::no_versions(),
        _ => Answer::no_such_key(),
    }
}

#[tokio::test]
async fn a_put_is_one_plain_request() {
    let server = Raw::start(|request, _| empty(request)).await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    let metadata = [("walkeep-x", "1".to_owned())];
    let put = store
        .put_new("wal/a b.gz", &Body::of("body"), &metadata)
        .await;
    assert_eq!(put.unwrap(), Put::Created);
    let [put] = &server.requests()[..] else {
        panic!("{:?}", server.methods());
    };
    assert!(
        put.target
            .starts_with("/bucket/wal/a%20b.gz?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    );
    assert_eq!(put.body, b"body");
    let names: Vec<_> = put.headers.keys().map(String::as_str).collect();
    // No more than R2 and B2 take: no checksum, no ACL, no chunks, no Expect.
    assert_eq!(
        names,
        [
            "accept",
            "content-length",
            "content-md5",
            "host",
            "if-none-match",
            "user-agent",
            "x-amz-meta-walkeep-x"
        ]
    );
    assert_eq!(put.header("content-length"), "4");
    assert_eq!(put.header("content-md5"), Md5::of(b"body").base64());
    assert_eq!(put.header("if-none-match"), "*");
    assert!(
        put.target
            .contains("content-md5%3Bhost%3Bif-none-match%3Bx-amz-meta-walkeep-x")
    );
}

#[tokio::test]
async fn b2_is_asked_first_and_sent_no_condition() {
    let server = Raw::start(|request, _| empty(request)).await;
    let store = server.store(Profile::B2, RetryPolicy::ONCE);
    let put = store.put_new("a", &Body::of("body"), &[]).await.unwrap();
    assert_eq!(put, Put::Created);
    assert_eq!(server.methods(), ["HEAD", "VERSIONS", "PUT"]);
    assert_eq!(server.requests()[2].header("if-none-match"), "");
}

#[tokio::test]
async fn a_server_without_conditions_and_versions_is_asked_for_them_once() {
    let server = Raw::start(|request, _| {
        if request.is_versions() || !request.header("if-none-match").is_empty() {
            return Answer::error("501 Not Implemented", "NotImplemented", "not here");
        }
        empty(request)
    })
    .await;
    let store = server.store(Profile::S3, RetryPolicy::ONCE);
    for key in ["a", "b"] {
        let put = store.put_new(key, &Body::of("body"), &[]).await.unwrap();
        assert_eq!(put, Put::Created);
    }
    let first = ["HEAD", "VERSIONS", "LIST", "PUT", "PUT"];
    let methods = server.methods();
    assert_eq!(methods[..5], first);
    assert_eq!(methods[5..], ["HEAD", "LIST", "PUT"]);
}

#[tokio::test]
async fn a_put_without_an_etag_or_with_another_is_not_believed() {
    for (profile, header, value, kind) in [
        (
            Profile::R2,
            "X-Other",
            "1".to_owned(),
            Some(Kind::Unexpected),
        ),
        (
            Profile::R2,
            "ETag",
            format!("\"{}\"", Md5::of(b"other")),
            Some(Kind::Damaged),
        ),
        (
            Profile::R2,
            "ETag",
            format!("\"{}\"", Md5::of(b"body")),
            None,
        ),
        // Not an MD5: a multipart upload's.
        (
            Profile::S3,
            "ETag",
            format!("\"{}-2\"", Md5::of(b"other")),
            None,
        ),
    ] {
        let server = Raw::start(move |request, _| match &*request.method {
            "PUT" => Answer::new("200 OK").header(header, &value),
            _ => empty(request),
        })
        .await;
        let store = server.store(profile, RetryPolicy::ONCE);
        let put = store.put_new("a", &Body::of("body"), &[]).await;
        assert_eq!(put.err().map(|error| error.kind), kind);
    }
    // Encrypted with a key of the user's, the ETag looks like an MD5.
    let server = Raw::start(|request, _| match &*request.method {
        "PUT" => Answer::new("200 OK")
            .header("ETag", format!("\"{}\"", Md5::of(b"sealed")))
            .header("x-amz-server-side-encryption", "aws:kms"),
        _ => empty(request),
    })
    .await;
    let store = server.store(Profile::S3, RetryPolicy::ONCE);
    store.put_new("a", &Body::of("body"), &[]).await.unwrap();
}

#[tokio::test]
async fn a_page_that_is_no_listing_proves_nothing_absent() {
    let answers: [fn() -> Answer; 5] = [
        || Answer::new("200 OK").body("<html><body>Please log in</body></html>"),
        || Answer::new("200 OK"),
        || Answer::new("200 OK").body("<ListBucketResult><Contents><Key>b</Key>"),
        // S3 may find out after it said 200.
        || Answer::error("200 OK", "InternalError", "try again"),
        || Answer::new("204 No Content"),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let server = Raw::start(move |request, _| match &*request.method {
            "HEAD" => Answer::new("404 Not Found"),
            "GET" if request.target.starts_with("/bucket/a") => Answer::no_such_key(),
            _ => answer(),
        })
        .await;
        let kind = if n == 3 {
            Kind::Server
        } else {
            Kind::Unexpected
        };
        for profile in [Profile::R2, Profile::B2, Profile::S3] {
            let store = server.store(profile, RetryPolicy::ONCE);
            let error = store.head("a").await.unwrap_err();
            assert_eq!(error.kind, kind, "{n}: {error}");
            let error = store.list("a", None).first().await.unwrap_err();
            assert_eq!(error.kind, kind, "{n}: {error}");
        }
        // R2 has no versions: there, NoSuchKey is proof enough.
        let store = server.store(Profile::B2, RetryPolicy::ONCE);
        assert_eq!(
            store.get_range("a", 0..9).await.unwrap_err().kind,
            kind,
            "{n}"
        );
        assert_eq!(
            store.download("a", |_| {}).await.unwrap_err().kind,
            kind,
            "{n}"
        );
        assert_eq!(store.delete("a").await.unwrap_err().kind, kind, "{n}");
    }
}

#[tokio::test]
async fn a_404_that_does_not_say_what_is_missing_is_no_absence() {
    let server = Raw::start(|request, _| match request.is_list() {
        true => Answer::error("404 Not Found", "NoSuchBucket", "no bucket"),
        false => Answer::new("404 Not Found").body("<html>nothing here</html>"),
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.kind, Kind::NoSuchBucket, "{error}");
    let error = store.get_range("a", 0..9).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unexpected, "{error}");
}

#[tokio::test]
async fn a_truncated_listing_is_followed_to_its_end() {
    let entry = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
    let server = Raw::start(move |request, _| {
        let page = |truncated: bool, token: &str, key: &str| {
            Answer::new("200 OK").body(format!(
                "<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{token}{}\
                 </ListBucketResult>",
                if key.is_empty() {
                    String::new()
                } else {
                    entry(key)
                }
            ))
        };
        let token = |text: &str| format!("<NextContinuationToken>{text}</NextContinuationToken>");
        let broken = request.target.contains("prefix=broken");
        match request.target.split_once("continuation-token=") {
            None if broken => page(true, "", "broken/a"),
            None => page(true, &token("one+/="), "a"),
            // An empty page in the middle.
            Some((_, rest)) if rest.starts_with("one%2B%2F%3D&") => page(true, &token("two"), ""),
            Some(_) => page(false, "", "b"),
        }
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    let mut listing = store.list("", None);
    assert_eq!(listing.next_page().await.unwrap()[0].key, "a");
    assert_eq!(listing.next_page().await.unwrap()[0].key, "b");
    assert!(listing.next_page().await.unwrap().is_empty());
    assert!(listing.next_page().await.unwrap().is_empty());
    assert_eq!(server.requests().len(), 3);
    let error = store.list("broken", None).next_page().await.unwrap_err();
    assert_eq!(error.kind, Kind::Unexpected, "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Raw::start(|request, _| empty(request)).await;
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 X",
    ] {
        let location = format!("http://{}/bucket/a", elsewhere.address());
        let server =
            Raw::start(move |_, _| Answer::new(status).header("Location", &location)).await;
        let store = server.store(Profile::S3, attempts(3));
        for error in [
            store
                .put_new("a", &Body::of("body"), &[])
                .await
                .unwrap_err(),
            store.get_range("a", 0..9).await.unwrap_err(),
            store.head("a").await.unwrap_err(),
            store.list("", None).first().await.unwrap_err(),
            store.delete("a").await.unwrap_err(),
        ] {
            assert_eq!((error.kind, error.attempts), (Kind::Redirected, 1));
        }
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    for (ahead, code) in [
        (-3600, "AccessDenied"),
        (7200, "AccessDenied"),
        (1200, "RequestTimeTooSkewed"),
    ] {
        let server = Raw::start(move |_, _| {
            let theirs = SystemTime::now() + Duration::from_secs(86400)
                - Duration::from_secs_f64(f64::from(86400 + ahead));
            Answer::error("403 Forbidden", code, "no")
                .header("Date", httpdate::fmt_http_date(theirs))
        })
        .await;
        let store = server.store(Profile::R2, attempts(3));
        let put = store.put_new("a", &Body::of("body"), &[]).await;
        for error in [put.unwrap_err(), store.head("a").await.unwrap_err()] {
            let Kind::ClockSkew { seconds } = error.kind else {
                panic!("{error}");
            };
            assert!((seconds - i64::from(ahead)).abs() < 10, "{seconds} {ahead}");
            let way = if ahead < 0 {
                "s behind the store's"
            } else {
                "s ahead of the store's"
            };
            let text = error.to_string();
            assert!(
                text.contains(way) && text.contains("the store's clock says"),
                "{text}"
            );
        }
        let skew = store.clock_skew().unwrap();
        assert!((skew - i64::from(ahead)).abs() < 10, "{skew} {ahead}");
    }
    // A small difference is none of the reasons for a 403.
    let server = Raw::start(|_, _| {
        let theirs = SystemTime::now() - Duration::from_secs(120);
        Answer::error("403 Forbidden", "AccessDenied", "no")
            .header("Date", httpdate::fmt_http_date(theirs))
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    assert_eq!(store.head("a").await.unwrap_err().kind, Kind::Forbidden);
    assert!((115..130).contains(&store.clock_skew().unwrap()));
}

#[tokio::test]
async fn a_heads_refusal_is_asked_for_its_reason() {
    let server = Raw::start(|request, _| match &*request.method {
        "HEAD" => Answer::new("403 Forbidden"),
        _ => Answer::error("403 Forbidden", "SignatureDoesNotMatch", "no"),
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    assert_eq!(
        store.head("a").await.unwrap_err().kind,
        Kind::BadCredentials
    );
    let server = Raw::start(|request, _| match &*request.method {
        "HEAD" => Answer::new("403 Forbidden"),
        _ => Answer::listing(""),
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    assert_eq!(store.head("a").await.unwrap_err().kind, Kind::Forbidden);
}

#[tokio::test]
async fn nothing_a_server_repeats_gets_into_an_error() {
    let server = Raw::start(|request, n| {
        let echo = request.target.replace('&', "&amp;");
        match n % 3 {
            0 => Answer::error("403 Forbidden", "AccessDenied", &format!("no {echo}")),
            1 => Answer::error(
                "403 Forbidden",
                "AccessDenied",
                &format!("key {ACCESS_KEY} no"),
            ),
            _ => Answer::error("403 Forbidden", ACCESS_KEY, &format!("not {SECRET_KEY}")),
        }
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    let mut texts = vec![format!("{store:?} {:?}", server.settings(Profile::R2))];
    for _ in 0..3 {
        let error = store.get_range("a", 0..9).await.unwrap_err();
        assert_eq!(error.kind, Kind::Forbidden);
        texts.push(format!("{error} {error:?}"));
    }
    assert_eq!(server.requests().len(), 3);
    for text in texts {
        for secret in [ACCESS_KEY, SECRET_KEY, "X-Amz-Signature", "Signature="] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn an_early_no_to_a_put_is_heard() {
    let server = Raw::start(|_, _| {
        Answer::error("403 Forbidden", "AccessDenied", "no").intake(Intake::None)
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    let error = store
        .put_new("a", &Body::of("small"), &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Forbidden, "{error}");
}
