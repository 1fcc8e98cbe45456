#![allow(
    clippy::disallowed_methods,
    reason = "what a test writes need not survive a power cut"
)]

mod alerts;
mod environment;
mod serve;

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::codec::Format;
use crate::store::{Location, Profile, S3Settings, Secret};
use secrecy::ExposeSecret;

const R2: &str = r#"
[[store]]
name = "r2"
type = "r2"
account_id = "0123abcd"
bucket = "backups"
access_key_id_file = "/run/keys/id"
secret_access_key_file = "/run/keys/secret"
"#;

const NAS: &str = r#"
[[store]]
name = "nas"
type = "directory"
path = "/mnt/nas"
"#;

fn build(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variable = |name: &str| {
        let known = environment.iter().find(|(known, _)| *known == name);
        known.map(|(_, value)| (*value).to_owned())
    };
    let text = (!text.is_empty()).then_some(text);
    Config::build(Path::new("/etc/walkeep/walkeep.toml"), text, &variable)
}

fn good(text: &str) -> Config {
    build(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn error(text: &str) -> String {
    match build(text, &[]) {
        Ok(config) => panic!("{text} was accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

fn bucket(config: &Config, store: usize) -> &S3Settings {
    match &config.stores[store].location {
        Location::S3(settings) => settings,
        Location::Directory(path) => panic!("{path:?}"),
    }
}

fn value(secret: &Secret) -> &str {
    match secret {
        Secret::Value(value) => value.expose_secret(),
        Secret::File(path) => panic!("{path:?}"),
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = good(R2);
    assert_eq!(config.cluster.name, "main");
    assert_eq!(config.staging.path, None);
    assert_eq!(config.staging.max_size, 20 << 30);
    assert_eq!(config.staging.high_water, 16 << 30);
    assert_eq!(config.staging.min_copies, 1);
    assert_eq!(config.staging.acknowledge, Acknowledge::Staged);
    assert_eq!(config.catalog, Path::new("/var/lib/walkeep/catalog.redb"));
    assert_eq!(config.fetch.spool, Path::new("/var/lib/walkeep/spool"));
    assert_eq!(config.drill.scratch, Path::new("/var/lib/walkeep/drill"));
    assert_eq!(config.audit.path, Path::new("/var/lib/walkeep/audit.jsonl"));
    assert_eq!((config.audit.max_size, config.audit.keep), (16 << 20, 8));
    assert!(config.drill.checks.is_empty() && config.drill.amcheck);
    assert_eq!(config.drill.file, None);
    assert_eq!(config.drill.timeout, Duration::from_secs(86_400));
    assert_eq!(config.fetch.timeout, Duration::from_secs(300));
    assert_eq!(config.retention.window, Duration::from_secs(30 * 86_400));
    assert_eq!(config.retention.min_backups, 2);
    assert_eq!(config.retention.local_window, Duration::ZERO);
    assert_eq!(config.ship.rate_limit, None);
    assert_eq!(config.stores[0].prefix.to_string(), "main");
    let r2 = bucket(&config, 0);
    assert_eq!(r2.profile, Profile::R2);
    assert_eq!(r2.endpoint, "https://0123abcd.r2.cloudflarestorage.com");
    assert_eq!(r2.region, "auto");
    assert!(!r2.allow_http);
}

#[test]
fn every_type_of_store_has_its_endpoint() {
    let keys = "bucket = \"b\"\naccess_key_id = \"id\"\nsecret_access_key_file = \"/s\"\n";
    let endpoint = |fields: &str| {
        let config = good(&format!("[[store]]\nname = \"x\"\n{fields}\n{keys}"));
        let bucket = bucket(&config, 0);
        (
            bucket.profile,
            bucket.endpoint.clone(),
            bucket.region.clone(),
        )
    };
    let found =
        |profile, endpoint: &str, region: &str| (profile, endpoint.to_owned(), region.to_owned());
    assert_eq!(
        endpoint("type = \"r2\"\naccount_id = \"a1\"\njurisdiction = \"eu\""),
        found(
            Profile::R2,
            "https://a1.eu.r2.cloudflarestorage.com",
            "auto"
        )
    );
    assert_eq!(
        endpoint("type = \"b2\"\nregion = \"us-east-005\""),
        found(
            Profile::B2,
            "https://s3.us-east-005.backblazeb2.com",
            "us-east-005"
        )
    );
    assert_eq!(
        endpoint("type = \"s3\"\nendpoint = \"https://s3.example.com\""),
        found(Profile::S3, "https://s3.example.com", "us-east-1")
    );
    assert_eq!(
        endpoint("type = \"s3\"\nendpoint = \"http://10.0.0.1\"\nregion = \"x\""),
        found(Profile::S3, "http://10.0.0.1", "x")
    );
}

/// What is wrong with a file's names and values is tested on the program:
/// tests/bad_input.
#[test]
fn a_character_is_a_column() {
    let place = "/etc/walkeep/walkeep.toml";
    let message = error("[cluster]\nname = \"ä\" x\n");
    assert!(message.starts_with(&format!("{place}:2:12: ")), "{message}");
}

#[test]
fn values_have_units() {
    let text = "[staging]\nmax_size = \"1GB\"\nhigh_water = \"50%\"\n[ship]\nrate_limit = 1000\n\
                [fetch]\ntimeout = \"1h 30m\"\n";
    let config = good(&format!("{text}{NAS}"));
    assert_eq!(config.staging.max_size, 1_000_000_000);
    assert_eq!(config.staging.high_water, 500_000_000);
    assert_eq!(config.ship.rate_limit, Some(1000));
    assert_eq!(config.fetch.timeout, Duration::from_secs(5400));
}

#[test]
fn jobs_have_schedules_and_what_is_not_named_has_none() {
    assert!(good(NAS).schedule.is_empty());
    let text = "[schedule]\nbackup = \"daily 02:00\"\nverify = \"every 2s\"\nprune = \"never\"\n";
    let schedule = good(&format!("{text}{NAS}")).schedule;
    let named: Vec<_> = schedule.keys().map(|job| job.name()).collect();
    assert_eq!(named, ["backup", "prune", "verify"]);
    assert_eq!(
        schedule[&Job::Verify],
        Schedule::Every(Duration::from_secs(2))
    );
    let message = error(&format!("[schedule]\ndrill = \"wekly\"\n{NAS}"));
    assert!(
        message.contains("toml:2:9: \"wekly\" is not a schedule, such as \"daily 02:00\""),
        "{message}"
    );
}

#[test]
fn a_drill_has_checks() {
    let text = "[drill]\nscratch = \"/srv/drill\"\nchecks = [\"select 1\", \"select 2\"]\n\
                file = \"/etc/walkeep/drill.sql\"\namcheck = false\ntimeout = \"2h\"\n";
    let drill = good(&format!("{text}{NAS}")).drill;
    assert_eq!(drill.scratch, Path::new("/srv/drill"));
    assert_eq!(drill.checks, ["select 1", "select 2"]);
    assert_eq!(
        drill.file.as_deref(),
        Some(Path::new("/etc/walkeep/drill.sql"))
    );
    assert!(!drill.amcheck);
    assert_eq!(drill.timeout, Duration::from_secs(7200));
}

#[test]
fn numbers_are_kept_in_their_ranges() {
    for (text, wrong) in [
        (
            "[compression]\nlevel = 0\n",
            "compression.level: 0 is not in 1..=9 (for gzip; its default is 9)",
        ),
        (
            "[compression]\nlevel = 10\n",
            "compression.level: 10 is not in 1..=9 (for gzip; its default is 9)",
        ),
        (
            "[compression]\nformat = \"zstd\"\nlevel = 19\n",
            "compression.level: 19 is not in 1..=9 (for zstd; its default is 3)",
        ),
        (
            "[ship]\nconcurrency = 0\n",
            "ship.concurrency: 0 is not in 1..=64",
        ),
        (
            "[audit]\nkeep = 0\n",
            "audit.keep: 0 would let each line go; keep at least 1",
        ),
        (
            "[staging]\nmin_copies = 0\n",
            "staging.min_copies: 0 is not in 1..=2, the stores",
        ),
        (
            "[staging]\nmin_copies = 3\n",
            "staging.min_copies: 3 is not in 1..=2, the stores",
        ),
    ] {
        let message = error(&format!("{text}{NAS}{R2}"));
        assert_eq!(message, format!("/etc/walkeep/walkeep.toml: {wrong}"));
    }
    let level = |text: &str| {
        let Compression { format, level, .. } = good(&format!("{text}{NAS}")).compression;
        (format, level)
    };
    assert_eq!(level(""), (Format::Gzip, 9));
    assert_eq!(
        level("[compression]\nformat = \"zstd\"\n"),
        (Format::Zstd, 3)
    );
    let both = "[compression]\nformat = \"zstd\"\nlevel = 7\n";
    assert_eq!(level(both), (Format::Zstd, 7));
    let config = good(&format!("[staging]\nmin_copies = 2\n{NAS}{R2}"));
    assert_eq!(config.staging.min_copies, 2);
    // Promised in every store, nothing is released before it is there.
    let config = good(&format!(
        "[staging]\nacknowledge = \"all-stores\"\n{NAS}{R2}"
    ));
    assert_eq!(config.staging.min_copies, 2);
}

#[test]
fn stores_are_told_apart_by_their_names() {
    let message = error(&format!("{NAS}{NAS}"));
    assert!(
        message.contains("store[1] (\"nas\"): another store has the same name"),
        "{message}"
    );
    let message = error(&NAS.replace("nas\"", "My NAS\""));
    assert!(
        message.contains(".name: \"My NAS\" cannot name a store"),
        "{message}"
    );
    let message = error("[cluster]\nname = \"x\"\n");
    assert!(message.contains("name at least one store"), "{message}");
}

#[test]
fn fields_of_other_types_are_refused() {
    for (store, field) in [
        (NAS, "bucket = \"b\""),
        (NAS, "region = \"x\""),
        (NAS, "access_key_id = \"id\""),
        (NAS, "allow_http = true"),
        (R2, "path = \"/mnt\""),
        (R2, "region = \"auto\""),
    ] {
        let message = error(&format!("{store}{field}\n"));
        let name = field.split(' ').next().unwrap();
        let end = format!(".{name}: means nothing to a store of this type");
        assert!(message.ends_with(&end), "{message}");
    }
}

#[test]
fn what_a_store_needs_is_asked_for() {
    for (line, field) in [
        ("account_id = \"0123abcd\"\n", "account_id"),
        ("bucket = \"backups\"\n", "bucket"),
        (
            "access_key_id_file = \"/run/keys/id\"\n",
            "access_key_id_file",
        ),
        (
            "secret_access_key_file = \"/run/keys/secret\"\n",
            "secret_access_key_file",
        ),
    ] {
        let message = error(&R2.replace(line, ""));
        let end = format!("(\"r2\").{field}: missing; a store of this type needs it");
        assert!(message.ends_with(&end), "{message}");
    }
    let message = error(&NAS.replace("path = \"/mnt/nas\"\n", ""));
    assert!(
        message.ends_with("(\"nas\").path: missing; a store of this type needs it"),
        "{message}"
    );
    let message = error(&format!("{R2}access_key_id = \"id\"\n"));
    assert!(
        message.ends_with("given twice: as a value and as a file"),
        "{message}"
    );
    let message = error(&R2.replace("0123abcd", "evil.example.com/"));
    assert!(
        message.contains("cannot be a part of a host's name"),
        "{message}"
    );
}

#[test]
fn the_prefix_is_the_clusters_name_unless_it_is_given() {
    let prefix = |text: &str| good(text).stores[0].prefix.to_string();
    assert_eq!(
        prefix(&format!("[cluster]\nname = \"orders\"\n{NAS}")),
        "orders"
    );
    assert_eq!(prefix(&format!("{NAS}prefix = \"a/b\"\n")), "a/b");
    assert_eq!(prefix(&format!("{NAS}prefix = \"\"\n")), "");
    let message = error(&format!("{NAS}prefix = \"../other\"\n"));
    assert!(message.contains(".prefix: "), "{message}");
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("walkeep.toml");
    let inline = R2.replace(
        "secret_access_key_file = \"/run/keys/secret\"",
        "secret_access_key = \"hunter2hunter2\"",
    );
    let load = |text: &str, mode| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Config::build(&path, Some(text), &|_| None)
    };
    for mode in [0o604, 0o644, 0o606] {
        let error = load(&inline, mode).unwrap_err();
        assert!(
            matches!(error, ConfigError::Exposed(_)),
            "{mode:o}: {error}"
        );
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("chmod") && !text.contains("hunter2"),
            "{text}"
        );
    }
    for mode in [0o600, 0o640] {
        let config = load(&inline, mode).unwrap();
        assert_eq!(
            value(&bucket(&config, 0).credentials.secret_access_key),
            "hunter2hunter2"
        );
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
    // A file that holds none may be read by all.
    load(R2, 0o644).unwrap();
}

#[test]
fn a_cluster_without_a_name_is_called_as_its_file() {
    let at = |path: &str, text: &str| {
        let config = Config::build(Path::new(path), Some(text), &|_| None).unwrap();
        let prefix = config.stores[0].prefix.to_string();
        (config.cluster.name, prefix.trim_end_matches('/').to_owned())
    };
    let both = |name: &str| (name.to_owned(), name.to_owned());
    let orders = default_path(Some("orders"));
    let orders = orders.to_str().unwrap();
    assert_eq!(at(orders, NAS), both("orders"));
    assert_eq!(at("/etc/walkeep/walkeep.toml", NAS), both("main"));
    assert_eq!(at("/home/ann/orders.toml", NAS), both("main"));
    let named = format!("[cluster]\nname = \"shop\"\n{NAS}");
    assert_eq!(at(orders, &named), both("shop"));
}

#[test]
fn clusters_of_one_host_keep_their_own_catalogs() {
    let at = |path: &Path| Config::build(path, Some(NAS), &|_| None).unwrap();
    let orders = at(&default_path(Some("orders")));
    let home = Path::new("/var/lib/walkeep/orders");
    assert_eq!(orders.catalog, home.join("catalog.redb"));
    assert_eq!(orders.audit.path, home.join("audit.jsonl"));
    assert_eq!(orders.fetch.spool, home.join("spool"));
    assert_eq!(orders.drill.scratch, home.join("drill"));
    let elsewhere = at(Path::new("/home/ann/orders.toml"));
    assert_eq!(elsewhere.catalog, at(&default_path(None)).catalog);
}

#[test]
fn streaming_is_off_until_it_is_asked_for() {
    let config = good(NAS);
    assert!(!config.stream.enabled);
    assert_eq!(config.stream.interval, Duration::from_secs(10));
    assert_eq!(config.stream.slot, "walkeep");
    let chosen = "[stream]\nenabled = true\ninterval = \"2s\"\nslot = \"a_1\"\n";
    let config = good(&format!("{chosen}{NAS}"));
    assert!(config.stream.enabled && config.stream.slot == "a_1");
    for (wrong, says) in [
        ("interval = \"500ms\"", "stream.interval: 500ms is not in"),
        ("interval = \"1h\"", "stream.interval"),
        ("slot = \"Slot\"", "stream.slot: \"Slot\" cannot name"),
        ("slot = \"\"", "stream.slot"),
    ] {
        let error = error(&format!("[stream]\n{wrong}\n{NAS}"));
        assert!(error.contains(says), "{error}");
    }
}
