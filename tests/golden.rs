//! Format 1, as its first version wrote it, is read as it was meant.
#![allow(
    clippy::disallowed_methods,
    reason = "tests write where nothing has to last"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use walkeep::{
    archive::{
        inspect::{Refusal, inspect},
        moments::{Told, moments},
        place::Place,
        staging::Staging,
    },
    audit::rebuild::rebuild,
    catalog::{Catalog, Select},
    codec::{About, Encoder, EncoderKind, Sha256, decode},
    layout::Layout,
    postgres::{Commit, Lsn, Moments, RestorePoint},
    store::{Location, RetryPolicy, Store},
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

#[tokio::test]
async fn a_bucket_gives_the_catalog_that_it_gave() {
    let place = place("bucket-v1");
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    let rebuilt = rebuild(&place, &catalog).await.unwrap();
    assert_eq!((rebuilt.files, rebuilt.adopted, rebuilt.foreign), (7, 0, 0));
    assert_eq!(rebuilt.problems, Vec::<String>::new());

    let mut export = Vec::new();
    catalog.export(&mut export).unwrap();
    let lines = |text: &str| -> Vec<serde_json::Value> {
        let line = |line| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            // When the golden files were checked out.
            record["replicas"]["a"]["at"].take();
            record
        };
        text.lines().map(line).collect()
    };
    let expected = fs::read_to_string(golden("bucket-v1.jsonl")).unwrap();
    assert_eq!(lines(&String::from_utf8(export).unwrap()), lines(&expected));
}

/// Of a segment of PostgreSQL 15, as far as its header; the moments are made up.
const WITH_MOMENTS: &str = "000000010000000000000003";

fn golden_moments() -> Moments {
    let at = |text: &str| format!("2026-11-20T02:00:{text}Z").parse().unwrap();
    let commit = |text, xid| {
        let time = at(text);
        Some(Commit { time, xid })
    };
    let point = |name: &str, lsn| RestorePoint {
        name: name.to_owned(),
        lsn: Lsn(lsn),
        time: at("03.5"),
    };
    Moments {
        first_commit: commit("00.000001", 731),
        last_commit: commit("04.123456", u32::MAX),
        first_abort: Some(at("01")),
        last_abort: Some(at("02")),
        restore_points: vec![
            point("before migration", 0x30_0098),
            point("später", 0x30_0100),
        ],
        more: true,
        cut: true,
        end: Lsn(0x3F_FFE8),
    }
}

fn place(bucket: &str) -> Place {
    let location = Location::Directory(golden(bucket));
    Place {
        store: Store::open("a".parse().unwrap(), location, RetryPolicy::ONCE).unwrap(),
        layout: Layout::new(&"main".parse().unwrap()),
    }
}

#[tokio::test]
async fn an_object_tells_the_moments_that_it_told() {
    let place = place("moments-v1");
    let key = format!("main/wal/{WITH_MOMENTS}.gz");
    let told = moments(&place, &key).await.unwrap();
    assert_eq!(told, Told::Moments(golden_moments()));
    let catalog = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(catalog.path().join("catalog.redb"));
    assert_eq!(rebuild(&place, &catalog).await.unwrap().files, 1);
    let known = catalog.read(|reader| {
        let record = reader.files(&Select::All)?.next().transpose()?;
        record.map_or(Ok(None), |record| reader.moments_of(&record))
    });
    assert_eq!(known.unwrap(), Some(golden_moments()));
}

#[test]
#[ignore = "makes the golden copy of a new version; refuses to replace one"]
fn make_golden_moments() {
    let directory = golden("moments-v1/main/wal");
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    fs::create_dir(&directory).expect("make a directory for a new version");
    let segment = fs::read(golden("bucket-v1/main/wal").join(format!("{WITH_MOMENTS}.gz")));
    let mut raw = Vec::new();
    decode(&segment.unwrap(), 1 << 20, &mut raw).unwrap();
    let modified = "2026-11-20T02:00:05Z".parse().unwrap();
    let about = About::new(WITH_MOMENTS, modified).with_moments(Some(golden_moments()));
    let mut object = Vec::new();
    let encoder = Encoder::new(EncoderKind::Zlib, 9).unwrap();
    encoder.encode(&raw, about, 1, &mut object).unwrap();
    fs::write(directory.join(format!("{WITH_MOMENTS}.gz")), object).unwrap();
}

#[test]
fn a_staging_directory_holds_what_it_held() {
    let staging = Staging::open(&golden("staging-v1")).unwrap();
    assert_eq!(staging.marker().cluster, "main");
    let files = staging.files().unwrap();
    let names: Vec<String> = files.iter().map(|file| file.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "00000002.history",
            "000000020000000000000007",
            "000000020000000000000008"
        ]
    );
    let verdict = |name: &str| {
        let name = name.parse().unwrap();
        inspect(
            &staging.file(name).unwrap().unwrap(),
            name,
            &staging.owner(),
        )
    };
    assert!(verdict("00000002.history").is_ok());
    assert!(verdict("000000020000000000000007").is_ok());
    assert!(matches!(
        verdict("000000020000000000000008"),
        Err(Refusal::Header(_))
    ));

    let history = fs::read(golden("staging-v1/00000002.history")).unwrap();
    let receipt = |name: &str| staging.receipts().find(name.parse().unwrap()).unwrap();
    assert_eq!(receipt("00000002.history"), Some(Sha256::of(&history)));
    assert!(receipt("000000020000000000000006.00000028.backup").is_some());
    assert_eq!(receipt("000000020000000000000007"), None);
}
