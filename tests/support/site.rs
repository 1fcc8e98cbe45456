//! walkeep set up for one cluster: a configuration, staging, two directories
//! as stores, and the program run as the server's user.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    host::{TempDir, as_server_user, hand_over, walkeep_binary},
    postgres::Cluster,
};

/// Everything walkeep has on a host. Removed when dropped.
pub struct Site {
    directory: TempDir,
}

/// How a run of walkeep ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Panics, with all that was said, unless this is how it ended.
    pub fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless stdout has this line, or part of one.
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "{text:?} in\n{}", self.stdout);
        self
    }

    /// Panics if stdout has this.
    pub fn says_not(&self, text: &str) -> &Self {
        assert!(!self.stdout.contains(text), "{text:?} in\n{}", self.stdout);
        self
    }

    /// Panics unless stderr has this.
    pub fn tells(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "{text:?} in\n{}", self.stderr);
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

impl Site {
    /// A configuration for `cluster` with the stores `one` and `two`.
    pub fn of(cluster: &Cluster) -> Self {
        let site = Site::empty();
        for store in ["one", "two"] {
            site.directory.subdirectory(store);
        }
        let stores = format!(
            "{}\n{}",
            site.directory_store("one"),
            site.directory_store("two")
        );
        site.configure(&site.head(cluster), &stores);
        site
    }

    /// Directories, and no configuration.
    pub fn empty() -> Self {
        Site {
            directory: TempDir::new(),
        }
    }

    /// The tables before the stores.
    pub fn head(&self, cluster: &Cluster) -> String {
        format!(
            "[cluster]\nname = \"main\"\ndata_directory = \"{}\"\nbin_directory = \"{}\"\n\
             connection = \"{}\"\n\n[staging]\npath = \"{}\"\n\n[catalog]\npath = \"{}\"\n\n\
             [drill]\nscratch = \"{}\"\n\n[fetch]\nspool = \"{}\"\n\n",
            cluster.data().display(),
            cluster.server().bin.display(),
            cluster.connection(),
            self.staging().display(),
            self.path("catalog/catalog.redb").display(),
            self.path("scratch").display(),
            self.path("spool").display(),
        )
    }

    /// The table of a directory below this site.
    pub fn directory_store(&self, name: &str) -> String {
        let path = self.path(name);
        let path = path.display();
        format!("[[store]]\nname = \"{name}\"\ntype = \"directory\"\npath = \"{path}\"\n")
    }

    /// Writes the configuration anew.
    pub fn configure(&self, head: &str, stores: &str) {
        fs::write(self.config(), format!("{head}{stores}")).expect("write the configuration");
        hand_over(&self.config());
    }

    /// Changes the configuration's text.
    pub fn reconfigure(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config()).expect("read the configuration");
        self.configure(&change(text), "");
    }

    pub fn config(&self) -> PathBuf {
        self.path("walkeep.toml")
    }

    pub fn staging(&self) -> PathBuf {
        self.path("staging")
    }

    /// A path below the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A new directory below the site's, of the server's user.
    pub fn subdirectory(&self, name: &str) -> PathBuf {
        self.directory.subdirectory(name)
    }

    /// What `init` writes for `archive_command`.
    pub fn archive_command(&self) -> String {
        format!(
            "{} --config {} wal push %p",
            walkeep_binary().display(),
            self.config().display()
        )
    }

    /// walkeep with this site's configuration, as the server's user.
    pub fn walkeep(&self, arguments: &[&str]) -> Run {
        self.run(arguments, &[])
    }

    /// As [`walkeep`](Self::walkeep), with variables of its environment.
    pub fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = self.command(arguments, variables);
        run(as_server_user(&mut command))
    }

    /// As [`run`](Self::run), as the user that runs the tests.
    pub fn run_as_tester(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        run(self.command(arguments, variables).current_dir("/"))
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(walkeep_binary());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(variables.iter().copied())
            .arg("--config")
            .arg(self.config())
            .args(arguments);
        command
    }
}

fn run(command: &mut Command) -> Run {
    let output = command.output().expect("run walkeep");
    let text = |bytes| String::from_utf8(bytes).expect("walkeep speaks UTF-8");
    Run {
        code: output.status.code().expect("walkeep ended by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Reads a file, or panics with its name.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}
