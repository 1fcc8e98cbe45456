//! Moments on their way: into the objects, beside them, into the catalog, and
//! back out of a store without one.

use std::{collections::BTreeMap, fs};

use jiff::Timestamp;
use serde_json::Value;
use walkeep::{
    archive::{
        moments::{COMMITS, MOMENTS, RESTORE_POINTS, Told, moments},
        object::metadata,
        place::Place,
    },
    audit::rebuild::rebuild,
    catalog::{Catalog, Select},
    codec::{About, Encoder, EncoderKind, Md5},
    layout::{Format, Generation, Layout},
    postgres::{Lsn, Moments, TimelineId, page::SegmentHeader, record},
    store::{Body, Location, Profile, RetryPolicy, Store},
};

use super::{LOAD, cluster, run, segments};
use crate::support::{
    archive::{Archive, MIB, gzip},
    host::TempDir,
    postgres::default_server,
    s3::S3Server,
};

const FIRST: Generation = Generation::FIRST;

fn place(location: Location) -> Place {
    Place {
        store: Store::open("it".parse().unwrap(), location, RetryPolicy::ONCE).unwrap(),
        layout: Layout::new(&"main".parse().unwrap()),
    }
}

/// What a catalog knows, by name.
fn known(catalog: &Catalog) -> BTreeMap<String, Option<Moments>> {
    let read = catalog.read(|reader| {
        reader
            .moments(FIRST, TimelineId(1), Lsn(0)..Lsn(u64::MAX))?
            .map(|row| row.map(|(record, moments)| (record.name.to_string(), moments)))
            .collect()
    });
    read.unwrap()
}

/// Three segments of a real server: transactions, restore points that fit into
/// metadata, restore points that do not.
fn archived(archive: &TempDir) -> BTreeMap<String, Vec<u8>> {
    // The client brings a runtime of its own, which a test's has no room for.
    std::thread::scope(|scope| scope.spawn(|| write_and_archive(archive)).join().unwrap())
}

fn write_and_archive(archive: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let cluster = cluster(&default_server(), archive).build();
    let mut client = cluster.client().unwrap();
    run(&mut client, LOAD);
    cluster.switch_wal();
    let points = |count: u32, name: &str| {
        for number in 0..count {
            let point = format!("SELECT pg_create_restore_point('{name}{number}')");
            cluster.sql(&point);
        }
        cluster.switch_wal()
    };
    points(2, "before migration ");
    let last = points(45, &"ü".repeat(30));
    cluster.wait_archived(&last);
    let files = segments(archive).into_iter();
    files
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_travel_with_the_objects() {
    let directory = TempDir::new();
    let files = archived(&directory);
    let expected: BTreeMap<String, Moments> = files
        .iter()
        .map(|(name, bytes)| (name.clone(), record::decode(bytes, None).unwrap().0))
        .collect();
    assert!(expected.values().any(|it| it.first_commit.is_some()));
    assert!(expected.values().any(|it| it.more));

    let system = SegmentHeader::parse(&files.values().next().unwrap()[..40]);
    let archive = Archive::bound_to(system.unwrap().system_id.0, MIB);
    let server = S3Server::start_s3s();
    server.create_bucket("wal");
    server.put_plainly("wal", "main/cluster.json", &archive.cluster_json());
    let tables = archive.directory_store("a") + &server.toml_store_table("b", "s3", "wal");
    archive.configure("", &tables);
    for (name, bytes) in &files {
        archive.push_well(&archive.incoming(name, bytes));
    }
    archive.ship_well();

    let catalog = Catalog::at(archive.catalog());
    let all: BTreeMap<_, _> = expected
        .iter()
        .map(|(name, moments)| (name.clone(), Some(moments.clone())))
        .collect();
    assert_eq!(known(&catalog), all);

    // From one store alone, without a catalog, and into a new one.
    for location in [
        Location::Directory(archive.store("a")),
        server.location(Profile::S3, "wal"),
    ] {
        let place = place(location);
        for (name, moments_of_it) in &expected {
            let key = place.key(FIRST, name.parse().unwrap(), Format::Gzip);
            let told = moments(&place, &key).await.unwrap();
            assert_eq!(told, Told::Moments(moments_of_it.clone()), "{name}");
        }
        let key = place.key(
            FIRST,
            "00000001000000FF00000001".parse().unwrap(),
            Format::Gzip,
        );
        assert_eq!(moments(&place, &key).await.unwrap(), Told::Absent);
        let rebuilt = Catalog::at(directory.join("rebuilt.redb"));
        let _ = fs::remove_file(rebuilt.path());
        let outcome = rebuild(&place, &rebuilt).await.unwrap();
        assert_eq!((outcome.files, outcome.adopted), (files.len() as u64, 0));
        assert_eq!(known(&rebuilt), all);
    }

    // What stands beside an object is for people as well.
    let place = place(server.location(Profile::S3, "wal"));
    let mut partly = 0;
    for (name, moments) in &expected {
        let key = place.key(FIRST, name.parse().unwrap(), Format::Gzip);
        let beside = place.store.head(&key).await.unwrap().unwrap().metadata;
        let size: usize = beside
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(size < 1900, "{size}: {beside:?}");
        partly += usize::from(beside[MOMENTS] == "1 partly");
        let commits = moments.first_commit.zip(moments.last_commit);
        let commits = commits.map(|(first, last)| {
            format!("{},{} {},{}", first.time, first.xid, last.time, last.xid)
        });
        assert_eq!(beside.get(COMMITS), commits.as_ref());
        if moments.restore_points.len() == 2 {
            assert!(beside[RESTORE_POINTS].ends_with(",before%20migration%201"));
        }
    }
    assert_eq!(partly, 1);

    let listed = archive.run(&["--json", "wal", "list", "--files"]);
    for line in listed.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let moments = &expected[line["name"].as_str().unwrap()];
        let time = |commit: Option<walkeep::postgres::Commit>| {
            commit.map_or(Value::Null, |it| it.time.to_string().into())
        };
        assert_eq!(line["first_commit"], time(moments.first_commit));
        assert_eq!(line["last_commit"], time(moments.last_commit));
    }

    // A file that is gone takes its moments along.
    let (name, _) = files.first_key_value().unwrap();
    catalog
        .write(|writer| writer.remove(FIRST, name.parse().unwrap()))
        .unwrap();
    assert!(!known(&catalog).contains_key(name));
    let record = catalog.read(|reader| reader.files(&Select::All)?.next().transpose());
    assert!(record.unwrap().is_some());
}

#[tokio::test]
async fn objects_without_moments_are_read_as_before() {
    let directory = TempDir::new();
    let files = archived(&directory);
    let server = S3Server::start_s3s();
    server.create_bucket("wal");
    let place = place(server.location(Profile::S3, "wal"));
    let put = async |name: &str, object: Vec<u8>, beside: Vec<(&str, String)>| {
        let key = place.key(FIRST, name.parse().unwrap(), Format::Gzip);
        let md5 = Md5::of(&object);
        let body = Body::bytes(object.into(), md5);
        place.store.put_new(&key, &body, &beside).await.unwrap();
        assert_eq!(moments(&place, &key).await.unwrap(), Told::Nothing);
    };
    let mut names = files.iter();
    // As walkeep's first version wrote it, and as a script did.
    let (ours, bytes) = names.next().unwrap();
    let encoder = Encoder::new(EncoderKind::Auto, 6).unwrap();
    let mut object = Vec::new();
    let about = About::new(ours, Timestamp::UNIX_EPOCH);
    let encoded = encoder.encode(bytes, about, 1, &mut object).unwrap();
    put(ours, object, metadata(&encoded.facts)).await;
    let (script, bytes) = names.next().unwrap();
    put(script, gzip(bytes), Vec::new()).await;

    let catalog = Catalog::at(directory.join("catalog.redb"));
    let outcome = rebuild(&place, &catalog).await.unwrap();
    assert_eq!((outcome.files, outcome.adopted), (2, 1));
    let known = known(&catalog);
    assert_eq!(known[ours], None);
    // The script's had to be read for its SHA-256 anyway.
    let decoded = record::decode(bytes, None).unwrap().0;
    assert_eq!(known[script], Some(decoded));
}
