//! Damage of every kind to base backups, in one store and in both.

use std::{fs, path::PathBuf};

use super::{
    Verified, flip,
    support::{postgres::default_server, s3::S3Server},
    told, truncate, versitygw,
    world::{BUCKET, World, fill},
};

fn verify(world: &World, arguments: &[&str]) -> Verified {
    let run = world
        .site
        .walkeep(&[&["--json", "verify"], arguments].concat());
    let (code, stdout, stderr) = (run.code, run.stdout, run.stderr);
    Verified::of(&super::support::archive::Ran {
        code,
        stdout,
        stderr,
    })
}

/// The paths and keys of index objects, or of packs, in a store.
fn objects(world: &World, store: usize, of: &str) -> Vec<(PathBuf, String)> {
    let root = world.stores[store].object_path(BUCKET, "");
    let files = world.stores[store].object_files(BUCKET).into_iter();
    let keyed = files.filter_map(|path| {
        let key = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
        Some((path, key))
    });
    let is_pack = |key: &str| {
        let name = key.rsplit('/').next().unwrap_or_default();
        name.len() == 9 && name[..6].parse::<u32>().is_ok()
    };
    keyed
        .filter(|(_, key)| match of {
            "pack" => is_pack(key),
            prefix => key.starts_with(prefix),
        })
        .collect()
}

/// Two backups in both stores, the second built on the first, so that packs of
/// both are needed.
fn world() -> (World, [String; 2]) {
    let stores = [versitygw(), S3Server::start_s3s()];
    let world = World::with_stores(&default_server(), &[], stores);
    fill(&world.cluster);
    let id = |made: serde_json::Value| made["id"].as_str().expect("an id").to_owned();
    let first = id(world.backup());
    world
        .cluster
        .sql("UPDATE kept SET word = 'changed' WHERE i < 3000; CHECKPOINT");
    let second = id(world.backup());
    world.ship();
    (world, [first, second])
}

#[test]
fn what_backups_need_is_found_damaged_or_missing_mended_and_restorable() {
    let (world, [first, second]) = world();
    verify(&world, &["--deep"]).is_clean();
    let whole: Vec<Vec<u8>> = all(&world);
    for damaged in [0, 1] {
        let name = ["one", "two"][damaged];
        let packs = objects(&world, damaged, "pack");
        let indexes = objects(&world, damaged, "main/backup/index/");
        assert!(
            packs.len() >= 2 && indexes.len() >= 4,
            "{packs:?} {indexes:?}"
        );
        let manifest = format!("main/backup/{first}/manifest.json.gz");
        let other = format!("main/backup/{second}/manifest.json.gz");
        // Deleted, truncated, flipped, replaced by another valid object.
        let (of_first, of_second) = if damaged == 0 {
            fs::remove_file(&packs[0].0).unwrap();
            flip(&packs[1].0, 5_000);
            ("missing", None)
        } else {
            fs::copy(&packs[1].0, &packs[0].0).unwrap();
            truncate(&packs[1].0);
            ("damaged", Some(("damaged", name, &*packs[1].1)))
        };
        fs::remove_file(&indexes[0].0).unwrap();
        fs::copy(&indexes[3].0, &indexes[1].0).unwrap();
        flip(&indexes[2].0, 200);
        fs::remove_file(world.stores[damaged].object_path(BUCKET, &manifest)).unwrap();
        truncate(&world.stores[damaged].object_path(BUCKET, &other));
        let mut plainly = vec![
            (of_first, name, &*packs[0].1),
            ("missing", name, &*indexes[0].1),
            ("damaged", name, &*indexes[1].1),
            ("missing", name, &*manifest),
            ("damaged", name, &*other),
        ];
        plainly.extend(of_second);
        let found = verify(&world, &[]);
        assert_eq!(
            (found.code, found.problems()),
            (1, told(&plainly)),
            "{}",
            found.outcome
        );
        assert_eq!(
            found.outcome["backups"],
            serde_json::json!([]),
            "the other store has all"
        );
        plainly.push(("damaged", name, &*indexes[2].1));
        if damaged == 0 {
            plainly.push(("damaged", name, &*packs[1].1));
        }
        let everything = told(&plainly);
        let found = verify(&world, &["--deep"]);
        assert_eq!(
            (found.code, found.problems()),
            (1, everything.clone()),
            "{}",
            found.outcome
        );
        let mended = verify(&world, &["--repair"]);
        assert_eq!(
            (mended.code, mended.settled()),
            (0, everything),
            "{}",
            mended.outcome
        );
        assert!(all(&world) == whole, "every object is what it was");
        verify(&world, &["--deep"]).is_clean();
        // Each store alone can bring both of them back.
        world.configure(&[name]);
        for id in [&first, &second] {
            world.restore(&["--plan", "--backup", id]).expect(0);
        }
        world.configure(&["one", "two"]);
        assert_eq!(world.site.walkeep(&["status"]).code, 0);
    }
    world.restore(&["--store", "one"]).expect(0);
    world.start();
}

#[test]
fn a_backup_that_a_store_never_got_is_brought_there() {
    let (world, [first, second]) = world();
    world.stores[1].stop();
    world
        .cluster
        .sql("UPDATE kept SET word = 'again' WHERE i > 90000; CHECKPOINT");
    let run = world.site.walkeep(&["--json", "backup", "create"]);
    let made = run.expect(1).json();
    let third = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(made["stores"], serde_json::json!(["one"]));
    run.tells("`walkeep verify --repair` brings it there");
    // While the store is away nothing of it is taken for absent.
    let found = verify(&world, &[]);
    let kinds: Vec<_> = found.problems().into_iter().map(|it| it.0).collect();
    assert_eq!(kinds, ["unreachable"], "{}", found.outcome);
    world.stores[1].restart();
    world.ship();

    let missed = |made: &str| format!("main/backup/{made}/manifest.json.gz");
    let found = verify(&world, &[]);
    let problems = found.problems();
    assert_eq!(found.code, 1);
    assert!(
        problems.len() > 2
            && problems
                .iter()
                .all(|it| (&*it.0, &*it.1) == ("missing", "two")),
        "{}",
        found.outcome
    );
    assert!(problems.iter().any(|it| it.2 == missed(&third)));
    let mended = verify(&world, &["--repair"]);
    assert_eq!((mended.code, mended.settled()), (0, problems));
    verify(&world, &["--deep"]).is_clean();
    // A store that comes without any: it gets every one of them.
    for (path, _) in objects(&world, 1, "main/backup/") {
        fs::remove_file(path).unwrap();
    }
    fs::remove_file(world.site.path("catalog/catalog.redb")).unwrap();
    world.site.walkeep(&["catalog", "rebuild"]).expect(0);
    let mended = verify(&world, &["--repair"]);
    for id in [&first, &second, &third] {
        let is_missed = |it: &(String, String, String)| it.2 == missed(id);
        assert!(mended.settled().iter().any(is_missed), "{}", mended.outcome);
    }
    assert_eq!(mended.code, 0, "{}", mended.outcome);
    verify(&world, &["--deep"]).is_clean();
    world.configure(&["two"]);
    world.restore(&[]).expect(0);
    world.start();
}

/// Every object of base backups, in both stores.
fn all(world: &World) -> Vec<Vec<u8>> {
    let objects = [0, 1]
        .into_iter()
        .flat_map(|store| objects(world, store, "main/backup/"));
    objects
        .map(|(path, _)| fs::read(path).expect("read it"))
        .collect()
}

#[test]
fn what_no_store_has_whole_is_told_with_the_files_it_costs() {
    let (world, [first, second]) = world();
    // The first pack holds what both backups need.
    for store in [0, 1] {
        let packs = objects(&world, store, "pack");
        match store {
            0 => fs::remove_file(&packs[0].0).unwrap(),
            _ => flip(&packs[0].0, 5_000),
        }
    }
    let found = verify(&world, &["--deep", "--repair"]);
    assert_eq!(found.code, 1);
    let damaged = found.outcome["backups"].as_array().expect("backups");
    let ids: Vec<&str> = damaged.iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(ids, [&first, &second], "{}", found.outcome);
    for backup in damaged {
        assert_eq!(backup["objects"].as_array().map(Vec::len), Some(1));
        let files = backup["files"].as_array().expect("files");
        let count = backup["file_count"].as_u64().expect("a number") as usize;
        assert!(count > 0 && files.len() == count.min(1000), "{count}");
    }
    let run = world.site.walkeep(&["verify"]);
    run.expect(1).says(&format!(
        "! backup {first} cannot be restored as a whole: 1 object is lost"
    ));
    // The way out of it: every block anew.
    world
        .site
        .walkeep(&["--json", "backup", "create", "--full"])
        .expect(0);
    world
        .site
        .walkeep(&["backup", "delete", &first, &second, "--yes"])
        .expect(0);
    verify(&world, &["--deep"]).is_clean();
}

#[test]
fn an_acknowledged_gap_is_settled_by_the_next_base_backup() {
    let (world, _) = world();
    let segment = world.cluster.switch_wal();
    world.cluster.wait_archived(&segment);
    world
        .cluster
        .sql("INSERT INTO kept VALUES (-1, 'lost', '')");
    let lost = world.cluster.switch_wal();
    world.cluster.wait_archived(&lost);
    world
        .cluster
        .sql("INSERT INTO kept VALUES (-2, 'behind it', '')");
    world.ship();
    for store in &world.stores {
        fs::remove_file(store.object_path(BUCKET, &format!("main/wal/{lost}.gz"))).unwrap();
    }
    let found = verify(&world, &["--repair"]);
    let gap = &found.outcome["gaps"][0];
    assert_eq!(
        (found.code, &gap["first"], &gap["last"]),
        (1, &lost.clone().into(), &lost.clone().into())
    );
    for moment in ["last_commit_before", "first_commit_after"] {
        assert!(gap[moment].is_string(), "{gap}");
    }
    assert!(gap["restorable_from"].is_null(), "{gap}");
    world
        .site
        .walkeep(&["wal", "list"])
        .expect(1)
        .says("GAP: 1 segment is missing");
    // A backup alone settles nothing: somebody has to know.
    world.backup();
    let found = verify(&world, &[]);
    assert_eq!((found.code, found.problems()), (1, vec![]));
    assert!(found.outcome["gaps"][0]["restorable_from"].is_string());
    world
        .site
        .walkeep(&["gap", "ack"])
        .expect(0)
        .says("it needs nobody any more");
    let found = verify(&world, &[]);
    found.is_clean();
    assert_eq!(found.outcome["gaps"][0]["needs_person"], false);
    world
        .site
        .walkeep(&["wal", "list"])
        .expect(0)
        .says("GAP: 1 segment is missing, acknowledged by ");
    verify(&world, &["--deep"]).is_clean();
}
