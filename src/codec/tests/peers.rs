//! Our objects, opened by the programs that people have: `gzip`, `gunzip`,
//! Python's `gzip` and `zstd`. And theirs, opened by us.
#![allow(clippy::disallowed_methods)] // durability is nothing to a test's files

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output},
};

use super::*;

const PYTHON: &str = "import gzip, hashlib, sys
for path in sys.argv[1:]:
    print(hashlib.sha256(gzip.open(path).read()).hexdigest())
";

/// Runs a program to its success. One that is not there is no reason to pass.
fn run(program: &str, arguments: &[&str], directory: &Path) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("this test needs \"{program}\": {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    // gzip warns on stderr, e.g. of trailing garbage.
    assert!(
        output.status.success() && stderr.is_empty(),
        "{program} {arguments:?}: {} {stderr}",
        output.status
    );
    output
}

/// Debian's base system has no Python. Without it a part is left out, and said
/// to be, past the test runner's capture; in CI nothing is left out.
fn python_is_missing() -> bool {
    let missing = Command::new("python3").arg("--version").output().is_err();
    if missing && std::env::var_os("CI").is_none_or(|ci| ci != "true") {
        let line = b"\nNOT TESTED: objects against Python's gzip; install python3\n";
        std::io::stderr().write_all(line).unwrap();
        return true;
    }
    assert!(!missing, "CI needs python3");
    false
}

/// Files of every kind: empty, tiny, zeros, with a tail, of several pieces.
fn raws() -> [Vec<u8>; 8] {
    let with_tail = |data: usize, size: usize| {
        let mut raw = wal_like(data);
        raw.resize(size, 0);
        raw
    };
    [
        Vec::new(),
        vec![0],
        vec![0; 16 * MIB],
        vec![0; MIB + 77],
        wal_like(8192),
        with_tail(MIB, 16 * MIB),
        wal_like(16 * MIB),
        with_tail(30 * MIB, 40 * MIB),
    ]
}

fn encoders_of(format: Format) -> impl Iterator<Item = Encoder> {
    let encoders = encoders().into_iter();
    encoders.filter(move |encoder| encoder.format() == format)
}

#[test]
fn zstd_opens_every_object() {
    let directory = tempfile::tempdir().unwrap();
    for encoder in encoders_of(Format::Zstd) {
        for (number, raw) in raws().iter().enumerate() {
            let file = format!("{number}.zst");
            fs::write(directory.path().join(&file), encode(&encoder, raw, 2).0).unwrap();
            run("zstd", &["-q", "-t", &file], directory.path());
            let opened = run("zstd", &["-q", "-d", "-c", &file], directory.path()).stdout;
            assert!(opened == *raw, "zstd, {encoder:?}, raw {number}");
        }
    }
}

#[test]
fn what_zstd_writes_is_read_without_facts() {
    let directory = tempfile::tempdir().unwrap();
    let raw = wal_like(3 * MIB);
    fs::write(directory.path().join("raw"), &raw).unwrap();
    let by_zstd = |options: &str| {
        let script = format!("zstd -q {options}");
        run("sh", &["-c", &script], directory.path()).stdout
    };
    let file = by_zstd("-19 -c raw");
    // A frame that does not tell its size, and one without a checksum.
    let pipe = by_zstd("--no-check -c <raw");
    let adapted = by_zstd("-T2 -B1MiB -c raw");
    for (stored, times) in [
        ([file.as_slice(), &pipe].concat(), 2),
        (file, 1),
        (pipe, 1),
        (adapted, 1),
    ] {
        assert_eq!(read_facts(Format::Zstd, &stored).unwrap(), None);
        let (mut back, limit) = (Vec::new(), 6 * MIB as u64);
        let facts = decode(Format::Zstd, &stored, limit, &mut back).unwrap();
        assert!(back == raw.repeat(times) && facts.is_none());
        assert!(in_pieces(Format::Zstd, &stored, 10_000, limit).unwrap() == back);
    }
    // More than the window that is held in memory.
    let long = by_zstd("--ultra --long=27 -c <raw");
    let error = in_pieces(Format::Zstd, &long, 10_000, 6 * MIB as u64).unwrap_err();
    assert_eq!(
        error.to_string(),
        "header not valid: it asks for a window of more than 8 MiB"
    );
}

#[test]
fn gzip_gunzip_and_python_open_every_object() {
    let directory = tempfile::tempdir().unwrap();
    let raws = raws();
    for encoder in encoders_of(Format::Gzip) {
        let mut files = Vec::new();
        for (number, raw) in raws.iter().enumerate() {
            let file = format!("{number}.gz");
            fs::write(directory.path().join(&file), encode(&encoder, raw, 2).0).unwrap();
            run("gzip", &["-t", &file], directory.path());
            let gunzipped = run("gunzip", &["-c", &file], directory.path()).stdout;
            assert!(gunzipped == *raw, "gunzip, {encoder:?}, raw {number}");
            files.push(file);
        }
        if python_is_missing() {
            continue;
        }
        let mut arguments = vec!["-c", PYTHON];
        arguments.extend(files.iter().map(String::as_str));
        let printed = run("python3", &arguments, directory.path()).stdout;
        let hashes: String = raws
            .iter()
            .map(|raw| format!("{}\n", Sha256::of(raw)))
            .collect();
        assert_eq!(String::from_utf8(printed).unwrap(), hashes, "{encoder:?}");
    }
}

#[test]
fn gunzip_restores_the_name_and_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let (object, _) = encode(&encoders()[1], b"raw", 1);
    fs::write(directory.path().join("object.gz"), object).unwrap();
    run("gunzip", &["-N", "object.gz"], directory.path());
    let restored = directory.path().join(NAME);
    assert_eq!(fs::read(&restored).unwrap(), b"raw");
    let modified = fs::metadata(&restored).unwrap().modified().unwrap();
    assert_eq!(
        Timestamp::try_from(modified).unwrap().as_second(),
        1_790_000_000
    );
}

#[test]
fn what_gzip_and_python_write_is_read_without_facts() {
    let directory = tempfile::tempdir().unwrap();
    let raw = wal_like(3 * MIB);
    fs::write(directory.path().join("raw"), &raw).unwrap();
    let by_gzip = run("gzip", &["-9", "-c", "raw"], directory.path()).stdout;
    let by_pipe = run("sh", &["-c", "gzip -1 <raw"], directory.path()).stdout;
    let mut theirs = vec![
        ([by_gzip.as_slice(), &by_pipe].concat(), 2),
        (by_gzip, 1),
        (by_pipe, 1),
    ];
    if !python_is_missing() {
        let write = "import gzip; gzip.open('py.gz', 'wb').write(open('raw', 'rb').read())";
        run("python3", &["-c", write], directory.path());
        theirs.push((fs::read(directory.path().join("py.gz")).unwrap(), 1));
    }
    for (stored, times) in theirs {
        assert_eq!(read_facts(Format::Gzip, &stored).unwrap(), None);
        let (mut back, limit) = (Vec::new(), 6 * MIB as u64);
        let facts = decode(Format::Gzip, &stored, limit, &mut back).unwrap();
        assert_eq!(facts, None);
        assert!(back == raw.repeat(times));
    }
}

/// zlib is the system's, which gets its security updates, and no copy of ours.
#[cfg(target_os = "linux")]
#[test]
fn zlib_is_the_system_s() {
    // The stream below is what makes this program need zlib at all.
    encode(&encoders()[0], b"raw", 1);
    let program = std::env::current_exe().unwrap();
    let arguments = ["-d", "-W", program.to_str().unwrap()];
    let dynamic = run("readelf", &arguments, Path::new("/")).stdout;
    let dynamic = String::from_utf8_lossy(&dynamic);
    let needed: Vec<_> = dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .collect();
    assert!(
        needed.iter().any(|line| line.contains("[libz.so.1]")),
        "no libz.so.1 among {needed:#?}"
    );
    // libdeflate is the other way round: vendored, in the version we measured.
    assert!(!needed.iter().any(|line| line.contains("libdeflate")));
}
