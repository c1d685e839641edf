# SPDX-License-Identifier: Apache-2.0
"""The cki engine's module, and what the kernel says.  Only in a host of the lab is it loaded."""
import contextlib
import os
import pathlib
import re
import subprocess
import time

from harness import BUILD, engine

MODULE = pathlib.Path(os.environ.get("CAISSON_MODULE") or BUILD / "caisson.ko")
DEBUGFS = pathlib.Path("/sys/kernel/debug")


def is_lab():
    return "systemd.unit=lab.target" in pathlib.Path("/proc/cmdline").read_text()


def dmesg():
    return subprocess.run(["dmesg", "--notime"], stdout=subprocess.PIPE, text=True, check=True).stdout


# What a slow emulator makes a kernel say: nothing to do with the module.
SLOW = "hrtimer: interrupt took "
# What a kernel in distress says, or our module at all.
BAD_NEWS = re.compile("caisson:|BUG|WARNING|Oops|general protection|lockup|blocked for|rcu:|refcount")


class Said:
    """What the host's kernel says from here on; its buffer may be full of older things."""

    def __init__(self):
        self.mark = f"tests: {time.monotonic_ns()}\n"
        pathlib.Path("/dev/kmsg").write_text(self.mark)

    def text(self):
        lines = dmesg().partition(self.mark)[2].splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(SLOW))

    def bad_news(self):
        return [line for line in self.text().splitlines() if BAD_NEWS.search(line)]


def has_pks():
    """CPUID 7.0:ECX[31]; Linux has no name for it."""
    text = pathlib.Path("/dev/cpu/0/cpuid")
    if not text.exists():
        subprocess.run(["modprobe", "cpuid"], check=True)
    with open(text, "rb") as f:
        return bool(os.pread(f.fileno(), 16, 7)[11] & 0x80)


class Module:
    path = MODULE

    def loaded(self):
        return "\ncaisson " in "\n" + pathlib.Path("/proc/modules").read_text()

    def load(self, *parameters):
        return subprocess.run(["insmod", MODULE, *parameters], stderr=subprocess.PIPE, text=True)

    def unload(self):
        return subprocess.run(["rmmod", "caisson"], stderr=subprocess.PIPE, text=True)

    def gate(self):
        return pathlib.Path("/sys/module/caisson/parameters/gate").read_text().strip()

    def messages(self, action):
        """What the kernel says meanwhile."""
        said = Said()
        action()
        return said.text()


def counter(name):
    """Of the module, over all sandboxes of the machine."""
    if not (DEBUGFS / "caisson").exists():      # hosts of the lab come without
        subprocess.run(["mount", "-t", "debugfs", "debugfs", DEBUGFS], check=True)
    return int((DEBUGFS / "caisson" / name).read_text())


@contextlib.contextmanager
def engine_module():
    """Engine cki: whatever tests do to sandboxes meanwhile, the module holds nothing at the end, can go,
    and nobody in the host's kernel has said anything.  Other engines: nothing."""
    if engine() != "cki":
        yield
        return
    if not is_lab():
        import pytest  # the benchmarks, which use this file, do without
        pytest.skip("hardware: not a host of the lab, where the module can be loaded")
    m = Module()
    if not m.loaded():
        r = m.load()
        assert r.returncode == 0, r.stderr
    said, kills = Said(), counter("kill")
    yield
    live, killed = counter("sandbox_live"), counter("kill") - kills
    r = m.unload()
    assert (live, r.returncode) == (0, 0), r.stderr
    assert killed == 0, "the module ended a sandbox by itself"
    assert not said.bad_news()
