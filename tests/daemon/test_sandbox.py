# SPDX-License-Identifier: Apache-2.0
"""Sandboxes on lent slots: `lab/lab test kvm daemon`.  What does not take a guest runs anywhere."""
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from daemon import BUILD
from harness import eventually
from sandbox import MEMORY, Sandbox

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

def has_kvm():
    r = subprocess.run([BUILD / "caisson", "doctor"], stdout=subprocess.PIPE, text=True)
    return any(line.split()[:2] == ["ok", "kvm"] for line in r.stdout.splitlines() if line.strip())


@pytest.fixture(scope="session")
def kvm():
    if not has_kvm():
        pytest.skip("hardware: no KVM")


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    return harness.make_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
def sandbox(tmp_path, rootfs):
    made = []

    def make(d, id="box", **settings):
        made.append(Sandbox(tmp_path, rootfs, d, id, **settings))
        return made[-1]

    yield make
    for s in made:
        s.caisson("delete", "--force", s.id)


def refused(s, word):
    r = s.create(check=False)
    assert r.returncode == 1 and r.stderr.count("\n") == 1 and word in r.stderr, r.stderr


@pytest.mark.parametrize("engine", ["emu", "kvm"])
def test_asked_for_and_not_there(daemon, sandbox, engine):
    """Without caissond, or on an engine that cannot use it, what was asked for is refused."""
    d = daemon([{"memory": MEMORY}])
    if engine == "kvm" and not has_kvm():
        pytest.skip("hardware: no KVM")
    for wish in ("memory", "function"):
        refused(sandbox(d, wish, slots=wish, engine=engine),
                "caissond is not running" if engine == "kvm" else "cannot use")
    refused(sandbox(d, "wish", slots="perhaps", engine=engine), "perhaps")


def test_memory(daemon, sandbox, kvm):
    """A sandbox whose RAM is a slot's; when it is gone the slot comes back."""
    d = daemon([{"memory": MEMORY}], on_demand=0).start().wait_ready(1)
    for i in range(3):
        s = sandbox(d, f"box{i}", engine="kvm").up()
        slot, = d.slots("leased")
        assert slot["holder"] == s.state()["monitor"]["pid"] and slot["lease"] == s.state()["lease"]
        assert "hello" in s.sh("dd if=/dev/zero of=/tmp/x bs=1M count=40 2>/dev/null; echo hello")
        s.delete()
        d.wait_ready(1)
    assert d.client().status()["returned"] == 3


def test_none_is_ready(daemon, sandbox, kvm):
    """Unasked, a sandbox takes what is ready and else its own; asked for, it waits, or fails."""
    d = daemon([{"memory": MEMORY}], on_demand=0).start().wait_ready(1)
    a = sandbox(d, "a", engine="kvm").up()
    b = sandbox(d, "b", engine="kvm").up()
    assert len(d.slots("leased")) == 1 and "lease" in a.state() and "lease" not in b.state()
    refused(sandbox(d, "c", engine="kvm", slots="memory", slots_wait=1), "free")
    refused(sandbox(d, "f", engine="kvm", slots="function", slots_wait=1), "no function")
    n = sandbox(d, "n", engine="kvm", slots="no")
    a.delete()
    d.wait_ready(1)
    n.up()
    assert d.slots("ready")


def test_starts_small(daemon, sandbox, kvm):
    """A sandbox that begins with a part of its memory has all of it soon, and uses it."""
    d = daemon([{"memory": "128M"}], on_demand="256M").start().wait_ready(1)
    s = sandbox(d, engine="kvm", slots="memory", memory="384M", memory_start="128M").up()
    slot, = d.slots("leased")
    assert (slot["memory"], slot["growth"]) == (128 << 20, 256 << 20)
    eventually(lambda: s.total() > 330, "it has grown")
    assert "hello" in s.sh("dd if=/dev/zero of=/tmp/x bs=1M count=180 2>/dev/null && echo hello")
    s.delete()
    d.wait_ready(1)
    refused(sandbox(d, "odd", engine="kvm", slots="memory", memory="384M", memory_start="100M"),
            "memory_start")


@pytest.mark.parametrize("who", ["monitor", "command"])
def test_killed(daemon, sandbox, kvm, who):
    """However the sandbox or its making ends, the slot comes back by itself."""
    d = daemon([{"memory": MEMORY}], on_demand=0).start().wait_ready(1)
    s = sandbox(d, engine="kvm")
    if who == "monitor":
        s.up()
        os.kill(s.state()["monitor"]["pid"], signal.SIGKILL)
    else:
        p = s.caisson.popen("create", "--bundle", s.bundle.path, s.id,
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL,
                            env={**os.environ, "CAISSON_STOP_AT": "spawned"})
        eventually(lambda: d.slots("leased") and d.slots("leased")[0]["holder"] != p.pid,
                   "the monitor holds it")
        p.kill()
        p.wait()
    d.wait_ready(1)


def test_daemon_restarts(daemon, sandbox, kvm):
    """A sandbox does not notice that the daemon died and came back; nor is its slot lost."""
    d = daemon([{"memory": MEMORY}], on_demand=0).start().wait_ready(1)
    s = sandbox(d, engine="kvm").up()
    d.kill()
    assert s.sh("echo $((6*7))") == "42\n"
    d.start()
    assert d.slots("leased")[0]["holder"] == s.state()["monitor"]["pid"]
    assert s.sh("echo $((6*7))") == "42\n"
    d.kill()
    s.delete()
    d.start().wait_ready(1)
