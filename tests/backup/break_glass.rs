//! docs/BREAK-GLASS.md, executed: its own commands, in order.

use std::{fs, path::Path, process::Command, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    archiving,
    support::{
        host::{TempDir, as_server_user, hand_over, skip, wait_until, walkeep_binary},
        postgres::Cluster,
        s3::{S3Server, Versitygw, free_address},
        site::Site,
    },
};

const PAGE: &str = include_str!("../../docs/BREAK-GLASS.md");
const BUCKET: &str = "backups";

/// The blocks of one language, in order.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = PAGE.split(fence.as_str()).skip(1);
    let block = |part: &str| part.split("```").next().map(str::to_owned);
    parts.filter_map(block).collect()
}

fn recovers_by_the_page(server: &S3Server, kind: &str) {
    server.create_bucket(BUCKET);
    let site = Site::empty();
    let primary = archiving(&site);
    let mut table = server.toml_store_table("one", kind, BUCKET);
    table.push('\n');
    site.configure(&site.head(&primary), &table);
    site.walkeep(&["init"]).expect(0);
    super::fill(&primary);
    site.walkeep(&["backup", "create"]).expect(0);
    primary.sql(
        "UPDATE kept SET word = 'changed' WHERE i BETWEEN 500 AND 1500; \
         CREATE TABLE later AS SELECT i FROM generate_series(1, 50000) i; CHECKPOINT",
    );
    // From here on in the other format, beside what is there.
    let zstd = "[compression]\nformat = \"zstd\"\n\n";
    site.configure(&format!("{}{zstd}", site.head(&primary)), &table);
    site.walkeep(&["backup", "create"]).expect(0);
    primary.sql("INSERT INTO kept VALUES (0, 'behind the backup', '')");
    let last = primary.switch_wal();
    primary.wait_archived(&last);
    site.walkeep(&["ship"]).expect(0);
    // And what no archived segment has.
    let stream = "[stream]\nenabled = true\ninterval = \"1s\"\n\n";
    site.reconfigure(|text| format!("{stream}{text}"));
    stream_some(&primary, &site);
    let wanted = sums(&primary);
    primary.kill();

    let place = TempDir::new();
    fs::write(place.join("restore.py"), &blocks("python")[0]).expect("write the script");
    let script = blocks("sh").join("\n");
    fs::write(place.join("page.sh"), format!("set -e\n{script}")).expect("write the page");
    hand_over(&place.join("page.sh"));
    let path = format!("{}:/usr/bin:/bin", primary.server().bin.display());
    let mut page = Command::new("bash");
    as_server_user(&mut page)
        .arg("page.sh")
        .current_dir(&*place)
        .env("PATH", path)
        // The page starts the server as its host would, on the usual port.
        .env("PGPORT", free_address().port().to_string())
        .env("ENDPOINT", server.endpoint())
        .env("REGION", server.region())
        .env("ACCESS_KEY_ID", server.access_key())
        .env("SECRET_ACCESS_KEY", server.secret_key())
        .env("BUCKET", BUCKET)
        .env("PREFIX", "main/");
    let ran = page.output().expect("run the page");
    let log = fs::read_to_string(place.join("server.log")).unwrap_or_default();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{log}");
    let restored = Cluster::over(primary.server(), &place.join("data"));
    stop(&restored, &place.join("data"));
    restored.start();
    restored.wait_promoted();
    assert_eq!(sums(&restored), wanted);
    assert_eq!(damaged(&restored), 0);
}

/// Streams for a while, in the middle of which something is written; in both
/// formats.
fn stream_some(primary: &Cluster, site: &Site) {
    for format in ["zstd", "gzip"] {
        let other = |text: String| {
            let text = text.replace("format = \"gzip\"", "format = \"zstd\"");
            text.replace("format = \"zstd\"", &format!("format = \"{format}\""))
        };
        site.reconfigure(other);
        let mut daemon = Command::new(walkeep_binary());
        let daemon = as_server_user(&mut daemon)
            .arg("--config")
            .arg(site.config())
            .arg("run");
        let mut daemon = daemon.spawn().expect("start walkeep run");
        primary.sql(&format!(
            "INSERT INTO kept SELECT -i, '{format}', 'streamed' FROM generate_series({0}, {0} + 10) i",
            1 + daemon.id()
        ));
        let written = Timestamp::now() + Duration::from_secs(1);
        wait_until("it is streamed", Duration::from_secs(60), || {
            let state = fs::read(site.staging().join("stream/state.json")).unwrap_or_default();
            let state: Value = serde_json::from_slice(&state).unwrap_or_default();
            let until = state["stores"]["one"]["until"].as_str();
            until.is_some_and(|it| it.parse::<Timestamp>().unwrap() > written)
        });
        daemon.kill().expect("kill it");
        daemon.wait().expect("wait for it");
    }
}

/// Ends the server that the page started.
fn stop(cluster: &Cluster, data: &Path) {
    let mut command = cluster.server().command("pg_ctl");
    as_server_user(&mut command).arg("-D").arg(data);
    let stopped = command.args(["-m", "fast", "-w", "stop"]).output();
    assert!(stopped.expect("run pg_ctl").status.success());
}

fn sums(cluster: &Cluster) -> Vec<(i64, i64)> {
    let query = "SELECT count(*), sum(hashtext(i || word)) FROM kept \
                 UNION ALL SELECT count(*), sum(i) FROM later";
    let rows = cluster.rows(query);
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Pages that fail their checksums, of every one in the cluster.
fn damaged(cluster: &Cluster) -> i64 {
    cluster.sql("CREATE EXTENSION IF NOT EXISTS amcheck");
    // Every index against its table, every page by its checksum.
    cluster.sql("SELECT bt_index_check('kept_pkey', true)");
    cluster.value("SELECT coalesce(sum(checksum_failures), 0)::bigint FROM pg_stat_database")
}

#[test]
fn the_page_brings_a_cluster_back_from_versitygw() {
    match S3Server::start_versitygw(Versitygw::default()) {
        Some(server) => recovers_by_the_page(&server, "s3"),
        None => skip("versitygw", "make versitygw"),
    }
}

#[test]
fn the_page_brings_a_cluster_back_from_s3s() {
    recovers_by_the_page(&S3Server::start_s3s(), "s3");
}
