//! A bucket in which the format was changed, to and fro: backups that use the
//! packs of both, and WAL in both.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::{
    support::archive::unzstd,
    world::{World, contents, fill},
};

/// From now on the one or the other is written.
fn write_in(world: &World, format: &str) {
    world.configure(&["one", "two"]);
    let table = format!("[compression]\nformat = \"{format}\"\n\n");
    world.site.reconfigure(|text| format!("{table}{text}"));
}

/// The formats of the packs that a backup uses.
fn formats(backup: &Value) -> BTreeSet<&str> {
    let packs = backup["packs"].as_array().expect("packs").iter();
    packs.filter_map(|set| set["format"].as_str()).collect()
}

fn with_suffix(world: &World, store: usize, suffix: &str) -> Vec<std::path::PathBuf> {
    let mut packs = world.packs(store);
    packs.retain(|path| path.extension().is_some_and(|end| end == suffix));
    packs
}

/// A full backup in gzip, one in zstd on top, one in gzip on top of both, and
/// WAL in both formats behind each.
fn mixed() -> (World, Vec<Value>) {
    let world = World::new();
    fill(&world.cluster);
    let mut backups = vec![world.backup()];
    world.ship();
    write_in(&world, "zstd");
    world
        .cluster
        .sql("UPDATE kept SET word = 'zstd' WHERE i BETWEEN 1000 AND 1400; CHECKPOINT");
    backups.push(world.backup());
    world.ship();
    write_in(&world, "gzip");
    world
        .cluster
        .sql("UPDATE kept SET word = 'gzip' WHERE i BETWEEN 60000 AND 60400; CHECKPOINT");
    backups.push(world.backup());
    (world, backups)
}

#[test]
fn a_backup_restores_from_packs_of_both_formats() {
    let (world, backups) = mixed();
    assert_eq!(formats(&backups[0]), BTreeSet::from(["gzip"]));
    for backup in &backups[1..] {
        assert_eq!(formats(backup), BTreeSet::from(["gzip", "zstd"]));
    }
    for number in 1..3 {
        assert_eq!(backups[number]["based_on"], backups[number - 1]["id"]);
        let [changed, raw] = ["changed_bytes", "raw_bytes"]
            .map(|field| backups[number]["totals"][field].as_u64().expect("a number"));
        assert!(changed < raw / 3, "{changed} of {raw}");
    }
    for pack in with_suffix(&world, 0, "zst") {
        assert!(!unzstd(&pack).is_empty(), "zstd -d opens {pack:?}");
    }

    // The last row is in WAL that comes after, in zstd again.
    write_in(&world, "zstd");
    world
        .cluster
        .sql("INSERT INTO kept VALUES (100001, 'the last', '')");
    world.ship();
    let wal: BTreeSet<String> = world.stores[1]
        .object_files(super::world::BUCKET)
        .iter()
        .filter(|path| path.parent().is_some_and(|parent| parent.ends_with("wal")))
        .filter_map(|path| Some(path.extension()?.to_str()?.to_owned()))
        .collect();
    assert_eq!(wal, BTreeSet::from(["gz", "zst"].map(str::to_owned)));
    let wanted = contents(&world.cluster);
    world.cluster.kill();

    // Neither what is configured here nor the catalog says what is there.
    write_in(&world, "gzip");
    fs::remove_file(world.site.path("catalog/catalog.redb")).expect("lose the catalog");
    for backup in &backups {
        let id = backup["id"].as_str().expect("an ID");
        world.restore(&["--backup", id]).expect(0);
        let restored = world.start();
        assert_eq!(contents(&restored), wanted, "from {id}");
        restored.kill();
        fs::remove_dir_all(world.target()).expect("remove the restored cluster");
    }
}

#[test]
fn a_zstd_pack_that_is_damaged_in_one_store_comes_from_the_other() {
    let (world, _) = mixed();
    let spoil = |path: &Path| {
        let mut bytes = fs::read(path).expect("read a pack");
        let middle = bytes.len() / 2;
        bytes[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(path, bytes).expect("spoil a pack");
    };
    with_suffix(&world, 0, "zst")
        .iter()
        .for_each(|path| spoil(path));
    world.ship();
    let wanted = contents(&world.cluster);
    world.cluster.kill();
    world.restore(&[]).expect(0);
    assert_eq!(contents(&world.start()), wanted);
    // In both, and it says what is missing.
    fs::remove_dir_all(world.target()).expect("remove the restored cluster");
    with_suffix(&world, 1, "zst")
        .iter()
        .for_each(|path| spoil(path));
    let run = world.restore(&[]);
    assert_ne!(run.code, 0);
    run.tells("pack").tells("damaged");
}
