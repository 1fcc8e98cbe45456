//! Stores: one suite over every kind of them, and servers that misbehave.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::s3::{S3Server, Versitygw};
use walkeep::store::{Body, Profile, Put, RetryPolicy, Store, StoreErrorKind};

fn servers() -> Vec<(S3Server, Profile)> {
    let mut servers = vec![(S3Server::start_s3s(), Profile::S3)];
    let versitygw = |options| S3Server::start_versitygw(options);
    servers.extend(versitygw(Versitygw::default()).map(|server| (server, Profile::S3)));
    let versioning = Versitygw {
        versioning: true,
        ..Versitygw::default()
    };
    servers.extend(versitygw(versioning).map(|server| (server, Profile::B2)));
    servers
}

#[tokio::test]
async fn the_servers_of_these_tests_can_be_stopped_and_paused() {
    for (server, profile) in servers() {
        server.create_bucket("bucket");
        let location = server.location(profile, "bucket");
        let name = "test".parse().unwrap();
        let store = Store::open(name, location, RetryPolicy::ONCE).unwrap();
        let body = Body::of("body");
        assert_eq!(
            store.put_new("a/key", &body, &[]).await.unwrap(),
            Put::Created
        );
        assert_eq!(
            std::fs::read(server.object_path("bucket", "a/key")).unwrap(),
            b"body"
        );

        server.stop();
        let error = store.head("a/key").await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
        server.restart();
        assert_eq!(store.head("a/key").await.unwrap().unwrap().size, 4);

        server.pause();
        let answer = tokio::time::timeout(Duration::from_millis(300), store.head("a/key"));
        assert!(answer.await.is_err(), "a paused server answered");
        server.resume();
        assert_eq!(store.head("a/key").await.unwrap().unwrap().size, 4);
    }
}
