//! A throw-away PostgreSQL server.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use postgres::{Client, NoTls};

/// How long a server may take to start, or to recover.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster, and its server while it runs.
pub(super) struct Server {
    bin: PathBuf,
    pub(super) data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// A cluster that is, or will be, in `data`.
    pub(super) fn new(bin: &Path, data: &Path, socket: &Path, log: &Path) -> Self {
        Server {
            bin: bin.to_owned(),
            data: data.to_owned(),
            socket: socket.to_owned(),
            log: log.to_owned(),
            process: None,
        }
    }

    /// Makes the cluster; `settings` go to the end of its configuration.
    pub(super) fn initialise(&self, settings: &str) -> anyhow::Result<()> {
        let mut initdb = self.program("initdb");
        initdb.args([
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ]);
        run(initdb.arg(&self.data))?;
        let path = self.data.join("postgresql.conf");
        crate::fs::append_lines(&path, settings).context("write postgresql.conf")
    }

    /// Starts the server, and waits until it can be asked.
    pub(super) fn start(&mut self) -> anyhow::Result<Client> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        let child = self
            .program("postgres")
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(&self.socket)
            .args(["-c", "listen_addresses=", "-p", "5432"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start postgres")?;
        let child = self.process.insert(child);
        let deadline = Instant::now() + PATIENCE;
        let address = format!(
            "host={} port=5432 user=postgres dbname=postgres",
            self.socket.display()
        );
        loop {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "the server ended ({status}); its log is \"{}\"",
                    self.log.display()
                );
            }
            if let Ok(client) = Client::connect(&address, NoTls) {
                return Ok(client);
            }
            if Instant::now() > deadline {
                bail!(
                    "the server does not answer; its log is \"{}\"",
                    self.log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL to the postmaster, as the kernel's out-of-memory killer or a
    /// lost power supply would end it; its children end when they notice.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.process.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends the server in order.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.process.take() {
            let mut pg_ctl = self.program("pg_ctl");
            run(pg_ctl.args(["stop", "-m", "fast", "-D"]).arg(&self.data))?;
            child.wait()?;
        }
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env_remove("PGDATA").env("LC_ALL", "C");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The demo has failed: what it started must not stay.
        let _ = self.kill();
    }
}

/// Runs a program to its end, and gives what it printed; what it said on a
/// failure goes into the error.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start \"{name}\""))?;
    if !output.status.success() {
        bail!(
            "\"{name}\" failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
