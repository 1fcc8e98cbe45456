//! `walkeep init` against a real server: what it makes, what it says, what it
//! refuses.
#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use nix::unistd::Uid;
use serde_json::{Value, json};
use support::{
    host::hand_over,
    postgres::Cluster,
    site::{Run, Site, read},
};

fn system_identifier(cluster: &Cluster) -> String {
    cluster.value("SELECT system_identifier::text FROM pg_control_system()")
}

fn setting(cluster: &Cluster, name: &str) -> String {
    cluster.value(&format!(
        "SELECT setting FROM pg_settings WHERE name = '{name}'"
    ))
}

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
fn apply_sets_what_differs_and_says_that_a_restart_is_needed() {
    let cluster = Cluster::builder()
        .conf("wal_level = logical")
        .conf("archive_command = 'cp %p /nowhere/%f'")
        .build();
    let site = Site::of(&cluster);
    site.walkeep(&["init"])
        .expect(0)
        .says("replaces  archive_command = 'cp %p /nowhere/%f'\n")
        .says("\nwal_level = logical\n");

    let run = site.walkeep(&["init", "--apply"]);
    run.expect(0)
        .says("set       archive_mode = 'on' (was 'off')\n")
        .says(&format!(
            "set       archive_command = '{}' (was 'cp %p /nowhere/%f')\n",
            site.archive_command()
        ))
        .says("set       archive_timeout = '300' (was '0')\n")
        .says_not("set       wal_level")
        .says_not("hidden")
        .says("settings  restart PostgreSQL for archive_mode to work\n");
    cluster.stop_fast();
    cluster.start();
    assert_eq!(setting(&cluster, "archive_mode"), "on");
    assert_eq!(setting(&cluster, "wal_level"), "logical");
    assert_eq!(setting(&cluster, "archive_timeout"), "300");
    site.walkeep(&["init", "--apply"])
        .expect(0)
        .says("settings  PostgreSQL archives through walkeep\n")
        .says_not("set    ");

    // It does what it says.
    let segment = cluster.switch_wal();
    cluster.wait_archived(&segment);
    assert!(site.staging().join(&segment).is_file());
}

#[test]
fn apply_needs_no_restart_where_archiving_is_on() {
    let cluster = Cluster::builder()
        .conf("archive_mode = always")
        .conf("archive_command = 'false'")
        .conf("archive_timeout = '1min'")
        .build();
    let site = Site::of(&cluster);
    site.walkeep(&["init", "--apply"])
        .expect(0)
        .says("settings  PostgreSQL archives through walkeep\n");
    assert_eq!(setting(&cluster, "archive_command"), site.archive_command());
    assert_eq!(setting(&cluster, "archive_mode"), "always");
    assert_eq!(setting(&cluster, "archive_timeout"), "60");
}

#[test]
fn a_minimal_wal_level_is_raised() {
    let cluster = Cluster::builder()
        .conf("wal_level = minimal")
        .conf("max_wal_senders = 0")
        .build();
    let site = Site::of(&cluster);
    site.walkeep(&["init", "--apply"])
        .expect(0)
        .says("set       wal_level = 'replica' (was 'minimal')\n")
        .says("restart PostgreSQL for archive_mode and wal_level to work\n");
    cluster.stop_fast();
    cluster.start();
    assert_eq!(setting(&cluster, "wal_level"), "replica");
    assert_eq!(setting(&cluster, "archive_mode"), "on");
}

#[test]
fn a_leftover_that_hides_the_setting_is_shown_and_reset() {
    let cluster = Cluster::builder().conf("archive_mode = on").build();
    let site = Site::of(&cluster);
    cluster.append_conf(&format!("archive_command = '{}'", site.archive_command()));
    cluster.append_conf("archive_timeout = 300");
    cluster.sql("ALTER SYSTEM SET archive_command = 'cp %p /old/%f'");
    cluster.reload();
    let run = site.walkeep(&["init"]);
    run.expect(0).says(&format!(
        "hidden    archive_command = '{}' of \"{}\" is hidden by 'cp %p /old/%f' in \
         postgresql.auto.conf\n          `walkeep init --reset-auto-conf` resets that\n",
        site.archive_command(),
        cluster.data().join("postgresql.conf").display()
    ));
    site.walkeep(&["init", "--reset-auto-conf"])
        .expect(0)
        .says("reset     archive_command (postgresql.auto.conf had 'cp %p /old/%f')\n")
        .says("settings  PostgreSQL archives through walkeep\n")
        .says_not("hidden");
    assert_eq!(setting(&cluster, "archive_command"), site.archive_command());
    assert!(!read(&cluster.data().join("postgresql.auto.conf")).contains("archive_command"));
}

#[test]
fn a_managed_postgresql_conf_is_left_to_its_manager() {
    let cluster = Cluster::builder().build_stopped();
    let site = Site::of(&cluster);
    // As NixOS does it: a link into a place that nobody writes to.
    let (conf, managed) = (
        cluster.data().join("postgresql.conf"),
        site.subdirectory("managed"),
    );
    let target = managed.join("postgresql.conf");
    fs::copy(&conf, &target).unwrap();
    fs::remove_file(&conf).unwrap();
    symlink(&target, &conf).unwrap();
    fs::set_permissions(&target, PermissionsExt::from_mode(0o444)).unwrap();
    fs::set_permissions(&managed, PermissionsExt::from_mode(0o555)).unwrap();
    cluster.start();

    let run = site.walkeep(&["init", "--apply"]);
    run.expect(1)
        .says(&format!(
            "\nwal_level = replica\n\npostgresql.conf is managed (\"{}\"): set these there, then \
             restart PostgreSQL.\n",
            target.display()
        ))
        .says("store     one: \"main/cluster.json\" claimed\n");
    assert_eq!(
        run.stderr,
        format!(
            "walkeep: error: --apply: postgresql.conf leads to \"{}\", which is managed elsewhere: \
             set the lines above there; ALTER SYSTEM would hide them\n",
            target.display()
        )
    );
    assert!(!read(&cluster.data().join("postgresql.auto.conf")).contains("archive"));
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
            "walkeep: error: store \"two\": get \"main/cluster.json\": no such bucket (the \
             directory \"{}\" does not exist); create the bucket, or correct `bucket` of store \
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

#[test]
fn a_template_is_written_where_there_is_no_configuration() {
    let cluster = Cluster::builder().build();
    let site = Site::empty();
    let data = cluster.data().to_str().unwrap();
    let run = site.run(&["init"], &[("PGDATA", data)]);
    run.expect(2);
    let path = site.config();
    assert_eq!(
        run.stderr,
        format!(
            "walkeep: wrote \"{0}\"\nwalkeep: error: complete \"{0}\", then run `walkeep init` \
             again: {0}: store: name at least one store in a [[store]] table\n",
            path.display()
        )
    );
    let text = read(&path);
    let line = |line: &str| assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    line(&format!("data_directory = \"{data}\""));
    line(&format!(
        "bin_directory = \"{}\"",
        cluster.server().bin.display()
    ));
    line("# type = \"r2\"");
    line("# type = \"b2\"");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    // With its stores it is complete; and it is never written over.
    let stores = ["one", "two"].map(|name| {
        site.subdirectory(name);
        site.directory_store(name)
    });
    site.reconfigure(|text| {
        let text = text.replace("/var/lib/walkeep", site.path("state").to_str().unwrap());
        format!("{text}\n{}", stores.join("\n"))
    });
    site.walkeep(&["init"])
        .expect(0)
        .says("store     two: \"main/cluster.json\" claimed\n");
    let kept = read(&path);
    site.run(&["init", "--from-env"], &[("PGDATA", data)]).expect(2).tells(&format!(
        "\"{}\": is there already, and is not overwritten: move it aside, or name another file by \
         --config\n",
        path.display()
    ));
    assert_eq!(read(&path), kept);
}

/// Runs `init --from-env`, which cannot reach the stores that it finds, and
/// gives the configuration that it wrote.
fn from_env(site: &Site, cluster: &Cluster, variables: &[(&str, &str)]) -> (Run, toml::Table) {
    let data = cluster.data().to_str().unwrap().to_owned();
    let mut all = vec![("PGDATA", data.as_str())];
    all.extend_from_slice(variables);
    let run = site.run(&["init", "--from-env"], &all);
    let table = read(&site.config()).parse().expect("TOML");
    (run, table)
}

#[test]
fn the_shell_scripts_variables_become_a_configuration() {
    let cluster = Cluster::builder().build();
    let site = Site::empty();
    let staging = site.staging();
    let variables = [
        ("PG_WAL_ARCHIVE_DIR", staging.to_str().unwrap()),
        ("R2_ACCOUNT_ID", "not a host's name"),
        ("R2_BUCKET_NAME", "wal-one"),
        ("R2_ACCESS_KEY_ID", "id-one"),
        ("R2_SECRET_ACCESS_KEY", "secret-one"),
        ("B2_BUCKET_NAME", "wal-two"),
        ("B2_REGION", "us-east-005"),
        ("B2_ACCESS_KEY_ID", "id-two"),
        ("B2_SECRET_ACCESS_KEY", "secret-two"),
        ("B2_SOMETHING", "else"),
        ("WALKEEP_PREFIX", "hosts/a"),
    ];
    let (run, config) = from_env(&site, &cluster, &variables);
    // The account was made unusable so that nothing is asked of a real one.
    run.expect(2)
        .tells("B2_SOMETHING is ignored: walkeep has nothing that it could set\n")
        .tells("account_id: \"not a host's name\" cannot be a part of a host's name");
    assert_eq!(config["staging"]["path"].as_str(), staging.to_str());
    let stores = config["store"].as_array().unwrap();
    let text = |index: usize, key: &str| stores[index][key].as_str().unwrap().to_owned();
    assert_eq!(text(0, "type"), "r2");
    assert_eq!(text(0, "account_id"), "not a host's name");
    assert_eq!(text(0, "bucket"), "wal-one");
    assert_eq!(text(0, "access_key_id"), "id-one");
    assert_eq!(text(1, "region"), "us-east-005");
    assert_eq!(text(1, "prefix"), "hosts/a");
    for (index, secret) in [(0, "secret-one\n"), (1, "secret-two\n")] {
        let file = text(index, "secret_access_key_file");
        assert_eq!(read(Path::new(&file)), secret);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
    let said = format!("{}{}{}", read(&site.config()), run.stdout, run.stderr);
    assert!(
        !said.contains("secret-one") && !said.contains("secret-two"),
        "{said}"
    );
}

#[test]
fn djangos_variables_become_a_configuration() {
    let cluster = Cluster::builder().build();
    let site = Site::empty();
    let variables = [
        (
            "CLOUDFLARE_R2_ENDPOINT_URL",
            "https://abc123.eu.r2.cloudflarestorage.com/wal-one",
        ),
        ("CLOUDFLARE_R2_ACCESS_KEY_ID", "id-one"),
        ("CLOUDFLARE_R2_SECRET_ACCESS_KEY", "secret-one"),
        (
            "BACKBLAZE_B2_ENDPOINT_URL",
            "https://s3.eu-central-003.backblazeb2.com",
        ),
        ("BACKBLAZE_B2_KEY_ID", "id-two"),
        ("BACKBLAZE_B2_APPLICATION_KEY", "secret-two"),
    ];
    let (run, config) = from_env(&site, &cluster, &variables);
    // No variable of this family names B2's bucket.
    run.expect(2)
        .tells("(\"b2\").bucket: missing; a store of this type needs it\n");
    assert!(read(&site.config()).contains("# bucket = \"…\"              # to be filled in\n"));
    let stores = config["store"].as_array().unwrap();
    assert_eq!(stores[0]["account_id"].as_str(), Some("abc123"));
    assert_eq!(stores[0]["jurisdiction"].as_str(), Some("eu"));
    assert_eq!(stores[0]["bucket"].as_str(), Some("wal-one"));
    assert_eq!(stores[1]["region"].as_str(), Some("eu-central-003"));
    assert_eq!(stores[1]["access_key_id"].as_str(), Some("id-two"));
}

#[test]
fn wal_gs_variables_become_a_configuration_that_works() {
    let cluster = Cluster::builder().build();
    let site = Site::empty();
    let server = support::s3::S3Server::start_s3s();
    server.create_bucket("wal-one");
    let staging = site.staging();
    let endpoint = server.endpoint();
    let variables = [
        ("PG_WAL_ARCHIVE_DIR", staging.to_str().unwrap()),
        ("WALG_S3_PREFIX", "s3://wal-one/hosts/a"),
        ("AWS_ENDPOINT", &endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", server.access_key()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
        ("WALG_COMPRESSION_METHOD", "brotli"),
        ("WALG_UPLOAD_CONCURRENCY", "4"),
        ("WALG_DOWNLOAD_CONCURRENCY", "many"),
        ("WALG_RETAIN_BACKUPS", "7"),
        ("WALG_DELTA_MAX_STEPS", "6"),
        ("WALG_LOG_LEVEL", "DEVEL"),
        ("WAL_ARCHIVE_LOG", "/var/log/a"),
        ("WAL_RESTORE_LOG", "/var/log/b"),
    ];
    let (run, config) = from_env(&site, &cluster, &variables);
    run.expect(0)
        .says("store     s3: \"hosts/a/cluster.json\" claimed\n")
        .tells("WALG_COMPRESSION_METHOD is ignored: objects are gzip, which opens without walkeep")
        .tells("WALG_DOWNLOAD_CONCURRENCY is ignored: \"many\" is not a number from 1 to 64")
        .tells("WALG_RETAIN_BACKUPS is ignored: this version deletes nothing from the stores")
        .tells("WALG_DELTA_MAX_STEPS is ignored: this version makes no base backups")
        .tells("WALG_LOG_LEVEL is ignored: -v and -q say how much is logged")
        .tells("WAL_ARCHIVE_LOG is ignored: walkeep logs to stderr")
        .tells("WAL_RESTORE_LOG is ignored: walkeep logs to stderr");
    assert_eq!(config["ship"]["concurrency"].as_integer(), Some(4));
    assert_eq!(config["store"][0]["type"].as_str(), Some("s3"));
    assert!(
        server
            .object_path("wal-one", "hosts/a/cluster.json")
            .is_file()
    );
    // The file alone will do from now on.
    site.walkeep(&["init"])
        .expect(0)
        .says("store     s3: \"hosts/a/cluster.json\" is this");
}

#[test]
fn root_makes_everything_for_the_servers_user() {
    if !Uid::effective().is_root() {
        return support::host::skip("root", "run the tests as root as well");
    }
    let cluster = Cluster::builder().build();
    let site = Site::empty();
    let server = support::s3::S3Server::start_s3s();
    server.create_bucket("wal-one");
    let (staging, endpoint) = (site.path("var/lib/staging"), server.endpoint());
    let config = site.config();
    let run = site.run_as_tester(
        &["init", "--from-env"],
        &[
            ("PGDATA", cluster.data().to_str().unwrap()),
            ("PG_WAL_ARCHIVE_DIR", staging.to_str().unwrap()),
            ("WALG_S3_PREFIX", "s3://wal-one/a"),
            ("AWS_ENDPOINT", &endpoint),
            ("AWS_ACCESS_KEY_ID", server.access_key()),
            ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
        ],
    );
    run.expect(0)
        .says("store     s3: \"a/cluster.json\" claimed\n");
    use std::os::unix::fs::MetadataExt;
    let of = |path: &Path| fs::metadata(path).unwrap();
    let user = of(cluster.data());
    assert_eq!((of(&config).uid(), of(&config).gid()), (0, user.gid()));
    assert_eq!(of(&config).mode() & 0o777, 0o640);
    for made in [
        site.path("var"),
        staging.clone(),
        staging.join("walkeep.json"),
    ] {
        assert_eq!(of(&made).uid(), user.uid(), "{made:?}");
    }
}
