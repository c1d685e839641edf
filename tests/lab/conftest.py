# SPDX-License-Identifier: Apache-2.0
"""Hosts of the lab for its tests, with a state directory of the tests' own.  A host is booted once
for all tests that use it.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

LAB = harness.TOP / "lab/lab"
# An emulated machine on a machine that does other things, too.
BOOT, COMMAND = 300, 120


class Lab:
    """The command.  Calling it runs `lab ARGS`."""

    def __init__(self, state, build):
        self.state, self.build = state, build
        self.environment = {**os.environ, "CAISSON_LAB_STATE": str(state), "BUILD": str(build),
                            "TMPDIR": str(state.parent)}

    def popen(self, *args, **kw):
        kw = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **kw}
        return subprocess.Popen([LAB, *map(str, args)], env=self.environment,
                                stderr=subprocess.PIPE, **kw)

    def __call__(self, *args, check=True, timeout=COMMAND, **kw):
        kw.setdefault("stdin", None if "input" in kw else subprocess.DEVNULL)
        kw.setdefault("text", True)
        r = subprocess.run([LAB, *map(str, args)], env=self.environment, timeout=timeout,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
        assert not check or r.returncode == 0, f"lab {args}: {r.returncode}: {r.stderr}"
        return r

    def sh(self, host, script, **kw):
        """What the script prints in a host that runs."""
        return self("run", host, "sh", "-ec", script, **kw).stdout

    def processes(self):
        """Those with our state directory in their command line, or in it."""
        found = harness.processes(str(self.state))
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(p / "cwd").startswith(str(self.state)):
                    found[int(p.name)] = (p / "comm").read_text().strip()
            except OSError:
                pass
        return found


@pytest.fixture(scope="session")
def lab():
    if os.geteuid() != 0:
        harness.missing("not root: the lab's image can only be made by root")
    top = pathlib.Path(tempfile.mkdtemp(prefix="caisson-lab-"))
    (top / "build").mkdir()
    lab = Lab(top / "state", top / "build")
    try:
        lab("root", timeout=1800)   # the image, so that boots are only boots
        yield lab
        lab("stop", "--all")
        assert not lab.processes()
    finally:
        lab("stop", "--all", check=False)
        shutil.rmtree(top)


def boot(lab, *hosts):
    """The hosts boot at the same time; a command for one that still boots waits for it."""
    started = {host: lab.popen("boot", host) for host in hosts}
    until = time.monotonic() + BOOT
    while not all((lab.state / host / "monitor").exists() for host in hosts):
        assert time.monotonic() < until, "QEMU does not start"
        time.sleep(0.1)
    waiting = lab.popen("run", hosts[0], "hostname")
    for host, process in started.items():
        error = process.communicate(timeout=BOOT)[1].decode()
        assert process.returncode == 0, f"{host}: {error}"
    assert waiting.communicate(timeout=COMMAND) == (hosts[0].encode() + b"\n", b"")


@pytest.fixture(scope="session")
def hosts(lab):
    """kvm and cki, side by side."""
    boot(lab, "kvm", "cki")
    yield lab
    lab("stop", "kvm", "cki", check=False)


@pytest.fixture(scope="session")
def sriov(lab):
    boot(lab, "sriov")
    yield lab
    lab("stop", "sriov", check=False)
