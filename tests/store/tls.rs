//! Whose certificate is accepted.

use std::{fs, path::PathBuf};

use walkeep::store::{
    Body, Location, Profile, Put, RetryPolicy, S3Settings, Store, StoreErrorKind as Kind,
};

use crate::{
    raw::{Answer, Raw, attempts, open},
    support::host::TempDir,
};

/// A server that signed its own certificate for `name`, and that certificate
/// in PEM.
async fn self_signed(name: &str) -> (Raw, String) {
    Raw::start_self_signed(name, |request, _| Answer::stored(request)).await
}

fn settings(server: &Raw, host: &str, ca_file: Option<PathBuf>) -> S3Settings {
    S3Settings {
        endpoint: format!("https://{host}:{}", server.address().port()),
        ca_file,
        ..server.settings(Profile::R2)
    }
}

#[tokio::test]
async fn a_certificate_is_accepted_from_the_named_authority_alone() {
    let (server, pem) = self_signed("127.0.0.1").await;
    let (_other, other_pem) = self_signed("127.0.0.1").await;
    let directory = TempDir::new();
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).expect("write");
        Some(path)
    };
    let body = Body::of("body");
    for ca_file in [None, file("other.pem", &other_pem)] {
        let store = open(settings(&server, "127.0.0.1", ca_file), attempts(3));
        let error = store.put_new("a", &body, &[]).await.unwrap_err();
        assert_eq!(
            (error.kind.clone(), error.attempts),
            (Kind::Tls, 1),
            "{error}"
        );
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(error.hint().contains("ca_file"), "{error}");
    }
    // The right authority, and another name.
    let right = file("right.pem", &pem);
    let store = open(
        settings(&server, "localhost", right.clone()),
        RetryPolicy::ONCE,
    );
    let error = store.put_new("a", &body, &[]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Tls, "{error}");
    assert!(
        server.requests().is_empty(),
        "sent before the certificate was accepted"
    );

    let store = open(settings(&server, "127.0.0.1", right), RetryPolicy::ONCE);
    assert_eq!(store.put_new("a", &body, &[]).await.unwrap(), Put::Created);

    for wrong in [
        file("empty.pem", ""),
        file("text.pem", "no PEM"),
        Some("/no/such.pem".into()),
    ] {
        let location = Location::S3(settings(&server, "127.0.0.1", wrong));
        let error = Store::open("tls".parse().unwrap(), location, RetryPolicy::ONCE).unwrap_err();
        assert_eq!(error.kind, Kind::Configuration, "{error}");
        assert!(error.to_string().contains(".pem"), "{error}");
    }
}

#[tokio::test]
async fn https_to_a_server_without_tls_says_so() {
    let server = Raw::start(|request, _| Answer::stored(request)).await;
    let store = open(settings(&server, "127.0.0.1", None), RetryPolicy::ONCE);
    let error = store.head("a").await.unwrap_err();
    // What it answers to a handshake, if anything, is up to the server.
    assert!(
        matches!(error.kind, Kind::Tls | Kind::TimedOut | Kind::Unreachable),
        "{error}"
    );
}
