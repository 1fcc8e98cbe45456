//! When a file arrives in staging.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use tokio::sync::Notify;

/// A watch on the staging directory itself: a file arrives there under its
/// name by a rename, or, with an older `cp %p …/%f`, when it is closed.
pub(super) struct Arrivals {
    inotify: Arc<Inotify>,
    directory: PathBuf,
    arrived: Arc<Notify>,
}

impl Arrivals {
    /// Begins to watch. A thread waits for the kernel, as long as the process
    /// lives.
    pub(super) fn in_directory(directory: &Path) -> io::Result<Self> {
        let arrivals = Arrivals {
            inotify: Arc::new(Inotify::init(InitFlags::IN_CLOEXEC)?),
            directory: directory.to_owned(),
            arrived: Arc::default(),
        };
        arrivals.renew()?;
        let (inotify, arrived) = (Arc::clone(&arrivals.inotify), Arc::clone(&arrivals.arrived));
        thread::Builder::new()
            .name("arrivals".to_owned())
            .spawn(move || wait(&inotify, &arrived))?;
        Ok(arrivals)
    }

    /// Watches what is mounted there now.
    pub(super) fn renew(&self) -> io::Result<()> {
        let arrived = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        self.inotify.add_watch(&self.directory, arrived)?;
        Ok(())
    }

    /// Waits until something has arrived since the last time.
    pub(super) async fn next(&self) {
        self.arrived.notified().await;
    }
}

fn wait(inotify: &Inotify, arrived: &Notify) {
    loop {
        match inotify.read_events() {
            // Which ones does not matter: a pass looks at all of them.
            Ok(_) => arrived.notify_one(),
            Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!("inotify: {error}; what arrives is looked for every 5 minutes");
                return;
            }
        }
    }
}
