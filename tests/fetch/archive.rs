//! An archive made by hand: directory stores, staging, a data directory, and
//! the built `walkeep` in it. What needs a PostgreSQL is tested elsewhere.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use walkeep::{
    archive::{
        identity::{ClusterFile, GenerationFacts},
        plan::{FetchPlan, SegmentRange},
        staging::{FORMAT, Marker, Staging},
    },
    codec::{About, Encoder, EncoderKind},
    layout::{Format, Generation, Key, Layout},
    postgres::{SegmentName, SegmentSize, SystemId, TimelineId, WalFileName},
};

/// The cluster of every archive here.
pub const OURS: SystemId = SystemId(7_300_000_000_000_000_001);
/// Another one.
pub const OTHERS: SystemId = SystemId(7_300_000_000_000_000_002);

/// Where PostgreSQL has a fetched file put.
pub const TO: &str = "pg_wal/RECOVERYXLOG";

pub struct Archive {
    directory: tempfile::TempDir,
    config: String,
    pub size: SegmentSize,
    pub generation: Generation,
}

/// How a `wal fetch` ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Archive {
    /// One with these directory stores and segments of 1 MiB; without
    /// prefetch, and patient for two seconds.
    pub fn new(stores: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let archive = Archive {
            config: String::new(),
            size: SegmentSize::new(1 << 20).expect("a size"),
            generation: Generation::FIRST,
            directory,
        };
        for part in ["data/pg_wal", "data/global", "stores", "spool"] {
            fs::create_dir_all(archive.path(part)).expect("make a directory");
        }
        archive.pg_control(OURS);
        let mut archive = archive.fetch("timeout = \"2s\"\nprefetch = 0");
        for name in stores {
            archive = archive.directory_store(name);
            archive.cluster_file(name, &[OURS]);
        }
        archive
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// PGDATA.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Replaces what is configured of fetch; its spool is in the archive.
    pub fn fetch(mut self, keys: &str) -> Self {
        let spool = self.path("spool");
        let stores = self.config.find("[[store]]");
        let stores = stores.map_or(String::new(), |at| self.config[at..].to_owned());
        let spool = spool.display();
        self.config = format!("[fetch]\nspool = \"{spool}\"\n{keys}\n\n{stores}");
        self
    }

    pub fn directory_store(mut self, name: &str) -> Self {
        let path = self.path("stores").join(name);
        fs::create_dir_all(&path).expect("make the store");
        let path = path.display();
        self.config +=
            &format!("[[store]]\nname = \"{name}\"\ntype = \"directory\"\npath = \"{path}\"\n\n");
        self
    }

    /// A store at an address where nobody, or somebody silent, listens.
    pub fn s3_store(mut self, name: &str, address: SocketAddr) -> Self {
        self.config += &format!(
            "[[store]]\nname = \"{name}\"\ntype = \"s3\"\nendpoint = \"http://{address}\"\n\
             bucket = \"wal\"\naccess_key_id = \"id\"\nsecret_access_key = \"secret\"\n\n"
        );
        self
    }

    /// With a store by its `[[store]]` table.
    pub fn table(mut self, table: &str) -> Self {
        self.config += table;
        self
    }

    /// With a catalog, and where it is.
    pub fn catalog(mut self) -> (Self, PathBuf) {
        let path = self.path("catalog.redb");
        self.config = format!(
            "[catalog]\npath = \"{}\"\n\n{}",
            path.display(),
            self.config
        );
        (self, path)
    }

    /// With a staging directory of the cluster `id`.
    pub fn staging(mut self, id: SystemId) -> (Self, Staging) {
        let path = self.path("staging");
        let marker = Marker {
            format: FORMAT,
            cluster: "main".to_owned(),
            generation: self.generation,
            system_identifier: id,
            segment_size: self.size,
        };
        let staging = Staging::create(&path, &marker).expect("make staging");
        self.config = format!(
            "[staging]\npath = \"{}\"\n\n{}",
            path.display(),
            self.config
        );
        (self, staging)
    }

    pub fn pg_control(&self, id: SystemId) {
        let mut bytes = id.0.to_le_bytes().to_vec();
        bytes.extend(1300u32.to_le_bytes());
        bytes.resize(8192, 0);
        fs::write(self.path("data/global/pg_control"), bytes).expect("write pg_control");
    }

    /// Claims a store for the clusters, the first being its generation 1.
    pub fn cluster_file(&self, store: &str, ids: &[SystemId]) {
        for (id, generation) in ids.iter().zip(1..) {
            let facts = GenerationFacts {
                generation: Generation(generation),
                system_identifier: *id,
                segment_size: self.size,
                postgres_major: Some(15),
            };
            let file = ClusterFile::new("main", vec![facts]);
            let key = Key::Cluster(Generation(generation));
            self.write(store, &layout().key(key), &file.to_json());
        }
    }

    /// Where a store has the object for `name`.
    pub fn object(&self, store: &str, name: &str) -> PathBuf {
        self.object_in(Format::Gzip, store, name)
    }

    /// Where it has that of a format.
    pub fn object_in(&self, format: Format, store: &str, name: &str) -> PathBuf {
        let name: WalFileName = name.parse().expect("a name");
        let key = layout().key(Key::Wal(self.generation, name, format));
        self.path("stores").join(store).join(key)
    }

    /// Stores a segment's object, and returns its raw bytes.
    pub fn store(&self, store: &str, name: &str) -> Vec<u8> {
        let raw = self.segment(name, OURS);
        self.store_bytes(store, name, &raw);
        raw
    }

    /// As [`store`](Self::store), in a format.
    pub fn store_in(&self, format: Format, store: &str, name: &str) -> Vec<u8> {
        let raw = self.segment(name, OURS);
        self.store_bytes_in(format, store, name, &raw);
        raw
    }

    pub fn store_bytes(&self, store: &str, name: &str, raw: &[u8]) {
        self.store_bytes_in(Format::Gzip, store, name, raw);
    }

    pub fn store_bytes_in(&self, format: Format, store: &str, name: &str, raw: &[u8]) {
        let object = object_in(format, name, raw);
        let path = self.object_in(format, store, name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make wal/");
        fs::write(path, object).expect("write the object");
    }

    fn write(&self, store: &str, key: &str, bytes: &[u8]) {
        let path = self.path("stores").join(store).join(key);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make it");
        fs::write(path, bytes).expect("write it");
    }

    /// A segment's bytes: a valid first page, noise that the name decides, and
    /// a zero tail.
    pub fn segment(&self, name: &str, id: SystemId) -> Vec<u8> {
        let name: SegmentName = name.parse().expect("a segment's name");
        let size = self.size.bytes();
        let start = name.start(self.size).expect("a position");
        let mut random = fastrand::Rng::with_seed(start.0 ^ u64::from(name.timeline.0));
        let mut raw = vec![0; size as usize];
        random.fill(&mut raw[..size as usize / 8]);
        raw[0..2].copy_from_slice(&0xD110u16.to_le_bytes());
        raw[2..4].copy_from_slice(&0x0006u16.to_le_bytes());
        raw[4..8].copy_from_slice(&name.timeline.0.to_le_bytes());
        raw[8..16].copy_from_slice(&start.0.to_le_bytes());
        raw[16..24].fill(0);
        raw[24..32].copy_from_slice(&id.0.to_le_bytes());
        raw[32..36].copy_from_slice(&(size as u32).to_le_bytes());
        raw[36..40].copy_from_slice(&8192u32.to_le_bytes());
        raw
    }

    /// Writes a plan of these segments, one range for each pair, and of the
    /// history files of these timelines.
    pub fn plan(
        &self,
        stores: &[&str],
        staging: bool,
        ranges: &[(&str, &str)],
        histories: &[u32],
    ) -> PathBuf {
        let stores = stores.iter().map(|name| (*name).to_owned()).collect();
        let mut plan = FetchPlan::new(OURS, self.size, self.generation, stores, staging);
        plan.segments = ranges
            .iter()
            .map(|(first, last)| SegmentRange {
                first: first.parse().expect("a segment"),
                last: last.parse().expect("a segment"),
            })
            .collect();
        plan.histories = histories.iter().copied().map(TimelineId).collect();
        let path = self.path("plan.json");
        fs::write(&path, plan.to_json()).expect("write the plan");
        path
    }

    /// `walkeep wal fetch` with more arguments, in the data directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let config = self.path("walkeep.toml");
        // Another thread's command may be reading it.
        if fs::read_to_string(&config).ok().as_deref() != Some(&self.config) {
            fs::write(&config, &self.config).expect("write the configuration");
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&config, private).expect("chmod");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_walkeep"));
        command
            .arg("--config")
            .arg(config)
            .args(["wal", "fetch"])
            .args(arguments)
            .current_dir(self.data())
            .stdin(Stdio::null());
        command
    }

    /// Fetches as PostgreSQL does.
    pub fn run(&self, name: &str) -> Ended {
        ended(self.command(&[name, TO]).output().expect("run walkeep"))
    }

    /// Fetches with a plan.
    pub fn run_planned(&self, name: &str, plan: &Path) -> Ended {
        let plan = plan.to_str().expect("UTF-8");
        let mut command = self.command(&[name, TO, "--plan", plan]);
        ended(command.output().expect("run walkeep"))
    }

    pub fn start(&self, name: &str) -> Child {
        let mut command = self.command(&[name, TO]);
        command.stderr(Stdio::piped());
        command.spawn().expect("start walkeep")
    }

    /// The file that was put in place, which is then taken away.
    pub fn placed(&self) -> Option<Vec<u8>> {
        let path = self.data().join(TO);
        let bytes = fs::read(&path).ok();
        if bytes.is_some() {
            fs::remove_file(path).expect("remove it");
        }
        let left: Vec<String> = fs::read_dir(self.path("data/pg_wal"))
            .expect("list pg_wal")
            .map(|entry| {
                entry
                    .expect("list")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        assert!(left.is_empty(), "left behind in pg_wal: {left:?}");
        bytes
    }
}

impl Ended {
    /// It served exactly these bytes.
    #[track_caller]
    pub fn served(&self, archive: &Archive, raw: &[u8]) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert!(archive.placed().as_deref() == Some(raw), "other bytes");
    }

    /// It put nothing in place, ended with `code`, and said all of `words`.
    #[track_caller]
    pub fn failed(&self, archive: &Archive, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(archive.placed().is_none(), "something was put in place");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} in: {}", self.stderr);
        }
    }
}

/// The object that `ship` makes of a file.
pub fn object_of(name: &str, raw: &[u8]) -> Vec<u8> {
    object_in(Format::Gzip, name, raw)
}

fn object_in(format: Format, name: &str, raw: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    Encoder::of(format, EncoderKind::Auto, 1)
        .expect("an encoder")
        .encode(raw, About::new(name, Timestamp::UNIX_EPOCH), 1, &mut object)
        .expect("encode");
    object
}

pub fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("an address")
}

/// A server that takes connections and never answers.
pub fn silent_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for connection in listener.incoming() {
            held.extend(connection);
        }
    });
    address
}

/// Waits for what another process does.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !ready() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn layout() -> Layout {
    Layout::new(&"main".parse().expect("a prefix"))
}
