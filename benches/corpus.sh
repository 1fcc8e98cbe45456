#!/bin/sh
# Makes the WAL that the benches and the size bars are measured on, with a real
# PostgreSQL server of its own on a socket in a temporary directory:
#
#   busy/  pgbench, with full-page writes
#   idle/  a few hundred transactions, then a switch of segments
#   tiny/  a few transactions, then a switch: what archive_timeout produces
#   bulk/  COPY and index builds
#
# Usage: benches/corpus.sh DIR [SEGMENTS]
# DIR is made if it is missing; a class that is there already is kept.
# SEGMENTS is how many of each class to keep (4). Needs PostgreSQL's server
# programs and pgbench; run by root, the server runs as the user `postgres`.
set -eu

dir=${1:?"usage: benches/corpus.sh DIR [SEGMENTS]"}
segments=${2:-4}
classes="bulk busy idle tiny"

missing=
for class in $classes; do
    [ -d "$dir/$class" ] || missing="$missing $class"
done
[ -n "$missing" ] || exit 0

if [ -z "${PGBIN:-}" ]; then
    PGBIN=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    PGBIN=$(dirname "${PGBIN:-$(command -v initdb)}")
fi
[ -x "$PGBIN/pgbench" ] || {
    echo "corpus.sh: no initdb and pgbench found; install a PostgreSQL server or set PGBIN" >&2
    exit 1
}

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/walkeep-corpus.XXXXXX")
mkdir "$work/archive"
if [ "$(id -u)" = 0 ]; then
    chown -R postgres "$work"
    as() { runuser -u postgres -- env PGHOST="$work" PGDATABASE=postgres "$@"; }
else
    as() { env PGHOST="$work" PGDATABASE=postgres "$@"; }
fi
cd "$work"

stop() {
    as "$PGBIN/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

as "$PGBIN/initdb" -D "$work/data" --auth=trust --no-sync >/dev/null
as tee -a "$work/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$work'
fsync = off
wal_level = replica
full_page_writes = on
checkpoint_timeout = 30s
max_wal_size = 256MB
archive_mode = on
archive_command = 'cp %p $work/archive/%f'
autovacuum = off
CONF
as "$PGBIN/pg_ctl" -D "$work/data" -l "$work/log" -w start >/dev/null

sql() { as "$PGBIN/psql" -XAtqc "$1"; }

# Ends the current segment and waits until it is archived.
switch() {
    file=$(sql "SELECT pg_walfile_name(pg_switch_wal())")
    until [ -f "$work/archive/$file" ] && [ "$(sql "SELECT last_archived_wal >= '$file' FROM pg_stat_archiver")" = t ]; do
        sleep 0.1
    done
}

count() { find "$work/archive" -type f -name '????????????????????????' | wc -l; }

# Keeps the segments archived since the last call as one class: the newest ones.
keep() {
    switch
    if [ ! -d "$dir/$1" ]; then
        mkdir "$dir/$1.making"
        # shellcheck disable=SC2010,SC2012 # segment names have no odd characters, and sort by time
        ls "$work/archive" | grep -E '^[0-9A-F]{24}$' | tail -n "$((segments + ${2:-0}))" | head -n "$segments" |
            while read -r file; do cp "$work/archive/$file" "$dir/$1.making/"; done
        mv "$dir/$1.making" "$dir/$1"
    fi
    rm -f "$work/archive"/*
}

# The last segment of bulk and busy was cut short by the switch: leave it out.
as "$PGBIN/pgbench" -i -q -s 20 >/dev/null 2>&1
sql "CREATE INDEX ON pgbench_accounts (abalance, aid)"
keep bulk 1

until [ "$(count)" -gt "$segments" ]; do
    as "$PGBIN/pgbench" -n -c 4 -T 5 >/dev/null 2>&1
done
keep busy 1

for _ in $(seq "$segments"); do
    as "$PGBIN/pgbench" -n -c 1 -t 300 >/dev/null 2>&1
    switch
done
keep idle 1

for _ in $(seq "$segments"); do
    as "$PGBIN/pgbench" -n -c 1 -t 3 >/dev/null 2>&1
    switch
done
keep tiny 1

for class in $classes; do
    echo "$dir/$class: $(find "$dir/$class" -type f | wc -l) segments"
done
