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
use walkeep::codec::{About, Decoder, Encoder, EncoderKind, Mapped, Sha256};

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
    let pieces: Vec<u8> = (0..MIB / 2).flat_map(|_| [random.u8(..), 7]).collect();
    let mut file = tempfile::tempfile().unwrap();
    for _ in 0..192 {
        file.write_all(&pieces).unwrap();
    }
    let raw = Mapped::open(&file).unwrap();
    let mut spool = tempfile::tempfile().unwrap();
    for (kind, threads) in [
        (EncoderKind::Auto, 1),
        (EncoderKind::Auto, 3),
        (EncoderKind::Zlib, 2),
    ] {
        spool.set_len(0).unwrap();
        spool.rewind().unwrap();
        let encoder = Encoder::new(kind, 1).unwrap();
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
        assert!(grown < (8 + 8 * threads) * MIB, "{kind} grew by {grown}");
    }

    let object = Mapped::open(&spool).unwrap();
    let mut back = tempfile::tempfile().unwrap();
    let grown = growth(|| {
        let mut decoder = Decoder::new(&mut back, raw.len() as u64).unwrap();
        for piece in object.chunks(64 * 1024) {
            decoder.write(piece).unwrap();
        }
        decoder.finish().unwrap();
    });
    assert!(grown < MIB, "decoding grew by {grown}");
    assert!(Sha256::of(&Mapped::open(&back).unwrap()) == Sha256::of(&raw));
}
