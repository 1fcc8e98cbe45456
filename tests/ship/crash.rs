//! SIGKILL at random moments.

use std::{thread::sleep, time::Duration};

use crate::{
    InClouds,
    support::{
        archive::{Archive, MIB},
        s3::{S3Server, Versitygw},
    },
};

const FILES: u64 = 48;

/// So that a pass takes seconds on any machine, and is killed in its middle.
const SLOWLY: &str = "[ship]\nrate_limit = \"8MiB\"";

/// Kills `ship` so often, wherever it is, then lets one pass end.
fn killed(archive: &Archive, times: u32) {
    let mut interrupted = 0;
    for round in 0..times {
        let mut ship = archive.start_ship();
        // From before it has read its configuration to many files later.
        sleep(Duration::from_millis(fastrand::u64(
            0..60 + 20 * u64::from(round),
        )));
        if ship.0.try_wait().expect("wait").is_none() {
            interrupted += 1;
        }
        ship.kill();
    }
    assert!(
        interrupted > times / 2,
        "only {interrupted} passes were under way when killed"
    );
    archive.ship_well();
}

#[test]
fn killed_at_random_it_loses_and_doubles_nothing_in_two_clouds() {
    let it = InClouds::new(&["a", "b"]);
    it.configure(SLOWLY);
    let files = it.archive.stage_many(FILES, 400_000);
    killed(&it.archive, 16);
    it.assert_complete(&files);
}

#[test]
fn killed_at_random_it_loses_and_doubles_nothing_in_directories() {
    let archive = Archive::new(&["a", "b"]);
    let stores = archive.directory_store("a") + &archive.directory_store("b");
    archive.configure(SLOWLY, &stores);
    let files = archive.stage_many(FILES, 400_000);
    killed(&archive, 16);
    crate::assert_stored(&archive, &["a", "b"], &files, |store, name| {
        archive.object(store, name)
    });
    for store in ["a", "b"] {
        let objects = crate::support::archive::files_in(&archive.store(store).join("main/wal"));
        assert_eq!(objects.len(), files.len());
    }
}

#[test]
fn a_server_that_shares_no_code_holds_the_same() {
    let Some(versitygw) = S3Server::start_versitygw(Versitygw::default()) else {
        return;
    };
    let it = InClouds::on(vec![("a", versitygw), ("b", S3Server::start_s3s())]);
    it.configure(SLOWLY);
    let files = it.archive.stage_many(12, MIB as usize);
    killed(&it.archive, 4);
    it.assert_complete(&files);
}
