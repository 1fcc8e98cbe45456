//! Keys: wrong ones, narrow ones, and where they come from.

use std::{fs, path::Path};

use walkeep::store::{
    Body, Credentials, Location, Profile, Put, RetryPolicy, S3Settings, Secret, Store, StoreError,
    StoreErrorKind as Kind,
};

use crate::{
    kinds::BUCKET,
    raw::{Answer, Raw, open},
    support::{
        host::TempDir,
        s3::{S3Server, Versitygw, credentials},
    },
};

fn servers() -> impl Iterator<Item = S3Server> {
    let versions = Versitygw {
        versioning: true,
        ..Versitygw::default()
    };
    [
        Some(S3Server::start_s3s()),
        S3Server::start_versitygw(Versitygw::default()),
        S3Server::start_versitygw(versions),
    ]
    .into_iter()
    .flatten()
}

/// What every operation fails with.
async fn failures(store: &Store) -> Vec<StoreError> {
    vec![
        store.head("a").await.unwrap_err(),
        store.get_range("a", 0..9).await.unwrap_err(),
        store.download("a", |_| {}).await.unwrap_err(),
        store.list("", None).first().await.unwrap_err(),
        store.put_new("a", &Body::of("x"), &[]).await.unwrap_err(),
        store.replace("a", &Body::of("x"), &[]).await.unwrap_err(),
        store.delete("a").await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_shown() {
    for server in servers() {
        server.create_bucket(BUCKET);
        let (id, secret) = (server.access_key(), server.secret_key());
        for (id, secret) in [(id, "NotTheSecretAtAll"), ("AKIAUNKNOWN", secret)] {
            for profile in [Profile::R2, Profile::B2, Profile::S3] {
                let mut settings = server.settings(profile, BUCKET);
                settings.credentials = credentials(id, secret);
                for error in failures(&open(settings, RetryPolicy::ONCE)).await {
                    let text = format!("{error} {error:?}");
                    assert_eq!(error.kind, Kind::BadCredentials, "{text}");
                    for secret in [id, secret, "X-Amz-Signature"] {
                        assert!(!text.contains(secret), "{text}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_may_only_write_never_proves_absence() {
    let options = Versitygw {
        users: true,
        ..Versitygw::default()
    };
    let Some(server) = S3Server::start_versitygw(options) else {
        return;
    };
    server.create_bucket(BUCKET);
    server.create_user("writer", "SecretOfTheWriter");
    server.set_policy(
        BUCKET,
        r#"{"Statement": [{"Effect": "Allow", "Principal": {"AWS": ["writer"]},
            "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::bucket/*"]}]}"#,
    );
    let store = |profile| {
        let mut settings = server.settings(profile, BUCKET);
        settings.credentials = credentials("writer", "SecretOfTheWriter");
        open(settings, RetryPolicy::ONCE)
    };
    let r2 = store(Profile::R2);
    let put = r2.put_new("a", &Body::of("body"), &[]).await.unwrap();
    assert_eq!(put, Put::Created);
    assert_eq!(fs::read(server.object_path(BUCKET, "a")).unwrap(), b"body");
    for profile in [Profile::R2, Profile::B2, Profile::S3] {
        let store = store(profile);
        for key in ["a", "absent"] {
            for error in [
                store.head(key).await.unwrap_err(),
                store.get_range(key, 0..9).await.unwrap_err(),
                store.download(key, |_| {}).await.unwrap_err(),
                store.list(key, None).first().await.unwrap_err(),
                store.delete(key).await.unwrap_err(),
            ] {
                assert_eq!(error.kind, Kind::Forbidden, "{error}");
                assert!(error.is_permanent() && error.concerns_whole_store());
            }
        }
        let hint = store.head("a").await.unwrap_err().hint();
        assert_eq!(
            hint,
            "give the key of store \"raw\" the right to list, read and write this bucket"
        );
    }
}

fn from_files(server: &Raw, directory: &Path) -> S3Settings {
    S3Settings {
        credentials: Credentials {
            access_key_id: Secret::File(directory.join("id")),
            secret_access_key: Secret::File(directory.join("secret")),
        },
        ..server.settings(Profile::R2)
    }
}

#[tokio::test]
async fn keys_in_files_are_read_at_each_use() {
    let server = S3Server::start_s3s();
    server.create_bucket(BUCKET);
    let (id, secret) = server.credential_files();
    let mut settings = server.settings(Profile::S3, BUCKET);
    settings.credentials = Credentials {
        access_key_id: Secret::File(id),
        secret_access_key: Secret::File(secret.clone()),
    };
    let store = open(settings, RetryPolicy::ONCE);
    store.put_new("a", &Body::of("body"), &[]).await.unwrap();

    fs::write(&secret, "RotatedElsewhere").unwrap();
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.kind, Kind::BadCredentials, "{error}");
    fs::write(&secret, format!("{}\r\n", server.secret_key())).unwrap();
    assert_eq!(store.head("a").await.unwrap().unwrap().size, 4);
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_named_and_nothing_is_sent() {
    let server = Raw::start(|_, _| Answer::new("500 X")).await;
    let directory = TempDir::new();
    let store = open(from_files(&server, &directory), RetryPolicy::ONCE);
    fs::write(directory.join("id"), "AKIA\n").unwrap();
    for (empty, problem) in [(false, "No such file"), (true, "it is empty")] {
        if empty {
            fs::write(directory.join("secret"), " \n").unwrap();
        }
        for error in failures(&store).await {
            assert_eq!(
                (error.kind.clone(), error.attempts),
                (Kind::NoCredentials, 1)
            );
            let text = error.to_string();
            let file = directory.join("secret").display().to_string();
            assert!(text.contains(problem) && text.contains(&file), "{text}");
        }
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_used_is_refused() {
    let server = Raw::start(|_, _| Answer::listing("")).await;
    let refused = |endpoint: &str, allow_http, bucket: &str| {
        let settings = S3Settings {
            endpoint: endpoint.to_owned(),
            allow_http,
            bucket: bucket.to_owned(),
            ..server.settings(Profile::S3)
        };
        let name = "raw".parse().unwrap();
        let store = Store::open(name, Location::S3(settings), RetryPolicy::ONCE);
        store.err().map(|error| {
            assert_eq!(error.kind, Kind::Configuration);
            error.to_string()
        })
    };
    let http = refused("http://s3.example.com", false, BUCKET).unwrap();
    assert!(
        http.contains("http is for loopback only, unless allow_http = true"),
        "{http}"
    );
    for (endpoint, allow_http) in [
        ("http://192.168.1.1:9000", false),
        ("http://127.0.0.1.example.com", false),
        ("http://localhost.example.com", false),
        ("ftp://127.0.0.1", false),
        ("ftp://127.0.0.1", true),
        ("file:///etc", true),
        ("s3.example.com", true),
        ("", true),
    ] {
        assert!(
            refused(endpoint, allow_http, BUCKET).is_some(),
            "{endpoint}"
        );
    }
    for endpoint in [
        "http://127.0.0.1:9000",
        "http://127.9.9.9",
        "http://[::1]:9000",
        "http://localhost:9000",
        "https://s3.example.com",
    ] {
        assert_eq!(refused(endpoint, false, BUCKET), None, "{endpoint}");
    }
    assert_eq!(refused("http://s3.example.com", true, BUCKET), None);
    let secret = refused("https://user:hunter2@s3.example.com", false, BUCKET).unwrap();
    assert!(!secret.contains("hunter2"), "{secret}");
    for bucket in ["", "a/b", "..", "a b", "a?b"] {
        assert!(
            refused("https://s3.example.com", false, bucket).is_some(),
            "{bucket:?}"
        );
    }
    let relative = Store::open(
        "d".parse().unwrap(),
        Location::Directory("store".into()),
        RetryPolicy::ONCE,
    );
    assert_eq!(relative.unwrap_err().kind, Kind::Configuration);
}
