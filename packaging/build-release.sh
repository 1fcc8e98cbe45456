#!/bin/sh
# Builds the release binary so that where it is built leaves no trace in it:
# the same sources, compiler and libraries give the same bytes, whatever the
# directory, the home of cargo and the time (`make reproducible` shows it).
#
#     packaging/build-release.sh TARGET_DIRECTORY [CARGO_OPTION…]
set -eu
cd "$(dirname "$0")/.."
here=$(pwd -P)
target=$1
shift
mkdir -p "$target"
target=$(cd "$target" && pwd -P)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)

RUSTFLAGS="--remap-path-prefix=$here=/walkeep --remap-path-prefix=$target=/target \
--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$sysroot=/rust"
maps="-ffile-prefix-map=$here=/walkeep -ffile-prefix-map=$target=/target \
-ffile-prefix-map=$cargo_home=/cargo"
CFLAGS="${CFLAGS:-} $maps"
CXXFLAGS="${CXXFLAGS:-} $maps"
# The time of the last commit, for whatever asks for one.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
CARGO_INCREMENTAL=0
export RUSTFLAGS CFLAGS CXXFLAGS SOURCE_DATE_EPOCH CARGO_INCREMENTAL
exec "${CARGO:-cargo}" build --locked --release --bins --target-dir "$target" "$@"
