//! Staging and stores: bound to one cluster, and to no other.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    setting,
    support::{
        host::hand_over,
        postgres::Cluster,
        site::{Site, read},
    },
    system_identifier,
};

#[test]
fn a_fresh_archive_is_bound_and_the_settings_are_said() {
    let cluster = Cluster::builder().wal_segsize_mb(1).build();
    let site = Site::of(&cluster);
    let id = system_identifier(&cluster);
    let major = cluster.server().major;

    let run = site.walkeep(&["init"]);
    run.expect(0);
    let staging = site.staging();
    let expected = format!(
        "cluster   main: PostgreSQL {major}, system identifier {id}, segments of 1 MiB, generation \
         1\n\
         staging   \"{}\" made\n\
         store     one: \"main/cluster.json\" claimed\n\
         store     two: \"main/cluster.json\" claimed\n\
         \n\
         For postgresql.conf:\n\
         \n\
         archive_mode = on\n\
         archive_command = '{}'\n\
         archive_timeout = 300\n\
         wal_level = replica\n\
         \n\
         `walkeep init --apply` sets them by ALTER SYSTEM. archive_mode and wal_level need a \
         restart.\n\
         \n\
         If this host is lost, what staging holds and no store has yet is lost with it\n\
         (acknowledge = \"staged\"); one-store and all-stores make PostgreSQL wait for the stores.\n",
        staging.display(),
        site.archive_command(),
    );
    assert_eq!(run.stdout, expected);
    assert_eq!(run.stderr, "");

    let file = json!({"format": 1, "cluster": "main", "generations": [{
        "generation": 1, "system_identifier": id, "segment_size": 1 << 20,
        "postgres_major": major}]});
    for store in ["one", "two"] {
        let text = read(&site.path(store).join("main/cluster.json"));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), file);
    }
    let marker: Value = serde_json::from_str(&read(&staging.join("walkeep.json"))).unwrap();
    assert_eq!(marker["system_identifier"], json!(id));
    assert_eq!(marker["generation"], json!(1));
    assert!(site.path("spool").is_dir());
    assert_eq!(
        setting(&cluster, "archive_mode"),
        "off",
        "nothing was applied"
    );

    // Again: nothing is new, and nothing is done twice.
    let before = read(&site.path("one/main/cluster.json"));
    let again = site.walkeep(&["init"]);
    again
        .expect(0)
        .says(&format!(
            "staging   \"{}\" is this cluster's",
            staging.display()
        ))
        .says("store     two: \"main/cluster.json\" is this cluster's");
    assert_eq!(read(&site.path("one/main/cluster.json")), before);
}

#[test]
fn the_result_is_one_json_document() {
    let cluster = Cluster::builder().build();
    let site = Site::of(&cluster);
    let run = site.walkeep(&["--json", "init"]);
    let document = run.expect(0).json();
    assert_eq!(document["config"]["written"], json!(false));
    assert_eq!(document["cluster"]["segment_size"], json!(16 << 20));
    assert_eq!(document["stores"][1]["name"], json!("two"));
    assert_eq!(document["stores"][1]["claimed"], json!(true));
    assert_eq!(document["settings"][0]["state"], json!("differs"));
    assert_eq!(document["settings"][0]["is"], json!("off"));
    assert_eq!(document["settings"][3]["state"], json!("in-effect"));
    assert_eq!(document["restart_needed"], json!(false));
}

#[test]
fn another_clusters_prefix_is_refused_and_nothing_is_written() {
    let one = Cluster::builder().build();
    let other = Cluster::builder().build();
    let site = Site::of(&one);
    site.walkeep(&["init"]).expect(0);
    let text = read(&site.path("one/main/cluster.json"));

    // The other cluster's own site, with the first one's store.
    let thief = Site::of(&other);
    thief.reconfigure(|text| {
        let (mine, theirs) = (thief.path("two"), site.path("one"));
        text.replace(mine.to_str().unwrap(), theirs.to_str().unwrap())
    });
    let run = thief.walkeep(&["init"]);
    run.expect(1);
    assert_eq!(
        run.stderr,
        format!(
            "walkeep: error: store \"two\": \"main/cluster.json\" says that this is the archive of \
             the cluster \"main\" (system identifier {}), and this cluster is {}; nothing was \
             written there. Choose another `prefix` for this cluster; after pg_upgrade run \
             `walkeep init --upgraded`\n",
            system_identifier(&one),
            system_identifier(&other)
        )
    );
    assert_eq!(run.stdout, "");
    assert!(!thief.staging().exists() && !thief.path("one/main").exists());
    assert_eq!(read(&site.path("one/main/cluster.json")), text);
    // Nor is a stranger's archive gone on in.
    thief.reconfigure(|text| {
        let text = text.replace("name = \"main\"", "name = \"thief\"");
        text.replace(
            "type = \"directory\"",
            "type = \"directory\"\nprefix = \"main\"",
        )
    });
    thief
        .walkeep(&["init", "--upgraded"])
        .expect(1)
        .tells("which this one was not before pg_upgrade; nothing was changed.");
    assert!(!thief.staging().exists());
}

#[test]
fn another_clusters_staging_is_refused() {
    let one = Cluster::builder().build();
    let other = Cluster::builder().build();
    let site = Site::of(&one);
    site.walkeep(&["init"]).expect(0);
    let second = Site::of(&other);
    second.reconfigure(|text| {
        let (mine, theirs) = (second.staging(), site.staging());
        text.replace(mine.to_str().unwrap(), theirs.to_str().unwrap())
    });
    let run = second.walkeep(&["init"]);
    run.expect(1);
    assert_eq!(
        run.stderr,
        format!(
            "walkeep: error: the staging directory \"{}\" belongs to the cluster \"main\" (system \
             identifier {}), and this cluster is {}; nothing was changed. Name another directory \
             in staging.path; after pg_upgrade run `walkeep init --upgraded`\n",
            site.staging().display(),
            system_identifier(&one),
            system_identifier(&other)
        )
    );
    assert!(!second.path("one/main").exists());
}

#[test]
fn a_stopped_server_is_known_by_its_files() {
    for mib in [1, 64] {
        let cluster = Cluster::builder().wal_segsize_mb(mib).build();
        let id = system_identifier(&cluster);
        cluster.stop_fast();
        let site = Site::of(&cluster);
        let run = site.walkeep(&["init"]);
        run.expect(0)
            .says(&format!(
                "cluster   main: PostgreSQL {}, system identifier {id}, segments of {mib} MiB, \
                 generation 1\n",
                cluster.server().major
            ))
            .says("server    not asked: connect to PostgreSQL (host=")
            .says("\nStart PostgreSQL with these, or restart it.\n");
        let apply = site.walkeep(&["init", "--apply"]);
        apply.expect(1).tells("; the settings were not changed\n");
    }
}

#[test]
fn two_servers_are_not_mistaken_for_each_other() {
    let one = Cluster::builder().build();
    let other = Cluster::builder().build();
    let site = Site::of(&one);
    site.reconfigure(|text| text.replace(&one.connection(), &other.connection()));
    let run = site.walkeep(&["init"]);
    run.expect(2).tells(&format!(
        "cluster.connection and cluster.data_directory: the server there runs the cluster {}, and \
         \"{}\" holds {}: correct one of the two\n",
        system_identifier(&other),
        one.data().display(),
        system_identifier(&one)
    ));
    assert!(!site.staging().exists());
}

#[test]
fn a_store_that_is_down_is_named_and_nothing_is_bound() {
    let cluster = Cluster::builder().build();
    let site = Site::of(&cluster);
    fs::remove_dir(site.path("two")).unwrap();
    let run = site.walkeep(&["init"]);
    run.expect(1);
    assert_eq!(
        run.stderr,
        format!(
            "walkeep: error: store \"two\": get \"main/cluster.json\": no such directory \
             (\"{}\" does not exist); create or mount the directory, or correct `path` of store \
             \"two\"\n",
            site.path("two").display()
        )
    );
    assert!(!site.staging().exists() && !site.path("one/main").exists());
    site.subdirectory("two");
    site.walkeep(&["init"]).expect(0);
}

#[test]
fn an_older_scripts_wal_is_claimed_if_it_is_this_clusters() {
    let cluster = Cluster::builder().wal_segsize_mb(1).build();
    let other = Cluster::builder().wal_segsize_mb(1).build();
    for (owner, code) in [(&cluster, 0), (&other, 1)] {
        let site = Site::of(&cluster);
        let segment = owner.switch_wal();
        let wal = site.path("one").join("main/wal");
        fs::create_dir_all(&wal).unwrap();
        let key = format!("main/wal/{segment}.gz");
        gzip(
            &owner.data().join("pg_wal").join(&segment),
            &site.path("one").join(&key),
        );
        hand_over(&site.path("one"));
        let run = site.walkeep(&["init"]);
        run.expect(code);
        if code == 0 {
            run.says("store     one: \"main/cluster.json\" claimed\n          there is WAL of an older set-up: `walkeep catalog rebuild` adopts it\n");
        } else {
            run.tells(&format!(
                "store \"one\": \"{key}\" is WAL of another cluster (system identifier {}, this \
                 cluster is {}); nothing was written there. Choose another `prefix` for this \
                 cluster\n",
                system_identifier(&other),
                system_identifier(&cluster)
            ));
        }
    }
}

fn gzip(from: &Path, to: &Path) {
    let output = std::process::Command::new("gzip")
        .arg("-c")
        .arg(from)
        .output();
    let output = output.expect("run gzip");
    assert!(output.status.success());
    fs::write(to, output.stdout).unwrap();
}

#[test]
fn upgraded_opens_the_next_generation_once_the_old_one_is_shipped() {
    let old = Cluster::builder().build();
    let site = Site::of(&old);
    site.walkeep(&["init", "--upgraded"]).expect(1).tells(
        "no store has an archive of this cluster at its prefix, so there is none to go on in",
    );
    site.walkeep(&["init", "--apply"]).expect(0);
    let old_id = system_identifier(&old);
    old.stop_fast();
    old.start();
    let segment = old.switch_wal();
    old.wait_archived(&segment);
    old.stop_fast();

    // What pg_upgrade leaves: another system identifier, the same settings.
    let new = Cluster::builder().build();
    let new_id = system_identifier(&new);
    let stores = ["one", "two"]
        .map(|store| site.directory_store(store))
        .join("\n");
    site.configure(&site.head(&new), &stores);
    site.walkeep(&["init"])
        .expect(1)
        .tells("after pg_upgrade run `walkeep init --upgraded`");
    let waits = site.walkeep(&["init", "--upgraded"]);
    waits
        .expect(1)
        .tells("files of generation 1; nothing was changed. Run `walkeep ship`, then");
    site.walkeep(&["ship"]).expect(0);

    let run = site.walkeep(&["init", "--upgraded"]);
    run.expect(0)
        .says(&format!(
            "system identifier {new_id}, segments of 16 MiB, generation 2\n"
        ))
        .says("store     one: \"main/g2/cluster.json\" claimed\n");
    let file: Value = serde_json::from_str(&read(&site.path("two/main/g2/cluster.json"))).unwrap();
    assert_eq!(file["generations"][0]["system_identifier"], json!(old_id));
    assert_eq!(file["generations"][1]["system_identifier"], json!(new_id));
    assert!(!read(&site.path("two/main/cluster.json")).contains(&new_id));
    let marker: Value = serde_json::from_str(&read(&site.staging().join("walkeep.json"))).unwrap();
    assert_eq!(marker["generation"], json!(2));
    // A name that the new cluster uses again is no split brain.
    assert!(site.staging().join("receipts.g1").is_dir());
    assert_eq!(
        site.staging().join("receipts").read_dir().unwrap().count(),
        0
    );

    // Again, with and without; and not by the old server.
    site.walkeep(&["init", "--upgraded"]).expect(0);
    site.walkeep(&["init"]).expect(0).says("generation 2\n");
    let back = Site::empty();
    let staging = format!("path = \"{}\"", back.staging().display());
    let head = site.head(&old);
    let head = head.replace(
        &format!("path = \"{}\"", site.staging().display()),
        &staging,
    );
    site.configure(&head, &stores);
    old.start();
    site.walkeep(&["init"]).expect(1).tells(
        "this cluster is generation 1 of its archive, which has gone on as generation 2: is this \
         the server from before pg_upgrade?",
    );
}
