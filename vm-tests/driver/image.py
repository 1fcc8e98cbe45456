"""What guests are booted from: a Debian with PostgreSQL, made by mmdebstrap,
and what each kind of guest has besides. Everything is named by a digest of
what it is made from, and made only where that has changed."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

SUITE = "trixie"
PACKAGES = [
    "systemd", "systemd-sysv", "dbus", "postgresql-17", "iproute2", "netcat-openbsd", "curl",
    "ca-certificates", "openssl", "adduser", "procps", "e2fsprogs",
]  # fmt: skip
# QEMU boots a kernel of the guest's own.
KERNEL = ["linux-image-cloud-amd64", "initramfs-tools", "busybox"]
GUEST = Path(__file__).resolve().parent.parent / "guest"
LEFT_OUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"]


def run(*command, **options):
    subprocess.run(command, check=True, **options)


def digest(*parts):
    """Of texts, and of the files below directories."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if path.is_file():
                    total.update(f"{path.relative_to(part)} {path.stat().st_mode:o}\n".encode())
                    total.update(path.read_bytes())
        else:
            total.update(f"{part}\n".encode())
    return total.hexdigest()[:16]


class Images:
    """All in one directory, which may be thrown away at any time."""

    def __init__(self, directory, store):
        self.directory = directory
        self.store = store
        directory.mkdir(parents=True, exist_ok=True)

    def layers(self, kind, backend):
        """The directories that a guest's root is laid over, the uppermost first."""
        packages = PACKAGES + (KERNEL if backend == "qemu" else [])
        name = "debian" if backend == "nspawn" else "bootable"
        base = self._made(name, self._base, SUITE, *packages, *LEFT_OUT)
        tools = self._made("tools", self._tools, GUEST / "base", GUEST / "certify", self.store)
        layers = [tools, base]
        # A guest of the module's has nixpkgs' PostgreSQL, too.
        if kind == "module":
            kind = "nixpkgs"
        if kind == "nixpkgs":
            over = self._made(f"nixpkgs-{name}", self._nixpkgs, base.name, GUEST / "nixpkgs", base=base)
            layers = [over, tools, base]
        if backend == "qemu":
            names = [layer.name for layer in layers]
            return [self._made(f"disk-{kind}", self._disk, *names, GUEST / "qemu", layers=layers)]
        return layers

    def _made(self, name, make, *parts, **others):
        path = self.directory / f"{name}-{digest(name, *parts)}"
        with open(self.directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                unfinished = path.with_name(f"{path.name}.unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                print(f"makes the image {path.name}", flush=True)
                make(unfinished, parts, **others)
                for old in self.directory.glob(f"{name}-*"):
                    shutil.rmtree(old) if old != unfinished else None
                unfinished.rename(path)
        return path

    def _base(self, root, parts):
        packages = [part for part in parts[1:] if not part.startswith("/")]
        # What the guests do not need is not written, and nothing is fsynced:
        # an image that a power cut spoils is made again.
        options = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        with open(self.directory / "mmdebstrap.log", "w") as said:
            run(
                "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
                f"--include={','.join(packages)}", "--dpkgopt=force-unsafe-io", *options,
                '--aptopt=Acquire::Languages "none"', SUITE, str(root),
                stdout=said, stderr=said,
            )  # fmt: skip
        # Each guest gets its own at its first boot.
        (root / "etc/machine-id").write_text("")
        (root / "etc/fstab").write_text("")
        # A test waits for none of these.
        for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"):
            (root / "etc/systemd/system" / unit).symlink_to("/dev/null")

    def _tools(self, root, parts):
        """The S3 server, its certificate, and small things of ours."""
        shutil.copytree(GUEST / "base", root, symlinks=True)
        shutil.copy2(self.store, root / "usr/local/bin/versitygw")
        (root / "etc/store").mkdir(parents=True)
        run(str(GUEST / "certify"), str(root / "etc/store"))

    def _nixpkgs(self, root, parts, base):
        """nixpkgs' names for PostgreSQL: a cluster in /var/lib/postgresql/17 and
        one `postgresql.service`, sandboxed as nixpkgs does it."""
        root.mkdir()
        with laid_over([base], root) as mounted:
            shutil.copytree(GUEST / "nixpkgs", mounted, dirs_exist_ok=True, symlinks=True)
            run("chroot", str(mounted), "/usr/local/bin/make-cluster")

    def _disk(self, root, parts, layers):
        """A file system for QEMU, and the kernel that boots from it."""
        root.mkdir()
        (root / "over").mkdir()
        with laid_over(layers, root / "over") as mounted:
            shutil.copytree(GUEST / "qemu", mounted, dirs_exist_ok=True, symlinks=True)
            (mounted / "etc/fstab").write_text("/dev/vda / ext4 noatime 0 1\n")
            run("mount", "--bind", "/proc", str(mounted / "proc"))
            try:
                run("chroot", str(mounted), "update-initramfs", "-u", "-k", "all",
                    stdout=subprocess.DEVNULL)  # fmt: skip
            finally:
                run("umount", str(mounted / "proc"))
            for name in ("vmlinuz", "initrd"):
                shutil.copy2(next((mounted / "boot").glob(f"{name}*-*")), root / name)
            image = root / "root.ext4"
            with open(image, "wb") as file:
                file.truncate(3 << 30)
            run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1",
                "-d", str(mounted), str(image))  # fmt: skip
        shutil.rmtree(root / "over")


@contextmanager
def laid_over(layers, upper):
    """What is written into it lands in `upper`."""
    place = upper.with_name(f"{upper.name}.mounts")
    shutil.rmtree(place, ignore_errors=True)
    for part in ("work", "root"):
        (place / part).mkdir(parents=True)
    lower = ":".join(str(layer) for layer in layers)
    options = f"lowerdir={lower},upperdir={upper},workdir={place}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, str(place / "root"))
    try:
        yield place / "root"
    finally:
        run("umount", str(place / "root"))
        shutil.rmtree(place, ignore_errors=True)


def is_root():
    return os.geteuid() == 0
