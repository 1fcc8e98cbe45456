//! How `wal push` and `wal fetch` have the daemon do what takes credentials and
//! the network: over a socket in the staging directory, a line of JSON each
//! way. The daemon carries out what the verb would, and the answer is the
//! verb's.
//!
//! Nothing depends on it. Without a daemon, with one that dies meanwhile, and
//! with one that works by other stores, the verbs do it themselves.
//!
//! ```text
//! {"ask":"ship","archive":"…","file":"000000010000000400000024","copies":2}
//!   {"answer":"working"}                        each second
//!   {"answer":"held","copies":2,"problems":[]}
//! {"ask":"fetch","archive":"…","file":"00000002.history","directory":"/var/lib/…","plan":null}
//!   {"answer":"here","bytes":41,"store":"r2","damaged":[]}, and the bytes
//!   {"answer":"absent","asked":"store \"r2\" and store \"b2\""}
//! ```

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::socket;
use crate::{
    codec::Sha256,
    config::StoreSettings,
    postgres::{SegmentName, WalFileName},
    store::Location,
};

/// The socket's name in the staging directory. Not one that PostgreSQL
/// archives.
pub const NAME: &str = "daemon.sock";
/// How often the daemon says that it works.
pub const BEAT: Duration = Duration::from_secs(1);
/// A daemon that says nothing for so long is stopped, or gone.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a connection may take: one that is stopped would let it wait for
/// ever.
const CONNECT: Duration = Duration::from_millis(500);
/// The longest line, in bytes.
pub const LONGEST_LINE: u64 = 64 << 10;

/// What the daemon is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// [`archive`] of the stores that the asker's configuration names: a
    /// daemon that has not read it again does not answer for them.
    pub archive: String,
    /// What.
    #[serde(flatten)]
    pub task: Task,
}

/// What the daemon is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Task {
    /// Ship a staged file now, until so many stores hold it.
    Ship {
        /// Its name.
        file: WalFileName,
        /// How many.
        copies: usize,
    },
    /// Fetch a file for a recovery.
    Fetch {
        /// Its name.
        file: WalFileName,
        /// The data directory.
        directory: PathBuf,
        /// The recovery's plan.
        plan: Option<PathBuf>,
    },
    /// Start the recovery's prefetcher.
    Prefetch {
        /// The segment that was fetched last.
        after: SegmentName,
        /// The data directory.
        directory: PathBuf,
        /// The recovery's plan.
        plan: Option<PathBuf>,
    },
}

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It is at it.
    Working,
    /// So many stores hold the file.
    Held {
        /// How many, or more.
        copies: usize,
        /// What went wrong with others.
        problems: Vec<String>,
    },
    /// The file's bytes follow.
    Here {
        /// How many.
        bytes: u64,
        /// The store that they come from; none where they were on this host.
        store: Option<String>,
        /// Copies that were found damaged on the way, and are noted.
        damaged: Vec<String>,
    },
    /// The file is proved absent.
    Absent {
        /// Who said so.
        asked: String,
    },
    /// To a standby alone, which asks again.
    NotNow {
        /// Why.
        reason: String,
    },
    /// It is done.
    Done,
    /// What the verb would fail with: to be told, and not tried again.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is not this daemon's to do.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What tells two sets of stores apart, in whatever order they are named.
pub fn archive(stores: &[StoreSettings]) -> String {
    let mut lines: Vec<String> = stores
        .iter()
        .map(|store| {
            let place = match &store.location {
                Location::S3(s3) => format!("{} {}", s3.endpoint, s3.bucket),
                Location::Directory(path) => path.display().to_string(),
            };
            format!("{} {place} {}\n", store.name(), store.prefix)
        })
        .collect();
    lines.sort();
    Sha256::of(lines.concat().as_bytes()).to_string()
}

/// The socket in an open directory, by a path that is short enough whatever
/// the directory's is: a socket's has 107 bytes (unix(7)).
pub fn socket_in(directory: &File) -> PathBuf {
    socket::address(directory, NAME)
}

/// What came of asking.
#[derive(Debug)]
pub struct Heard {
    /// Never [`Answer::Working`].
    pub answer: Answer,
    /// Whatever follows the answer.
    pub rest: BufReader<UnixStream>,
}

/// Asks the daemon of this staging directory, and waits as long as it works on
/// it. `None`: there is none, or it does not answer; nothing is known then.
pub fn ask(staging: &Path, ask: &Ask) -> Option<Heard> {
    let directory = File::open(staging).ok()?;
    let stream = match socket::connect(directory, NAME, CONNECT) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!("no daemon is asked: {error}");
            return None;
        }
    };
    match talk(stream, ask) {
        Ok(heard) => {
            if let Answer::Refused { reason } = &heard.answer {
                tracing::debug!("the daemon leaves it to this process: {reason}");
                return None;
            }
            Some(heard)
        }
        Err(error) => {
            tracing::warn!("the daemon has not answered ({error}): done without it");
            None
        }
    }
}

fn talk(stream: UnixStream, ask: &Ask) -> io::Result<Heard> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut rest = BufReader::new(stream);
    loop {
        let mut line = String::new();
        // It ends in the middle of one where the daemon has died.
        if rest.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match serde_json::from_str(&line)? {
            Answer::Working => {}
            answer => return Ok(Heard { answer, rest }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines are a contract between two versions of walkeep.
    #[test]
    fn lines_are_as_documented() {
        let name = "000000010000000400000024";
        let ship = Ask {
            archive: "a".to_owned(),
            task: Task::Ship {
                file: name.parse().unwrap(),
                copies: 2,
            },
        };
        let text = format!(r#"{{"archive":"a","ask":"ship","file":"{name}","copies":2}}"#);
        assert_eq!(serde_json::to_string(&ship).unwrap(), text);
        assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ship);
        let fetch = r#"{"archive":"a","ask":"fetch","file":"00000002.history","directory":"/d","plan":null}"#;
        let fetch: Ask = serde_json::from_str(fetch).unwrap();
        assert!(matches!(fetch.task, Task::Fetch { plan: None, .. }));
        let held = Answer::Held {
            copies: 2,
            problems: Vec::new(),
        };
        let text = r#"{"answer":"held","copies":2,"problems":[]}"#;
        assert_eq!(serde_json::to_string(&held).unwrap(), text);
        let working = serde_json::from_str::<Answer>(r#"{"answer":"working"}"#);
        assert_eq!(working.unwrap(), Answer::Working);
    }
}
