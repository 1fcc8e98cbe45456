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
        place::Place,
        staging::Staging,
    },
    audit::rebuild::rebuild,
    catalog::Catalog,
    codec::Sha256,
    layout::Layout,
    store::{Location, RetryPolicy, Store},
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

#[tokio::test]
async fn a_bucket_gives_the_catalog_that_it_gave() {
    let location = Location::Directory(golden("bucket-v1"));
    let store = Store::open("a".parse().unwrap(), location, RetryPolicy::ONCE).unwrap();
    let place = Place {
        store,
        layout: Layout::new(&"main".parse().unwrap()),
    };
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
