//! What every store does, whatever it is made of.

use std::fs;

use bytes::Bytes;
use walkeep::{
    codec::Md5,
    store::{Body, ObjectInfo, Profile, Put, Store, StoreErrorKind as Kind},
};

use crate::kinds::Place;

/// Bytes without a pattern, the same each time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

/// All of an object, or `None`.
pub async fn whole(store: &Store, key: &str) -> Option<(ObjectInfo, Vec<u8>)> {
    let mut bytes = Vec::new();
    let info = store
        .download(key, |piece| bytes.extend_from_slice(piece))
        .await;
    info.expect("download").map(|info| (info, bytes))
}

async fn create(store: &Store, key: &str, bytes: impl Into<Bytes>) {
    let put = store.put_new(key, &Body::of(bytes), &[]).await;
    assert_eq!(put.expect("put"), Put::Created, "{key:?}");
}

async fn keys(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    let (mut listing, mut keys) = (store.list(prefix, after), Vec::new());
    loop {
        let page = listing.next_page().await.expect("list");
        assert!(page.len() <= 1000, "{} keys on a page", page.len());
        if page.is_empty() {
            return keys;
        }
        keys.extend(page.into_iter().map(|info| info.key));
    }
}

pub async fn creates_an_object_once(place: &Place) {
    let store = &place.store;
    create(store, "wal/0001.gz", "first").await;
    for again in ["first", "other"] {
        let put = store.put_new("wal/0001.gz", &Body::of(again), &[]).await;
        let Ok(Put::Exists(info)) = put else {
            panic!("{put:?}");
        };
        assert_eq!((info.key.as_str(), info.size), ("wal/0001.gz", 5));
        if place.profile.is_some() {
            assert_eq!(info.md5, Some(Md5::of(b"first")));
        }
    }
    assert_eq!(whole(store, "wal/0001.gz").await.unwrap().1, b"first");
    assert_eq!(place.object_files().len(), 1);
}

pub async fn lets_one_of_many_create(place: &Place) {
    let bodies: Vec<_> = (0..8).map(|n| format!("writer {n}")).collect();
    let puts = bodies.iter().map(|text| {
        let (store, body) = (place.store.clone(), Body::of(text.clone()));
        tokio::spawn(async move { store.put_new("wal/0001.gz", &body, &[]).await })
    });
    let puts: Vec<_> = puts.collect();
    let mut created = Vec::new();
    for (put, body) in puts.into_iter().zip(&bodies) {
        match put.await.expect("join") {
            Ok(Put::Created) => created.push(body.clone().into_bytes()),
            Ok(Put::Exists(_)) => {}
            // Versitygw: "ConditionalRequestConflict", which is tried again.
            Err(error) => assert_eq!(error.kind, Kind::Server, "{error}"),
        }
    }
    let there = whole(&place.store, "wal/0001.gz").await.unwrap().1;
    // B2 has no create-only PUT: it is asked first, and keeps what both sent.
    // s3s-fs looks first as well.
    let several = place.profile == Some(Profile::B2) || place.is_s3s();
    if several {
        assert!(created.contains(&there));
    } else {
        assert_eq!(created, [there]);
    }
}

pub async fn keeps_metadata(place: &Place) {
    let metadata = [
        ("walkeep-sha256", "ab".repeat(32)),
        ("walkeep-mtime", "2026-11-20T02:00:00.123456789Z".to_owned()),
        ("walkeep-note", "two words; a=b, \"c\" (d) 100%".to_owned()),
    ];
    let body = Body::of("body");
    let put = place.store.put_new("a/b.gz", &body, &metadata).await;
    assert_eq!(put.unwrap(), Put::Created);
    let head = place.store.head("a/b.gz").await.unwrap().unwrap();
    let (download, _) = whole(&place.store, "a/b.gz").await.unwrap();
    for info in [head, download] {
        assert_eq!((info.key.as_str(), info.size), ("a/b.gz", 4));
        let age = jiff::Timestamp::now().as_second() - info.modified.unwrap().as_second();
        assert!((-5..60).contains(&age), "{info:?}");
        if place.profile.is_some() {
            assert_eq!(info.md5, Some(body.md5));
            for (name, value) in &metadata {
                assert_eq!(info.metadata.get(*name), Some(value));
            }
        }
    }
    if place.profile.is_some() {
        for value in ["grün", "line\nbreak", "two  spaces", " edge", "edge "] {
            let odd = [("walkeep-note", value.to_owned())];
            let error = place
                .store
                .put_new("a/c.gz", &body, &odd)
                .await
                .unwrap_err();
            assert_eq!(error.kind, Kind::Unexpected, "{value:?}");
        }
        assert_eq!(place.store.head("a/c.gz").await.unwrap(), None);
    }
}

pub async fn reads_parts(place: &Place) {
    let bytes = noise(300_000);
    create(&place.store, "a/b.gz", bytes.clone()).await;
    let part = async |from: u64, to: u64| {
        let part = place.store.get_range("a/b.gz", from..to).await;
        part.expect("get").expect("there").to_vec()
    };
    assert_eq!(part(0, 10).await, bytes[..10]);
    assert_eq!(part(5, 6).await, bytes[5..6]);
    assert_eq!(part(100_000, 250_000).await, bytes[100_000..250_000]);
    assert_eq!(part(0, 300_000).await, bytes);
    assert_eq!(part(0, u64::MAX).await, bytes);
    assert_eq!(part(299_990, 400_000).await, bytes[299_990..]);
    assert_eq!(part(7, 7).await, b"");
    for behind in [300_000, 300_001, 1 << 40] {
        assert_eq!(part(behind, behind + 10).await, b"");
    }
}

pub async fn downloads_all_of_it(place: &Place) {
    let bytes = noise((5 << 20) + 17);
    create(&place.store, "a/b.gz", bytes.clone()).await;
    let (info, read) = whole(&place.store, "a/b.gz").await.unwrap();
    assert!(read == bytes, "other bytes came");
    assert_eq!(info.size, bytes.len() as u64);
}

pub async fn keeps_empty_objects(place: &Place) {
    create(&place.store, "a/empty", "").await;
    assert_eq!(place.store.head("a/empty").await.unwrap().unwrap().size, 0);
    assert_eq!(whole(&place.store, "a/empty").await.unwrap().1, b"");
    let part = place.store.get_range("a/empty", 0..10).await.unwrap();
    assert_eq!(part, Some(Bytes::new()));
    assert_eq!(keys(&place.store, "a/", None).await, ["a/empty"]);
}

pub async fn keeps_odd_keys(place: &Place) {
    let mut odd = vec![
        "odd/a b",
        "odd/ lead",
        "odd/trail ",
        "odd/two  spaces",
        "odd/plus+sign",
        "odd/per%20cent",
        "odd/a&b<c>\"d'",
        "odd/semi;colon,comma",
        "odd/a=b?c#d",
        "odd/back\\slash",
        "odd/(paren)*!~",
        "odd/@:$[x]{y}|^`",
        "odd/grün/日本",
        "odd/crab🦀",
        "odd/..dots",
    ];
    for key in &odd {
        create(&place.store, key, *key).await;
    }
    odd.sort_unstable();
    assert_eq!(keys(&place.store, "odd/", None).await, odd);
    for key in &odd {
        assert_eq!(place.store.head(key).await.unwrap().unwrap().key, *key);
        assert_eq!(whole(&place.store, key).await.unwrap().1, key.as_bytes());
        assert_eq!(keys(&place.store, key, None).await, [*key]);
        place.store.delete(key).await.unwrap();
    }
    assert!(keys(&place.store, "", None).await.is_empty());
    assert!(place.object_files().is_empty());
}

pub async fn lists_more_than_a_page(place: &Place) {
    let store = &place.store;
    let all: Vec<_> = (0..1050).map(|n| format!("wal/{n:08X}.gz")).collect();
    create(store, "aaa/first.gz", "before").await;
    create(store, "wal2/other.gz", "behind").await;
    fs::create_dir_all(place.object_path("wal")).unwrap();
    for key in &all {
        // As another program would have put them there: ten times as fast.
        fs::write(place.object_path(key), "x").unwrap();
    }
    assert_eq!(keys(store, "wal/", None).await, all);
    assert_eq!(keys(store, "wal/0000041", None).await, all[0x410..]);
    let everything = keys(store, "", None).await;
    assert_eq!(everything.len(), all.len() + 2);
    assert_eq!(everything[0], "aaa/first.gz");
    assert_eq!(everything[1051], "wal2/other.gz");

    assert_eq!(keys(store, "wal/", Some(&all[20])).await, all[21..]);
    assert_eq!(
        keys(store, "wal/", Some("wal/00000020.gz.none")).await,
        all[33..]
    );
    assert_eq!(keys(store, "wal/", Some("wal3")).await, [""; 0]);
    let first = store
        .list("wal/", Some(&all[7]))
        .first()
        .await
        .unwrap()
        .unwrap();
    assert_eq!((first.key.as_str(), first.size), (all[8].as_str(), 1));
    assert_eq!(store.list("none/", None).first().await.unwrap(), None);
}

pub async fn proves_absence(place: &Place) {
    let store = &place.store;
    create(store, "wal/0001.gz.longer", "another key").await;
    for key in [
        "wal/0001.gz",
        "wal",
        "none",
        "none/at/all",
        "wal/0001.gz.longer/below",
    ] {
        // s3s-fs answers 500 where its own directory is.
        if place.is_s3s() && key == "wal" {
            continue;
        }
        assert_eq!(store.head(key).await.unwrap(), None, "{key}");
        assert_eq!(store.get_range(key, 0..10).await.unwrap(), None, "{key}");
        assert!(whole(store, key).await.is_none(), "{key}");
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(store, "", None).await, ["wal/0001.gz.longer"]);
}

pub async fn deletes_every_version(place: &Place) {
    let store = &place.store;
    create(store, "wal/0001.gz", "one").await;
    create(store, "wal/0001.gz.longer", "another key").await;
    for text in ["two", "three"] {
        store
            .replace("wal/0001.gz", &Body::of(text), &[])
            .await
            .unwrap();
    }
    let versions = if place.has_versions() { 3 } else { 1 };
    assert_eq!(place.object_files().len(), versions + 1);
    store.delete("wal/0001.gz").await.unwrap();
    let left: Vec<_> = place.object_files().into_iter().map(fs::read).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].as_ref().unwrap(), b"another key");
    assert_eq!(store.head("wal/0001.gz").await.unwrap(), None);
    store.delete("wal/0001.gz").await.unwrap();
    create(store, "wal/0001.gz", "new").await;
}

pub async fn finds_what_a_marker_hides(place: &Place) {
    let Some(server) = place.server.as_ref().filter(|_| place.has_versions()) else {
        return;
    };
    let store = &place.store;
    let body = Body::of("the older version");
    server.put_plainly(crate::kinds::BUCKET, "wal/0001.gz", "the oldest");
    store
        .replace("wal/0001.gz", &body, &[("walkeep-x", "1".to_owned())])
        .await
        .unwrap();
    server.delete_plainly(crate::kinds::BUCKET, "wal/0001.gz");
    assert_eq!(keys(store, "", None).await, [""; 0]);

    let head = store.head("wal/0001.gz").await.unwrap().unwrap();
    assert_eq!((head.size, head.md5), (body.length, Some(body.md5)));
    assert_eq!(head.metadata["walkeep-x"], "1");
    let part = store.get_range("wal/0001.gz", 4..9).await.unwrap();
    assert_eq!(part.unwrap(), "older");
    let part = store.get_range("wal/0001.gz", 100..109).await.unwrap();
    assert_eq!(part.unwrap(), "");
    assert_eq!(
        whole(store, "wal/0001.gz").await.unwrap().1,
        b"the older version"
    );
    let put = store
        .put_new("wal/0001.gz", &Body::of("new"), &[])
        .await
        .unwrap();
    assert!(matches!(put, Put::Exists(info) if info.size == body.length));

    store.delete("wal/0001.gz").await.unwrap();
    assert!(place.object_files().is_empty());
    assert_eq!(store.head("wal/0001.gz").await.unwrap(), None);
    create(store, "wal/0001.gz", "new").await;
}

pub async fn replaces(place: &Place) {
    let store = &place.store;
    for text in ["one", "another", ""] {
        store.replace("probe", &Body::of(text), &[]).await.unwrap();
        assert_eq!(whole(store, "probe").await.unwrap().1, text.as_bytes());
        assert_eq!(
            store.head("probe").await.unwrap().unwrap().size,
            text.len() as u64
        );
    }
}

pub async fn sends_files(place: &Place) {
    let bytes = noise(3_000_000);
    let spool = crate::support::host::TempDir::new();
    let path = spool.join("body");
    fs::write(&path, &bytes).unwrap();
    let body = |length| Body::file(path.clone(), length, Md5::of(&bytes));
    let put = place.store.put_new("a/b.gz", &body(3_000_000), &[]).await;
    assert_eq!(put.unwrap(), Put::Created);
    assert!(whole(&place.store, "a/b.gz").await.unwrap().1 == bytes);

    // A file that changed since its digest was taken is never stored.
    fs::write(&path, &bytes[..2_000_000]).unwrap();
    let error = place.store.put_new("a/c.gz", &body(3_000_000), &[]).await;
    let error = error.unwrap_err();
    assert!(matches!(error.kind, Kind::Io | Kind::Damaged), "{error}");
    fs::remove_file(&path).unwrap();
    let error = place.store.put_new("a/c.gz", &body(3_000_000), &[]).await;
    assert_eq!(error.unwrap_err().kind, Kind::Io);
    assert_eq!(place.store.head("a/c.gz").await.unwrap(), None);
}

pub async fn refuses_what_was_damaged_on_the_way(place: &Place) {
    let damaged = Body::bytes(Bytes::from_static(b"other"), Md5::of(b"right"));
    let error = place
        .store
        .put_new("a/b.gz", &damaged, &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Damaged, "{error}");
    // s3s-fs does not compare Content-MD5: walkeep compares what it answers.
    if !place.is_s3s() {
        assert_eq!(place.store.head("a/b.gz").await.unwrap(), None);
    }
}

pub async fn refuses_keys_that_lead_elsewhere(place: &Place) {
    let long = "k".repeat(1025);
    for key in [
        "", "/a", "a//b", "a/", "a/../b", "../b", "./a", "a/.", "..", &long,
    ] {
        let put = place.store.put_new(key, &Body::of("x"), &[]).await;
        assert_eq!(put.unwrap_err().kind, Kind::Unexpected, "{key:?}");
        assert!(place.store.head(key).await.is_err(), "{key:?}");
        assert!(place.store.get_range(key, 0..1).await.is_err(), "{key:?}");
        assert!(place.store.delete(key).await.is_err(), "{key:?}");
    }
    for prefix in ["../", "/", "a/../../"] {
        assert_eq!(keys(&place.store, prefix, None).await, [""; 0], "{prefix}");
    }
    assert!(place.object_files().is_empty());
}

pub async fn takes_no_missing_bucket_for_absence(place: &Place) {
    let store = place.elsewhere();
    let errors = [
        store.head("a").await.unwrap_err(),
        store.get_range("a", 0..10).await.unwrap_err(),
        store.download("a", |_| {}).await.unwrap_err(),
        store.list("", None).next_page().await.unwrap_err(),
        store.list("a/", None).first().await.unwrap_err(),
        store.put_new("a", &Body::of("x"), &[]).await.unwrap_err(),
    ];
    // s3s-fs makes a bucket for a PUT, and looks for none before a DELETE.
    let replaced = store.replace("a", &Body::of("x"), &[]).await.err();
    let deleted = store.delete("a").await.err();
    assert_eq!(
        (replaced.is_none(), deleted.is_none()),
        (place.is_s3s(), place.is_s3s())
    );
    for error in errors.into_iter().chain(replaced).chain(deleted) {
        let missing = matches!(error.kind, Kind::NoSuchBucket | Kind::NoSuchDirectory);
        assert!(missing, "{error}");
        assert!(error.is_permanent() && error.concerns_whole_store());
    }
}
