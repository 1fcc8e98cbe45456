"""Guests in QEMU with a kernel of their own, without hardware acceleration:
twenty seconds to boot, and a power cut that really loses what was not flushed.

Every write to the disk is logged by QEMU (blklogwrites). A crash kills QEMU,
takes the disk as it was at boot and replays the log up to the last flush that
the guest asked for; of what came after, each write is kept or lost by chance,
as a disk's own cache may."""

import base64
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import tarfile
import time

from .machine import Failed, Machine
from .nspawn import BRIDGE, run

# Linux's dm-log-writes format, version 1, which blklogwrites writes.
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


def replay(log, disk, choose):
    """Puts onto `disk` what the log says was durable, and of the rest what
    `choose()` says. Answers with how many writes were lost,
    and how many entries there were."""
    with open(log, "rb") as read, open(disk, "r+b") as write:
        magic, version, least, sector = struct.unpack("<QQQI", read.read(28))
        if magic != MAGIC or version != 1:
            raise Failed(f"{log} is no log of writes")
        size = os.fstat(read.fileno()).st_size
        entries, at = [], sector
        while at + sector <= size:
            read.seek(at)
            where, count, flags, length = struct.unpack("<QQQQ", read.read(32))
            if flags & ~15 or (not count and not flags):
                break  # The superblock's count may be older than the last entries.
            data = at + sector
            at = data + (0 if flags & DISCARD else count * sector)
            if at > size:
                break
            entries.append((where, count, flags, data))
        if len(entries) < least:
            raise Failed(f"{log}: of {least} entries {len(entries)} can be read")
        flushes = [n for n, entry in enumerate(entries) if entry[2] & FLUSH]
        durable = flushes[-1] if flushes else -1
        lost = 0
        for n, (where, count, flags, data) in enumerate(entries):
            if flags & (DISCARD | MARK) or not count:
                continue
            if n > durable and not flags & FUA and not choose():
                lost += 1
                continue
            read.seek(data)
            write.seek(where * sector)
            write.write(read.read(count * sector))
    return lost, len(entries)


class QemuMachine(Machine):
    patience = 8

    def __init__(self, name, address, place, layers, seed):
        super().__init__(name, address, place)
        place.mkdir(exist_ok=True)
        self.image = layers[0]
        self.process = None
        self.shell = None
        self.boots = 0
        self.disk = place / "disk.raw"
        self.before = place / "before.raw"
        self.log_of_writes = place / "writes.log"
        self._copy(self.image / "root.ext4", self.disk)
        with tarfile.open(place / "seed.tar", "w") as seeds:
            seeds.add(seed, arcname=".", filter=self._as_root)
        # A disk ends at a sector.
        with open(place / "seed.tar", "r+b") as seeds:
            seeds.truncate(-(-seeds.seek(0, 2) // 4096) * 4096)
        self.wire = f"tap-{name}"[:15]
        run("ip", "tuntap", "add", self.wire, "mode", "tap")
        run("ip", "link", "set", self.wire, "master", BRIDGE, "up")

    @staticmethod
    def _as_root(member):
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    @staticmethod
    def _copy(source, target):
        run("cp", "--sparse=always", "--reflink=auto", str(source), str(target))

    def start(self, allow_reboot=False):
        if self.process:
            return
        self.log("starts")
        self.boots += 1
        self._copy(self.disk, self.before)
        self.log_of_writes.write_bytes(b"")
        listener = socket.socket(socket.AF_UNIX)
        path = self.place / "shell"
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(1)
        disk = {
            "driver": "blklogwrites",
            "node-name": "logged",
            "file": {"driver": "file", "filename": str(self.disk)},
            "log": {"driver": "file", "filename": str(self.log_of_writes)},
        }
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi",
                "-cpu", "max", "-smp", "1", "-m", "768", "-nodefaults", "-no-user-config",
                "-display", "none", "-no-reboot",
                "-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd",
                "-append", "root=/dev/vda rw console=ttyS0 quiet panic=1 mitigations=off nopti"
                " net.ifnames=0 systemd.show_status=false",
                "-blockdev", json.dumps(disk),
                # blklogwrites may put other entries between a write of zeros
                # and its data, where both come at once. And it adds two pieces
                # to each write: one of more than 1,022, as merging makes them,
                # is past IOV_MAX. It fails, and leaves a hole in the log.
                "-device", "virtio-blk-pci,drive=logged,write-zeroes=off,discard=off,request-merging=off",
                "-drive", f"file={self.place}/seed.tar,if=none,id=seed,format=raw,readonly=on",
                "-device", "virtio-blk-pci,drive=seed",
                "-netdev", f"tap,id=wire,ifname={self.wire},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=wire,mac=52:54:00:12:34:{int(self.address.rsplit('.')[-1]):02x}",
                "-device", "virtio-serial", "-chardev", f"socket,id=shell,path={path}",
                "-device", "virtserialport,chardev=shell,name=shell",
                "-device", "virtio-rng-pci", "-serial", f"file:{self.place}/console.log",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        listener.settimeout(60)
        self.shell, _ = listener.accept()
        listener.close()
        begun = time.monotonic()
        # On a host that does other work this is minutes.
        self.shell.settimeout(900)
        try:
            said = self._line()
        except TimeoutError:
            said = "nothing"
        if said != "ready":
            self.release()
            self.process = None
            console = (self.place / "console.log").read_text(errors="replace")
            raise Failed(f"{self.name}: does not boot: {console[-3000:]}")
        self.log(f"is up after {time.monotonic() - begun:.0f} s")

    def _line(self):
        said = b""
        while not said.endswith(b"\n"):
            more = self.shell.recv(65536)
            if not more:
                raise Failed(f"{self.name}: is gone")
            said += more
        return said.decode().strip()

    def execute(self, command, check_return=True, check_output=True, timeout=900):
        self.start()
        limit = timeout * self.patience
        encoded = base64.b64encode(f"set -euo pipefail; cd /tmp; {command}".encode()).decode()
        self.shell.settimeout(limit + 60)
        self.shell.sendall(f"{limit} {encoded}\n".encode())
        code, _, out = self._line().partition(":")
        return int(code), base64.b64decode(out).decode(errors="replace")

    def _gone(self):
        self.process.wait(300)
        self.process = None
        self.shell.close()

    def crash(self):
        """The power is cut: the guest's memory is lost, and of its disk's cache
        what chance has it."""
        self.process.kill()
        self._gone()
        shutil.move(self.before, self.disk)
        dice = random.Random(f"{self.name} {self.boots}")
        lost, all = replay(self.log_of_writes, self.disk, lambda: dice.random() < 0.5)
        self.log(f"its power is cut; {lost} of {all} writes and flushes were lost")

    def shutdown(self):
        self.log("shuts down")
        self.shell.sendall(b"60 " + base64.b64encode(b"systemctl poweroff") + b"\n")
        self._gone()

    def reboot(self):
        self.shutdown()
        self.start()

    def block(self):
        run("ip", "link", "set", self.wire, "down")

    def unblock(self):
        run("ip", "link", "set", self.wire, "up")

    def release(self):
        if self.process:
            self.process.kill()
            self.process.wait()
