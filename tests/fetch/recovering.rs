//! What a real PostgreSQL makes of each exit code: shut down, stopped, or
//! promoted. A cluster archives to two S3 servers and is lost; its base copy
//! recovers through `restore_command = 'walkeep wal fetch %f %p'`.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use super::support::{
    host::{TempDir, wait_until, walkeep_binary},
    postgres::{Cluster, default_server},
    s3::S3Server,
    site::Site,
};

const BUCKET: &str = "backups";
const PATIENCE: Duration = Duration::from_secs(60);

/// What is left of a cluster: a base copy, and its WAL in two stores.
struct Lost {
    site: Site,
    servers: [S3Server; 2],
    place: TempDir,
    base: PathBuf,
    /// Archived after the base copy, in order.
    segments: Vec<String>,
    rows: Vec<i32>,
}

fn lost() -> Lost {
    let servers = [S3Server::start_s3s(), S3Server::start_s3s()];
    let (site, place) = (Site::empty(), TempDir::new());
    let primary = Cluster::builder()
        .wal_segsize_mb(1)
        .conf("archive_mode = on")
        .conf(format!("archive_command = '{}'", site.archive_command()))
        .build();
    let stores: String = servers
        .iter()
        .zip(["one", "two"])
        .map(|(server, name)| {
            server.create_bucket(BUCKET);
            server.toml_store_table(name, "s3", BUCKET)
        })
        .collect();
    let head = site.head(&primary);
    site.configure(&format!("{head}timeout = \"2s\"\nprefetch = 0\n"), &stores);
    site.walkeep(&["init"]).expect(0);
    let base = place.join("base");
    primary.base_copy(&base);
    primary.sql("CREATE TABLE kept (i int)");
    let mut segments = Vec::new();
    for i in 1..=4 {
        primary.sql(&format!("INSERT INTO kept VALUES ({i})"));
        segments.push(primary.switch_wal());
    }
    primary.wait_archived(&segments[3]);
    site.walkeep(&["ship"]).expect(0);
    let rows = rows(&primary);
    assert_eq!(rows, [1, 2, 3, 4]);
    primary.kill();
    // Gone with its host: what recovers has no staging.
    let staging = format!("[staging]\npath = \"{}\"\n", site.staging().display());
    site.reconfigure(|text| text.replace(&staging, ""));
    Lost {
        site,
        servers,
        place,
        base,
        segments,
        rows,
    }
}

impl Lost {
    /// A copy of the base that recovers with `command`, not started.
    fn recovering(&self, name: &str, command: &str) -> Cluster {
        let data = self.place.join(name);
        let copied = Command::new("cp")
            .arg("-a")
            .args([&self.base, &data])
            .status();
        assert!(copied.expect("run cp").success());
        let cluster = Cluster::over(&default_server(), &data);
        cluster.append_conf("archive_mode = off");
        cluster.append_conf(&format!(
            "restore_command = '{}'",
            command.replace('\'', "''")
        ));
        cluster.recovery_signal();
        cluster
    }

    fn fetch(&self) -> String {
        format!(
            "{} --config {} wal fetch %f %p",
            walkeep_binary().display(),
            self.site.config().display()
        )
    }

    fn object(&self, store: usize, segment: &str) -> PathBuf {
        self.servers[store].object_path(BUCKET, &format!("main/wal/{segment}.gz"))
    }

    /// It goes on to the end of what was archived, and promotes there.
    #[track_caller]
    fn recovers(&self, cluster: &Cluster) {
        cluster.start();
        cluster.wait_promoted();
        assert_eq!(rows(cluster), self.rows, "{}", cluster.log());
        let timeline: String =
            cluster.value("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)");
        assert_eq!(timeline, "00000002");
        cluster.stop_immediate();
    }

    /// It starts, exits by itself with FATAL for `file`, and did not promote.
    #[track_caller]
    fn stops(&self, cluster: &Cluster, file: &str, words: &[&str]) {
        let log = match cluster.try_start() {
            Err(log) => log,
            // It may have answered as a hot standby before it met the file.
            Ok(()) => {
                wait_until("the server exits", PATIENCE, || cluster.exited().is_some());
                cluster.log()
            }
        };
        let fatal = format!(
            "FATAL:  could not restore file \"{file}\" from archive: child process exited with \
             exit code 200"
        );
        for word in words.iter().copied().chain([fatal.as_str()]) {
            assert!(log.contains(word), "{word:?} in\n{log}");
        }
        not_promoted(cluster);
    }
}

fn rows(cluster: &Cluster) -> Vec<i32> {
    cluster.column("SELECT i FROM kept ORDER BY i")
}

/// The stopped server is where it was: in recovery, on its old timeline.
#[track_caller]
fn not_promoted(cluster: &Cluster) {
    let data = cluster.data();
    assert!(data.join("recovery.signal").exists(), "{}", cluster.log());
    let pg_wal = fs::read_dir(data.join("pg_wal")).expect("list pg_wal");
    for entry in pg_wal {
        let name = entry.expect("list pg_wal").file_name();
        let name = name.to_str().expect("ASCII");
        assert!(!name.starts_with("00000002"), "{name} is in pg_wal");
    }
    let control = cluster
        .server()
        .command("pg_controldata")
        .arg(data)
        .env("LC_ALL", "C")
        .output()
        .expect("run pg_controldata");
    let control = String::from_utf8(control.stdout).expect("ASCII");
    let timeline = control
        .lines()
        .find_map(|line| line.strip_prefix("Latest checkpoint's TimeLineID:"));
    assert_eq!(timeline.map(str::trim), Some("1"), "{control}");
}

/// What systemd, or an administrator, does.
#[track_caller]
fn pg_ctl_stop(cluster: &Cluster) {
    let stopped = cluster
        .server()
        .command("pg_ctl")
        .args(["stop", "-m", "fast", "-t", "20", "-D"])
        .arg(cluster.data())
        .output()
        .expect("run pg_ctl");
    assert!(stopped.status.success(), "{stopped:?}\n{}", cluster.log());
    wait_until("the server has exited", PATIENCE, || {
        cluster.exited().is_some()
    });
}

fn a_shutdown_in_the_middle(hang: impl Fn(&S3Server), mend: impl Fn(&S3Server)) {
    let lost = lost();
    lost.site
        .reconfigure(|text| text.replace("timeout = \"2s\"", "timeout = \"5m\""));
    // Two segments are replayed; at the third the stores go away, and only
    // then is it asked for.
    let (reached, go) = (lost.site.path("reached"), lost.site.path("go"));
    let (third, fetch) = (&lost.segments[2], lost.fetch());
    let wait = format!(
        "if [ %f = {third} ]; then touch {}; while [ ! -e {} ]; do sleep 0.05; done; fi; exec \
         {fetch}",
        reached.display(),
        go.display()
    );
    let cluster = lost.recovering("data", &wait);
    cluster.spawn();
    wait_until("two segments are replayed", PATIENCE, || reached.exists());
    lost.servers.iter().for_each(&hang);
    fs::write(&go, "").expect("let it go on");
    wait_until("it tries again and again", PATIENCE, || {
        let log = cluster.log();
        log.contains("store \"one\"") && log.contains("store \"two\"")
    });
    assert!(cluster.exited().is_none(), "{}", cluster.log());
    pg_ctl_stop(&cluster);
    not_promoted(&cluster);
    let log = cluster.log();
    assert!(!log.contains("exit code 200"), "{log}");
    lost.servers.iter().for_each(&mend);
    lost.recovers(&cluster);
}

#[test]
fn a_shutdown_while_the_stores_are_away_is_a_shutdown() {
    a_shutdown_in_the_middle(S3Server::stop, S3Server::restart);
}

#[test]
fn a_shutdown_while_the_stores_hang_is_a_shutdown() {
    a_shutdown_in_the_middle(S3Server::pause, S3Server::resume);
}

#[test]
fn what_is_neither_fetched_nor_proved_absent_stops_the_server() {
    let lost = lost();
    let third = lost.segments[2].as_str();

    let cluster = lost.recovering("unreachable", &lost.fetch());
    lost.servers.iter().for_each(S3Server::stop);
    let words = [
        "learn whose archive this is",
        "store \"one\"",
        "store \"two\"",
    ];
    lost.stops(&cluster, "00000002.history", &words);
    lost.servers.iter().for_each(S3Server::restart);
    lost.recovers(&cluster);

    // One store alone proves nothing either, where none has the file.
    let cluster = lost.recovering("half", &lost.fetch());
    lost.servers[1].stop();
    let words = ["neither be fetched nor proved absent", "store \"two\""];
    lost.stops(&cluster, "00000002.history", &words);
    lost.servers[1].restart();
    lost.recovers(&cluster);

    let cluster = lost.recovering("configuration", &lost.fetch());
    lost.site
        .reconfigure(|text| text.replace("prefetch = 0", "prefech = 0"));
    let words = ["did you mean `prefetch`?"];
    lost.stops(&cluster, "00000002.history", &words);
    lost.site
        .reconfigure(|text| text.replace("prefech = 0", "prefetch = 0"));
    lost.recovers(&cluster);

    // In the middle: what came before it was replayed.
    let cluster = lost.recovering("damaged", &lost.fetch());
    let objects = [0, 1].map(|store| lost.object(store, third));
    let whole = fs::read(&objects[0]).expect("read the object");
    fs::write(&objects[0], &whole[..whole.len() / 2]).expect("cut it short");
    fs::write(&objects[1], "not an object").expect("damage it");
    let said = format!("\"{third}\" is damaged wherever it is");
    lost.stops(&cluster, third, &[&said, "store \"one\"", "store \"two\""]);
    for object in &objects {
        fs::write(object, &whole).expect("mend the object");
    }
    lost.recovers(&cluster);

    // A hole: there is WAL behind it.
    let cluster = lost.recovering("hole", &lost.fetch());
    objects.iter().for_each(|object| {
        fs::remove_file(object).expect("take the object away");
    });
    lost.stops(&cluster, third, &["a gap in the archive", third]);
    fs::write(&objects[1], &whole).expect("bring the object back");
    lost.recovers(&cluster);
}

/// A process that may not have another thread: the runtime cannot start.
#[test]
fn a_panic_stops_the_server() {
    let lost = lost();
    let fetch = format!("prlimit --nproc=1 {}", lost.fetch());
    let cluster = lost.recovering("data", &fetch);
    lost.stops(&cluster, "00000002.history", &["panicked at"]);
    cluster.append_conf(&format!("restore_command = '{}'", lost.fetch()));
    lost.recovers(&cluster);
}

#[test]
fn the_proved_end_of_the_archive_promotes() {
    let lost = lost();
    let cluster = lost.recovering("data", &lost.fetch());
    cluster.start();
    cluster.wait_promoted();
    assert_eq!(rows(&cluster), lost.rows);
    let log = cluster.log();
    for segment in &lost.segments {
        assert!(
            log.contains(&format!("restored log file \"{segment}\" from archive")),
            "{log}"
        );
    }
    let words = [
        "is not in store \"one\" and store \"two\": the archive ends before it",
        "archive recovery complete",
        "selected new timeline ID: 2",
    ];
    for word in words {
        assert!(log.contains(word), "{word:?} in\n{log}");
    }
    assert!(!log.contains("could not restore file"), "{log}");
    assert!(!cluster.data().join("recovery.signal").exists());
}
