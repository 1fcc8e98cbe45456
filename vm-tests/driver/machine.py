"""What a scenario may do with a guest: the part of the NixOS test driver's
Machine that scenarios need, under the same names."""

import base64
import time
from contextlib import contextmanager
from pathlib import Path

# The driver's own default is 900 s, and a failed unit looks like a hang. The
# host may have other work.
PATIENCE = 120

STARTED = time.monotonic()


class Failed(Exception):
    """What a scenario found is not so."""


def log(message):
    print(f"[{time.monotonic() - STARTED:7.2f}] {message}", flush=True)


@contextmanager
def told(message):
    begun = time.monotonic()
    log(message)
    yield
    took = time.monotonic() - begun
    if took > 1:
        log(f"    ({took:.1f} s)")


def retry(attempt, timeout_seconds=PATIENCE, timeout=None):
    """Until `attempt(last)` is true; `last` says that it is the last one."""
    limit = timeout or timeout_seconds
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if attempt(False):
            return
        time.sleep(0.2)
    if not attempt(True):
        raise Failed(f"not so within {limit} s")


class Machine:
    """Backends add start, execute, crash, shutdown, block, unblock, release."""

    # How many times longer a guest has for everything.
    patience = 1

    def __init__(self, name, address, place):
        self.name = name
        self.address = address
        self.place = place

    def log(self, message):
        log(f"{self.name}: {message}")

    # Commands. Each is run by bash with `set -euo pipefail`, as root.

    def succeed(self, *commands, timeout=PATIENCE):
        out = ""
        for command in commands:
            with told(f"{self.name}: must succeed: {command}"):
                code, said = self.execute(command, timeout=timeout)
            if code != 0:
                self.log(f"output: {said}")
                raise Failed(f"{self.name}: `{command}` ended with {code}")
            out += said
        return out

    def fail(self, *commands, timeout=PATIENCE):
        out = ""
        for command in commands:
            with told(f"{self.name}: must fail: {command}"):
                code, said = self.execute(command, timeout=timeout)
            if code == 0:
                raise Failed(f"{self.name}: `{command}` succeeded: {said}")
            out += said
        return out

    def wait_until_succeeds(self, command, timeout=PATIENCE):
        last = [""]

        def attempt(_):
            code, last[0] = self.execute(command, timeout=timeout)
            return code == 0

        with told(f"{self.name}: waiting until it succeeds: {command}"):
            try:
                retry(attempt, timeout * self.patience)
            except Failed as failed:
                raise Failed(f"{self.name}: `{command}`: {failed}: {last[0]}") from None
        return last[0]

    def wait_until_fails(self, command, timeout=PATIENCE):
        with told(f"{self.name}: waiting until it fails: {command}"):
            retry(lambda _: self.execute(command, timeout=timeout)[0] != 0, timeout * self.patience)

    def wait_for_file(self, path, timeout=PATIENCE):
        self.wait_until_succeeds(f"test -e {path}", timeout)

    def wait_for_open_port(self, port, addr="localhost", timeout=PATIENCE):
        self.wait_until_succeeds(f"nc -z {addr} {port}", timeout)

    def wait_for_closed_port(self, port, addr="localhost", timeout=PATIENCE):
        self.wait_until_fails(f"nc -z {addr} {port}", timeout)

    def sleep(self, seconds):
        self.succeed(f"sleep {seconds}", timeout=seconds + PATIENCE)

    # Units

    def systemctl(self, query, user=None):
        return self.execute(f"systemctl {query}")

    def get_unit_property(self, unit, name, user=None):
        _, said = self.systemctl(f'--no-pager show "{unit}" --property="{name}"')
        return said.strip().partition("=")[2]

    def wait_for_unit(self, unit, user=None, timeout=PATIENCE):
        def attempt(_):
            state = self.get_unit_property(unit, "ActiveState")
            if state == "failed":
                _, why = self.execute(f"journalctl -o cat -n 20 -u {unit}")
                raise Failed(f"{self.name}: {unit} has failed:\n{why}")
            return state == "active"

        with told(f"{self.name}: waiting for {unit}"):
            retry(attempt, timeout * self.patience)

    def start_job(self, unit, user=None):
        return self.systemctl(f"start {unit}")

    def stop_job(self, unit, user=None):
        return self.systemctl(f"stop {unit}")

    # Files

    def copy_from_host(self, source, target):
        encoded = base64.b64encode(Path(source).read_bytes()).decode()
        self.succeed(f"mkdir -p $(dirname {target}); : > {target}")
        for at in range(0, len(encoded), 60000):
            part = encoded[at : at + 60000]
            self.succeed(f"echo -n {part} | base64 -d >> {target}")

    def journal(self):
        """The end of what the guest said, for a scenario that failed."""
        if not self.process:
            return "it is down\n"
        try:
            return self.execute("journalctl -b -o short-monotonic -n 40 --no-pager", timeout=20)[1]
        except Exception as error:  # It may be the guest that failed.
            return f"no journal: {error}\n"
