//! Our objects, opened by the programs that people have: `gzip`, `gunzip` and
//! Python's `gzip`. And theirs, opened by us.
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

#[test]
fn gzip_gunzip_and_python_open_every_object() {
    let directory = tempfile::tempdir().unwrap();
    let with_tail = |data: usize, size: usize| {
        let mut raw = wal_like(data);
        raw.resize(size, 0);
        raw
    };
    let raws = [
        Vec::new(),
        vec![0],
        vec![0; 16 * MIB],
        vec![0; MIB + 77],
        wal_like(8192),
        with_tail(MIB, 16 * MIB),
        wal_like(16 * MIB),
        with_tail(30 * MIB, 40 * MIB),
    ];
    for encoder in encoders() {
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
        assert_eq!(read_facts(&stored).unwrap(), None);
        let mut back = Vec::new();
        assert_eq!(decode(&stored, 6 * MIB as u64, &mut back).unwrap(), None);
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
