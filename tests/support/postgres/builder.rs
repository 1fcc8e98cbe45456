//! What a new cluster is like, and making it.

use super::{Cluster, Server, default_server, majors};
use crate::support::host::TempDir;

/// A cluster to be made: [`Cluster::builder`].
pub struct Builder {
    server: Server,
    wal_segsize_mb: u32,
    checksums: bool,
    fsync: bool,
    tcp: bool,
    conf: Vec<String>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Builder {
            server: default_server(),
            wal_segsize_mb: 16,
            checksums: true,
            fsync: false,
            tcp: false,
            conf: Vec::new(),
        }
    }

    /// By default the machine's own PostgreSQL: [`default_server`].
    pub fn server(mut self, server: &Server) -> Self {
        self.server = server.clone();
        self
    }

    /// The programs of this major, which must be here.
    pub fn major(self, major: u16) -> Self {
        let server = majors::installed()
            .into_iter()
            .find(|server| server.major == major)
            .unwrap_or_else(|| panic!("PostgreSQL {major}; `make postgres-majors` fetches it"));
        self.server(&server)
    }

    /// The size of a WAL segment in MiB, a power of two from 1 to 1024. By
    /// default 16.
    pub fn wal_segsize_mb(mut self, mib: u32) -> Self {
        self.wal_segsize_mb = mib;
        self
    }

    /// Whether data pages carry checksums. By default they do.
    pub fn checksums(mut self, on: bool) -> Self {
        self.checksums = on;
        self
    }

    /// Whether the server fsyncs. By default it does not: a killed process
    /// loses nothing that it gave to the kernel.
    pub fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// Also listen on a free port of 127.0.0.1.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// A line for `postgresql.conf`, such as `archive_mode = on`.
    pub fn conf(mut self, line: impl Into<String>) -> Self {
        self.conf.push(line.into());
        self
    }

    /// Initialises the cluster and starts its server.
    pub fn build(self) -> Cluster {
        let cluster = self.build_stopped();
        cluster.start();
        cluster
    }

    /// Initialises the cluster.
    pub fn build_stopped(self) -> Cluster {
        let directory = TempDir::new();
        let data = directory.join("data");
        let mut initdb = self.server.command("initdb");
        initdb
            .args(["--username=postgres", "--auth=trust", "--no-sync"])
            .args(["--locale=C", "--encoding=UTF8"])
            .arg(format!("--wal-segsize={}", self.wal_segsize_mb))
            .arg("-D")
            .arg(&data);
        match (self.checksums, self.server.major) {
            (true, _) => drop(initdb.arg("--data-checksums")),
            // They are on by default from 18.
            (false, 18..) => drop(initdb.arg("--no-data-checksums")),
            (false, _) => {}
        }
        let output = initdb.output().expect("start initdb");
        assert!(output.status.success(), "initdb: {output:?}");

        let port = self.tcp.then(free_port);
        let cluster = Cluster::in_directory(&self.server, data, directory, port);
        cluster.append_conf("shared_buffers = 16MB");
        cluster.append_conf("max_connections = 20");
        cluster.append_conf(&format!("fsync = {}", self.fsync));
        for line in &self.conf {
            cluster.append_conf(line);
        }
        cluster
    }
}

/// A port nobody listened on a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}
