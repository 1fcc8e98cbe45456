//! versitygw as a child process.

use std::{
    fs::OpenOptions,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{super::host, REGION, S3Server};

/// How versitygw is started.
#[derive(Debug, Clone, Copy)]
pub struct Versitygw {
    /// Buckets keep every version and leave delete markers, as B2's do.
    pub versioning: bool,
    /// It has users besides the root key, and bucket policies for them.
    pub users: bool,
    /// The region that requests must be signed for: `auto` for type `r2`.
    pub region: &'static str,
}

impl Default for Versitygw {
    fn default() -> Self {
        Versitygw {
            versioning: false,
            users: false,
            region: REGION,
        }
    }
}

/// Where it is installed: as `WALKEEP_VERSITYGW` says, on the PATH, or where
/// `go install` puts it. Says so where it is not.
pub(super) fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WALKEEP_VERSITYGW") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let go = Command::new("go").args(["env", "GOPATH"]).output();
    let go = go
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let go = go.map(|path| Path::new(path.trim()).join("bin"));
    let home = std::env::home_dir().map(|home| home.join("go/bin"));
    let found = std::env::split_paths(&path)
        .chain(go)
        .chain(home)
        .map(|directory| directory.join("versitygw"))
        .find(|program| program.is_file());
    if found.is_none() {
        host::skip("versitygw", "`make versitygw` installs it");
    }
    found
}

pub(super) struct Process {
    program: PathBuf,
    options: Versitygw,
    running: Mutex<Option<Child>>,
}

impl Process {
    pub(super) fn new(program: PathBuf, options: Versitygw) -> Self {
        Process {
            program,
            options,
            running: Mutex::new(None),
        }
    }

    /// Whether it is there now; not if the port went to somebody else.
    pub(super) fn start(&self, server: &S3Server) -> bool {
        let mut running = self.running.lock().expect("lock");
        if running.is_some() {
            return true;
        }
        let directory: &Path = &server.directory;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join("versitygw.log"))
            .expect("open the log");
        let mut command = Command::new(&self.program);
        command
            // Where the janitor finds it, should the test be killed.
            .current_dir(directory)
            .args(["--keep-alive", "--port"])
            .arg(server.address.to_string())
            .args(["--region", self.options.region])
            // Not in the arguments, which every user of the host can read.
            .env("ROOT_ACCESS_KEY_ID", &server.access_key)
            .env("ROOT_SECRET_ACCESS_KEY", &server.secret_key);
        if self.options.users {
            // A path from the root: the program changes its directory first.
            command.arg("--iam-dir").arg(directory.join("iam"));
            command.arg("--iam-cache-disable");
        }
        command.arg("posix");
        if let Some(versions) = &server.versions {
            command.arg("--versioning-dir").arg(versions);
        }
        let mut child = command
            .arg(&server.root)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", self.program));
        let begun = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            let ended = child.try_wait().expect("wait for versitygw").is_some();
            if ended || begun.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        *running = Some(child);
        true
    }

    pub(super) fn stop(&self) {
        if let Some(mut child) = self.running.lock().expect("lock").take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(super) fn set_paused(&self, paused: bool) {
        if let Some(child) = &*self.running.lock().expect("lock") {
            let signal = if paused {
                Signal::SIGSTOP
            } else {
                Signal::SIGCONT
            };
            kill(Pid::from_raw(child.id() as i32), signal).expect("signal versitygw");
        }
    }

    pub(super) fn create_user(&self, server: &S3Server, access_key: &str, secret_key: &str) {
        assert!(self.options.users, "started without users");
        let output = Command::new(&self.program)
            .env("ADMIN_ACCESS_KEY_ID", &server.access_key)
            .env("ADMIN_SECRET_ACCESS_KEY", &server.secret_key)
            .env("ADMIN_REGION", self.options.region)
            .env("ADMIN_ENDPOINT_URL", server.endpoint())
            .args(["admin", "create-user", "--role", "user"])
            .args(["--access", access_key, "--secret", secret_key])
            .output()
            .expect("run versitygw admin");
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
