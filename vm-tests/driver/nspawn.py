"""Guests in systemd-nspawn: real units, users and sandboxes on this host's
kernel, up in three seconds. What they cannot show is a power cut."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .machine import Failed, Machine, retry

BRIDGE = "br0"
INSIDE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
}


def network():
    """One wire for all guests of this scenario, in its own network namespace."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "link", "set", BRIDGE, "up")


def own_cgroups(name):
    """A place for a guest's control groups. nspawn makes them below its own
    group, which guests that are started alike would share: a unit would be
    stopped in one guest only when its namesake in every other is."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mount = next(fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2")
    ours = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=mount + ours.removeprefix("0::")))


def remove_cgroups(place):
    """Where processes are still ending in one, it stays, empty."""
    for group, _, _ in os.walk(place, topdown=False):
        with suppress(OSError):
            os.rmdir(group)


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class NspawnMachine(Machine):
    def __init__(self, name, address, place, layers, seed):
        super().__init__(name, address, place)
        self.process = None
        self.leader = None
        self.cgroups = None
        for part in ("upper", "work", "root"):
            (place / part).mkdir(parents=True)
        shutil.copytree(seed, place / "upper", dirs_exist_ok=True, symlinks=True)
        lower = ":".join(str(layer) for layer in layers)
        # volatile: what this writes need not survive this host's power cut,
        # and a guest's fsync need not wait for other work on it.
        options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work,volatile"
        run("mount", "-t", "overlay", "overlay", "-o", options, str(place / "root"))

    def start(self, allow_reboot=False):
        if self.process:
            return
        self.log("starts")
        environment = dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1", SYSTEMD_NSPAWN_LOCK="0")
        console = open(self.place / "console.log", "a")
        self.cgroups = self.cgroups or own_cgroups(self.name)
        self.process = subprocess.Popen(
            [
                "sh", "-c", f'echo $$ >{self.cgroups}/cgroup.procs && exec "$@"', "sh",
                "systemd-nspawn", "--boot", "--quiet", "--register=no", "--keep-unit",
                f"--machine={self.name}", f"--directory={self.place}/root",
                f"--network-bridge={BRIDGE}", "--resolv-conf=off", "--timezone=off",
                "--link-journal=no", "--console=pipe",
            ],
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip

        def is_up(_):
            if self.process.poll() is not None:
                raise Failed(f"{self.name}: {(self.place / 'console.log').read_text()[-2000:]}")
            task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            children = task.read_text().split()
            if not children:
                return False
            self.leader = int(children[0])
            ready = "test -S /run/dbus/system_bus_socket && systemctl show-environment"
            return self._enter(ready, 10)[0] == 0

        retry(is_up, 60)

    def execute(self, command, check_return=True, check_output=True, timeout=900):
        self.start()
        return self._enter(f"set -euo pipefail; cd /tmp; {command}", timeout)

    def _enter(self, command, timeout):
        entered = [
            "nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C",
            "/bin/bash", "-c", command,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                entered, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=timeout, env=INSIDE
            )
        except subprocess.TimeoutExpired as late:
            return 124, (late.stdout or b"").decode(errors="replace")
        return done.returncode, done.stdout.decode(errors="replace")

    def _gone(self, patience):
        self.process.wait(patience)
        self.process = None
        self.leader = None
        # Its end of the wire goes with the namespace, which takes a moment.
        for _ in range(50):
            if subprocess.run(["ip", "link", "show", self._wire()], capture_output=True).returncode:
                return
            time.sleep(0.1)

    def _wire(self):
        return f"vb-{self.name}"

    def crash(self):
        """Every process dies at once. What they wrote is in this host's cache:
        only QEMU can lose that."""
        self.log("crashes")
        os.kill(self.leader, signal.SIGKILL)
        self._gone(30)

    def shutdown(self):
        self.log("shuts down")
        os.kill(self.leader, signal.SIGRTMIN + 4)
        self._gone(90)

    def reboot(self):
        self.shutdown()
        self.start()

    def block(self):
        self.log("its wire is cut")
        run("ip", "link", "set", self._wire(), "down")

    def unblock(self):
        self.log("its wire is mended")
        run("ip", "link", "set", self._wire(), "up")

    def release(self):
        if self.process:
            os.kill(self.leader or self.process.pid, signal.SIGKILL)
            self.process.wait(30)
        subprocess.run(["umount", "-l", str(self.place / "root")], check=False)
        if self.cgroups:
            remove_cgroups(self.cgroups)
