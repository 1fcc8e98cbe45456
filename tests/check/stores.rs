//! The stores, what their keys may do, and the catalog.

use std::{fs, time::Duration};

use crate::{
    Archive, BUCKETS,
    support::{
        postgres::Cluster,
        s3::{S3Server, Versitygw},
        site::{Run, Site},
    },
};

#[test]
fn a_store_that_is_set_up_wrongly_loses_its_copy() {
    let archive = Archive::new();
    let site = &archive.site;
    let head = site.head(&archive.cluster);
    let wrong = site.path("wrong-secret");
    fs::write(&wrong, "not the secret\n").unwrap();
    let right = archive.secret(1);
    let (wrong, right) = (wrong.to_str().unwrap(), right.to_str().unwrap());
    let good = archive.store(0);

    let secret = archive.store(1).replace(right, wrong);
    site.configure(&head, &format!("{good}\n{secret}"));
    let run = archive.check();
    run.expect(1)
        .says("ok       store one: writes")
        .says("loss     store two: put \"main/check/probe\": credentials refused (")
        .says("\n           correct the access key id and the secret of store \"two\"\n")
        .says(&format!(
            "warning  config: \"{wrong}\" holds a secret and can be read by others\n"
        ));

    let directory = site.directory_store("gone");
    site.configure(&head, &format!("{good}\n{directory}"));
    archive.check().expect(1).says(&format!(
        "loss     store gone: put \"main/check/probe\": no such directory (\"{}\" does \
         not exist)\n",
        site.path("gone").display()
    ));
    site.subdirectory("gone");
    archive.check().expect(1).says(
        "loss     store gone: there is no \"main/cluster.json\": the prefix is nobody's\n           \
         run `walkeep init`\n",
    );

    let missing = archive.store(1).replace(right, "/no/such/secret");
    site.configure(&head, &format!("{good}\n{missing}"));
    archive
        .check()
        .expect(1)
        .says("loss     store two: put \"main/check/probe\": no credentials (read \"/no/such/");
}

/// s3s makes a bucket that is written to; versitygw does not.
#[test]
fn a_missing_bucket_is_named_and_a_key_without_the_right_to_delete_is_no_note() {
    let options = Versitygw {
        users: true,
        ..Versitygw::default()
    };
    let Some(server) = S3Server::start_versitygw(options) else {
        return;
    };
    let cluster = Cluster::builder().build();
    let site = Site::of(&cluster);
    let table = server.toml_store_table("two", "s3", "wal-gone");
    site.configure(&site.head(&cluster), &table);
    site.walkeep(&["init"])
        .expect(1)
        .tells("store \"two\": get \"main/cluster.json\": no such bucket");
    site.walkeep(&["check"])
        .expect(1)
        .says("loss     store two: put \"main/check/probe\": no such bucket")
        .says("\n           create the bucket, or correct `bucket` of store \"two\"\n");

    server.create_bucket("wal-gone");
    site.walkeep(&["init"]).expect(0);
    let note = "note     store two: its key can delete objects";
    site.walkeep(&["check"]).says(note);
    server.create_user("narrow", "narrow-secret");
    let allow = |actions: &str, resource: &str| {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":["narrow"]}},"Action":[{actions}],"Resource":["arn:aws:s3:::wal-gone{resource}"]}}"#
        )
    };
    let statements = [
        allow(r#""s3:ListBucket""#, ""),
        allow(r#""s3:GetObject","s3:PutObject""#, "/*"),
    ];
    server.set_policy(
        "wal-gone",
        &format!(
            r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
            statements.join(",")
        ),
    );
    let (id, secret) = server.credential_files();
    fs::write(id, "narrow").unwrap();
    fs::write(secret, "narrow-secret").unwrap();
    site.walkeep(&["check"])
        .says("ok       store two: writes, reads and lists \"main/check/probe\"\n")
        .says_not(note);
}

#[test]
fn a_store_that_is_away_is_a_warning_while_another_works() {
    let archive = Archive::new();
    archive.servers[0].stop();
    archive
        .check()
        .expect(0)
        .says("warning  store one: put \"main/check/probe\": unreachable (")
        .says("\n           check the endpoint and this host's network\n")
        .says("ok       store two: writes");
    archive.servers[1].stop();
    archive
        .check()
        .expect(1)
        .says("loss     store one: put \"main/check/probe\": unreachable (")
        .says("2 findings would lose data\n");
}

#[test]
fn another_clusters_archive_is_named() {
    let archive = Archive::new();
    let other = Cluster::builder().fsync(true).build();
    let stores = [0, 1].map(|index| archive.store(index)).join("\n");
    archive.site.configure(&archive.site.head(&other), &stores);
    let id = |cluster: &Cluster| -> String {
        cluster.value("SELECT system_identifier::text FROM pg_control_system()")
    };
    let (ours, theirs) = (id(&other), id(&archive.cluster));
    archive
        .check()
        .expect(1)
        .says(&format!(
            "loss     staging: \"{}\" belongs to the cluster {theirs}, and this one is {ours}: \
             every push is refused\n",
            archive.site.staging().display()
        ))
        .says(&format!(
            "loss     store two: the archive is that of the cluster \"main\" ({theirs}), and this \
             one is {ours}\n"
        ));
}

#[test]
fn what_lies_beside_the_prefix_and_a_lost_catalog_are_noticed() {
    let archive = Archive::new();
    archive.servers[0].put_plainly(BUCKETS[0], "other/file", "x");
    archive.servers[1].put_plainly(BUCKETS[1], "a-first/file", "x");
    fs::remove_file(archive.site.path("catalog/catalog.redb")).unwrap();
    archive
        .check()
        .expect(0)
        .says("note     store one: its key reaches what lies beside the prefix\n")
        .says("note     store two: its key reaches what lies beside the prefix\n")
        .says("warning  catalog: ")
        .says("\n           run `walkeep catalog rebuild`\n");
}

/// The seconds are those at which it is asked: a test may be slow.
#[test]
fn a_clock_that_is_off_is_a_warning_and_one_that_signs_nothing_a_loss() {
    let archive = Archive::new();
    let skew_after = |run: &Run, severity: &str| -> u64 {
        let begin = format!("{severity} store two: this host's clock is ");
        let line = run
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(&begin));
        let line = line.unwrap_or_else(|| panic!("{begin:?} in\n{}", run.stdout));
        let (seconds, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "s ahead of the store's");
        seconds.parse().unwrap()
    };
    for (behind, severity, code) in [(90, "warning ", 0), (450, "loss    ", 1)] {
        archive.servers[1].set_clock_behind(Duration::from_secs(behind));
        let run = archive.check();
        run.expect(code)
            .says("\n           set this host's clock (NTP)\n")
            .says("ok       store two: writes")
            .says_not("store one: this host's clock");
        let skew = skew_after(&run, severity);
        assert!((behind - 2..behind + 10).contains(&skew), "{skew}");
    }
    archive.servers[1].set_clock_behind(Duration::from_secs(20));
    archive.check().expect(0).says_not("clock");
}

/// 0.0.0.0 is no loopback address, and whoever connects to it stays on the
/// host all the same (Linux): the one that walkeep may be let speak to here.
#[test]
fn plain_http_leaves_the_host_only_where_that_is_allowed() {
    let archive = Archive::new();
    let site = &archive.site;
    let head = site.head(&archive.cluster);
    let (good, loopback) = (archive.store(0), archive.store(1));
    let elsewhere = loopback.replace("//127.0.0.1:", "//0.0.0.0:");
    assert_ne!(loopback, elsewhere);
    site.configure(&head, &format!("{good}\n{elsewhere}"));
    let refused = "http is for loopback only, unless allow_http = true";
    archive
        .check()
        .expect(1)
        .says("loss     store two: open \"\": configuration (endpoint \"http://0.0.0.0:")
        .says(refused)
        .says("ok       store one: writes");
    site.walkeep(&["init"]).expect(1).tells(refused);
    site.configure(&head, &format!("{good}\n{elsewhere}allow_http = true\n"));
    archive
        .check()
        .expect(0)
        .says("warning  store two: plain http: everything it is sent can be read on the way\n")
        .says("ok       store two: writes, reads and lists")
        .says_not(refused);
}
