//! `walkeep demo`: the main job on a throw-away cluster. A real PostgreSQL
//! archives through this very program to two S3 servers and is backed up there
//! twice, is killed and deleted, and comes back to a moment between two marked
//! transactions. No step is simulated, and the rows decide.

mod server;
mod servers;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use postgres::Client;
use serde::Serialize;
use serde_json::Value;

use self::server::{Server, run};
use crate::fs;

/// What the demo showed.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Whether the rows are exactly those of the target moment.
    pub rows_are_right: bool,
    /// Rows at the target moment, and rows that came back.
    pub rows: (i64, i64),
    /// The moment that was recovered to.
    pub target: String,
    /// Segments that the two stores held.
    pub segments: u64,
    /// What they took of each store, in bytes.
    pub stored_bytes: u64,
    /// What the first backup stored, a full one, and the second, in bytes.
    pub backup_bytes: (u64, u64),
    /// Recovery point: how long before the disaster the last archived
    /// transaction was, in seconds.
    pub rpo_seconds: f64,
    /// Recovery time: from the empty directory to a server that takes writes,
    /// in seconds.
    pub rto_seconds: f64,
}

/// The demo's directories and programs.
struct Stage {
    root: PathBuf,
    program: PathBuf,
    config: PathBuf,
    bin: PathBuf,
}

/// Runs the story in `root`, an empty directory. `megabytes` is about how much
/// WAL is written; `say` is told each step.
pub fn run_in(
    root: &Path,
    bin: &Path,
    megabytes: u32,
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<Summary> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let stage = Stage {
        root: root.to_owned(),
        program: std::env::current_exe().context("find this program")?,
        config: root.join("walkeep.toml"),
        bin: bin.to_owned(),
    };
    let clouds = ["r2", "b2"].map(|name| (name, servers::start(&runtime, &root.join(name))));
    let mut tables = String::new();
    for (name, server) in clouds {
        let server = server.with_context(|| format!("start the S3 server \"{name}\""))?;
        say(&format!(
            "an S3 server stands in for {name}: http://{}",
            server.address
        ));
        tables.push_str(&store_table(name, &server));
    }
    fs::write(&stage.config, stage.configuration(&tables).as_bytes())?;
    let story = stage.play(megabytes, say);
    runtime.shutdown_background();
    story
}

fn store_table(name: &str, server: &servers::Server) -> String {
    let servers::Server {
        address,
        access_key,
        secret_key,
    } = server;
    let bucket = servers::BUCKET;
    format!(
        "\n[[store]]\nname = \"{name}\"\ntype = \"s3\"\nendpoint = \"http://{address}\"\n\
         bucket = \"{bucket}\"\naccess_key_id = \"{access_key}\"\n\
         secret_access_key = \"{secret_key}\"\n"
    )
}

impl Stage {
    fn configuration(&self, stores: &str) -> String {
        let root = self.root.display();
        let bin = self.bin.display();
        format!(
            "[cluster]\nname = \"demo\"\ndata_directory = \"{root}/data\"\n\
             bin_directory = \"{bin}\"\n\
             connection = \"host={root} port=5432 user=postgres dbname=postgres\"\n\n\
             [staging]\npath = \"{root}/staging\"\n\n\
             [catalog]\npath = \"{root}/catalog.redb\"\n\n\
             [fetch]\nspool = \"{root}/spool\"\n{stores}"
        )
    }

    fn play(&self, megabytes: u32, say: &mut dyn FnMut(&str)) -> anyhow::Result<Summary> {
        let data = self.root.join("data");
        let mut server = Server::new(&self.bin, &data, &self.root, &self.root.join("server.log"));
        server.initialise(&format!(
            "wal_level = replica\narchive_mode = on\narchive_command = '{} wal push %p'\n",
            self.quoted()
        ))?;
        let mut client = server.start()?;
        self.walkeep(&["init"])?;
        say("a PostgreSQL server runs; archive_command = 'walkeep wal push %p'");

        client.batch_execute(
            "create table ledger (id bigint generated always as identity primary key, \
             note text not null, filler text not null)",
        )?;
        load(&mut client, 100)?;
        let full = self.back_up("a full backup", say)?;

        let rows_per_step = 1000;
        let mut written = 0;
        while written < megabytes {
            load(&mut client, rows_per_step)?;
            client.batch_execute("select pg_switch_wal()")?;
            // What a step writes, rounded up to the segments it fills.
            written += 16;
            if written % 48 == 0 {
                self.walkeep(&["ship"])?;
            }
        }
        let delta = self.back_up("a second one, of what changed", say)?;
        client.execute(
            "insert into ledger (note, filler) values ('before', '')",
            &[],
        )?;
        let (rows, sum) = contents(&mut client)?;
        let target: String = client
            .query_one("select clock_timestamp()::text", &[])?
            .get(0);
        std::thread::sleep(Duration::from_millis(20));
        client.batch_execute("delete from ledger where note <> 'after'")?;
        client.execute(
            "insert into ledger (note, filler) values ('after', '')",
            &[],
        )?;
        say(&format!(
            "{rows} rows, then somebody deletes them all; the moment before is {target}"
        ));

        let last: String = client
            .query_one("select pg_walfile_name(pg_switch_wal())", &[])
            .and_then(|row| row.try_get(0))?;
        self.wait_until_archived(&mut client, &last)?;
        let archived = Instant::now();
        self.walkeep(&["ship"])?;
        say(&format!("everything up to {last} is in both stores"));
        // This will be lost: it is in no segment that left the host.
        load(&mut client, 10)?;

        drop(client);
        let disaster = archived.elapsed();
        server.kill()?;
        for lost in ["data", "staging", "catalog.redb"] {
            remove(&self.root.join(lost))?;
        }
        say("disaster: SIGKILL; data directory, staging and catalog are gone");

        let begun = Instant::now();
        let directory = data.to_str().context("the directory is not UTF-8")?;
        let arguments = ["--to-time", &target, "--action", "promote"];
        self.walkeep(&[&["restore", directory], &arguments[..]].concat())?;
        say(&format!(
            "walkeep restore: the second backup is in place again, {:.1} s",
            begun.elapsed().as_secs_f64()
        ));
        let mut restored = Server::new(
            &self.bin,
            &data,
            &self.root,
            &self.root.join("restored.log"),
        );
        let mut client = restored.start().context("recover")?;
        wait_for(|| {
            Ok(!client
                .query_one("select pg_is_in_recovery()", &[])?
                .get::<_, bool>(0))
        })
        .context("wait for the end of recovery")?;
        let rto = begun.elapsed();
        let (restored_rows, restored_sum) = contents(&mut client)?;
        say(&format!("recovered to {target}: {restored_rows} rows"));
        drop(client);
        restored.stop()?;

        let (segments, stored_bytes) = self.stored()?;
        Ok(Summary {
            rows_are_right: (rows, &sum) == (restored_rows, &restored_sum),
            rows: (rows, restored_rows),
            target,
            segments,
            stored_bytes,
            backup_bytes: (full, delta),
            rpo_seconds: disaster.as_secs_f64(),
            rto_seconds: rto.as_secs_f64(),
        })
    }

    /// This program with its configuration, as PostgreSQL's shell runs it.
    fn quoted(&self) -> String {
        format!(
            "\"{}\" --config \"{}\"",
            self.program.display(),
            self.config.display()
        )
    }

    /// Runs this program, and gives what it printed.
    fn walkeep(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        run(command.arg("--config").arg(&self.config).args(arguments))
            .with_context(|| format!("walkeep {}", arguments.join(" ")))
    }

    /// Takes a backup, and gives what it stored in each store, in bytes.
    fn back_up(&self, what: &str, say: &mut dyn FnMut(&str)) -> anyhow::Result<u64> {
        let backup = self.walkeep(&["--json", "backup", "create"])?;
        let backup: Value = serde_json::from_str(&backup)?;
        let total = |name: &str| {
            let number = backup["totals"][name].as_u64();
            number.with_context(|| format!("find {name} in {backup}"))
        };
        let stored = total("stored_bytes")?;
        say(&format!(
            "{what}: {} read, {} stored",
            ByteSize(total("raw_bytes")?),
            ByteSize(stored)
        ));
        Ok(stored)
    }

    fn wait_until_archived(&self, client: &mut Client, last: &str) -> anyhow::Result<()> {
        let done = "select coalesce(last_archived_wal >= $1, false) from pg_stat_archiver";
        wait_for(|| Ok(client.query_one(done, &[&last])?.get(0)))
            .with_context(|| format!("wait until {last} is archived"))
    }

    /// How many segments each store has, and their size there.
    fn stored(&self) -> anyhow::Result<(u64, u64)> {
        let directory = self.root.join("r2").join(servers::BUCKET).join("demo/wal");
        let (mut segments, mut bytes) = (0, 0);
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            segments += u64::from(entry.file_name().len() == 24 + ".gz".len());
            bytes += entry.metadata()?.len();
        }
        Ok((segments, bytes))
    }
}

/// Rows that don't compress to nothing.
fn load(client: &mut Client, rows: i32) -> anyhow::Result<()> {
    client.execute(
        "insert into ledger (note, filler) select 'row', repeat(md5(random()::text), 8) \
         from generate_series(1, $1)",
        &[&rows],
    )?;
    Ok(())
}

/// The number of rows, and a digest of all of them.
fn contents(client: &mut Client) -> anyhow::Result<(i64, Option<String>)> {
    let row = client.query_one(
        "select count(*), md5(string_agg(id || note || filler, ',' order by id)) from ledger",
        &[],
    )?;
    Ok((row.get(0), row.get(1)))
}

fn wait_for(mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done()? {
        if Instant::now() > deadline {
            bail!("it took longer than two minutes");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    removed.with_context(|| format!("remove \"{}\"", path.display()))
}
