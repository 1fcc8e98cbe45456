#!/bin/sh
# Builds the release binary twice, in two directories of different length, and
# compares the bytes. Twice the time of a release build, from nothing.
#
#     packaging/reproducible.sh
set -eu
cd "$(dirname "$0")/.."
place=$(mktemp -d "${TMPDIR:-/var/tmp}/walkeep-reproducible.XXXXXX")
trap 'rm -rf "$place"' EXIT
for name in one another-and-longer; do
    mkdir "$place/$name"
    # What is committed, or would be: neither target/ nor what git ignores.
    git ls-files -z --cached --others --exclude-standard |
        xargs -0 cp --parents -t "$place/$name" --
    (cd "$place/$name" && packaging/build-release.sh "$place/$name/target" --quiet)
    # Room for the other one.
    mv "$place/$name/target/release/walkeep" "$place/$name.walkeep"
    rm -rf "$place/$name"
    sha256sum "$place/$name.walkeep"
done
cmp "$place/one.walkeep" "$place/another-and-longer.walkeep"
# A path of this machine in both would be the same, and no less wrong.
if grep -qaF -e "$place" -e "${CARGO_HOME:-$HOME/.cargo}/" "$place/one.walkeep"; then
    echo 'reproducible: a path of this machine is in the binary' >&2
    exit 1
fi
echo 'reproducible: both builds are the same, byte by byte'
