#!/usr/bin/env python3
"""Base backups, restores and incremental backups, walkeep beside pgBackRest and
WAL-G where they are installed: rows for docs/BENCHMARKS.md, in Markdown.

Usage: benches/backups.py WALKEEP [--scale N] [--rounds N] [--only PARTS]

One cluster that pgbench filled (scale 70: 1.1 GB), S3 servers (versitygw) on
loopback. Nothing restored is trusted before `pg_verifybackup` has read it.

The part `terabyte` is not run by default: it backs up and restores a tree of
`--gib` GiB, made of hard links to files of 1 GiB whose pages hold a number each
and compress to almost nothing, so that neither disk nor bucket needs the space.
It prints what memory and metadata that takes.
"""

import argparse
import json
import os
import shutil
import statistics
import struct

from compare import Bench, play

GIB = 1 << 30
PAGE = 8192


class Backups(Bench):
    def __init__(self, arguments):
        arguments.plain_copy, arguments.corpus, arguments.segments = arguments.walkeep, ".", 0
        super().__init__(arguments)
        self.scale, self.gib = arguments.scale, arguments.gib
        self.programs = {name: shutil.which(name) for name in ("pgbackrest", "wal-g")}

    def cluster(self):
        super().cluster()
        ports = [(name, self.server(f"ours-{name}")) for name in ("a", "b")]
        self.ours = {}
        for form in ("gzip", "zstd"):
            home, self.ours[form] = self.configuration(form, ports)
            toml = home / "walkeep.toml"
            toml.write_text(toml.read_text().replace("[staging]", f"[compression]\nformat='{form}'\n[staging]"))
            self.configured(toml)
        pushes = [" ".join(str(word) for word in walkeep) + " wal push %p" for walkeep in self.ours.values()]
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"archive_mode=on\narchive_command='{' && '.join(pushes)}'\nmax_wal_size=8GB\n"
                       "shared_buffers=256MB\nautovacuum=off\n")
        self.run(self.bin / "pg_ctl", "-D", self.data, "-w", "-l", self.root / "pg.log", "restart")

    def configured(self, path):
        """A configuration that knows the cluster as well."""
        cluster = (f"[cluster]\ndata_directory='{self.data}'\n"
                   f"connection='host={self.root} port=5999 user=postgres dbname=postgres'\n")
        path.write_text(path.read_text().replace("[cluster]\n", cluster))

    def sql(self, statement):
        self.run(self.bin / "psql", "-h", self.root, "-p", 5999, "-U", "postgres", "-qc", statement)

    def fill(self):
        if not getattr(self, "filled", False):
            self.run(self.bin / "pgbench", "-h", self.root, "-p", 5999, "-U", "postgres", "-i", "-s", self.scale, "-q", "postgres")
            self.sql("checkpoint")
            self.ship()
            self.filled = True
            ours = [self.walkeep_tool(form) for form in self.ours]
            self.tools = [*ours, *filter(None, [self.pgbackrest_tool(), self.walg_tool()])]

    def ship(self):
        for walkeep in self.ours.values():
            self.run(*walkeep, "ship")

    def create(self, walkeep, *arguments):
        """One backup: what was measured, and what it says of itself."""
        out = self.root / "created.json"
        script = f'exec "$@" > {out}'
        measured = self.run("sh", "-c", script, "sh", *walkeep, "--json", "backup", "create", *arguments)
        return measured, json.loads(out.read_text())

    def walkeep_tool(self, form):
        walkeep = self.ours[form]

        def take(full):
            measured, said = self.create(walkeep, *(["--full"] if full else []))
            return measured, said["totals"]["stored_bytes"]
        return f"walkeep, {form}, two stores", take, lambda to: self.run(*walkeep, "restore", to)

    def pgbackrest_tool(self):
        program = self.programs["pgbackrest"]
        if not program:
            return None
        conf, base = self.stanza(program, "backups", 6, 1)
        conf.write_text(conf.read_text().replace("[global]\n", "[global]\narchive-check=n\nstart-fast=y\n"))
        place = self.root / "s3-pgbrbackups1"

        def take(full):
            before = size(place)
            measured = self.run(*base, f"--type={'full' if full else 'incr'}", "backup")
            return measured, size(place) - before
        return "pgBackRest, gz 6, one store", take, lambda to: self.run(*base, f"--pg1-path={to}", "restore")

    def walg_tool(self):
        program = self.programs["wal-g"]
        if not program:
            return None
        port = self.server("walg")
        place = self.root / "s3-walg"
        env = {"PATH": os.environ["PATH"], "HOME": str(self.root), "PGHOST": str(self.root), "PGPORT": "5999",
               "PGUSER": "postgres", "PGDATABASE": "postgres", "WALG_S3_PREFIX": "s3://backups/walg",
               "AWS_ENDPOINT": f"http://127.0.0.1:{port}", "AWS_S3_FORCE_PATH_STYLE": "true", "AWS_REGION": "us-east-1",
               "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "benchsecret", "WALG_COMPRESSION_METHOD": "zstd",
               "WALG_DELTA_MAX_STEPS": "6", "WALG_UPLOAD_CONCURRENCY": "2", "WALG_DOWNLOAD_CONCURRENCY": "2"}

        def take(full):
            before = size(place)
            measured = self.run(program, "backup-push", self.data, *(["--full"] if full else []), env=env)
            return measured, size(place) - before
        return "WAL-G, zstd, one store", take, lambda to: self.run(program, "backup-fetch", to, "LATEST", env=env)

    def full(self):
        """The tools take turns."""
        self.fill()
        runs = {name: [] for name, _, _ in self.tools}
        for _ in range(self.rounds):
            for name, take, _ in self.tools:
                runs[name].append(take(True))
        raw = size(self.data / "base")
        print(f"\n### A full backup of {raw / 1e6:.0f} MB\n\n| | wall | CPU | stored in a store | largest process |\n|---|---|---|---|---|")
        for name, taken in runs.items():
            wall, cpu = (statistics.median(run[0][index] for run in taken) for index in (0, 1))
            rss = max(run[0][2] for run in taken)
            print(f"| {name} | {wall:.2f} s | {cpu:.2f} s | {taken[-1][1] / 1e6:.1f} MB | {rss / 1024:.0f} MiB |")

    def restore(self):
        self.fill()
        for _, take, _ in self.tools:
            take(True)
        runs = {name: [] for name, _, _ in self.tools}
        for _ in range(self.rounds):
            for name, _, bring in self.tools:
                target = self.directory("restored")
                os.chmod(target, 0o700)
                runs[name].append(bring(target))
                if name.startswith("walkeep"):
                    self.run(self.bin / "pg_verifybackup", "-n", target)
                os.sync()
        self.directory("restored")
        print("\n### Restoring it\n\n| | wall | CPU | largest process |\n|---|---|---|---|")
        for name, taken in runs.items():
            wall, cpu = (statistics.median(run[index] for run in taken) for index in (0, 1))
            print(f"| {name} | {wall:.2f} s | {cpu:.2f} s | {max(run[2] for run in taken) / 1024:.0f} MiB |")

    def incremental(self):
        self.fill()
        rows = self.scale * 100_000
        print("\n### Incremental backups\n\n| | changed since | wall | CPU | stored in a store |\n|---|---|---|---|---|")
        for kind, where in (("1 % contiguous", f"aid <= {rows // 100}"), ("1 % scattered", "aid % 100 = 0"), ("nothing", None)):
            for _, take, _ in self.tools:
                take(False)
            if where:
                self.sql(f"update pgbench_accounts set abalance = abalance + 1 where {where}")
            self.sql("checkpoint")
            # What the WAL costs is not what is measured here.
            self.ship()
            for name, take, _ in self.tools:
                (wall, cpu, _), stored = take(False)
                print(f"| {name} | {kind} | {wall:.2f} s | {cpu:.2f} s | {stored / 1e6:.2f} MB |")

    def terabyte(self):
        base = self.data / "base/5" if (self.data / "base/5").is_dir() else next((self.data / "base").iterdir())
        source = self.root / "pages"
        with open(source, "wb") as file:
            page = bytearray(PAGE)
            for number in range(GIB // PAGE):
                struct.pack_into("<Q", page, 4000, number + 1)
                file.write(page)
        os.chmod(source, 0o600)
        self.own(source)
        for number in range(self.gib):
            os.link(source, base / (f"9000{number // 64:02}" + (f".{number % 64}" if number % 64 else "")))
        home, walkeep = self.configuration("terabyte", [])
        (home / "store").mkdir()
        toml = home / "walkeep.toml"
        toml.write_text(f"{toml.read_text()}[[store]]\nname='a'\ntype='directory'\npath='{home}/store'\n")
        self.claim(home / "store", "terabyte")
        self.configured(toml)
        self.own(home)
        # A backup waits for its WAL.
        with open(self.data / "postgresql.conf", "a") as conf:
            command = " ".join(str(word) for word in walkeep)
            conf.write(f"archive_command='{command} wal push %p'\n")
        self.run(self.bin / "pg_ctl", "-D", self.data, "reload")
        print(f"\n### A tree of {self.gib} GiB\n\n| | wall | CPU | largest process | stored |\n|---|---|---|---|---|")

        def row(name, measured, stored):
            wall, cpu, rss = measured
            print(f"| {name} | {wall:.0f} s | {cpu:.0f} s | {rss / 1024:.0f} MiB | {stored} |", flush=True)
        measured, said = self.create(walkeep)
        totals = said["totals"]
        metadata = 100 * totals["index_bytes"] / totals["raw_bytes"]
        row("full backup", measured, f"{totals['stored_bytes'] / 1e6:.0f} MB, of them {totals['index_bytes'] / 1e6:.1f} MB metadata: **{metadata:.3f} %** of the tree")
        measured, said = self.create(walkeep)
        row("the next, unchanged", measured, f"{said['totals']['stored_bytes'] / 1e6:.1f} MB")
        # The target has all but two of the files, as links, and 2 GiB to be brought.
        target = self.directory("restored")
        os.chmod(target, 0o700)
        below = target / base.relative_to(self.data)
        below.mkdir(parents=True)
        for path in base.iterdir():
            if path.name.startswith("9000") and path.name not in ("900000.1", "900000.2"):
                os.link(path, below / path.name)
        (target / "global").mkdir()
        for name in ("PG_VERSION", "global/pg_control"):
            shutil.copy(self.data / name, target / name)
        self.own(target)
        row("restore --delta, two files gone", self.run(*walkeep, "restore", target, "--delta"), "")


def size(place):
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("walkeep")
    parser.add_argument("--scale", type=int, default=70)
    parser.add_argument("--gib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="full,restore,incremental")
    arguments = parser.parse_args()
    play(Backups(arguments), arguments.only)


if __name__ == "__main__":
    main()
