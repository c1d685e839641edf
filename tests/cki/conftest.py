# SPDX-License-Identifier: Apache-2.0
"""The module, loaded for the tests.  Only in a host of the lab: nothing is loaded into other machines."""
import os
import pathlib
import subprocess
import time

import pytest

BUILD = pathlib.Path(os.environ["CAISSON_BUILD"])
MODULE = pathlib.Path(os.environ.get("CAISSON_MODULE") or BUILD / "caisson.ko")


def is_lab():
    return "systemd.unit=lab.target" in pathlib.Path("/proc/cmdline").read_text()


def dmesg():
    return subprocess.run(["dmesg", "--notime"], stdout=subprocess.PIPE, text=True, check=True).stdout


# What a slow emulator makes a kernel say: nothing to do with the module.
SLOW = "hrtimer: interrupt took "


class Said:
    """What the host's kernel says from here on; its buffer may be full of older things."""

    def __init__(self):
        self.mark = f"tests: {time.monotonic_ns()}\n"
        pathlib.Path("/dev/kmsg").write_text(self.mark)

    def text(self):
        lines = dmesg().partition(self.mark)[2].splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(SLOW))


class Module:
    path = MODULE

    def loaded(self):
        return "\ncaisson " in "\n" + pathlib.Path("/proc/modules").read_text()

    def load(self, *parameters):
        return subprocess.run(["insmod", MODULE, *parameters], stderr=subprocess.PIPE, text=True)

    def unload(self):
        return subprocess.run(["rmmod", "caisson"], stderr=subprocess.PIPE, text=True)

    def messages(self, action):
        """What the kernel says meanwhile."""
        said = Said()
        action()
        return said.text()


@pytest.fixture
def unloaded():
    if not is_lab():
        pytest.skip("hardware: not a host of the lab (lab/lab test cki)")
    if not MODULE.exists():
        pytest.fail(f"{MODULE} is missing: make kmod", pytrace=False)
    m = Module()
    if m.loaded():
        assert m.unload().returncode == 0
    return m


@pytest.fixture
def module(unloaded):
    r = unloaded.load()
    assert r.returncode == 0, r.stderr + dmesg()[-1000:]
    yield unloaded
    r = unloaded.unload()
    assert r.returncode == 0, r.stderr
