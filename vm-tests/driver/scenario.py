"""One scenario: a Python file that says in its head which guests it wants,
and then tells them what to do.

    # The title, one line.
    # guests: nixpkgs debian        kinds (README.md), each a run of its own
    # nodes: db s3                  addresses go by the alphabet
    # backends: qemu                where it runs without being asked for: nspawn
    # seconds: 120                  after which it has failed
"""

import os
import re
import signal
import traceback
import unittest
from contextlib import contextmanager
from pathlib import Path

from . import module, nspawn, qemu
from .machine import Failed, log, retry

HERE = Path(__file__).resolve().parent.parent


class Head:
    """What a scenario's head says."""

    def __init__(self, path):
        lines = path.read_text().splitlines()
        comments = []
        for line in lines:
            if not line.startswith("#"):
                break
            comments.append(line.removeprefix("#").strip())
        said = dict(re.match(r"(\w+): (.+)", line).groups() for line in comments if re.match(r"\w+: ", line))
        self.path = path
        self.name = path.stem
        self.title = comments[0].rstrip(".")
        self.guests = said.get("guests", "nixpkgs").split()
        self.nodes = sorted(said["nodes"].split())
        self.backends = said.get("backends", "nspawn").split()
        self.seconds = int(said.get("seconds", "120"))


def seed(place, head, name, addresses, package, kind):
    """What one guest has for itself: its name, its address, the package."""
    etc = place / "etc"
    (etc / "systemd/network").mkdir(parents=True)
    wants = etc / "systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (etc / "hostname").write_text(f"{name}\n")
    hosts = "".join(f"{address} {node}\n" for node, address in addresses.items())
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
    (etc / "systemd/network/10-wire.network").write_text(
        f"[Match]\nName=host0 eth0\n[Network]\nAddress={addresses[name]}/24\n"
        "LinkLocalAddressing=no\nConfigureWithoutCarrier=yes\n"
    )
    networkd = "/usr/lib/systemd/system/systemd-networkd.service"
    (wants / "systemd-networkd.service").symlink_to(networkd)
    if name.startswith("s3"):
        for port in (7070, 7071):
            unit = wants / f"store@{port}.service"
            unit.symlink_to("/etc/systemd/system/store@.service")
        # No database there.
        (etc / "systemd/system/postgresql.service").symlink_to("/dev/null")
    elif kind == "module":
        module.seed(place, head.name, name, package)
    else:
        # A hard link costs nothing, where it is possible.
        (place / "srv").mkdir()
        try:
            os.link(package, place / "srv/walkeep.deb")
        except OSError:
            (place / "srv/walkeep.deb").write_bytes(Path(package).read_bytes())


class Late(Failed):
    """The scenario's own deadline."""


def run(head, kind, backend, place, images, package):
    """Whether it passed. What went on is printed."""
    addresses = {node: f"192.168.1.{n}" for n, node in enumerate(head.nodes, 1)}
    nspawn.network()
    machines = []
    for node in head.nodes:
        seeds = place / f"seed-{node}"
        seeds.mkdir(parents=True)
        seed(seeds, head, node, addresses, package, kind)
        make = nspawn.NspawnMachine if backend == "nspawn" else qemu.QemuMachine
        what = kind if not node.startswith("s3") else "debian"
        layers = images.layers(what, backend)
        machines.append(make(node, addresses[node], place / node, layers, seeds))

    @contextmanager
    def subtest(name):
        log(f"--- {name}")
        yield

    def start_all():
        for machine in machines:
            machine.start()

    seconds = head.seconds * machines[0].patience

    def late(*_):
        raise Late(f"it took longer than {seconds} s")

    class Assertions(unittest.TestCase):
        failureException = Failed

    names = {re.sub(r"\W", "_", machine.name): machine for machine in machines}
    world = dict(
        names,
        machines=machines,
        start_all=start_all,
        subtest=subtest,
        retry=retry,
        log=log,
        t=Assertions(),
        GUEST="nixos" if kind == "module" else kind,
        BACKEND=backend,
    )
    signal.signal(signal.SIGALRM, late)
    passed = False
    try:
        signal.alarm(seconds)
        preludes = [HERE / "driver/prelude.py"]
        if kind == "module":
            preludes.append(HERE / "nixos/prelude.py")
        for source in (*preludes, head.path):
            exec(compile(source.read_text(), str(source), "exec"), world)
        passed = True
    except Exception:
        signal.alarm(0)
        traceback.print_exc()
        for machine in machines:
            print(f"--- journal of {machine.name}\n{machine.journal()}", flush=True)
    finally:
        signal.alarm(0)
        for machine in machines:
            try:
                machine.release()
            except Exception as error:  # Its namespaces end it.
                log(f"release {machine.name}: {error}")
    return passed
