//! Memory does not grow with the file. A program of its own, since it looks at
//! the whole process.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{Seek, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use walkeep::codec::{About, Decoder, Encoder, EncoderKind, Format, Mapped, Sha256};

const MIB: usize = 1 << 20;

/// Memory of this process that no file backs, in bytes.
fn anonymous() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

/// The largest growth while `work` runs.
fn growth(work: impl FnOnce()) -> usize {
    let before = anonymous();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                most = most.max(anonymous());
                std::thread::sleep(Duration::from_millis(1));
            }
            most - before
        });
        work();
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    })
}

#[test]
fn a_long_file_takes_a_few_members_of_memory() {
    let mut random = fastrand::Rng::with_seed(1);
    // Half of each is random: it takes half of its size in the object.
    // Nothing in it recurs within what an encoder remembers.
    let pieces: Vec<u8> = (0..4 * MIB).flat_map(|_| [random.u8(..), 7]).collect();
    let mut file = tempfile::tempfile().unwrap();
    for _ in 0..24 {
        file.write_all(&pieces).unwrap();
    }
    let raw = Mapped::open(&file).unwrap();
    let mut spool = tempfile::tempfile().unwrap();
    for format in Format::ALL {
        for (kind, threads) in [
            (EncoderKind::Auto, 1),
            (EncoderKind::Auto, 3),
            (EncoderKind::Zlib, 2),
        ] {
            spool.set_len(0).unwrap();
            spool.rewind().unwrap();
            // zstd's highest is the one that takes most.
            let level = if format == Format::Gzip { 1 } else { 9 };
            let encoder = Encoder::of(format, kind, level).unwrap();
            let mut stored_size = 0;
            let grown = growth(|| {
                let made = encoder.encode_to_file(
                    &raw,
                    About::new("base.1", Timestamp::UNIX_EPOCH),
                    threads,
                    &mut spool,
                );
                stored_size = made.unwrap().stored_size;
            });
            assert!(stored_size > 90 * MIB as u64, "{stored_size}");
            let each = if format == Format::Gzip { 8 } else { 22 };
            let most = (8 + each * threads) * MIB;
            assert!(grown < most, "{format} by {kind} grew by {grown}");
        }
        decode_in_pieces(format, &spool, &raw);
    }
}

fn decode_in_pieces(format: Format, spool: &fs::File, raw: &[u8]) {
    let object = Mapped::open(spool).unwrap();
    let mut back = tempfile::tempfile().unwrap();
    let grown = growth(|| {
        let mut decoder = Decoder::new(format, &mut back, raw.len() as u64).unwrap();
        for piece in object.chunks(64 * 1024) {
            decoder.write(piece).unwrap();
        }
        decoder.finish().unwrap();
    });
    // zstd holds what a frame may refer to.
    let most = if format == Format::Gzip { MIB } else { 6 * MIB };
    assert!(grown < most, "decoding {format} grew by {grown}");
    assert!(Sha256::of(&Mapped::open(&back).unwrap()) == Sha256::of(raw));
}
