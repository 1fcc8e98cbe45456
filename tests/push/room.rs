//! No room, and no volume. PostgreSQL keeps the segment then.

use std::fs;

use walkeep::{archive::staging::Staging, postgres::SegmentSize};

use crate::support::{
    archive::{Archive, MIB, files_in, put, segment, segment_name},
    host::hand_over,
    volume::Volume,
};

#[test]
fn an_unmounted_staging_volume_is_refused() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let path = archive.incoming(&name, &segment(&name, MIB, 100, 1));
    let away = archive.directory().join("away");
    fs::rename(archive.staging(), &away).unwrap();
    let words = [
        "has no walkeep.json: its volume is not mounted",
        "nothing was written",
    ];
    archive.push(&path).says(1, &words);
    // The mount point, empty.
    fs::create_dir(archive.staging()).unwrap();
    hand_over(&archive.staging());
    archive.push(&path).says(1, &words);
    assert!(files_in(&archive.staging()).is_empty());
    archive.run(&["ship"]).says(1, &words);
    fs::remove_dir(archive.staging()).unwrap();
    fs::rename(&away, archive.staging()).unwrap();
    archive.push_well(&path);
}

#[test]
fn a_marker_that_cannot_be_understood_is_refused() {
    let archive = Archive::new(&["a"]);
    let name = segment_name(1, 1, MIB);
    let path = archive.incoming(&name, &segment(&name, MIB, 100, 1));
    let marker = archive.staged("walkeep.json");
    let text = fs::read_to_string(&marker).unwrap();
    let newer = text.replace("\"format\": 1", "\"format\": 99");
    // Whose fields may be of other types.
    let other = newer.replace("\"generation\": 1", "\"generation\": {\"number\": 1}");
    assert_ne!(newer, other);
    for newer in [newer, other] {
        put(&marker, newer.as_bytes());
        archive
            .push(&path)
            .says(1, &["has format 99", "install the newer walkeep"]);
    }
    put(&marker, b"{");
    archive
        .push(&path)
        .says(1, &["the marker \"", "cannot be read"]);
}

#[test]
fn a_full_staging_directory_is_refused_until_it_was_shipped() {
    let archive = Archive::new(&["a"]);
    archive.configure("max_size = \"2500KiB\"", &archive.directory_store("a"));
    let push = |number| {
        let name = segment_name(1, number, MIB);
        let path = archive.incoming(&name, &segment(&name, MIB, MIB as usize, number));
        archive.push(&path)
    };
    push(1).says(0, &[]);
    push(2).says(0, &[]);
    let third = segment_name(1, 3, MIB);
    push(3).says(
        1,
        &[
            "the staging directory \"",
            "is full (",
            "staging.max_size is 2560000)",
            &format!("PostgreSQL keeps \"{third}\""),
        ],
    );
    assert_eq!(
        archive.waiting().len(),
        2,
        "nothing is dropped to make room"
    );
    archive.ship_well();
    push(3).says(0, &[]);
}

#[test]
fn a_full_disk_is_refused_and_leaves_nothing_behind() {
    let archive = Archive::new(&["a"]);
    let staging = archive.staging();
    let marker = Staging::open(&staging).unwrap().marker().clone();
    // Room for two segments and a half.
    let Some(_volume) = Volume::mount(&staging, "2600k") else {
        return;
    };
    Staging::create(&staging, &marker).unwrap();
    hand_over(&staging);
    assert_eq!(marker.segment_size, SegmentSize::new(MIB).unwrap());

    let push = |number| {
        let name = segment_name(1, number, MIB);
        let path = archive.incoming(&name, &segment(&name, MIB, MIB as usize, number));
        archive.push(&path)
    };
    push(1).says(0, &[]);
    push(2).says(0, &[]);
    push(3).says(
        1,
        &["is full (", "No space left on device", "PostgreSQL keeps"],
    );
    assert!(files_in(&staging.join("tmp")).is_empty());
    archive.ship_well();
    push(3).says(0, &[]);
}
