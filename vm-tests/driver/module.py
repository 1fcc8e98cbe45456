"""A guest with what the NixOS module makes: the units, scripts, settings,
directories and users of guests.nix as files, in the place of Debian's package.
Nix's store is links to where Debian has the same."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
POSTGRESQL = "/usr/lib/postgresql/17"
CONFIGURATION = "/etc/postgresql.conf"
WALKEEP = re.compile(r"/nix/store/\w+-walkeep-\d")
# What has another name, or another place, than below /usr.
PLACES = {
    "told": "/usr/local/bin/told",
    "walkeep-test-certificates": "/etc/store",
}


def evaluated(scenario, node):
    done = subprocess.run(
        [
            "nix-instantiate", "--eval", "--strict", "--json", str(HERE / "guests.nix"),
            "--argstr", "scenario", scenario, "--argstr", "node", node,
        ],
        env=dict(os.environ, NIX_REMOTE="dummy://"), check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    return json.loads(done.stdout)


def seed(place, scenario, node, package):
    booted = evaluated(scenario, node)
    # NixOS' own names: what was booted, and what can be switched to.
    (place / "srv/systems/booted/specialisation").mkdir(parents=True)
    lay(place, "booted", booted, package)
    for name, system in booted["specialisations"].items():
        lay(place, name, system, package)
        link(place, f"/srv/systems/booted/specialisation/{name}", f"/srv/systems/{name}")
    shutil.copytree(place / "srv/systems/booted/etc", place / "etc", dirs_exist_ok=True, symlinks=True)
    rules = [f"L+ /run/{which}-system - - - - /srv/systems/booted\n" for which in ("booted", "current")]
    (place / "etc/tmpfiles.d/booted.conf").write_text("".join(rules))
    link(place, "/usr/local/bin/walkeep", "/run/current-system/sw/bin/walkeep")


def lay(place, name, system, package):
    """One system, as files: its /etc, its programs, and how it is switched to."""
    root = f"/srv/systems/{name}"
    said = []

    def text(path, text, mode=0o644):
        said.append(text)
        file = place / f"{root}{path}".removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    units = system["units"]
    for unit, said_of in units.items():
        path, written = f"/etc/systemd/system/{unit}", said_of["text"]
        if unit == "postgresql.service":
            path, written = f"{path}.d/module.conf", for_postgresql(written)
        text(path, written)
        for target in said_of["wantedBy"]:
            link(place, f"{root}/etc/systemd/system/{target}.wants/{unit}", f"/etc/systemd/system/{unit}")
    if "postgresql.service" not in units:
        link(place, f"{root}/etc/systemd/system/postgresql.service", "/dev/null")
    for path, script in system["scripts"].items():
        text(path, f"#!/bin/bash\nset -e\n{script}", 0o755)
    for path, file in system["etc"].items():
        text(f"/etc/{path}", file["text"] if "text" in file else toml(file["settings"]))
    text("/etc/sysusers.d/module.conf", "".join(map(user, system["users"].items())))
    text("/etc/tmpfiles.d/module.conf", "".join(f"{rule}\n" for rule in system["tmpfiles"]))
    text(CONFIGURATION, "".join(map(setting, system["postgresql"].items())))
    link(place, f"{root}/bin/switch-to-configuration", "/usr/local/bin/switch-to-configuration")

    named = {*re.findall(r"/nix/store/[\w.+@-]+", "\n".join(said)), *system["packages"]}
    for path in named:
        stored(place, path, package)
        if WALKEEP.match(path) and path in system["packages"]:
            link(place, f"{root}/sw/bin/walkeep", f"{path}/bin/walkeep")


def for_postgresql(unit):
    """nixpkgs' own unit is the image's; the module adds to it. That its
    configuration is a link is nixpkgs' way, too."""
    added = "".join(line for line in unit.splitlines(True) if line.startswith("ReadWritePaths="))
    linked = f"ExecStartPre=/bin/ln -sfn {CONFIGURATION} /var/lib/postgresql/17/postgresql.conf\n"
    return f"[Service]\nReadWritePaths=\n{added}{linked}"


def stored(place, path, package):
    """walkeep and its files as they are, anything else where Debian has it."""
    name = path.partition("-")[2]
    inside = place / path.removeprefix("/")
    if inside.is_symlink() or inside.exists():
        return
    inside.parent.mkdir(parents=True, exist_ok=True)
    if WALKEEP.match(path):
        (inside / "bin").mkdir(parents=True)
        unpack(package, "./usr/bin/walkeep", inside / "bin/walkeep")
    elif name == "role.sql":
        shutil.copy(HERE.parent / "nixos-module/role.sql", inside)
    elif name == "e2fsprogs":
        # Nix's packages have nothing in sbin.
        link(place, f"{path}/bin", "/usr/sbin")
    else:
        inside.symlink_to(PLACES.get(name, POSTGRESQL if name.startswith("postgresql-") else "/usr"))


def link(place, path, target):
    inside = place / path.removeprefix("/")
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.symlink_to(target)


def unpack(package, member, target):
    with open(target, "wb") as out:
        tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-xO", member], stdin=tar.stdout, stdout=out, check=True)
        tar.wait()
    target.chmod(0o755)


def user(named):
    name, one = named
    groups = "".join(f"m {name} {group}\n" for group in one["extraGroups"])
    # The image has PostgreSQL's.
    return "" if name == "postgres" else f"g {one['group']} -\nu {name} -:{one['group']}\n{groups}"


def setting(named):
    """A line of postgresql.conf, as nixpkgs writes it."""
    key, value = named
    if isinstance(value, bool):
        value = "on" if value else "off"
    elif isinstance(value, str):
        value = "'" + value.replace("'", "''") + "'"
    return f"{key} = {value}\n"


def toml(settings):
    """Tables as inline ones: TOML's strings, numbers and booleans are JSON's."""

    def value(it):
        if isinstance(it, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {value(one)}" for key, one in it.items()) + "}"
        if isinstance(it, list):
            return "[" + ", ".join(map(value, it)) + "]"
        return json.dumps(it)

    return "".join(f"{json.dumps(key)} = {value(it)}\n" for key, it in settings.items())
