//! The staging volume, made by the very script that the module's unit runs.

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::{Command, Output},
};

use crate::{
    evaluation::evaluate,
    support::host::{self, TempDir},
};

/// Where ext4 says that it is ext4 (its superblock's `s_magic`).
const MAGIC_AT: u64 = 0x438;
const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();

#[test]
fn a_volume_is_a_file_with_all_its_blocks_and_is_made_once() {
    let Some(script) = script("image") else {
        return;
    };
    let directory = TempDir::new();
    let script = script.replace("/PLACE", directory.to_str().expect("UTF-8"));
    let image = directory.join("staging.img");
    // A power cut has left this.
    fs::write(directory.join("staging.img.new"), "half").unwrap();
    succeeds(&run(&script));
    let made = fs::metadata(&image).expect("the image is there");
    let mib = 1 << 20;
    // What may wait, a tenth, and what ext4 needs itself.
    assert_eq!(made.len(), (64 + 6 + 256) * mib);
    assert!(
        made.blocks() * 512 >= made.len(),
        "{} blocks",
        made.blocks()
    );
    assert!(is_ext4(&image));
    assert!(!directory.join("staging.img.new").exists());

    // What is on it stays.
    write_at(&image, made.len() - 4, b"kept");
    succeeds(&run(&script));
    assert_eq!(read_at::<4>(&image, made.len() - 4), *b"kept");
}

#[test]
fn a_device_is_formatted_only_where_there_is_nothing_on_it() {
    let Some(script) = script("device") else {
        return;
    };
    let directory = TempDir::new();
    let device = directory.join("device");
    let script = script.replace("/dev/PLACE", device.to_str().expect("UTF-8"));
    fs::File::create(&device)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    succeeds(&run(&script));
    assert!(is_ext4(&device));

    write_at(&device, (16 << 20) - 4, b"kept");
    succeeds(&run(&script));
    assert_eq!(read_at::<4>(&device, (16 << 20) - 4), *b"kept");

    // Another file system, here swap space, is not ours to format.
    let swap = directory.join("swap");
    fs::File::create(&swap).unwrap().set_len(16 << 20).unwrap();
    write_at(&swap, 4096 - 10, b"SWAPSPACE2");
    write_at(&swap, 1024, &1_u32.to_le_bytes());
    write_at(&swap, 1028, &4095_u32.to_le_bytes());
    let script = script.replace("/device", "/swap");
    succeeds(&run(&script));
    assert!(!is_ext4(&swap));

    let gone = script.replace("/swap", "/gone");
    assert!(!run(&gone).status.success(), "a device that is not there");
}

/// The script of one kind of volume, of 64 MiB; none where what it runs is
/// missing.
fn script(kind: &str) -> Option<String> {
    let script = evaluate(&format!("volumes.{kind}"), None)?;
    for program in ["blkid", "fallocate", "mkfs.ext4"] {
        if !run(&format!("command -v {program}")).status.success() {
            host::skip(program, "install e2fsprogs and util-linux");
            return None;
        }
    }
    Some(script.as_str().expect("a text").to_owned())
}

/// As NixOS runs a unit's script: the first failure ends it.
fn run(script: &str) -> Output {
    Command::new("/bin/sh")
        .args(["-e", "-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("run a shell")
}

fn succeeds(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn is_ext4(path: &Path) -> bool {
    read_at(path, MAGIC_AT) == MAGIC
}

fn read_at<const LENGTH: usize>(path: &Path, offset: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let file = fs::File::open(path).expect("open");
    file.read_exact_at(&mut bytes, offset).expect("read");
    bytes
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).expect("open");
    file.write_all_at(bytes, offset).expect("write");
}
