//! The configuration file: a template, or what the environment says.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use nix::unistd::Uid;

use crate::support::{
    host,
    postgres::Cluster,
    s3::S3Server,
    site::{Run, Site, read},
};

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
    let server = S3Server::start_s3s();
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
        return host::skip("root", "run the tests as root as well");
    }
    let cluster = Cluster::builder().build();
    let site = Site::empty();
    let server = S3Server::start_s3s();
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
