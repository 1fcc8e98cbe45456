//! Compiles the C++ side of the gzip bridge (`ffi/`) against the system's
//! zlib, and against libdeflate where that feature is on.

use std::env;

const BRIDGE: &str = "src/codec/gzip/bridge.rs";

fn main() {
    for file in [BRIDGE, "ffi/gzip.h", "ffi/gzip.cc", "build.rs"] {
        println!("cargo:rerun-if-changed={file}");
    }

    // libz-sys names a root of its own exactly when it found no zlib on the
    // system (or was told to ignore it) and compiled its own copy instead.
    if env::var_os("DEP_Z_ROOT").is_some() {
        eprintln!(
            "error: walkeep links the system's zlib, and none was found.\n\
             Install zlib's headers and pkg-config (Debian, Ubuntu: zlib1g-dev pkg-config)\n\
             and see that LIBZ_SYS_STATIC is not set; then `cargo clean -p libz-sys`."
        );
        std::process::exit(1);
    }

    let mut build = cxx_build::bridge(BRIDGE);
    build.file("ffi/gzip.cc").std("c++17");
    // zlib.h is in the compiler's own path on most systems; where it is not
    // (Nix), libz-sys says where pkg-config found it.
    if let Some(paths) = env::var_os("DEP_Z_INCLUDE") {
        for path in paths.to_string_lossy().split(',') {
            build.include(path);
        }
    }
    if env::var_os("CARGO_FEATURE_LIBDEFLATE").is_some() {
        build.define("WALKEEP_LIBDEFLATE", None);
        if let Some(path) = env::var_os("DEP_LIBDEFLATE_INCLUDE") {
            build.include(path);
        }
    }
    build.compile("walkeep_gzip");
}
