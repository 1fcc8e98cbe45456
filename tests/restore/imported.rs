//! What `pg_basebackup` has taken is imported, and comes back.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    support::{
        host::hand_over,
        postgres::{Cluster, Server, default_server, every_major},
    },
    world::{World, contents, fill, make},
};

/// Runs `pg_basebackup` into `name` below the world's site.
fn base_backup(world: &World, name: &str, arguments: &[&str]) -> PathBuf {
    base_backup_of(&world.cluster, &world.site.path(name), arguments)
}

fn base_backup_of(cluster: &Cluster, to: &Path, arguments: &[&str]) -> PathBuf {
    let mut command = default_server().command("pg_basebackup");
    command
        .args(["--username=postgres", "--checkpoint=fast", "--host"])
        .arg(cluster.socket_directory())
        .arg(format!("--port={}", cluster.port()))
        .arg("-D")
        .arg(to)
        .args(arguments);
    let taken = command.output().expect("run pg_basebackup");
    assert!(taken.status.success(), "pg_basebackup: {taken:?}");
    to.to_owned()
}

/// Has the server itself write the tar files, for a major that this
/// `pg_basebackup` does not speak with.
fn base_backup_by_server(world: &World, name: &str) -> PathBuf {
    let to = world.site.path(name);
    let connection = format!("{} replication=true", world.cluster.connection());
    let statement = format!(
        "BASE_BACKUP (LABEL 'theirs', CHECKPOINT 'fast', WAL true, TABLESPACE_MAP true, \
         MANIFEST 'yes', TARGET 'server', TARGET_DETAIL '{}')",
        to.display()
    );
    let mut psql = default_server().command("psql");
    psql.args(["--no-psqlrc", "--quiet", "-c", &statement, &connection]);
    let taken = psql.output().expect("run psql");
    assert!(
        to.join("backup_manifest").exists(),
        "BASE_BACKUP: {taken:?}"
    );
    to
}

fn import(world: &World, from: &Path) -> Value {
    let from = from.to_str().expect("UTF-8");
    let run = world.site.walkeep(&["--json", "backup", "import", from]);
    let answer = run.expect(0).json();
    assert_eq!(answer["usable"], true);
    assert_eq!(answer["stores"].as_array().map(Vec::len), Some(2));
    answer
}

/// Restores and starts this backup.
fn back(world: &World, id: &str, more: &[&str]) -> Cluster {
    let _ = fs::remove_dir_all(world.target());
    world.restore(&[&["--backup", id], more].concat()).expect(0);
    world.start()
}

#[test]
fn plain_tar_and_gzip_come_back_to_the_last_row_with_their_tablespace() {
    let world = World::new();
    let (space, copied) = (world.site.path("space"), world.site.path("copied"));
    make(&space);
    let cluster = &world.cluster;
    cluster.sql(&format!(
        "CREATE TABLESPACE one LOCATION '{}'",
        space.display()
    ));
    fill(cluster);
    cluster.sql("CREATE TABLE beside TABLESPACE one AS SELECT 7 AS seven");

    let mapping = format!(
        "--tablespace-mapping={}={}",
        space.display(),
        copied.display()
    );
    let plain = base_backup(&world, "plain", &["--wal-method=stream", &mapping]);
    cluster.sql("UPDATE kept SET word = 'changed' WHERE i = 3");
    let tar = base_backup(&world, "tar", &["--format=tar", "--wal-method=stream"]);
    cluster.sql("UPDATE kept SET word = 'again' WHERE i = 4");
    let sha = "--manifest-checksums=SHA256";
    let packed = ["--format=tar", "--gzip", "--wal-method=fetch", sha];
    let packed = base_backup(&world, "packed", &packed);
    cluster.sql("INSERT INTO kept VALUES (-1, 'the last one')");
    let expected = contents(cluster);
    world.ship();

    let mut before: Option<Value> = None;
    for (from, lies_in) in [(&plain, &copied), (&tar, &space), (&packed, &space)] {
        let imported = import(&world, from);
        // The next one stores what changed.
        if let Some(before) = &before {
            assert_eq!(imported["based_on"], before["id"]);
            let changed = imported["totals"]["changed_bytes"].as_u64().unwrap();
            let all = imported["totals"]["raw_bytes"].as_u64().unwrap();
            assert!(changed < all / 10, "{changed} of {all}");
        }
        let new = world
            .site
            .path(&format!("new {}", from.file_name().unwrap().display()));
        make(&new);
        let map = format!("{}={}", lies_in.display(), new.display());
        let id = imported["id"].as_str().unwrap();
        let restored = back(&world, id, &["--tablespace", &map]);
        assert_eq!(contents(&restored), expected, "{from:?}");
        assert_eq!(restored.value::<i32>("SELECT seven FROM beside"), 7);
        before = Some(imported);
    }
    // One that walkeep takes is built on it like on any other.
    let own = world.backup();
    assert_eq!(own["based_on"], before.unwrap()["id"]);
    let scratch = world.site.path("scratch");
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "it was removed");
}

#[test]
fn the_oldest_and_the_newest_major_come_back() {
    let majors = every_major();
    let mut servers: Vec<&Server> = majors.first().into_iter().chain(majors.last()).collect();
    servers.dedup_by_key(|server| server.major);
    for server in servers {
        let world = World::on(server, &[]);
        let cluster = &world.cluster;
        cluster.sql("CREATE TABLE kept AS SELECT i, md5(i::text) FROM generate_series(1, 9999) i");
        let taken = match server.major > default_server().major {
            true => base_backup_by_server(&world, "theirs"),
            false => base_backup(&world, "theirs", &["--format=tar"]),
        };
        cluster.sql("INSERT INTO kept VALUES (0, 'later')");
        world.ship();
        let imported = import(&world, &taken);
        assert_eq!(imported["postgres_major"], u64::from(server.major));
        assert_eq!(imported["data_checksums"], true);
        let restored = back(&world, imported["id"].as_str().unwrap(), &[]);
        assert_eq!(contents(&restored), contents(cluster), "{}", server.major);
    }
}

#[test]
fn the_wal_that_the_archive_lacks_comes_along() {
    let world = World::new();
    let cluster = &world.cluster;
    cluster.sql("CREATE TABLE kept (i int, word text)");
    // An older set-up's archive began later than its backup.
    let archive = cluster.value::<String>("SHOW archive_command");
    let set = |command: &str| {
        cluster.sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        cluster.reload();
    };
    set("true");
    cluster.sql("INSERT INTO kept VALUES (1, 'before')");
    let first = cluster.switch_wal();
    cluster.wait_archived(&first);
    let without = base_backup(&world, "without", &["--wal-method=none"]);
    let with = base_backup(&world, "with", &["--wal-method=stream"]);
    let before: String =
        cluster.value("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS.USOF')");
    set(&archive);
    cluster.sql("INSERT INTO kept VALUES (2, 'after')");
    world.ship();

    let run = world
        .site
        .walkeep(&["backup", "import", without.to_str().unwrap()]);
    run.expect(1)
        .tells("which neither the archive nor the backup has whole");
    assert!(
        world
            .site
            .walkeep(&["backup", "list"])
            .expect(0)
            .stdout
            .is_empty()
    );
    let run = world
        .site
        .walkeep(&["backup", "import", with.to_str().unwrap()]);
    run.expect(0)
        .tells("of WAL came with the backup")
        .says("it can be restored");
    world.restore(&[]).expect(0);
    assert_eq!(
        world.start().column::<i32>("SELECT i FROM kept ORDER BY i"),
        [1, 2]
    );
    // Its own WAL tells when it ended: not later than this.
    fs::remove_dir_all(world.target()).unwrap();
    world.restore(&["--to-time", &before]).expect(0);
    assert_eq!(world.start().column::<i32>("SELECT i FROM kept"), [1]);
}

#[test]
fn what_is_no_whole_backup_of_this_cluster_is_refused() {
    let world = World::new();
    world
        .cluster
        .sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i");
    let good = base_backup(&world, "good", &[]);
    let refuse = |path: &Path, why: &str| {
        let path = path.to_str().unwrap();
        let run = world.site.walkeep(&["backup", "import", path]);
        run.expect(1).tells(why);
    };
    let copy = |name: &str| {
        let to = world.site.path(name);
        let mut cp = Command::new("cp");
        let copied = cp.arg("-a").arg(&good).arg(&to).status().expect("run cp");
        assert!(copied.success());
        to
    };

    let other = World::new();
    let theirs = base_backup_of(&other.cluster, &world.site.path("theirs"), &[]);
    refuse(&theirs, "and this archive belongs to");
    refuse(world.cluster.data(), "a server runs in");
    refuse(&world.site.path("nothing"), "nothing");
    refuse(
        &world.site.staging(),
        "is no base backup: it holds neither PG_VERSION nor base.tar",
    );

    let unfinished = copy("unfinished");
    let manifest = unfinished.join("backup_manifest");
    fs::rename(&manifest, unfinished.join("backup_manifest.tmp")).unwrap();
    refuse(
        &unfinished,
        "has no backup_manifest: pg_basebackup was interrupted",
    );

    let cut = copy("cut");
    let text = fs::read(cut.join("backup_manifest")).unwrap();
    fs::write(cut.join("backup_manifest"), &text[..text.len() / 2]).unwrap();
    refuse(&cut, "its end is missing");

    let changed = copy("changed");
    let relation: String = world.cluster.value("SELECT pg_relation_filepath('kept')");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(changed.join(&relation))
        .unwrap();
    file.write_all_at(b"?", 5000).unwrap();
    refuse(
        &changed,
        &format!("\"{relation}\" has another CRC32C checksum"),
    );

    let sha = ["--manifest-checksums=SHA384"];
    let sha = base_backup(&world, "sha", &sha);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(sha.join(&relation))
        .unwrap();
    file.write_all_at(b"?", 5000).unwrap();
    refuse(&sha, &format!("\"{relation}\" has another SHA384 checksum"));

    let lacking = copy("lacking");
    fs::remove_file(lacking.join(&relation)).unwrap();
    refuse(&lacking, &format!("\"{relation}\" is missing"));

    let more = copy("more");
    fs::write(more.join("base/1/99999"), "").unwrap();
    hand_over(&more.join("base/1/99999"));
    refuse(&more, "\"base/1/99999\" is not in it");

    let started = copy("started");
    let mut label = fs::read_to_string(started.join("backup_label")).unwrap();
    fs::rename(
        started.join("backup_label"),
        started.join("backup_label.old"),
    )
    .unwrap();
    refuse(&started, "is a data directory and no base backup of one");

    // As 17 and later write it.
    let part = copy("part");
    label.push_str("INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n");
    fs::write(part.join("backup_label"), label).unwrap();
    refuse(&part, "is an incremental backup; combine it");

    let tar = base_backup(&world, "tar", &["--format=tar"]);
    let base = tar.join("base.tar");
    let half = fs::metadata(&base).unwrap().len() / 2;
    fs::OpenOptions::new()
        .write(true)
        .open(&base)
        .unwrap()
        .set_len(half)
        .unwrap();
    refuse(&tar, "unpack \"");
    fs::rename(&base, tar.join("base.tar.zst")).unwrap();
    refuse(&tar, "is compressed in a way that is not read here");

    assert!(world.packs(0).is_empty(), "nothing was stored");
    assert!(
        world
            .site
            .walkeep(&["backup", "list"])
            .expect(0)
            .stdout
            .is_empty()
    );
    world.ship();
    import(&world, &good);
}

#[test]
fn a_killed_import_leaves_nothing_that_stays() {
    let world = World::new();
    fill(&world.cluster);
    let tar = base_backup(&world, "tar", &["--format=tar", "--gzip"]);
    world.ship();
    let scratch = world.site.path("scratch");
    let mut command = world.command(&["backup", "import", tar.to_str().unwrap()]);
    let mut running = command.stderr(Stdio::null()).spawn().unwrap();
    while fs::read_dir(&scratch).map_or(0, Iterator::count) < 2 {
        assert!(running.try_wait().unwrap().is_none(), "it has ended");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 2);
    let imported = import(&world, &tar);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    let restored = back(&world, imported["id"].as_str().unwrap(), &[]);
    assert_eq!(contents(&restored), contents(&world.cluster));
}
