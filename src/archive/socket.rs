//! Unix sockets in a directory that may have a longer path than a socket's
//! address can name (108 bytes, `unix(7)`): they are reached by the open
//! directory.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

/// The address of the socket `name`, for as long as `directory` is open.
pub fn address(directory: &File, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into()
}

/// Connects, or fails after `patience`: a process that is stopped would let
/// one wait for ever.
pub fn connect(directory: File, name: &'static str, patience: Duration) -> io::Result<UnixStream> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody is there to hear it after the timeout.
        let _ = sender.send(UnixStream::connect(address(&directory, name)));
    });
    receiver
        .recv_timeout(patience)
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
