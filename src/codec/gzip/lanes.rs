//! Members compressed on several threads and taken in order. Each thread has a
//! lane: members `n`, `n + lanes`, … and two buffers, so that it may be one
//! member ahead of the taker and no more.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::{
    EncodeError, OutOfMemory,
    cut::Cuts,
    engine::{Compressor, Engine},
};

/// One member's deflate stream and the CRC-32 of its raw bytes.
type Made = Result<(Vec<u8>, u32), OutOfMemory>;

/// Calls `take` for each member in order, from the calling thread, while
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
                let members = (lane..cuts.count()).step_by(lanes);
                scope.spawn(move || {
                    run_lane(
                        engine,
                        members.map(|i| &body[cuts.range(i)]),
                        &free_in,
                        &made_out,
                    );
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

/// A member that a lane is working on.
pub(super) struct Coming<'a> {
    made: &'a Receiver<Made>,
    free: &'a Sender<Vec<u8>>,
}

impl Coming<'_> {
    /// Waits for the member's deflate stream, appends it to `out` and returns
    /// the CRC-32 of its raw bytes.
    pub(super) fn wait(self, out: &mut Vec<u8>) -> Result<u32, OutOfMemory> {
        // A lane ends early only after an error, which it has sent, or by a
        // panic, which the scope passes on.
        let (stream, crc) = self.made.recv().unwrap_or(Err(OutOfMemory))?;
        out.extend_from_slice(&stream);
        // A lane that has no member left takes no buffer.
        let _ = self.free.send(stream);
        Ok(crc)
    }
}

fn run_lane<'a>(
    engine: Engine,
    members: impl Iterator<Item = &'a [u8]>,
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
    for raw in members {
        let Ok(mut stream) = free.recv() else {
            return;
        };
        stream.clear();
        let result = compressor.deflate(raw, None, &mut stream);
        let failed = result.is_err();
        if made.send(result.map(|crc| (stream, crc))).is_err() || failed {
            return;
        }
    }
}
