//! Transfers that break off, and servers that answer with other bytes than
//! were asked for.

use std::time::Duration;

use walkeep::{
    codec::Md5,
    store::{Body, Profile, Put, RetryPolicy, StoreErrorKind as Kind, Timeouts},
};

use crate::{
    raw::{Answer, Intake, Raw, Request, attempts, open},
    suite::noise,
};

/// An object that answers to ranges, cut at `cut` in the first answer.
fn cut_object(bytes: Vec<u8>, cut: usize) -> impl Fn(&Request, usize) -> Answer {
    let etag = format!("\"{}\"", Md5::of(&bytes));
    move |request, n| {
        let size = bytes.len();
        let range = request.header("range").strip_prefix("bytes=");
        let from = range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
        let answer = match from {
            None => Answer::new("200 OK").body(bytes.clone()),
            Some(from) => Answer::new("206 Partial Content")
                .header("Content-Range", format!("bytes {from}-{}/{size}", size - 1))
                .body(&bytes[from..]),
        };
        let answer = answer.header("ETag", &etag);
        if n < 3 { answer.cut_after(cut) } else { answer }
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    let bytes = noise(1_000_000);
    let server = Raw::start(cut_object(bytes.clone(), 200_000)).await;
    let store = server.store(Profile::R2, attempts(5));
    let mut read = Vec::new();
    let info = store
        .download("a", |piece| read.extend_from_slice(piece))
        .await;
    assert_eq!(info.unwrap().unwrap().size, 1_000_000);
    assert!(
        read == bytes,
        "{} bytes, not {} once each",
        read.len(),
        bytes.len()
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[0].header("range"), "");
    for request in &requests[1..] {
        assert_eq!(
            request.header("if-match"),
            format!("\"{}\"", Md5::of(&bytes))
        );
        assert_ne!(request.header("range"), "bytes=0-");
    }
    let server = Raw::start(cut_object(bytes, 200_000)).await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    let error = store.download("a", |_| {}).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_delivers_each_byte_once() {
    let bytes = noise(500_000);
    let body = bytes.clone();
    let server = Raw::start(move |_, n| {
        let answer = Answer::new("200 OK")
            .body(body.clone())
            .header("ETag", "\"e\"");
        if n == 0 {
            answer.cut_after(200_000)
        } else {
            answer
        }
    })
    .await;
    let store = server.store(Profile::R2, attempts(3));
    let mut read = Vec::new();
    store
        .download("a", |piece| read.extend_from_slice(piece))
        .await
        .unwrap();
    assert!(
        read == bytes,
        "{} bytes, not {} once each",
        read.len(),
        bytes.len()
    );
    assert_eq!(server.requests().len(), 2);
    let part = store
        .get_range("a", 300_000..300_010)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(part, bytes[300_000..300_010]);
    let part = store
        .get_range("a", 499_990..600_000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(part, bytes[499_990..]);
    let part = store
        .get_range("a", 600_000..600_010)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(part, b""[..]);
}

#[tokio::test]
async fn another_object_is_not_put_behind_the_first_ones_half() {
    let answers: [fn() -> Answer; 4] = [
        || Answer::error("412 Precondition Failed", "PreconditionFailed", "changed"),
        // If-Match ignored, and another object whole; of the same size; less.
        || {
            Answer::new("200 OK")
                .body(vec![b'2'; 1000])
                .header("ETag", "\"two\"")
        },
        || {
            Answer::new("200 OK")
                .body(vec![b'2'; 800])
                .header("ETag", "\"one\"")
        },
        || Answer::error("416 Range Not Satisfiable", "InvalidRange", "short"),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let server = Raw::start(move |_, n| match n {
            0 => Answer::new("200 OK")
                .body(vec![b'1'; 1000])
                .header("ETag", "\"one\"")
                .cut_after(600),
            _ => answer(),
        })
        .await;
        let store = server.store(Profile::R2, attempts(2));
        let mut read = Vec::new();
        let error = store
            .download("a", |piece| read.extend_from_slice(piece))
            .await;
        let error = error.unwrap_err();
        assert_eq!(error.kind, Kind::Damaged, "{n}: {error}");
        assert!(read.iter().all(|&byte| byte == b'1'), "{n}");
    }
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_refused() {
    let server = Raw::start(|_, _| {
        Answer::new("206 Partial Content")
            .header("Content-Range", "bytes 0-9/1000")
            .body("0123456789")
    })
    .await;
    let store = server.store(Profile::R2, RetryPolicy::ONCE);
    let error = store.get_range("a", 10..20).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unexpected, "{error}");
    // Shorter than it says.
    let error = store.get_range("a", 0..100).await.unwrap_err();
    assert_eq!(error.kind, Kind::Damaged, "{error}");
}

#[tokio::test]
async fn a_put_that_breaks_off_is_sent_again_from_its_first_byte() {
    let bytes = noise(4 << 20);
    let spool = crate::support::host::TempDir::new();
    let path = spool.join("body");
    std::fs::write(&path, &bytes).unwrap();
    let file = Body::file(path, bytes.len() as u64, Md5::of(&bytes));
    for body in [Body::of(bytes.clone()), file] {
        let server = Raw::start(|request, n| match n {
            0 | 1 => Answer::stored(request).intake(Intake::Cut(1 << 20)),
            2 => Answer::error("503 Service Unavailable", "SlowDown", "later"),
            _ => Answer::stored(request),
        })
        .await;
        let store = server.store(Profile::R2, attempts(4));
        assert_eq!(store.put_new("a", &body, &[]).await.unwrap(), Put::Created);
        let requests = server.requests();
        assert_eq!(requests.len(), 4);
        for request in &requests {
            assert_eq!(request.header("content-length"), bytes.len().to_string());
            assert_eq!(request.header("transfer-encoding"), "");
        }
        assert!(requests[3].body == bytes, "other bytes were sent");
    }
}

#[tokio::test]
async fn a_first_attempt_that_was_stored_is_found_by_the_second() {
    // The answer is lost, the object is not.
    let server = Raw::start(|request, n| match &*request.method {
        "PUT" if n == 0 => Answer::stored(request).stall_after(0),
        "PUT" => Answer::error("412 Precondition Failed", "PreconditionFailed", "there"),
        _ => Answer::new("200 OK")
            .header("ETag", format!("\"{}\"", Md5::of(b"body")))
            .header("Content-Length", 4),
    })
    .await;
    let mut settings = server.settings(Profile::R2);
    settings.timeouts = Timeouts {
        idle: Duration::from_millis(300),
        transfer: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let store = open(settings, attempts(2));
    let body = Body::of("body");
    let put = store.put_new("a", &body, &[]).await.unwrap();
    assert!(matches!(put, Put::Exists(info) if info.md5 == Some(body.md5)));
}
