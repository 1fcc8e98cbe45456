#!/bin/sh
# Installs the system packages that building, running and testing walkeep
# need and this machine lacks.
#
#     packaging/install-deps.sh build|demo|test|vm|vm-qemu
#
#   build  a C++ compiler, pkg-config and the system zlib's header
#   demo   ... and a PostgreSQL server, 13 or later, with its client programs
#   test   ... and python3, gzip, zstd and curl, which read back what walkeep
#          wrote, Chromium, which shows the page, promtool, which checks
#          Prometheus' rules, systemd, which examines the units, and Nix, which
#          evaluates the NixOS module
#   vm     build, and what makes and boots guests: mmdebstrap, systemd-nspawn,
#          and Nix, which says what the NixOS module's have
#   vm-qemu ... and QEMU
#
# What is there is found by trying it, wherever it came from. When nothing is
# missing, nothing is said or done. Packages come from apt, as root or through
# sudo; where that is not possible, this says what to install and exits 1.
set -eu

say() {
    echo "install-deps: $*" >&2
}

# The checks. Each is true when the thing works, not when a package is listed.

has() {
    command -v "$1" >/dev/null 2>&1
}

# Cargo links with cc, and build.rs compiles ffi/ with c++; both are found
# through these variables before PATH.
has_compiler() {
    echo 'int main() { return 0; }' |
        "${CXX:-c++}" -x c++ -fsyntax-only - >/dev/null 2>&1 && has cc
}

# Without pkg-config's word libz-sys would build a zlib of its own, silently.
has_zlib() {
    pkg-config --exists zlib >/dev/null 2>&1
}

# Debian keeps the server's programs out of PATH, a directory for each major.
# All that the demo and the tests run must be in the same one.
has_postgres() {
    old_ifs=$IFS
    IFS=:
    # shellcheck disable=SC2086  # split at the colons, on purpose
    set -- /usr/lib/postgresql/*/bin $PATH
    IFS=$old_ifs
    for directory in "$@"; do
        complete=yes
        for program in initdb postgres pg_ctl pg_basebackup pg_waldump pgbench; do
            [ -x "$directory/$program" ] || complete=no
        done
        if [ "$complete" = yes ] && [ "$(major "$directory")" -ge 13 ]; then
            return 0
        fi
    done
    return 1
}

# "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" -> 15
major() {
    version=$("$1/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
    echo "${version:-0}"
}

case ${1:-} in
    build | demo | test | vm | vm-qemu) goal=$1 ;;
    *)
        say "usage: packaging/install-deps.sh build|demo|test|vm|vm-qemu"
        exit 2
        ;;
esac

packages=
# What some tests are skipped without: Ubuntu has Chromium as a snap alone.
wanted=
postgres=no
has_compiler || packages="$packages g++"
has pkg-config || packages="$packages pkg-config"
if ! has pkg-config || ! has_zlib; then
    packages="$packages zlib1g-dev"
fi
if { [ "$goal" = demo ] || [ "$goal" = test ]; } && ! has_postgres; then
    packages="$packages postgresql"
    postgres=yes
fi
if [ "$goal" = test ]; then
    has python3 || packages="$packages python3"
    has gzip || packages="$packages gzip"
    has zstd || packages="$packages zstd"
    has curl || packages="$packages curl"
    has chromium || wanted="$wanted chromium"
    has promtool || wanted="$wanted prometheus"
    has systemd-analyze || packages="$packages systemd"
    has nix-instantiate || packages="$packages nix-bin"
fi
if [ "$goal" = vm ] || [ "$goal" = vm-qemu ]; then
    has python3 || packages="$packages python3"
    has mmdebstrap || packages="$packages mmdebstrap debian-archive-keyring"
    has systemd-nspawn || packages="$packages systemd-container"
    has ip || packages="$packages iproute2"
    has openssl || packages="$packages openssl"
    has nix-instantiate || packages="$packages nix-bin"
    has dpkg-shlibdeps || packages="$packages dpkg-dev"
fi
if [ "$goal" = vm-qemu ]; then
    has qemu-system-x86_64 || packages="$packages qemu-system-x86"
    has mke2fs || packages="$packages e2fsprogs"
fi
packages=${packages# }
wanted=${wanted# }

if [ -z "$packages$wanted" ]; then
    exit 0
fi

if ! has apt-get; then
    say "missing here, by Debian's names: $packages $wanted"
    say "install what your system calls them, then run this again"
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    # Without a terminal sudo could not ask for a password.
    if has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=sudo
    else
        say "missing: $packages $wanted"
        say "as root, run: apt-get update && apt-get install --no-install-recommends $packages $wanted"
        exit 1
    fi
fi

# Debian's PostgreSQL package makes a cluster and starts it, which nobody asked
# for here. A setting of ours beside the administrator's stops that; it goes
# away afterwards, so a later installation behaves as everywhere else.
fragment=/etc/postgresql-common/createcluster.d/walkeep-install.conf
made=

allow_main_cluster() {
    if [ -n "$made" ]; then
        $as_root rm -f "$fragment"
        for directory in /etc/postgresql-common/createcluster.d /etc/postgresql-common; do
            $as_root rmdir "$directory" 2>/dev/null || true
        done
        made=
    fi
}

forbid_main_cluster() {
    made=yes
    $as_root mkdir -p "${fragment%/*}"
    echo 'create_main_cluster = false' | $as_root tee "$fragment" >/dev/null
}

trap allow_main_cluster EXIT
trap 'exit 1' INT TERM HUP

say "installing: $packages $wanted"
if [ "$postgres" = yes ]; then
    forbid_main_cluster
fi
apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0"
$apt update
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086  # several words each, on purpose
    $apt install -y --no-install-recommends $packages >/dev/null
fi
# Of the package prometheus, promtool is wanted, and no server that listens.
case " $wanted " in
    *" prometheus "*)
        if [ -d /run/systemd/system ]; then
            $as_root systemctl mask --quiet --runtime prometheus.service
        fi
        ;;
esac
for package in $wanted; do
    $apt install -y --no-install-recommends "$package" >/dev/null ||
        say "there is no package $package here; tests that need it are skipped"
done

if [ "$postgres" = yes ] && ! has_postgres; then
    say "this system's postgresql package is older than 13, or incomplete"
    say "install PostgreSQL 13 or later (apt.postgresql.org has every major), then run this again"
    exit 1
fi
