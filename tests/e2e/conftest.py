# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests, and the check after every test that nothing of ours
is left: processes, mounts, network devices, cgroups, state.

    CAISSON_BUILD        the build under test (tests/harness.py)
    CAISSON_TEST_ENGINE  the engine that sandboxes get (tests/harness.py); with cki, in a host of the lab,
                         its module is loaded before, and must be as if new when it is unloaded after
    STRICT=1             a test that would be skipped fails
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from support import (PEER, TAG, Box, Caisson, Netns, descendants, engine, isolate,
                     make_rootfs, missing, reap_all)
from kernel_module import counter, engine_module  # after support, which finds the tests' own

SETTLE = 10  # seconds that something killed may take to be gone


@pytest.fixture(scope="session", autouse=True)
def isolated():
    if os.geteuid() != 0:
        missing("not root: a runtime's tests need to be")
    # Under nohup what is run here would leave SIGHUP ignored, as it should, and the tests that send it fail.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    isolate()


@pytest.fixture(scope="session", autouse=True)
def module(isolated):
    with engine_module():
        yield


@pytest.fixture(scope="session")
def work(module):
    """A directory for everything of this test process; removed at its end."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=TAG + "-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def rootfs(work):
    """The busybox root file system that tests share and do not change."""
    return make_rootfs(work / "rootfs")


@pytest.fixture(scope="session")
def cache(work):
    return work / "cache"


def new_caisson(work, cache, **settings):
    path = pathlib.Path(tempfile.mkdtemp(dir=work, prefix="c"))
    return Caisson(path, **{"cache": str(cache), "memory": "192M", **settings})


@pytest.fixture
def caisson(work, cache):
    """The command with a state directory of the test's own."""
    return new_caisson(work, cache)


@pytest.fixture
def box(caisson, rootfs, no_leaks, netns):
    """Makes containers (see Box); those still there at the end are deleted by force (before the
    namespaces of netns go).
    """
    made = []

    def make(args=("sleep", "1000000"), edit=None, **kw):
        b = Box(kw.get("caisson", caisson), kw.get("path", caisson.path), kw.get("rootfs", rootfs),
                args, edit)
        made.append(b)
        return b

    yield make
    for b in made:
        b.delete("--force")


@pytest.fixture(scope="module")
def shared_box(work, cache, rootfs):
    """A running container for all tests of a module: for commands that leave it as it was."""
    c = new_caisson(work, cache)
    b = Box(c, c.path, rootfs)
    b.up()
    yield b
    b.delete("--force")
    assert not os.listdir(c.root)


@pytest.fixture
def netns(no_leaks):
    """Makes network namespaces (see Netns), which must be as before at the end."""
    made = []

    def make():
        made.append(Netns(len(made) + 1))
        return made[-1]

    yield make
    for n in made:
        n.remove()


def cgroups():
    found = set()
    for hierarchy in ("/sys/fs/cgroup", *map(str, pathlib.Path("/sys/fs/cgroup").glob("*/"))):
        found |= {str(p) for p in pathlib.Path(hierarchy).glob(TAG + "*")}
    return found


def state_dirs(work):
    return {str(p) for p in work.glob("c*/root/*")}


def caches(work):
    return {str(p) for p in work.glob("**/cache/*") if p.suffix != ".erofs"}


def held(work):
    """What this process and its children hold of the machine, by kind; without the network
    namespaces that tests make (Netns.remove() sees that they go).
    """
    links = subprocess.run(["ip", "-o", "link"], check=True, stdout=subprocess.PIPE, text=True)
    return {
        "process": {repr(p).rsplit(" ", 1)[0] for p in descendants().values()
                    if p.name != "ip"},
        "mount": {line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                  if " /run/netns" not in line},
        "link": {line.split(":")[1] for line in links.stdout.splitlines()
                 if f" {PEER}" not in line},
        "cgroup": cgroups(),
        "state": state_dirs(work),
        "cache": caches(work),
        "ring 1": set(range(counter("sandbox_live")) if engine() == "cki" else ()),
    }


def leaked(before, work):
    return {kind: sorted(now - before[kind]) for kind, now in held(work).items()
            if now - before[kind]}


@pytest.fixture(autouse=True)
def no_leaks(work):
    """After each test: no process, mount, network device, cgroup or file more than before.
    A test that wants to know earlier calls it.
    """
    before = held(work)

    def check():
        until = time.monotonic() + SETTLE
        while leaked(before, work) and time.monotonic() < until:
            time.sleep(0.1)
        assert not leaked(before, work)

    yield check
    reap_all()
    check()
