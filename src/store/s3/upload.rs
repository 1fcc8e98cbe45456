//! A body on its way: sent in pieces, and given up when none can be sent for
//! too long. The client library's own read timeout would count the time of
//! the upload, and so end every one that takes longer.

use std::{
    future::Future,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::io::AsyncReadExt;

use super::super::{
    Timeouts,
    error::StoreErrorKind as Kind,
    object::{Body, Source},
    retry::Failure,
};

/// How much is handed over at once, in bytes.
const PIECE: usize = 128 << 10;
/// What the system may still have to send when the last piece is handed over
/// (Linux: the largest `net.ipv4.tcp_wmem` by default), in bytes.
const SEND_BUFFER: u64 = 4 << 20;

/// What is known of an upload while the client library sends it.
pub(super) struct Upload {
    begun: Instant,
    length: u64,
    /// When the last piece was handed over, in milliseconds since `begun`.
    last_piece: AtomicU64,
    /// How much was handed over, in bytes.
    sent: AtomicU64,
    /// Why the body could not be read.
    unreadable: Mutex<Option<String>>,
}

enum Rest {
    Bytes(Bytes),
    File(tokio::fs::File, u64),
}

impl Upload {
    /// Opens the body at its first byte.
    pub(super) async fn open(body: &Body) -> Result<(Arc<Self>, reqwest::Body), Failure> {
        let rest = match &body.source {
            Source::Bytes(bytes) => Rest::Bytes(Bytes::clone(bytes)),
            Source::File(path) => {
                let file = tokio::fs::File::open(&**path).await.map_err(|error| {
                    let detail = format!("open the spool file \"{}\": {error}", path.display());
                    Failure::new(Kind::Io, detail)
                })?;
                Rest::File(file, body.length)
            }
        };
        let upload = Arc::new(Upload {
            begun: Instant::now(),
            length: body.length,
            last_piece: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            unreadable: Mutex::new(None),
        });
        let state = (Arc::clone(&upload), rest);
        let pieces = stream::unfold(state, |(upload, mut rest)| async move {
            let piece = upload.taken(rest.next().await)?;
            Some((piece, (upload, rest)))
        });
        Ok((upload, reqwest::Body::wrap_stream(pieces)))
    }

    /// Notes what the client library gets: a piece, or the body's end.
    fn taken(&self, piece: io::Result<Option<Bytes>>) -> Option<io::Result<Bytes>> {
        let now = self.begun.elapsed().as_millis() as u64;
        self.last_piece.store(now, Ordering::Relaxed);
        let piece = piece.transpose();
        match &piece {
            None => {}
            Some(Ok(piece)) => {
                self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            Some(Err(error)) => *self.lock_unreadable() = Some(error.to_string()),
        }
        piece
    }

    /// Waits for the answer, as long as the upload gets on.
    pub(super) async fn answered<T>(
        &self,
        answer: impl Future<Output = T>,
        timeouts: &Timeouts,
    ) -> Result<T, Failure> {
        let mut answer = pin!(answer);
        loop {
            let last = Duration::from_millis(self.last_piece.load(Ordering::Relaxed));
            // Before the last piece, the next one is waited for; after it, the
            // answer.
            let patience = if self.sent.load(Ordering::Relaxed) < self.length {
                timeouts.idle
            } else {
                timeouts.of_answer(self.length.min(SEND_BUFFER))
            };
            let longest = timeouts.of_transfer(self.length);
            let deadline = self.begun + longest.min(last + patience);
            if Instant::now() >= deadline {
                return Err(Failure::new(Kind::TimedOut, "the upload stalls"));
            }
            if let Ok(answer) = tokio::time::timeout_at(deadline.into(), &mut answer).await {
                return Ok(answer);
            }
        }
    }

    /// Why the body could not be read, where that is what went wrong.
    pub(super) fn unreadable(&self) -> Option<Failure> {
        let error = self.lock_unreadable().take()?;
        Some(Failure::new(
            Kind::Io,
            format!("read the spool file: {error}"),
        ))
    }
}

impl Upload {
    fn lock_unreadable(&self) -> MutexGuard<'_, Option<String>> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rest {
    /// The next piece, or none at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Rest::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Rest::Bytes(bytes) => Ok(Some(bytes.split_to(bytes.len().min(PIECE)))),
            Rest::File(_, 0) => Ok(None),
            Rest::File(file, rest) => {
                let mut piece = BytesMut::with_capacity(PIECE.min(*rest as usize));
                if file.read_buf(&mut piece).await? == 0 {
                    let error = "it is shorter than it was";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
                }
                piece.truncate(*rest as usize);
                *rest -= piece.len() as u64;
                Ok(Some(piece.freeze()))
            }
        }
    }
}
