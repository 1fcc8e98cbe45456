#!/usr/bin/env python3
"""Prints what the binary is made of, as CycloneDX 1.5 JSON.

    packaging/sbom.py [TARGET] > walkeep.cdx.json

From what cargo itself says for the lock file: the crates that are compiled into
the program or run when it is built, their licences, digests and dependencies.
Those of tests and benches are not among them. Two runs print the same bytes."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TARGET = sys.argv[1] if len(sys.argv) > 1 else "x86_64-unknown-linux-gnu"


def cargo_metadata():
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={TARGET}"]
    return json.loads(subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE).stdout)


def used(metadata):
    """Of each package that is reached without development dependencies, those
    that it needs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    needs, todo = {}, [metadata["resolve"]["root"]]
    while todo:
        package = todo.pop()
        if package in needs:
            continue
        wanted = [
            dep["pkg"]
            for dep in nodes[package]["deps"]
            if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])
        ]
        needs[package] = sorted(set(wanted))
        todo += wanted
    return needs


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, digests):
    is_root = package["source"] is None
    described = {
        "type": "application" if is_root else "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["license"]:
        # As SPDX writes it; crates of old have a slash for OR.
        expression = package["license"].replace("/", " OR ")
        described["licenses"] = [{"expression": expression}]
    if digest := digests.get((package["name"], package["version"])):
        described["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def main():
    metadata = cargo_metadata()
    packages = {package["id"]: package for package in metadata["packages"]}
    lock = tomllib.loads((HERE / "Cargo.lock").read_text())
    digests = {(it["name"], it["version"]): it.get("checksum") for it in lock["package"]}
    needs = used(metadata)
    root = metadata["resolve"]["root"]
    libraries = sorted((id for id in needs if id != root), key=lambda id: reference(packages[id]))
    # Of the system's, at run time: the version is that of the machine.
    zlib = {"type": "library", "bom-ref": "system:zlib", "name": "zlib", "scope": "required",
            "description": "libz.so.1 of the system, linked dynamically"}  # fmt: skip
    tree = [
        {
            "ref": reference(packages[id]),
            "dependsOn": [reference(packages[need]) for need in needs[id]]
            + (["system:zlib"] if packages[id]["name"] == "libz-sys" else []),
        }
        for id in [root, *libraries]
    ]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": component(packages[root], digests),
            "properties": [{"name": "cargo:target", "value": TARGET}],
        },
        "components": [component(packages[id], digests) for id in libraries] + [zlib],
        "dependencies": tree,
    }
    json.dump(document, sys.stdout, indent=1)
    print()


main()
