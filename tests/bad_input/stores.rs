//! Stores that cannot be used.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use tokio::runtime::Runtime;

use crate::{
    bytes, ends, name, staged,
    support::{
        archive::{Archive, Ran, gunzip, put},
        host::wait_until,
        s3::{
            S3Server, Versitygw, free_address,
            raw::{Answer, Raw},
        },
    },
};

const BUCKET: &str = "wal";

/// What is asked of a store before anything else.
const CLAIM: &str = "get \"main/cluster.json\": ";

/// What a store that cannot be used is made of.
struct Scene {
    archive: Archive,
    good: S3Server,
    runtime: Runtime,
    /// Servers that must live as long as the scene.
    others: Vec<Raw>,
    without_bucket: Option<S3Server>,
}

impl Scene {
    /// The `[[store]]` table of the server that works.
    fn table(&self) -> String {
        self.good.toml_store_table("r2", "s3", BUCKET)
    }

    fn at(&self, endpoint: &str) -> String {
        self.table().replace(&self.good.endpoint(), endpoint)
    }

    fn object(&self, name: &str) -> PathBuf {
        let key = format!("main/wal/{name}.gz");
        self.good.object_path(BUCKET, &key)
    }
}

fn wrong_secret(scene: &mut Scene) -> Option<String> {
    let wrong = scene.archive.directory().join("secret");
    put(&wrong, b"another\n");
    let (_, right) = scene.good.credential_files();
    let (right, wrong) = (right.to_str().unwrap(), wrong.to_str().unwrap());
    Some(scene.table().replace(right, wrong))
}

fn missing_bucket(scene: &mut Scene) -> Option<String> {
    // s3s makes a bucket that is written to.
    let server = S3Server::start_versitygw(Versitygw::default())?;
    let table = server.toml_store_table("r2", "s3", "nowhere");
    scene.without_bucket = Some(server);
    Some(table)
}

fn missing_directory(scene: &mut Scene) -> Option<String> {
    let table = scene.archive.directory_store("r2");
    fs::remove_dir_all(scene.archive.store("r2")).unwrap();
    Some(table)
}

fn skewed_clock(scene: &mut Scene) -> Option<String> {
    let server = scene.runtime.block_on(Raw::start(|_, _| {
        let theirs = SystemTime::now() - Duration::from_secs(7200);
        Answer::error("403 Forbidden", "RequestTimeTooSkewed", "too large")
            .header("Date", httpdate::fmt_http_date(theirs))
    }));
    let endpoint = format!("http://{}", server.address());
    scene.others.push(server);
    Some(scene.at(&endpoint))
}

fn nobody_listens(scene: &mut Scene) -> Option<String> {
    Some(scene.at(&format!("http://{}", free_address())))
}

fn unknown_certificate(scene: &mut Scene) -> Option<String> {
    let server = Raw::start_self_signed("127.0.0.1", |request, _| Answer::stored(request));
    let (server, _) = scene.runtime.block_on(server);
    let endpoint = format!("https://{}", server.address());
    scene.others.push(server);
    Some(scene.at(&endpoint))
}

fn no_tls(scene: &mut Scene) -> Option<String> {
    Some(scene.at(&scene.good.endpoint().replace("http:", "https:")))
}

/// Situation, how it is made, cause, next action.
type StoreRow = (
    &'static str,
    fn(&mut Scene) -> Option<String>,
    &'static str,
    &'static str,
);

const STORES: [StoreRow; 7] = [
    (
        "a wrong secret",
        wrong_secret,
        "credentials refused (",
        "; correct the access key id and the secret of store \"r2\"",
    ),
    (
        "a missing bucket",
        missing_bucket,
        "no such bucket (",
        "; create the bucket, or correct `bucket` of store \"r2\"",
    ),
    (
        "a missing directory",
        missing_directory,
        "no such directory (\"",
        "; create or mount the directory, or correct `path` of store \"r2\"",
    ),
    (
        "a wrong clock",
        skewed_clock,
        "s ahead of the store's (",
        "; set this host's clock (NTP)",
    ),
    (
        "an unreachable endpoint",
        nobody_listens,
        "unreachable (",
        "; check the endpoint and this host's network",
    ),
    (
        "an unknown certificate",
        unknown_certificate,
        "TLS refused (",
        "; check the endpoint, or name its authority's certificate in ca_file",
    ),
    (
        "an endpoint without TLS",
        no_tls,
        "TLS refused (",
        "; check the endpoint, or name its authority's certificate in ca_file",
    ),
];

#[test]
fn a_store_that_cannot_be_used() {
    std::thread::scope(|scope| {
        for row in &STORES {
            scope.spawn(|| store_row(row));
        }
    });
}

fn store_row((situation, make, cause, next): &StoreRow) {
    let good = S3Server::start_s3s();
    let archive = Archive::new(&[]);
    good.create_bucket(BUCKET);
    good.put_plainly(BUCKET, "main/cluster.json", &archive.cluster_json());
    let mut scene = Scene {
        archive,
        good,
        runtime: Runtime::new().unwrap(),
        others: Vec::new(),
        without_bucket: None,
    };
    let Some(table) = make(&mut scene) else {
        return;
    };
    let archive = &scene.archive;
    let settings = format!(
        "acknowledge = \"one-store\"\n[fetch]\nspool = \"{}\"\ntimeout = \"1s\"\nprefetch = 0\n",
        archive.directory().join("spool").display()
    );
    archive.configure(&settings, &table);
    archive.stage(&name(1), &bytes(1));
    let pushed = archive.incoming(&name(2), &bytes(2));
    let to = archive.directory().join("fetched");
    let (pushed, to) = (pushed.to_str().unwrap(), to.to_str().unwrap());
    for (command, code, operation) in [
        (&["wal", "push", pushed][..], 1, CLAIM),
        (&["ship"], 1, CLAIM),
        (&["wal", "fetch", &name(3), to], 200, "get \"main/"),
        (&["catalog", "rebuild"], 1, CLAIM),
        // What ship met is still known.
        (&["status"], 1, ""),
    ] {
        let mut ran = run_to_its_end(archive, situation, command);
        if command == ["status"] {
            ran.stderr = std::mem::take(&mut ran.stdout);
        }
        let store = format!("store \"r2\": {operation}");
        ends(
            situation,
            &command.join(" "),
            &ran,
            code,
            &[&store, cause, next],
        );
    }
    assert!(!Path::new(to).exists());
    // Nothing was lost; and once there is a good store, it has everything.
    for number in [1, 2] {
        assert!(
            staged(archive)[&name(number)] == bytes(number),
            "{situation}"
        );
    }
    archive.configure(&settings, &scene.table());
    archive.ship_well();
    for number in [1, 2] {
        assert!(
            gunzip(&scene.object(&name(number))) == bytes(number),
            "{situation}"
        );
    }
    assert_eq!(archive.run(&["wal", "fetch", &name(2), to]).code, 0);
    assert!(fs::read(to).unwrap() == bytes(2), "{situation}");
}

/// Runs walkeep. However bad a store is, it ends.
fn run_to_its_end(archive: &Archive, situation: &str, arguments: &[&str]) -> Ran {
    let mut command = archive.walkeep(arguments);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start walkeep");
    let what = format!("{situation}: walkeep {} ends", arguments.join(" "));
    wait_until(&what, Duration::from_secs(180), || {
        child.try_wait().expect("wait for walkeep").is_some()
    });
    let output = child.wait_with_output().expect("read what it said");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}
