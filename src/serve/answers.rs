//! What the daemon does for `wal push` and `wal fetch`: the same that they
//! would do themselves, with its own credentials and connections.

use std::{
    fs::{File, Permissions},
    future::{Future, pending},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    pin::pin,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    task::block_in_place,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::jobs::Program;
use crate::{
    archive::{
        ask::{self, Answer, Ask, BEAT, LONGEST_LINE, Task},
        fetch::{self, FetchError, Fetched, Recovery, Request, Suspect},
        ship::{Shipping, confirm},
    },
    config::Config,
    postgres::{SegmentName, WalFileName},
};

/// How long an asker may take to say what it wants.
const HEARING: Duration = Duration::from_secs(5);
/// How many are served at once. PostgreSQL asks one thing at a time.
pub(super) const AT_ONCE: usize = 8;

/// Where the daemon is asked. None where the socket could not be made.
pub(super) struct Desk {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Desk {
    /// Listens in the staging directory, which is this daemon's alone: what is
    /// there under the socket's name is a dead one's. Inside a tokio runtime.
    pub(super) fn open(staging: &Path) -> Self {
        let path = staging.join(ask::NAME);
        let listener = listen(staging, &path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::warn!("listen at \"{path}\": {error}; `wal push` and `wal fetch` do without");
            None
        });
        Desk { path, listener }
    }

    /// Makes the socket again where somebody has taken it away.
    pub(super) fn renew(&mut self) {
        if !self.path.exists()
            && let Some(staging) = self.path.parent()
        {
            *self = Desk::open(staging);
        }
    }

    /// The next one who asks.
    pub(super) async fn next(&self) -> UnixStream {
        loop {
            let Some(listener) = &self.listener else {
                return pending().await;
            };
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                // Out of file descriptors, perhaps.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if self.listener.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whoever may write to the staging directory may ask.
fn listen(staging: &Path, path: &Path) -> io::Result<Option<UnixListener>> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let directory = File::open(staging)?;
    let listener = UnixListener::bind(ask::socket_in(&directory))?;
    let group = directory.metadata()?.gid();
    if std::fs::metadata(path)?.gid() != group {
        // Of another's group it cannot make it; its own then.
        let _ = chown(path, None, Some(group));
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(Some(listener))
}

/// What the daemon works by, for one who asks.
#[derive(Clone)]
pub(super) struct Clerk {
    pub(super) config: Arc<Config>,
    pub(super) shipping: Shipping,
    pub(super) program: Program,
}

/// An answer, and the file that follows it.
type Answered = (Answer, Option<File>);

impl Clerk {
    /// Serves one who asks. That the connection breaks is the asker's business.
    pub(super) async fn serve(self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(LONGEST_LINE));
        let heard = timeout(HEARING, reader.read_line(&mut line)).await;
        let Ok(Ok(1..)) = heard else {
            return;
        };
        let done = match serde_json::from_str::<Ask>(&line) {
            Ok(ask) if ask.archive == ask::archive(&self.config.stores) => {
                say_working(&mut write, self.carry_out(ask.task)).await
            }
            Ok(_) => Some(refused(
                "it works by other stores; make it read its configuration",
            )),
            Err(error) => Some(refused(&format!("not understood: {error}"))),
        };
        if let Some((answer, file)) = done
            && say(&mut write, &answer).await.is_ok()
            && let Some(file) = file
        {
            let mut file = tokio::fs::File::from_std(file);
            let _ = tokio::io::copy(&mut file, &mut write).await;
        }
    }

    async fn carry_out(&self, task: Task) -> Answered {
        match task {
            Task::Ship { file, copies } => match confirm(&self.shipping, file, copies).await {
                Ok(held) => {
                    let (copies, problems) = (held.copies, held.problems);
                    (Answer::Held { copies, problems }, None)
                }
                Err(error) => failed(&anyhow::Error::new(error)),
            },
            Task::Fetch {
                file,
                directory,
                plan,
            } => self.fetch(file, &directory, plan.as_deref()).await,
            Task::Prefetch {
                after,
                directory,
                plan,
            } => match self.prefetch(after, &directory, plan.as_deref()) {
                Ok(()) => (Answer::Done, None),
                Err(error) => refused(&format!("start the prefetcher: {error}")),
            },
        }
    }

    async fn fetch(&self, name: WalFileName, directory: &Path, plan: Option<&Path>) -> Answered {
        let config = &*self.config;
        let recovery = match block_in_place(|| Recovery::open(config, directory, plan)) {
            Ok(recovery) => recovery,
            // It may be one that this process may not look into.
            Err(error) => return refused(&error.to_string()),
        };
        let mut recovery = recovery.by_way_of(&self.shipping.places);
        // What a killed daemon leaves there is swept by the next pass.
        let unique = fastrand::u64(..);
        let temporaries = self.shipping.staging.temporaries();
        let to = temporaries.join(format!("{name}.fetched-{unique:016x}"));
        match recovery.fetch(config, Request { name, to: &to }).await {
            Ok(Fetched::Placed { source, suspects }) => {
                self.record(&suspects);
                let opened = File::open(&to).and_then(|file| Ok((file.metadata()?.len(), file)));
                // It lives as long as it is open.
                let _ = std::fs::remove_file(&to);
                match opened {
                    Ok((bytes, file)) => {
                        let store = match source {
                            fetch::Source::Store(store) => Some(store.to_string()),
                            fetch::Source::Staging | fetch::Source::Spool => None,
                        };
                        let damaged = suspects.into_iter();
                        let damaged =
                            damaged.map(|it| format!("store \"{}\": {}", it.store, it.reason));
                        let damaged = damaged.collect();
                        let here = Answer::Here {
                            bytes,
                            store,
                            damaged,
                        };
                        (here, Some(file))
                    }
                    Err(error) => refused(&format!("open the fetched file: {error}")),
                }
            }
            Ok(Fetched::Absent { asked }) => (Answer::Absent { asked }, None),
            Ok(Fetched::NotNow { reason }) => {
                let reason = reason.to_string();
                (Answer::NotNow { reason }, None)
            }
            Err(error) => {
                if let FetchError::Damaged { suspects, .. } = &error {
                    self.record(suspects);
                }
                match error.is_about_stores() {
                    true => failed(&anyhow::Error::new(error)),
                    false => refused(&error.to_string()),
                }
            }
        }
    }

    fn record(&self, suspects: &[Suspect]) {
        let noted = block_in_place(|| fetch::record(&self.shipping.catalog, suspects));
        if let Err(error) = noted {
            tracing::warn!("note damaged copies in the catalog: {error}");
        }
    }

    fn prefetch(
        &self,
        after: SegmentName,
        directory: &Path,
        plan: Option<&Path>,
    ) -> io::Result<()> {
        let mut command = Command::new(&self.program.path);
        command
            .args(&self.program.arguments)
            .args(["wal", "prefetch"])
            .arg(after.to_string());
        if let Some(plan) = plan {
            command.arg("--plan").arg(plan);
        }
        let mut prefetcher = command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // It ends by itself; somebody has to see that.
        thread::Builder::new()
            .spawn(move || prefetcher.wait())
            .map(drop)
    }
}

fn failed(error: &anyhow::Error) -> Answered {
    let reason = format!("{error:#}");
    (Answer::Failed { reason }, None)
}

fn refused(reason: &str) -> Answered {
    let reason = reason.to_owned();
    (Answer::Refused { reason }, None)
}

/// Says every now and then that it works. `None`: nobody listens any more.
async fn say_working(
    write: &mut OwnedWriteHalf,
    work: impl Future<Output = Answered>,
) -> Option<Answered> {
    let mut work = pin!(work);
    let mut beats = interval_at(Instant::now() + BEAT, BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            answered = &mut work => return Some(answered),
            _ = beats.tick() => say(write, &Answer::Working).await.ok()?,
        }
    }
}

async fn say(write: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}
