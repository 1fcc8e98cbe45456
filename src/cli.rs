//! The command line, as clap reads it. No logic: `main` runs what this says.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{
    layout::BackupId,
    postgres::{Lsn, WalFileName},
};

/// Keeps a PostgreSQL cluster's WAL in two clouds at once, and brings it back.
#[derive(Debug, Parser)]
#[command(
    name = "walkeep",
    version,
    arg_required_else_help = true,
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Read this configuration [default: /etc/walkeep/walkeep.toml]
    #[arg(long, global = true, value_name = "FILE", env = "WALKEEP_CONFIG")]
    pub config: Option<PathBuf>,
    /// Read the configuration of this cluster, /etc/walkeep/NAME.toml
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "config")]
    pub cluster: Option<String>,
    /// Print one JSON document (lists: JSON Lines) instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more (twice: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the main job on a throw-away cluster, without accounts or root
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Bind the archive to this host's cluster, and say how PostgreSQL uses it
    Init(Init),
    /// Examine settings, staging, stores and clock; exit 1 if data would be lost
    Check(Check),
    /// Archive and fetch the write-ahead log
    #[command(subcommand)]
    Wal(Wal),
    /// Bring everything staged to every store, then exit
    Ship,
    /// Ship what arrives, as it arrives, until told to end
    Run {
        /// Leave what [schedule] says to others, such as systemd's timers
        #[arg(long)]
        no_schedule: bool,
    },
    /// Take and list base backups
    #[command(subcommand)]
    Backup(Backup),
    /// Plan a recovery, show the plan, and restore a data directory
    Restore(Restore),
    /// Delete what no moment of the window needs, in every store
    Prune(Prune),
    /// Restore into a scratch cluster, check it, and remove it: does it come back?
    Drill(Drill),
    /// Restore into a scratch cluster, run a command on it, and remove it
    Extract(Extract),
    /// Hold every store against the catalog and the WAL's own continuity
    Verify(Verify),
    /// Deal with gaps in the WAL
    #[command(subcommand)]
    Gap(Gap),
    /// Say what can be restored, how far behind each store is, and what needs a person
    Status {
        /// Say it again every 2 seconds
        #[arg(long)]
        watch: bool,
    },
    /// List what is not as it should be, and what was
    Alerts {
        #[command(subcommand)]
        what: Option<Alerts>,
    },
    /// Say what the last day came to, in some lines
    Report,
    /// Rebuild or print the catalog
    #[command(subcommand)]
    Catalog(Catalog),
    /// Print a shell's completions: source <(walkeep completions bash)
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page of walkeep or of a verb: walkeep man wal push | man -l -
    Man {
        /// The verb, such as: wal push
        #[arg(value_name = "VERB")]
        verb: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct Init {
    /// Set archive_mode, archive_command and archive_timeout by ALTER SYSTEM
    #[arg(long)]
    pub apply: bool,
    /// Make the configuration from the environment of an older set-up
    #[arg(long)]
    pub from_env: bool,
    /// Go on in the archive after pg_upgrade: open its next generation
    #[arg(long, conflicts_with = "from_env")]
    pub upgraded: bool,
    /// Archive again after a restore, on the restored cluster's own timeline
    #[arg(long, conflicts_with_all = ["apply", "from_env", "upgraded", "reset_auto_conf"])]
    pub rearm: bool,
    /// Reset what ALTER SYSTEM left that hides the configured archive settings
    #[arg(long, conflicts_with = "apply")]
    pub reset_auto_conf: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Switch a segment, wait until every store has it, fetch it and compare
    #[arg(long, conflicts_with = "config_only")]
    pub roundtrip: bool,
    /// Read the configuration only: no credential, no network
    #[arg(long)]
    pub config_only: bool,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the throw-away cluster and its stores in this new directory
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Write about this much WAL before the disaster, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 96)]
    pub load: u32,
    /// Where the demo goes on that root has begun
    #[arg(long, hide = true)]
    pub directory: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Wal {
    /// Archive one file: archive_command = 'walkeep wal push %p'
    Push {
        /// The file, as PostgreSQL gives it for %p
        path: PathBuf,
    },
    /// Bring one file back: restore_command = 'walkeep wal fetch %f %p'
    Fetch(Fetch),
    /// Fetch ahead of PostgreSQL; started by `wal fetch`
    #[command(hide = true)]
    Prefetch(Prefetch),
    /// Become pg_receivewal, until the daemon that started this ends
    #[command(hide = true)]
    Receive {
        /// The daemon's process
        #[arg(long)]
        parent: i32,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// List what is archived, with gaps
    List(List),
}

#[derive(Debug, Args)]
pub struct Fetch {
    /// The file's name, as PostgreSQL gives it for %f
    pub name: String,
    /// Where to put it, as PostgreSQL gives it for %p
    pub destination: PathBuf,
    /// What the archive must hold, written by `walkeep restore`
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Prefetch {
    /// The segment that was fetched last
    pub after: String,
    /// The plan that the fetches have
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct List {
    /// Only this timeline
    #[arg(long, value_name = "N")]
    pub timeline: Option<u32>,
    /// Only this generation of the archive
    #[arg(long, value_name = "N")]
    pub generation: Option<u32>,
    /// Every file by itself instead of unbroken stretches
    #[arg(long)]
    pub files: bool,
}

#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Take a base backup of the running cluster into every store
    Create {
        /// Store every block anew, instead of what changed since the last one
        #[arg(long)]
        full: bool,
    },
    /// Take over what pg_basebackup has taken, as a backup like any other
    Import {
        /// The directory that it wrote to: plain, or with base.tar[.gz]
        path: PathBuf,
    },
    /// List the base backups, oldest first
    List,
    /// Show what a base backup is
    Show {
        /// Its name, as `backup list` prints it
        id: String,
    },
    /// Delete base backups, and the data that no other one refers to
    Delete {
        /// Their names, as `backup list` prints them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<BackupId>,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
pub struct Prune {
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct Verify {
    /// Read and hash every object; goes on where an interrupted one was
    #[arg(long)]
    pub deep: bool,
    /// Copy what a store lacks or has corrupted from another one
    #[arg(long)]
    pub repair: bool,
}

#[derive(Debug, Subcommand)]
pub enum Gap {
    /// Say that a gap is known: it needs nobody once every store has a newer backup
    Ack {
        /// A segment of the gap, or another file that is lost [default: the only gap]
        #[arg(value_name = "SEGMENT", conflicts_with = "all")]
        name: Option<WalFileName>,
        /// Every gap there is
        #[arg(long)]
        all: bool,
    },
}

/// Whether somebody has agreed to a deletion.
#[derive(Debug, Clone, Copy, Args)]
pub struct Consent {
    /// Show what would be deleted, and stop
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Delete without asking: for scripts and timers
    #[arg(long)]
    pub yes: bool,
}

/// Where a recovery stops, and by which way it gets there.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target"))]
pub struct Target {
    /// Stop at this time: 2026-11-20T14:30:00Z, "10 minutes ago"
    #[arg(long, value_name = "TIME", group = "target")]
    pub to_time: Option<String>,
    /// Stop at the end of this transaction
    #[arg(long, value_name = "XID", group = "target")]
    pub to_xid: Option<u64>,
    /// Stop at this position, such as 4/24000028
    #[arg(long, value_name = "LSN", group = "target")]
    pub to_lsn: Option<Lsn>,
    /// Stop at this restore point
    #[arg(long, value_name = "NAME", group = "target")]
    pub to_name: Option<String>,
    /// Stop as soon as the backup is consistent
    #[arg(long, group = "target")]
    pub immediate: bool,
    /// Stop just before the target instead of just behind it
    #[arg(long, requires = "target", conflicts_with_all = ["to_name", "immediate"])]
    pub exclusive: bool,
    /// Follow this timeline: a number, latest or current
    #[arg(long, value_name = "N")]
    pub timeline: Option<String>,
    /// Begin with this backup
    #[arg(long, value_name = "ID")]
    pub backup: Option<BackupId>,
    /// Ask this store alone
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The data directory to make: absent or empty, but for --delta
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    #[command(flatten)]
    pub target: Target,
    /// What the server does at the target [default: promote; on a terminal with
    /// a target: pause]
    #[arg(long, value_enum, conflicts_with = "standby")]
    pub action: Option<Action>,
    /// Make a standby, which goes on asking for WAL
    #[arg(long, conflicts_with = "target")]
    pub standby: bool,
    /// Put a tablespace elsewhere (several times for several)
    #[arg(long, value_name = "OLD=NEW")]
    pub tablespace: Vec<String>,
    /// Keep what an existing directory already has right
    #[arg(long)]
    pub delta: bool,
    /// Show the plan and stop
    #[arg(long)]
    pub plan: bool,
}

#[derive(Debug, Args)]
pub struct Drill {
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Extract {
    #[command(flatten)]
    pub target: Target,
    /// What to run, such as: pg_dump -t accounts
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What a server does when it has reached its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Wait, to be looked at
    Pause,
    /// Take writes, on a timeline of its own
    Promote,
    /// Stop
    Shutdown,
}

#[derive(Debug, Subcommand)]
pub enum Alerts {
    /// Acknowledge an alert: it stays open, and is not told again
    Ack {
        /// Its id, as `alerts` prints it
        id: String,
    },
    /// Tell every sink that a systemd unit failed: what OnFailure= of the units runs
    Failed {
        /// Its name; of walkeep-backup@NAME.service, NAME is the cluster
        unit: String,
    },
    /// Send a test through one sink, and say what came of it
    Test {
        /// Its name in the configuration; by default its type
        sink: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// Build the catalog anew from what the stores hold
    Rebuild {
        /// Ask this store alone
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
    },
    /// Print every record as JSON Lines
    Export,
}
