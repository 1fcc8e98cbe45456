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
    codec::{About, Encoder, EncoderKind, Format, Sha256, decode},
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
    for bucket in ["bucket-v1", "bucket-zstd-v1"] {
        assert_eq!(
            export(bucket).await,
            lines(&golden_export(bucket)),
            "{bucket}"
        );
    }
}

/// The same files, in the other format.
#[tokio::test]
async fn zstd_holds_what_gzip_held() {
    let without_objects = |bucket: &str| {
        let mut records = lines(&golden_export(bucket));
        for record in &mut records {
            record["replicas"].take();
        }
        records
    };
    assert_eq!(
        without_objects("bucket-zstd-v1"),
        without_objects("bucket-v1")
    );
    for (name, object) in objects("bucket-zstd-v1") {
        let mut raw = Vec::new();
        let facts = decode(Format::Zstd, &object, 1 << 20, &mut raw).unwrap();
        let facts = facts.expect("facts");
        assert_eq!(facts.file_name, name);
        assert_eq!(facts.raw_sha256, Sha256::of(&raw));
    }
    let key = format!("main/wal/{WITH_MOMENTS}.zst");
    let told = moments(&place("bucket-zstd-v1"), &key).await.unwrap();
    assert_eq!(told, Told::Moments(golden_moments()));
}

fn golden_export(bucket: &str) -> String {
    fs::read_to_string(golden(&format!("{bucket}.jsonl"))).unwrap()
}

/// The files of a golden bucket's WAL by their names, packed.
fn objects(bucket: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(golden(bucket).join("main/wal")).unwrap();
    let mut objects: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    objects.sort();
    objects
}

/// What a rebuild and an export make of a golden bucket.
async fn export(bucket: &str) -> Vec<serde_json::Value> {
    let place = place(bucket);
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(directory.path().join("catalog.redb"));
    let rebuilt = rebuild(&place, &catalog).await.unwrap();
    assert_eq!((rebuilt.files, rebuilt.adopted, rebuilt.foreign), (7, 0, 0));
    assert_eq!(rebuilt.problems, Vec::<String>::new());

    let mut export = Vec::new();
    catalog.export(&mut export).unwrap();
    lines(&String::from_utf8(export).unwrap())
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    let line = |line| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        // When the golden files were checked out.
        record["replicas"]["a"]["at"].take();
        record
    };
    text.lines().map(line).collect()
}

#[tokio::test]
#[ignore = "makes the golden copy of a new version; refuses to replace one"]
async fn make_golden_zstd() {
    let directory = golden("bucket-zstd-v1/main/wal");
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    fs::create_dir(&directory).expect("make a directory for a new version");
    let [from, to] = ["bucket-v1", "bucket-zstd-v1"].map(|name| golden(name).join("main"));
    fs::copy(from.join("cluster.json"), to.join("cluster.json")).unwrap();
    let encoder = Encoder::of(Format::Zstd, EncoderKind::Auto, 3).unwrap();
    for (name, object) in objects("bucket-v1") {
        let mut raw = Vec::new();
        let facts = decode(Format::Gzip, &object, 1 << 20, &mut raw).unwrap();
        let modified = facts.expect("facts").modified;
        let moments = (name == WITH_MOMENTS).then(golden_moments);
        let about = About::new(&name, modified).with_moments(moments);
        let mut object = Vec::new();
        encoder.encode(&raw, about, 1, &mut object).unwrap();
        fs::write(directory.join(format!("{name}.zst")), object).unwrap();
    }
    let lines = export("bucket-zstd-v1").await;
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(golden("bucket-zstd-v1.jsonl"), lines).unwrap();
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
    decode(Format::Gzip, &segment.unwrap(), 1 << 20, &mut raw).unwrap();
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
