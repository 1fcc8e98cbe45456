//! `staging.acknowledge`: how many stores PostgreSQL waits for.

use std::time::{Duration, Instant};

use crate::support::{
    archive::{Archive, MIB, gunzip, segment, segment_name},
    s3::S3Server,
};

struct Two {
    archive: Archive,
    alive: S3Server,
    dead: S3Server,
    name: String,
    bytes: Vec<u8>,
    path: std::path::PathBuf,
}

fn two_stores(acknowledge: &str) -> Two {
    let (alive, dead) = (S3Server::start_s3s(), S3Server::start_s3s());
    let archive = Archive::new(&[]);
    for server in [&alive, &dead] {
        server.create_bucket("wal");
        server.put_plainly("wal", "main/cluster.json", &archive.cluster_json());
    }
    let stores =
        alive.toml_store_table("alive", "s3", "wal") + &dead.toml_store_table("dead", "s3", "wal");
    archive.configure(&format!("acknowledge = \"{acknowledge}\""), &stores);
    let name = segment_name(1, 1, MIB);
    let bytes = segment(&name, MIB, 50_000, 1);
    let path = archive.incoming(&name, &bytes);
    Two {
        archive,
        alive,
        dead,
        name,
        bytes,
        path,
    }
}

impl Two {
    fn holds_it(&self, server: &S3Server) -> bool {
        let object = server.object_path("wal", &format!("main/wal/{}.gz", self.name));
        object.exists() && gunzip(&object) == self.bytes
    }
}

#[test]
fn one_store_is_enough_while_the_other_is_down() {
    let it = two_stores("one-store");
    it.dead.stop();
    // Again: it is staged, and in one store, by now.
    for _ in 0..2 {
        let begun = Instant::now();
        it.archive.push_well(&it.path);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        assert!(it.holds_it(&it.alive));
        assert!(
            it.archive.staged(&it.name).exists(),
            "the other store lacks it"
        );
    }
    it.dead.restart();
    it.archive.ship_well();
    assert!(it.holds_it(&it.dead) && it.archive.waiting().is_empty());
}

#[test]
fn one_store_is_enough_while_the_other_hangs() {
    let it = two_stores("one-store");
    it.dead.pause();
    for _ in 0..2 {
        let begun = Instant::now();
        it.archive.push_well(&it.path);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(it.holds_it(&it.alive));
    }
}

#[test]
fn all_stores_is_refused_while_one_is_down() {
    let it = two_stores("all-stores");
    it.dead.stop();
    it.archive.push(&it.path).says(
        1,
        &[
            &format!("\"{}\" is staged, but in 1 of 2 stores", it.name),
            "PostgreSQL asks again",
            "store \"dead\"",
        ],
    );
    assert!(it.archive.staged(&it.name).exists());
    it.dead.restart();
    it.archive.push_well(&it.path);
    assert!(it.holds_it(&it.alive) && it.holds_it(&it.dead));
    assert!(it.archive.waiting().is_empty());
    // By the receipt, and without a store.
    it.dead.stop();
    it.archive.push_well(&it.path);
}

#[test]
fn no_store_at_all_is_refused() {
    let it = two_stores("one-store");
    it.alive.stop();
    it.dead.stop();
    it.archive.push(&it.path).says(1, &["in 0 of 1 stores"]);
    assert!(it.archive.staged(&it.name).exists());
}
