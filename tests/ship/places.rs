//! Where the archive is not: a volume that is not mounted, another prefix,
//! another cluster's place. Nothing is put there, and nothing leaves staging
//! because it was.

use std::fs;

use crate::{
    InClouds, problems, staged_one,
    support::{
        archive::{Archive, SYSTEM, files_in},
        host::hand_over,
        s3::collect_files,
    },
};

const NOT_THERE: &str = "\"main/cluster.json\": not this archive's place (";

#[test]
fn nothing_is_written_under_a_mount() {
    let archive = Archive::new(&["nas", "other"]);
    let (name, bytes) = staged_one(&archive, 1);
    let (mounted, away) = (archive.store("nas"), archive.directory().join("away"));
    fs::rename(&mounted, &away).unwrap();
    fs::create_dir(&mounted).unwrap();
    hand_over(&mounted);
    let (code, report) = archive.ship();
    assert_eq!((code, &report["waiting"]), (1, &1.into()), "{report}");
    let said = problems(&report);
    assert!(
        said.contains("store \"nas\"") && said.contains(NOT_THERE) && said.contains("mount"),
        "{said}"
    );
    assert!(files_in(&mounted).is_empty());
    assert!(archive.staged(&name).exists());
    assert_eq!(archive.state(&name, "other"), "stored");

    // A rebuild would take all that was there for gone.
    let before = archive.records();
    let rebuild = archive.run(&["catalog", "rebuild", "--store", "nas"]);
    rebuild.says(1, &[NOT_THERE]);
    assert_eq!(archive.records(), before);

    fs::remove_dir(&mounted).unwrap();
    fs::rename(&away, &mounted).unwrap();
    archive.ship_well();
    crate::assert_stored(
        &archive,
        &["nas", "other"],
        &[(name, bytes)].into(),
        |store, name| archive.object(store, name),
    );
}

#[test]
fn another_prefix_and_another_clusters_take_nothing() {
    let it = InClouds::new(&["a"]);
    let (name, _) = staged_one(&it.archive, 1);
    let table = it.server("a").toml_store_table("a", "s3", "wal");
    it.archive.configure("", &(table + "prefix = \"mian\"\n"));
    let refused = |says: &str| {
        let (code, report) = it.archive.ship();
        assert_eq!((code, &report["waiting"]), (1, &1.into()), "{report}");
        let said = problems(&report);
        assert!(said.contains(says), "{said}");
        assert!(it.archive.staged(&name).exists());
        let mut files = Vec::new();
        collect_files(&it.server("a").object_path("wal", ""), &mut files);
        let is_object = |path: &&std::path::PathBuf| path.extension().is_some_and(|is| is == "gz");
        assert_eq!(files.iter().find(is_object), None);
    };
    refused("\"mian/cluster.json\": not this archive's place (it is not there)");
    it.configure("");
    let others = it.archive.cluster_json().replace(&SYSTEM.to_string(), "7");
    it.server("a")
        .put_plainly("wal", "main/cluster.json", &others);
    refused("it is that of the cluster \"main\", system identifier 7");
    let ours = it.archive.cluster_json();
    it.server("a")
        .put_plainly("wal", "main/cluster.json", &ours);
    it.archive.ship_well();
}
