//! The metrics: what is served is what is documented, and what the dashboard
//! and the rules ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    scene::{PATIENCE, Scene, get},
    support::host::{hand_over, skip, wait_for},
};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Name → type and unit, from the table in docs/METRICS.md.
fn documented() -> BTreeMap<String, (String, String)> {
    let text = read("docs/METRICS.md");
    let rows = text.lines().filter(|line| line.starts_with("| `walkeep_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        assert!(cells.len() == 7 && !cells[5].is_empty(), "{row}");
        (name, (cells[2].to_owned(), cells[4].to_owned()))
    })
    .collect()
}

/// The same from what is served.
fn served(text: &str) -> BTreeMap<String, (String, String)> {
    let mut metrics: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, kind] => {
                let known = metrics.entry(name.to_owned()).or_default();
                assert_eq!(known.0, "", "{name} is registered twice");
                known.0 = kind.to_owned();
            }
            ["#", "UNIT", name, unit] => {
                metrics.entry(name.to_owned()).or_default().1 = unit.to_owned()
            }
            ["#", "HELP", name, _] => drop(helped.insert(name.to_owned())),
            _ => {}
        }
    }
    assert_eq!(
        helped,
        metrics.keys().cloned().collect(),
        "each has its help"
    );
    metrics
}

fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample))?;
    line.trim_start_matches("{}").trim().parse().ok()
}

#[test]
fn what_is_served_is_what_is_documented() {
    let mut scene = Scene::new("");
    let status = scene
        .archive
        .directory()
        .join("pgdata/pg_wal/archive_status");
    fs::create_dir_all(&status).unwrap();
    fs::write(status.join("000000010000000000000001.ready"), "").unwrap();
    let data = scene.archive.directory().join("pgdata");
    hand_over(&data);
    scene.configure(&format!(
        "listen = \"127.0.0.1:0\"\n[alerts]\nlag = \"3s\"\n[cluster]\ndata_directory = \"{}\"\n",
        data.display()
    ));
    scene.fill(600, 300..303);
    scene.kill_store("b2");
    scene.stage(2, 600, 400);
    let url = scene.start();
    let metrics = wait_for(
        "one store takes it, the other fails, and alerts are raised",
        PATIENCE,
        || {
            let metrics = get(&format!("{url}/metrics")).body;
            let taken = value(&metrics, "walkeep_shipped_files_total{store=\"r2\"}");
            let failed = metrics.contains("walkeep_ship_errors_total{store=\"b2\"");
            let passed = value(&metrics, "walkeep_pass_duration_seconds_count")?;
            let told = metrics.contains("walkeep_alerts{kind=\"gap\"");
            (taken == Some(1.0) && failed && passed > 0.0 && told).then_some(metrics)
        },
    );
    assert_eq!(served(&metrics), documented(), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    for (sample, least) in [
        ("walkeep_store_up{store=\"r2\"}", 1.0),
        ("walkeep_store_lag_seconds{store=\"b2\"}", 400.0),
        ("walkeep_store_lag_bytes{store=\"b2\"}", 1_048_576.0),
        ("walkeep_shipped_raw_bytes_total{store=\"r2\"}", 1_048_576.0),
        ("walkeep_ship_duration_seconds_count{store=\"r2\"}", 1.0),
        ("walkeep_last_backup_timestamp_seconds", 1e9),
        ("walkeep_window_end_timestamp_seconds", 1e9),
        ("walkeep_last_drill_rto_seconds", 371.4),
        ("walkeep_archiver_waiting_files", 1.0),
        ("walkeep_wal_gaps", 1.0),
    ] {
        let value = value(&metrics, sample);
        assert!(
            value.is_some_and(|value| value >= least),
            "{sample} is {value:?}: {metrics}"
        );
    }
    assert_eq!(value(&metrics, "walkeep_store_up{store=\"b2\"}"), Some(0.0));
    // The health check and the page say the same.
    let health = get(&format!("{url}/healthz"));
    assert_eq!(health.code, 503);
    assert!(health.body.contains("gap in the WAL: "), "{}", health.body);
    assert!(health.body.contains("b2"), "{}", health.body);
    let page = get(&url).body;
    assert!(page.contains("gap in the WAL: "), "{page}");
}

#[test]
fn dashboard_and_rules_ask_for_metrics_that_there_are() {
    let known = documented();
    let mut asked = 0;
    for path in [
        "packaging/grafana/walkeep.json",
        "packaging/prometheus/walkeep.rules.yml",
        "packaging/prometheus/walkeep.test.yml",
    ] {
        let text = read(path);
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if !word.starts_with("walkeep_") {
                continue;
            }
            let suffixes = ["_total", "_bucket", "_sum", "_count", "_info"];
            let stripped = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
            let is_known = [Some(word), stripped];
            let is_known = is_known
                .into_iter()
                .flatten()
                .any(|name| known.contains_key(name));
            assert!(is_known, "{path}: {word}");
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked}");
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("packaging/grafana/walkeep.json")).expect("JSON");
    assert!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 8)
    );
}

#[test]
fn promtool_accepts_the_rules_and_they_fire() {
    for arguments in [
        ["check", "rules", "walkeep.rules.yml"],
        ["test", "rules", "walkeep.test.yml"],
    ] {
        let run = Command::new("promtool")
            .args(arguments)
            .current_dir(project("packaging/prometheus"))
            .output();
        let Ok(run) = run else {
            return skip("promtool", "install Debian's package prometheus");
        };
        let said = String::from_utf8_lossy(&run.stdout);
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{arguments:?}: {said}{told}");
    }
}
