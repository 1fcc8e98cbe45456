//! Pieces compressed on several threads and taken in order. Each thread has a
//! lane: pieces `n`, `n + lanes`, … and two buffers, so that it may be one
//! piece ahead of the taker and no more.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::{
    EncodeError, OutOfMemory,
    cut::Cuts,
    engine::{Compressor, Engine, Position},
};

/// One piece.
type Made = Result<Vec<u8>, OutOfMemory>;

/// Calls `take` for each piece in order, from the calling thread, while
/// `threads` others compress. Stops at the first error.
pub(super) fn compress(
    engine: Engine,
    threads: usize,
    body: &[u8],
    cuts: Cuts,
    mut take: impl FnMut(usize, Coming<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let lanes = threads.min(cuts.count());
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| {
                let (made_out, made) = sync_channel::<Made>(1);
                let (free, free_in) = channel();
                for _ in 0..2 {
                    // The receiver is at hand: this cannot fail.
                    let _ = free.send(Vec::new());
                }
                let pieces = (lane..cuts.count()).step_by(lanes);
                scope.spawn(move || {
                    let pieces = pieces.map(|i| (Position::of(i), &body[cuts.range(i)]));
                    run_lane(engine, pieces, &free_in, &made_out);
                });
                (made, free)
            })
            .collect();
        // Leaving early drops the lanes' other ends, which ends their threads.
        for index in 0..cuts.count() {
            let (made, free) = &lanes[index % lanes.len()];
            take(index, Coming { made, free })?;
        }
        Ok(())
    })
}

/// A piece that a lane is working on.
pub(super) struct Coming<'a> {
    made: &'a Receiver<Made>,
    free: &'a Sender<Vec<u8>>,
}

impl Coming<'_> {
    /// Waits for the piece and appends it to `out`.
    pub(super) fn wait(self, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
        // A lane ends early only after an error, which it has sent, or by a
        // panic, which the scope passes on.
        let piece = self.made.recv().unwrap_or(Err(OutOfMemory))?;
        out.extend_from_slice(&piece);
        // A lane that has no piece left takes no buffer.
        let _ = self.free.send(piece);
        Ok(())
    }
}

fn run_lane<'a>(
    engine: Engine,
    pieces: impl Iterator<Item = (Position, &'a [u8])>,
    free: &Receiver<Vec<u8>>,
    made: &SyncSender<Made>,
) {
    let mut compressor = match Compressor::new(engine) {
        Ok(compressor) => compressor,
        Err(error) => {
            let _ = made.send(Err(error));
            return;
        }
    };
    for (at, raw) in pieces {
        let Ok(mut piece) = free.recv() else {
            return;
        };
        piece.clear();
        let result = compressor.piece(raw, at, None, &mut piece);
        let failed = result.is_err();
        if made.send(result.map(|()| piece)).is_err() || failed {
            return;
        }
    }
}
