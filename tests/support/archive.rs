//! One archive of a test's own: a staging directory, stores, a configuration,
//! and the real `walkeep` run on it as the server's user.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;
use walkeep::{
    archive::{
        identity::{ClusterFile, GenerationFacts},
        staging::{FORMAT, Marker, Staging},
    },
    codec::Sha256,
    layout::Generation,
    postgres::{SegmentName, SegmentSize, SystemId, TimelineId},
};

use super::host::{TempDir, as_server_user, hand_over, walkeep_binary};

pub const MIB: u64 = 1 << 20;

/// The cluster that made-up segments are of.
pub const SYSTEM: u64 = 7_400_000_000_000_000_001;

/// A staging directory with its marker, directory stores where asked for, and
/// a configuration.
pub struct Archive {
    directory: TempDir,
    system: u64,
    segment_size: u64,
}

/// What a run of walkeep came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Archive {
    /// Bound to the made-up cluster, with segments of 1 MiB.
    pub fn new(stores: &[&str]) -> Self {
        let archive = Archive::bound_to(SYSTEM, MIB);
        let tables: String = stores
            .iter()
            .map(|name| archive.directory_store(name))
            .collect();
        archive.configure("", &tables);
        archive
    }

    /// Bound to a cluster; not configured yet.
    pub fn bound_to(system: u64, segment_size: u64) -> Self {
        let directory = TempDir::new();
        let marker = Marker {
            format: FORMAT,
            cluster: "main".to_owned(),
            generation: Generation::FIRST,
            system_identifier: SystemId(system),
            segment_size: SegmentSize::new(segment_size).expect("a segment size"),
        };
        Staging::create(&directory.join("staging"), &marker).expect("make staging");
        directory.subdirectory("incoming");
        let archive = Archive {
            directory,
            system,
            segment_size,
        };
        hand_over(&archive.directory);
        archive
    }

    /// The `cluster.json` that `init` writes into each store.
    pub fn cluster_json(&self) -> String {
        let facts = GenerationFacts {
            generation: Generation::FIRST,
            system_identifier: SystemId(self.system),
            segment_size: SegmentSize::new(self.segment_size).expect("a segment size"),
            postgres_major: None,
        };
        let json = ClusterFile::new("main", vec![facts]).to_json();
        String::from_utf8(json).expect("UTF-8")
    }

    /// Makes a directory store, claimed, and returns its `[[store]]` table.
    pub fn directory_store(&self, name: &str) -> String {
        let path = self.store(name);
        if !path.exists() {
            self.directory.subdirectory(&format!("store-{name}"));
            self.directory.subdirectory(&format!("store-{name}/main"));
            put(
                &path.join("main/cluster.json"),
                self.cluster_json().as_bytes(),
            );
        }
        format!(
            "[[store]]\nname = \"{name}\"\ntype = \"directory\"\npath = \"{}\"\n",
            path.display()
        )
    }

    /// Writes the configuration: lines for `[staging]` (and, after a header of
    /// their own, other tables), then the `[[store]]` tables.
    pub fn configure(&self, staging: &str, stores: &str) {
        let text = format!(
            "[staging]\npath = \"{}\"\n{staging}\n[catalog]\npath = \"{}\"\n{stores}",
            self.staging().display(),
            self.catalog().display(),
        );
        fs::write(self.config(), text).expect("write the configuration");
        hand_over(&self.config());
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn config(&self) -> PathBuf {
        self.directory.join("walkeep.toml")
    }

    pub fn catalog(&self) -> PathBuf {
        self.directory.join("catalog.redb")
    }

    pub fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }

    pub fn staged(&self, name: &str) -> PathBuf {
        self.staging().join(name)
    }

    /// A directory store's directory.
    pub fn store(&self, name: &str) -> PathBuf {
        self.directory.join(format!("store-{name}"))
    }

    /// Where a directory store has a file's object.
    pub fn object(&self, store: &str, name: &str) -> PathBuf {
        self.store(store).join(format!("main/wal/{name}.gz"))
    }

    /// Where it has the one in zstd's format.
    pub fn zstd_object(&self, store: &str, name: &str) -> PathBuf {
        self.object(store, name).with_extension("zst")
    }

    /// A file such as PostgreSQL has in `pg_wal`.
    pub fn incoming(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.join("incoming").join(name);
        put(&path, bytes);
        path
    }

    /// A file in staging, put there by another hand than walkeep's.
    pub fn stage(&self, name: &str, bytes: &[u8]) {
        put(&self.staged(name), bytes);
    }

    /// Stages so many segments with noise in them, and returns them.
    pub fn stage_many(&self, count: u64, noise: usize) -> BTreeMap<String, Vec<u8>> {
        (1..=count)
            .map(|number| {
                let name = segment_name(1, number, self.segment_size);
                let bytes = segment(&name, self.segment_size, noise, number);
                self.stage(&name, &bytes);
                (name, bytes)
            })
            .collect()
    }

    /// What waits in staging under PostgreSQL's names.
    pub fn waiting(&self) -> Vec<String> {
        files_in(&self.staging())
            .into_iter()
            .filter(|name| name.len() >= 16 && name != "walkeep.json")
            .collect()
    }

    /// The raw SHA-256 in a file's receipt.
    pub fn receipt(&self, name: &str) -> Option<Sha256> {
        let staging = Staging::open(&self.staging()).expect("open staging");
        staging
            .receipts()
            .find(name.parse().expect("a name"))
            .expect("read receipts")
    }

    /// `walkeep` with this configuration and these arguments, not yet run, in
    /// an environment that names no other.
    pub fn walkeep(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(walkeep_binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        as_server_user(&mut command)
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs `walkeep`.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.walkeep(arguments))
    }

    /// Runs `walkeep wal push`.
    pub fn push(&self, path: &Path) -> Ran {
        self.run(&["wal", "push", path.to_str().expect("a path")])
    }

    /// Pushes the file and expects success.
    pub fn push_well(&self, path: &Path) {
        let ran = self.push(path);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    }

    /// Runs `walkeep ship` and expects that all is well.
    pub fn ship_well(&self) {
        let ran = self.run(&["ship"]);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    }

    /// Runs `walkeep ship --json`: its exit code and its report.
    pub fn ship(&self) -> (i32, Value) {
        let ran = self.run(&["--json", "ship"]);
        let report = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
        (ran.code, report)
    }

    /// Starts `walkeep ship`; it is killed when dropped.
    pub fn start_ship(&self) -> Running {
        let mut command = self.walkeep(&["--json", "ship"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("start walkeep"))
    }

    /// Every record of the catalog, by the file's name.
    pub fn records(&self) -> BTreeMap<String, Value> {
        let ran = self.run(&["catalog", "export"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let parse = |line: &str| {
            let record: Value = serde_json::from_str(line).expect("a line of JSON");
            let name = record["name"].as_str()?.to_owned();
            Some((name, record))
        };
        ran.stdout.lines().filter_map(parse).collect()
    }

    /// A replica's state in the catalog.
    pub fn state(&self, name: &str, store: &str) -> String {
        let records = self.records();
        let record = records
            .get(name)
            .unwrap_or_else(|| panic!("no record of {name}"));
        record["replicas"][store]["state"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    }
}

/// A running walkeep.
pub struct Running(pub Child);

impl Running {
    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("wait for walkeep")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end; a death by signal has the code -1.
pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("run the command");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl Ran {
    /// Asserts the exit code and that stderr says each of `words`.
    #[track_caller]
    pub fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not said: {}",
                self.stderr
            );
        }
    }
}

/// Writes a file for the server's user.
pub fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("write {path:?}: {error}"));
    hand_over(path);
}

/// The names in a directory, in order.
pub fn files_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("read a directory")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

/// The name of a segment by its number.
pub fn segment_name(timeline: u32, number: u64, size: u64) -> String {
    let size = SegmentSize::new(size).expect("a segment size");
    SegmentName::numbered(number, TimelineId(timeline), size).to_string()
}

/// A segment of the made-up cluster as its name asks for: a valid header, then
/// noise (reproducible by its seed), then zeros.
pub fn segment(name: &str, size: u64, noise: usize, seed: u64) -> Vec<u8> {
    let parsed: SegmentName = name[..24].parse().expect("a segment's name");
    let start = parsed
        .start(SegmentSize::new(size).expect("a size"))
        .expect("such a name");
    let mut bytes = header(parsed.timeline.0, start.0, SYSTEM, size as u32);
    bytes.resize(size as usize, 0);
    let noise = noise.min(bytes.len() - 40);
    fastrand::Rng::with_seed(seed).fill(&mut bytes[40..40 + noise]);
    bytes
}

/// The long header of a segment's first page (`XLogLongPageHeaderData`), as
/// PostgreSQL 15 writes it.
pub fn header(timeline: u32, start: u64, system: u64, segment_size: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(0xD110_u16.to_le_bytes());
    bytes.extend(0x0002_u16.to_le_bytes());
    bytes.extend(timeline.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(system.to_le_bytes());
    bytes.extend(segment_size.to_le_bytes());
    bytes.extend(8192_u32.to_le_bytes());
    bytes
}

/// What `gzip` makes of bytes, without any facts of ours: an older script's.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    filter("gzip", &["-6", "-c"], bytes)
}

/// What `zstd` makes of bytes, without any facts of ours.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    filter("zstd", &["-q", "-c"], bytes)
}

/// What `gunzip` makes of a file.
pub fn gunzip(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    filter("gzip", &["-d", "-c"], &bytes)
}

/// What `zstd -d` makes of a file.
pub fn unzstd(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    filter("zstd", &["-q", "-d", "-c"], &bytes)
}

fn filter(program: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut filter = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs \"{program}\": {error}"));
    let mut stdin = filter.stdin.take().expect("stdin");
    let mut out = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).expect("write to it"));
        let stdout = filter.stdout.as_mut().expect("stdout");
        stdout.read_to_end(&mut out).expect("read from it");
    });
    assert!(filter.wait().expect("wait for it").success());
    out
}
