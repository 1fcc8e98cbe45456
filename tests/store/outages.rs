//! Servers that are down, busy, slow, or break off in the middle.

use std::time::{Duration, Instant};

use walkeep::store::{Body, Profile, Put, RetryPolicy, StoreErrorKind as Kind, Timeouts};

use crate::{
    raw::{Answer, Intake, Raw, Request, attempts, open},
    suite::noise,
    support::s3::free_address,
};

fn busy() -> Answer {
    Answer::error("503 Service Unavailable", "SlowDown", "later")
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let server = Raw::start(|request, n| match n {
        0 => busy(),
        1 => Answer::new("500 Internal Server Error"),
        2 => Answer::new("429 Too Many Requests"),
        _ => Answer::stored(request),
    })
    .await;
    let store = server.store(Profile::R2, attempts(4));
    let put = store.put_new("a", &Body::of("body"), &[]).await.unwrap();
    assert_eq!(put, Put::Created);
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.body == b"body"));
}

#[tokio::test]
async fn the_last_failure_is_told_with_its_attempts() {
    let server = Raw::start(|_, _| busy()).await;
    let store = server.store(Profile::R2, attempts(3));
    let error = store.head("a").await.unwrap_err();
    assert_eq!((error.kind.clone(), error.attempts), (Kind::Server, 3));
    let error = store.get_range("a", 0..9).await.unwrap_err();
    assert_eq!((error.kind.clone(), error.attempts), (Kind::Throttled, 3));
    let text = error.to_string();
    let expected = "store \"raw\": get \"a\": throttled (503 Service Unavailable, SlowDown: \
                    later) after 3 attempts; ";
    assert!(text.starts_with(expected), "{text}");
    assert!(!error.is_permanent());
    let once = store.with_retry(RetryPolicy::ONCE);
    assert_eq!(once.get_range("a", 0..9).await.unwrap_err().attempts, 1);
}

#[tokio::test]
async fn what_cannot_get_better_is_asked_once() {
    let server = Raw::start(|_, _| Answer::error("403 Forbidden", "AccessDenied", "no")).await;
    let store = server.store(Profile::R2, attempts(5));
    let error = store.get_range("a", 0..9).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (Kind::Forbidden, 1));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn retry_after_is_obeyed_within_bounds() {
    let server = Raw::start(|request, n| match n {
        0 => busy().header("Retry-After", 1),
        _ => Answer::stored(request),
    })
    .await;
    let patient = RetryPolicy {
        cap: Duration::from_secs(5),
        ..attempts(2)
    };
    let begun = Instant::now();
    let store = server.store(Profile::R2, patient);
    store.put_new("a", &Body::of("body"), &[]).await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );

    let server = Raw::start(|request, n| match n {
        0 => busy().header("Retry-After", 86400),
        _ => Answer::stored(request),
    })
    .await;
    let begun = Instant::now();
    let store = server.store(Profile::R2, attempts(2));
    store.put_new("a", &Body::of("body"), &[]).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn no_attempt_begins_after_the_deadline() {
    let server = Raw::start(|_, _| busy()).await;
    let policy = RetryPolicy {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(50),
        ..RetryPolicy::until(Duration::from_millis(500))
    };
    let begun = Instant::now();
    let error = server.store(Profile::R2, policy).get_range("a", 0..9).await;
    let attempts = error.unwrap_err().attempts;
    assert!(attempts > 3, "{attempts}");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_not_absent() {
    let server = Raw::start(|_, _| busy()).await;
    let mut settings = server.settings(Profile::B2);
    settings.endpoint = format!("http://{}", free_address());
    let store = open(settings, attempts(2));
    for error in [
        store.head("a").await.unwrap_err(),
        store.get_range("a", 0..9).await.unwrap_err(),
        store.download("a", |_| {}).await.unwrap_err(),
        store.list("", None).first().await.unwrap_err(),
        store.put_new("a", &Body::of("x"), &[]).await.unwrap_err(),
        store.delete("a").await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind.clone(), error.attempts),
            (Kind::Unreachable, 2),
            "{error}"
        );
        assert!(error.concerns_whole_store() && !error.is_permanent());
        assert!(error.to_string().contains("refused"), "{error}");
    }
}

fn impatient(idle_ms: u64, transfer_ms: u64) -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(5),
        idle: Duration::from_millis(idle_ms),
        transfer: Duration::from_millis(transfer_ms),
    }
}

#[tokio::test]
async fn a_stalled_server_is_given_up() {
    let object = |request: &Request, _: usize| {
        let answer = Answer::new("200 OK")
            .body(noise(100_000))
            .header("ETag", "\"e\"");
        if request.target.starts_with("/bucket/half") {
            answer.stall_after(50_000)
        } else if request.method == "PUT" && !request.target.starts_with("/bucket/read") {
            answer.intake(Intake::Never)
        } else {
            answer.stall_after(0)
        }
    };
    let server = Raw::start(object).await;
    let mut settings = server.settings(Profile::R2);
    settings.timeouts = impatient(300, 1000);
    let store = open(settings, RetryPolicy::ONCE);
    let large = Body::of(noise(16 << 20));
    let begun = Instant::now();
    let half = store.download("half", |_| {});
    for error in [
        store.head("a").await.unwrap_err(),
        store.get_range("a", 0..9).await.unwrap_err(),
        store.get_range("half", 0..90_000).await.unwrap_err(),
        half.await.unwrap_err(),
        store.list("", None).first().await.unwrap_err(),
        store.delete("a").await.unwrap_err(),
        // Nothing of it is read; and all is, but not answered.
        store.put_new("a", &large, &[]).await.unwrap_err(),
        store
            .put_new("read", &Body::of("x"), &[])
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind, Kind::TimedOut, "{error}");
        assert!(!error.is_permanent());
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_slow_upload_is_waited_for() {
    // 8 MiB at about 4 MiB/s: longer than the client waits without progress.
    let server = Raw::start(|request, _| {
        let slowly = Intake::Slowly(64 << 10, Duration::from_millis(15));
        Answer::stored(request).intake(slowly)
    })
    .await;
    let mut settings = server.settings(Profile::R2);
    settings.timeouts = impatient(1000, 60_000);
    let store = open(settings, RetryPolicy::ONCE);
    let begun = Instant::now();
    let put = store.put_new("a", &Body::of(noise(8 << 20)), &[]).await;
    assert_eq!(put.unwrap(), Put::Created);
    assert!(begun.elapsed() > Duration::from_secs(1), "it was not slow");
}

#[tokio::test]
async fn an_upload_as_slow_as_a_trickle_is_given_up() {
    let server = Raw::start(|request, _| {
        let trickle = Intake::Slowly(16 << 10, Duration::from_millis(400));
        Answer::stored(request).intake(trickle)
    })
    .await;
    let mut settings = server.settings(Profile::R2);
    settings.timeouts = impatient(60_000, 500);
    let store = open(settings, RetryPolicy::ONCE);
    let error = store
        .put_new("a", &Body::of(noise(60_000)), &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::TimedOut, "{error}");
}
