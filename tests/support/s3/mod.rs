//! S3 servers on loopback: s3s with its directory backend, in this process,
//! and versitygw, a program that shares no code with walkeep. Both check
//! signatures. And one that answers as a test tells it to (`raw`).

mod in_process;
pub mod raw;
mod request;
mod versitygw;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use secrecy::SecretString;
use walkeep::store::{Credentials, Location, Profile, S3Settings, Secret, Timeouts};

use super::host::TempDir;
use in_process::{InProcess, Manner};
pub use versitygw::Versitygw;

/// The region that both servers sign for. Type `r2` signs for `auto`, as R2
/// does: give [`Versitygw::region`] then.
pub const REGION: &str = "us-east-1";

/// A running server, and what it keeps. Stopped and removed when dropped.
pub struct S3Server {
    address: SocketAddr,
    region: &'static str,
    access_key: String,
    secret_key: String,
    /// Where `root` is kept, and `versions`, and the credential files.
    directory: TempDir,
    root: PathBuf,
    versions: Option<PathBuf>,
    backend: Backend,
}

enum Backend {
    S3s(Mutex<Option<InProcess>>),
    Versitygw(Box<versitygw::Process>),
}

impl S3Server {
    /// s3s in a thread of its own.
    pub fn start_s3s() -> Self {
        let address = free_address();
        let server = Self::prepare(address, REGION, Backend::S3s(Mutex::new(None)));
        server.restart();
        server
    }

    /// versitygw, or `None` (which is said) where it is not installed.
    pub fn start_versitygw(options: Versitygw) -> Option<Self> {
        let program = versitygw::program()?;
        // Another process may take the port between two looks at it.
        for _ in 0..5 {
            let address = free_address();
            let process = versitygw::Process::new(program.clone(), options);
            let backend = Backend::Versitygw(Box::new(process));
            let mut server = Self::prepare(address, options.region, backend);
            server.versions = options
                .versioning
                .then(|| server.directory.subdirectory("versions"));
            if options.users {
                server.directory.subdirectory("iam");
            }
            if server.try_restart() {
                return Some(server);
            }
        }
        panic!("versitygw did not start in five attempts");
    }

    fn prepare(address: SocketAddr, region: &'static str, backend: Backend) -> Self {
        let directory = TempDir::new();
        let root = directory.subdirectory("root");
        let unique = || format!("{:016x}", fastrand::u64(..));
        S3Server {
            address,
            region,
            // Recognizable where they must not turn up.
            access_key: format!("AKIATEST{}", unique()),
            secret_key: format!("SecretKeyOfTest{}", unique()),
            directory,
            root,
            versions: None,
            backend,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether its buckets keep every version of an object.
    pub fn has_versions(&self) -> bool {
        self.versions.is_some()
    }

    pub fn is_s3s(&self) -> bool {
        matches!(self.backend, Backend::S3s(_))
    }

    pub fn region(&self) -> &'static str {
        self.region
    }

    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Makes a bucket (three letters at least), which keeps versions where
    /// the server was started so.
    pub fn create_bucket(&self, name: &str) {
        self.ask("PUT", name, "", "");
        if self.versions.is_some() {
            let enabled = "<VersioningConfiguration><Status>Enabled</Status>\
                           </VersioningConfiguration>";
            self.ask("PUT", name, "versioning", enabled);
        }
    }

    /// Sets who may do what in a bucket (S3's policy language, JSON).
    pub fn set_policy(&self, bucket: &str, policy: &str) {
        self.ask("PUT", bucket, "policy", policy);
    }

    /// A plain DELETE of a key, as other clients send it: leaves a delete
    /// marker where the bucket keeps versions.
    pub fn delete_plainly(&self, bucket: &str, key: &str) {
        self.ask("DELETE", &format!("{bucket}/{key}"), "", "");
    }

    /// A plain PUT, as other clients send it: over what is there.
    pub fn put_plainly(&self, bucket: &str, key: &str, body: &str) {
        self.ask("PUT", &format!("{bucket}/{key}"), "", body);
    }

    fn ask(&self, method: &str, path: &str, subresource: &str, body: &str) {
        request::send(self, method, path, subresource, body)
            .unwrap_or_else(|error| panic!("{method} {path}?{subresource}: {error}"));
    }

    /// Makes a user with a key of its own, which may do nothing before
    /// [`set_policy`](Self::set_policy); for versitygw with `users`.
    pub fn create_user(&self, access_key: &str, secret_key: &str) {
        let Backend::Versitygw(process) = &self.backend else {
            panic!("s3s knows no users");
        };
        process.create_user(self, access_key, secret_key);
    }

    /// A `[[store]]` table for walkeep's configuration, its key in files. The
    /// type is one of `s3`, `r2` and `b2`.
    pub fn toml_store_table(&self, name: &str, kind: &str, bucket: &str) -> String {
        let (id, secret) = self.credential_files();
        let region = match kind {
            "r2" => String::new(),
            _ => format!("region = \"{}\"\n", self.region),
        };
        format!(
            "[[store]]\nname = \"{name}\"\ntype = \"{kind}\"\nendpoint = \"{}\"\n{region}bucket = \
             \"{bucket}\"\naccess_key_id_file = \"{}\"\nsecret_access_key_file = \"{}\"\n",
            self.endpoint(),
            id.display(),
            secret.display()
        )
    }

    /// The files that hold the access key id and the secret, for all to read.
    pub fn credential_files(&self) -> (PathBuf, PathBuf) {
        let write = |name: &str, value: &str| {
            let path = self.directory.join(name);
            fs::write(&path, format!("{value}\n")).expect("write a credential");
            path
        };
        (
            write("access-key-id", &self.access_key),
            write("secret-access-key", &self.secret_key),
        )
    }

    /// The bucket, as a store's location.
    pub fn location(&self, profile: Profile, bucket: &str) -> Location {
        Location::S3(self.settings(profile, bucket))
    }

    /// As [`location`](Self::location), to be changed.
    pub fn settings(&self, profile: Profile, bucket: &str) -> S3Settings {
        S3Settings {
            profile,
            endpoint: self.endpoint(),
            region: self.region.to_owned(),
            bucket: bucket.to_owned(),
            credentials: credentials(&self.access_key, &self.secret_key),
            ca_file: None,
            allow_http: false,
            timeouts: Timeouts::default(),
        }
    }

    /// The file that holds an object (its newest version), behind walkeep's
    /// back.
    pub fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join(bucket).join(key)
    }

    /// Every file in which bytes of a bucket's objects are, older versions
    /// included.
    pub fn object_files(&self, bucket: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.root.join(bucket), &mut files);
        if let Some(versions) = &self.versions {
            collect_files(&versions.join(bucket), &mut files);
        }
        files.sort();
        files
    }

    /// Ends the server, with every connection: an outage. What it keeps stays.
    pub fn stop(&self) {
        match &self.backend {
            Backend::S3s(running) => drop(running.lock().expect("lock").take()),
            Backend::Versitygw(process) => process.stop(),
        }
    }

    /// Starts it again at the same address.
    pub fn restart(&self) {
        assert!(
            self.try_restart(),
            "the server at {} did not start",
            self.address
        );
    }

    fn try_restart(&self) -> bool {
        match &self.backend {
            Backend::S3s(running) => {
                let mut running = running.lock().expect("lock");
                if running.is_none() {
                    *running = Some(InProcess::start(self));
                }
                true
            }
            Backend::Versitygw(process) => process.start(self),
        }
    }

    /// Takes connections from here on, but answers nothing: a stalled server.
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.set_paused(false);
    }

    /// Its `Date` is so far behind from here on; for s3s.
    pub fn set_clock_behind(&self, behind: Duration) {
        self.behave(|manner| manner.behind = behind);
    }

    /// Each answer takes so much longer from here on; for s3s.
    pub fn set_delay(&self, delay: Duration) {
        self.behave(|manner| manner.delay = delay);
    }

    fn behave(&self, change: impl FnOnce(&mut Manner)) {
        let Backend::S3s(running) = &self.backend else {
            panic!("versitygw answers as it likes");
        };
        if let Some(running) = &*running.lock().expect("lock") {
            running.behave(change);
        }
    }

    fn set_paused(&self, paused: bool) {
        match &self.backend {
            Backend::S3s(_) => self.behave(|manner| manner.paused = paused),
            Backend::Versitygw(process) => process.set_paused(paused),
        }
    }
}

/// A key given by value.
pub fn credentials(access_key: &str, secret_key: &str) -> Credentials {
    Credentials {
        access_key_id: Secret::Value(SecretString::from(access_key)),
        secret_access_key: Secret::Value(SecretString::from(secret_key)),
    }
}

/// A loopback address that is free now. Below the ports that the system gives
/// to outgoing connections, so that it still is after an outage.
pub fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(20_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The files below a directory, but for what is being written: versitygw does
/// that in `.sgwtmp`, walkeep in `.walkeep-tmp`.
pub fn collect_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let entry = entry.expect("read a directory");
        if entry.path().is_dir() {
            if entry.file_name() != ".sgwtmp" && entry.file_name() != ".walkeep-tmp" {
                collect_files(&entry.path(), files);
            }
        } else {
            files.push(entry.path());
        }
    }
}
