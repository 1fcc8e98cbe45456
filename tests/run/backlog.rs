//! The worst week: 10,000 files wait, a store comes and goes, and the daemon is
//! ended ten times, half of them without a word.

use std::{
    fs,
    os::unix::fs::FileExt,
    thread,
    time::{Duration, Instant},
};

use super::{
    Daemon, MIB,
    support::{
        archive::{SYSTEM, gunzip, header, segment_name},
        host::wait_until,
    },
};

const FILES: u64 = 10_000;
const RESTARTS: u64 = 10;
/// The bar of memory beyond what is mapped, in KiB.
const MOST_MEMORY: u64 = 96 << 10;

#[test]
#[ignore = "takes minutes: make endurance"]
fn ten_thousand_files_ten_restarts_and_a_store_that_flaps() {
    let mut it = Daemon::new();
    for number in 1..=FILES {
        let name = segment_name(1, number, MIB);
        let file = fs::File::create(it.archive.staged(&name)).expect("stage a segment");
        let head = header(1, number * MIB, SYSTEM, MIB as u32);
        file.write_all_at(&head, 0).expect("write its header");
        let its_own = number.to_le_bytes();
        file.write_all_at(&its_own, 8192)
            .expect("write its content");
        file.set_len(MIB).expect("size it");
    }
    let begun = Instant::now();
    let most = drain(&mut it);
    eprintln!(
        "{FILES} files: {:?}, at most {most} KiB of memory",
        begun.elapsed()
    );
    assert!(most <= MOST_MEMORY, "{most} KiB");
    for server in &it.servers {
        let there = server.object_files("wal").len() as u64;
        // And cluster.json.
        assert_eq!(there, FILES + 1);
        for number in (1..=FILES).step_by(499) {
            let name = segment_name(1, number, MIB);
            let object = server.object_path("wal", &format!("main/wal/{name}.gz"));
            let raw = gunzip(&object);
            assert_eq!(
                (raw.len() as u64, &raw[8192..8200]),
                (MIB, &number.to_le_bytes()[..])
            );
        }
    }
}

/// Runs and ends the daemon until nothing waits; the most memory of its own
/// that one of them had, in KiB.
fn drain(it: &mut Daemon) -> u64 {
    let mut most = 0;
    for restart in 1..=RESTARTS {
        it.start();
        let left = FILES - FILES * restart / (RESTARTS + 1);
        most = most.max(watch(it, left));
        match restart % 2 {
            0 => assert_eq!(it.stop(), Some(0)),
            _ => it.process.kill(),
        }
    }
    it.start();
    most = most.max(watch(it, 0));
    assert_eq!(it.stop(), Some(0));
    most
}

/// Waits until no more than `left` files wait. Of each five seconds, the second
/// store is away for one.
fn watch(it: &Daemon, left: u64) -> u64 {
    let process = it.process.id();
    let (mut most, mut looks) = (0, 0_u64);
    wait_until("fewer files wait", Duration::from_secs(600), || {
        thread::sleep(Duration::from_millis(200));
        looks += 1;
        match looks % 25 {
            20 => it.servers[1].stop(),
            0 => it.servers[1].restart(),
            _ => {}
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let own = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let own = own.and_then(|own| own.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(own.unwrap_or(0));
        it.archive.waiting().len() as u64 <= left
    });
    it.servers[1].restart();
    most
}
