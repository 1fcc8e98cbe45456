//! A directory whose volume comes and goes.

use std::fs;

use walkeep::store::{Body, Location, Put, StoreErrorKind as Kind};

use crate::{kinds::open, support::host::TempDir};

#[tokio::test]
async fn a_directory_is_believed_while_its_anchor_is_there() {
    let directory = TempDir::new();
    let root = directory.subdirectory("root");
    let plain = open(Location::Directory(root.clone()));
    let store = plain.clone().anchored("main/cluster.json");
    plain
        .put_new("main/cluster.json", &Body::of("{}"), &[])
        .await
        .unwrap();
    let body = Body::of("one");
    assert_eq!(
        store.put_new("main/one", &body, &[]).await.unwrap(),
        Put::Created
    );

    // Unmounted: the mount point is an empty directory.
    let away = directory.join("away");
    fs::rename(&root, &away).unwrap();
    fs::create_dir(&root).unwrap();
    let errors = [
        store.put_new("main/two", &body, &[]).await.unwrap_err(),
        store.replace("main/one", &body, &[]).await.unwrap_err(),
        store.head("main/one").await.unwrap_err(),
        store.get_range("main/one", 0..1).await.unwrap_err(),
        store.download("main/one", |_| ()).await.unwrap_err(),
        store.list("", None).next_page().await.unwrap_err(),
        store.delete("main/one").await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, Kind::Unclaimed, "{error}");
        assert!(error.is_permanent() && error.concerns_whole_store());
        let text = error.to_string();
        assert!(text.contains("has no \"main/cluster.json\""), "{text}");
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    assert_eq!(plain.head("main/one").await.unwrap(), None);

    fs::remove_dir(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    assert!(store.head("main/one").await.unwrap().is_some());
}
