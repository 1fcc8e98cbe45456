#!/usr/bin/env python3
"""Whole-process rows for docs/BENCHMARKS.md: walkeep beside plain copies,
`gzip -9` and, where it is installed, pgBackRest, on the same segments in one
run. Prints Markdown.

Usage: benches/compare.py WALKEEP PLAIN_COPY CORPUS [--segments N] [--rounds N]

WALKEEP is a release build; PLAIN_COPY the built example `plain-copy`; CORPUS
what benches/corpus.sh made. The S3 servers are versitygw on loopback
(`make versitygw`). Run by root, servers and measured programs run as the user
`postgres`.
"""

import argparse
import ctypes
import json
import os
import pathlib
import pwd
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

SEGMENT = 16 << 20


class Bench:
    def __init__(self, arguments):
        self.walkeep = shutil.which(arguments.walkeep) or sys.exit("no walkeep")
        self.copy = arguments.plain_copy
        self.corpus = pathlib.Path(arguments.corpus)
        self.segments, self.rounds = arguments.segments, arguments.rounds
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="walkeep-bench."))
        self.children, self.user = [], None
        self.buckets = {}
        if os.geteuid() == 0:
            self.user = pwd.getpwnam("postgres")
            # The programs must be reachable for that user.
            for name in ("walkeep", "copy"):
                there = self.root / name
                shutil.copy(getattr(self, name), there)
                setattr(self, name, str(there))
            os.chmod(self.root, 0o755)
        self.own(self.root)
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
        self.gateway = shutil.which("versitygw") or str(
            pathlib.Path(subprocess.check_output(["go", "env", "GOPATH"], text=True).strip()) / "bin/versitygw")

    def own(self, path):
        if self.user:
            for each in [path, *path.rglob("*")]:
                os.chown(each, self.user.pw_uid, self.user.pw_gid)

    def directory(self, name):
        path = self.root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        self.own(path)
        return path

    def run(self, *command, check=True, cwd=None, env=None):
        """Wall seconds, CPU seconds of it and all its children, largest RSS in
        KiB of one process."""
        demote = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, cwd=cwd or self.root, env=env, **demote)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begun
        if check and process.returncode:
            sys.exit(f"{command}: {process.returncode}: {said.decode()[-2000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return wall, cpu + 0.0, usage.ru_maxrss

    def cluster(self):
        """A cluster, for its identity; its server runs until the end."""
        self.data = self.directory("pg")
        shutil.rmtree(self.data)
        self.run(self.bin / "initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", self.data)
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses=''\nunix_socket_directories='{self.root}'\nport=5999\nfsync=off\n")
        self.run(self.bin / "pg_ctl", "-D", self.data, "-w", "-l", self.root / "pg.log", "start")
        with open(self.data / "global/pg_control", "rb") as control:
            self.system = struct.unpack("<Q", control.read(8))[0]

    def stamped(self, kind, count, to, first=0x100):
        """`count` segments of a class under consecutive names, their first
        page headers saying so."""
        sources = [path.read_bytes() for path in sorted((self.corpus / kind).iterdir())]
        paths = []
        for index in range(count):
            number = first + index
            raw = bytearray(sources[index % len(sources)])
            struct.pack_into("<I", raw, 4, 1)
            struct.pack_into("<Q", raw, 8, number * SEGMENT)
            struct.pack_into("<Q", raw, 24, self.system)
            path = to / f"00000001{number // 256:08X}{number % 256:08X}"
            path.write_bytes(raw)
            paths.append(path)
        self.own(to)
        return paths

    def server(self, name, tls=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        files = self.directory(f"s3-{name}")
        (files / "backups").mkdir()
        self.buckets[port] = files / "backups"
        (self.root / f"meta-{name}").mkdir(exist_ok=True)
        command = [self.gateway, "--access", "bench", "--secret", "benchsecret", "--port", f"127.0.0.1:{port}", "-q"]
        command += ["--cert", tls[0], "--key", tls[1]] if tls else []
        command += ["posix", "--sidecar", str(self.root / f"meta-{name}"), str(files)]
        self.children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                time.sleep(0.05)
        sys.exit("versitygw does not answer")

    def configuration(self, name, stores):
        """A configuration with staging and catalog of its own, and its marker."""
        home = self.directory(name)
        text = f"[cluster]\nname='{name}'\n[staging]\npath='{home}/staging'\nmax_size='200GiB'\n"
        text += f"[catalog]\npath='{home}/catalog.redb'\n[fetch]\nspool='{home}/spool'\n"
        for store, port in stores:
            text += f"[[store]]\nname='{store}'\ntype='s3'\nendpoint='http://127.0.0.1:{port}'\nbucket='backups'\n"
            text += "access_key_id='bench'\nsecret_access_key='benchsecret'\n"
        path = home / "walkeep.toml"
        path.write_text(text)
        path.chmod(0o600)
        for part in ("staging", "staging/receipts", "staging/quarantine", "staging/tmp"):
            (home / part).mkdir()
        (home / "staging/walkeep.json").write_text(json.dumps({
            "format": 1, "cluster": name, "generation": 1,
            "system_identifier": str(self.system), "segment_size": SEGMENT}))
        for _, port in stores:
            self.claim(self.buckets.get(port), name)
        self.own(home)
        return home, [self.walkeep, "--config", path]

    def claim(self, bucket, name):
        """What `walkeep init` leaves in a store."""
        if bucket:
            (bucket / name).mkdir(exist_ok=True)
            (bucket / name / "cluster.json").write_text(json.dumps({
                "format": 1, "cluster": name, "generations": [{
                    "generation": 1, "system_identifier": str(self.system), "segment_size": SEGMENT}]}))

    def pushes(self):
        print("\n### One push, staged, process start included\n\n| | walkeep | plain copy + fsync + rename + fsync | ratio | bar |\n|---|---|---|---|---|")
        for kind, bar in (("busy", 1.3), ("tiny", 0.4)):
            home, walkeep = self.configuration(f"push-{kind}", [("a", 1)])
            source = self.directory("source")
            segments = self.stamped(kind, 5 * self.rounds, source)
            target, ours, plain = self.directory("copies"), [], []
            for segment in segments:
                ours.append(self.run(*walkeep, "wal", "push", segment)[0])
                plain.append(self.run(self.copy, segment, target / segment.name)[0])
            ratio = statistics.median(a / b for a, b in zip(ours, plain))
            print(f"| {kind} | {ms(ours)} | {ms(plain)} | **{ratio:.2f}** | {bar} |")

    def backlog(self):
        print("\n### A backlog, shipped\n\n| | segments/s | CPU-s each | stored, of `gzip -9`'s size | largest process |\n|---|---|---|---|---|")
        results = {}
        for kind in ("busy", "tiny"):
            for label, stores, form in (("two stores", ["a", "b"], "gzip"), ("one store", ["a"], "gzip"),
                                        ("two stores, zstd", ["a", "b"], "zstd")):
                walls, cpus, rss = [], [], 0
                for turn in range(self.rounds):
                    ports = [(store, self.server(f"{form}{kind}{len(stores)}{turn}{store}")) for store in stores]
                    home, walkeep = self.configuration(f"ship-{kind}", ports)
                    toml = home / "walkeep.toml"
                    toml.write_text(f"{toml.read_text()}[compression]\nformat = '{form}'\n")
                    self.stamped(kind, self.segments, home / "staging")
                    wall, cpu, peak = self.run(*walkeep, "ship")
                    walls.append(wall)
                    cpus.append(cpu)
                    rss = max(rss, peak)
                    stored = sum(path.stat().st_size for path in (self.root / f"s3-{form}{kind}{len(stores)}{turn}a").rglob("0*.*z*"))
                gzip = self.gzip(kind)
                wall, cpu = statistics.median(walls), statistics.median(cpus) / self.segments
                results[kind, label] = wall, cpu
                size = stored / self.segments / gzip[1]
                print(f"| {kind}, {label} | {self.segments / wall:.1f} | {cpu:.3f} | {size:.4f} | {rss / 1024:.0f} MiB (mapped segments included) |")
            print(f"| {kind}, `gzip -9` alone, one process a segment | {1 / gzip[0]:.1f} | {gzip[2]:.3f} | 1 | |")
            two, one = results[kind, "two stores"], results[kind, "one store"]
            print(f"| {kind}: CPU of two stores, of `gzip -9`'s | | **{two[1] / gzip[2]:.2f}** (bar 0.15) | | |")
            print(f"| {kind}: wall of two stores, of one's | **{two[0] / one[0]:.2f}** (bar 1.10) | | | |")

    def gzip(self, kind):
        """Wall, size and CPU of one segment by `gzip -9`."""
        sources = sorted((self.corpus / kind).iterdir())
        out = self.directory("gz")
        runs, sizes = [], []
        for source in sources:
            copy = shutil.copy(source, out)
            self.own(out)
            runs.append(self.run("gzip", "-9", copy))
            sizes.append(os.path.getsize(f"{copy}.gz"))
        return statistics.median(r[0] for r in runs), statistics.mean(sizes), statistics.median(r[1] for r in runs)

    def arrivals(self):
        """How long after a push its object is in both stores, where the daemon
        had nothing to do before; and what the daemon takes while it waits."""
        ports = [(store, self.server(f"arrive{store}")) for store in ("a", "b")]
        home, walkeep = self.configuration("arrive", ports)
        segments = self.stamped("busy", 5 * self.rounds, self.directory("arriving"))
        demote = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        daemon = subprocess.Popen([str(word) for word in [*walkeep, "run"]], stderr=subprocess.DEVNULL, **demote)
        self.children.append(daemon)
        time.sleep(3)
        waits = []
        for segment in segments:
            self.run(*walkeep, "wal", "push", segment)
            pushed = time.monotonic()
            objects = [self.buckets[port] / "arrive/wal" / f"{segment.name}.gz" for _, port in ports]
            while not all(each.exists() for each in objects):
                time.sleep(0.002)
            waits.append(time.monotonic() - pushed)
            time.sleep(1)
        idle = pathlib.Path(f"/proc/{daemon.pid}")
        ticks = lambda: sum(int(field) for field in (idle / "stat").read_text().rsplit(")", 1)[1].split()[11:13])
        before = ticks()
        time.sleep(30)
        cpu = 1000 * (ticks() - before) / os.sysconf("SC_CLK_TCK") / 30
        lines = [line.split() for line in (idle / "status").read_text().splitlines()]
        resident, own = (int(next(line[1] for line in lines if line[0] == f"{field}:")) / 1024 for field in ("VmRSS", "RssAnon"))
        print("\n### The daemon\n\n| from a push's end to both stores | longest | CPU while idle | resident while idle, of it not the program's file |\n|---|---|---|---|")
        print(f"| {ms(waits)} | {1000 * max(waits):.0f} ms | {cpu:.1f} ms a second | {resident:.0f} MiB, {own:.0f} MiB |")

    def fetches(self):
        ports = [(store, self.server(f"fetch{store}")) for store in ("a", "b")]
        home, walkeep = self.configuration("fetch", ports)
        segments = self.stamped("busy", self.segments, home / "staging")
        names = [segment.name for segment in segments]
        self.run(*walkeep, "ship")
        print("\n### Fetching in the order of recovery\n\n| | segments/s |\n|---|---|")
        for label, prefetch in (("with prefetch", 8), ("without", 0)):
            text = (home / "walkeep.toml").read_text()
            (home / "walkeep.toml").write_text(f"{text}" if prefetch else text.replace("[fetch]", "[fetch]\nprefetch=0"))
            pgdata = self.directory("pgdata")
            begun = time.monotonic()
            for name in names:
                self.run(*walkeep, "wal", "fetch", name, pgdata / "RECOVERYXLOG", cwd=pgdata)
            print(f"| walkeep, {label} | {len(names) / (time.monotonic() - begun):.1f} |")

    def waiting(self, count=847):
        ports = [(store, self.server(f"wait{store}")) for store in ("a", "b")]
        home, walkeep = self.configuration("wait", ports)
        self.stamped("busy", count, home / "staging")
        wall, _, peak = self.run(*walkeep, "ship")
        print(f"\n### {count} busy segments to two stores\n\n{wall:.0f} s (bar 120 s), {count / wall:.1f} segments/s, largest process {peak / 1024:.0f} MiB with the mapped segments.")

    def pgbackrest(self):
        program = shutil.which("pgbackrest")
        if not program:
            print("\npgBackRest is not installed: no rows of it.")
            return
        print("\n### pgBackRest, asynchronous, two processes, two S3 repositories (TLS: it has no plain http)\n\n| | segments/s | CPU-s each |\n|---|---|---|")
        for kind, level in (("busy", 9), ("busy", 6), ("tiny", 9)):
            conf, base = self.stanza(program, f"{kind}{level}", level, 2)
            text = conf.read_text()
            wal, ready = self.data / "pg_wal", self.data / "pg_wal/archive_status"
            segments = self.stamped(kind, self.segments, wal)
            for segment in segments:
                (ready / f"{segment.name}.ready").touch()
            self.own(ready)
            begun = time.monotonic()
            cpu = self.usage_of_user()
            for segment in segments:
                self.run(*base, "archive-push", segment)
                (ready / f"{segment.name}.ready").unlink()
            wall = time.monotonic() - begun
            print(f"| {kind}, gz {level} | {len(segments) / wall:.2f} | {(self.usage_of_user() - cpu) / len(segments):.2f} |")
            if kind == "busy" and level == 6:
                begun = time.monotonic()
                for segment in segments:
                    self.run(*base, "archive-get", segment.name, self.root / "pg/RECOVERYXLOG")
                print(f"| {kind}, fetched with prefetch | {len(segments) / (time.monotonic() - begun):.1f} | |")
            if kind == "busy" and level == 9:
                conf.write_text(text.replace("archive-async=y", "archive-async=n"))
                both = self.stamped(kind, self.rounds * 3, self.directory("both"), first=0x4000)
                self.theirs = statistics.median(self.run(*base, "archive-push", segment)[0] for segment in both)
            for segment in segments:
                segment.unlink()
        ports = [(store, self.server(f"both{store}")) for store in ("a", "b")]
        home, walkeep = self.configuration("both-stores", ports)
        toml = home / "walkeep.toml"
        toml.write_text(toml.read_text().replace("[staging]", "[staging]\nacknowledge='all-stores'"))
        segments = self.stamped("busy", self.rounds * 3, self.directory("both"), first=0x5000)
        ours = [self.run(*walkeep, "wal", "push", segment)[0] for segment in segments]
        print("\n### One busy push, acknowledged by both stores\n\n| walkeep | pgBackRest, gz 9, synchronous | ratio | bar |\n|---|---|---|---|")
        print(f"| {ms(ours)} | {1000 * self.theirs:.1f} ms | **{statistics.median(ours) / self.theirs:.2f}** | 0.25 |")

    def stanza(self, program, name, level, repositories):
        """pgBackRest's configuration with S3 repositories of its own, and how
        it is called with that."""
        key, cert = self.root / "key.pem", self.root / "cert.pem"
        if not key.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                            "-keyout", key, "-out", cert], check=True, capture_output=True)
        spool = self.directory("pgbr-spool")
        text = f"[global]\ncompress-type=gz\ncompress-level={level}\nprocess-max=2\narchive-async=y\nspool-path={spool}\n"
        text += f"lock-path={spool}/lock\nlog-path={spool}\nlog-level-console=error\narchive-timeout=600\n"
        for n in range(1, repositories + 1):
            port = self.server(f"pgbr{name}{n}", (cert, key))
            text += (f"repo{n}-type=s3\nrepo{n}-path=/{name}\nrepo{n}-s3-bucket=backups\nrepo{n}-s3-endpoint=localhost\n"
                     f"repo{n}-storage-port={port}\nrepo{n}-s3-region=us-east-1\nrepo{n}-s3-key=bench\nrepo{n}-s3-key-secret=benchsecret\n"
                     f"repo{n}-s3-uri-style=path\nrepo{n}-storage-verify-tls=n\n")
        text += f"[b]\npg1-path={self.data}\npg1-port=5999\npg1-socket-path={self.root}\npg1-user=postgres\n"
        conf = self.root / "pgbackrest.conf"
        conf.write_text(text)
        base = [program, f"--config={conf}", "--stanza=b"]
        self.run(*base, "stanza-create")
        return conf, base

    def usage_of_user(self):
        """CPU seconds of children that have been waited for; pgBackRest's
        detached ones are adopted by this process (subreaper) and counted too."""
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def close(self):
        for child in self.children:
            child.terminate()
        if hasattr(self, "data"):
            self.run(self.bin / "pg_ctl", "-D", self.data, "-m", "immediate", "stop", check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def play(bench, parts):
    """Runs the parts, named with commas between them, and cleans up."""
    # PR_SET_CHILD_SUBREAPER: detached children of what is measured count.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        bench.cluster()
        for part in parts.split(","):
            getattr(bench, part)()
            sys.stdout.flush()
    finally:
        bench.close()


def ms(seconds):
    return f"{1000 * statistics.median(seconds):.1f} ms"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("walkeep")
    parser.add_argument("plain_copy")
    parser.add_argument("corpus")
    parser.add_argument("--segments", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="pushes,backlog,arrivals,fetches,waiting,pgbackrest")
    arguments = parser.parse_args()
    play(Bench(arguments), arguments.only)


if __name__ == "__main__":
    main()
