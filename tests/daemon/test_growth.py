# SPDX-License-Identifier: Apache-2.0
"""Memory that begins small and grows while it is used: what is told of is there and zero, and who dies in
between leaves nothing behind."""
import errno
import os
import signal

import pytest

import lease
from daemon import MB, eventually

STEP = 128 * MB
SLOT = {"memory": "8M"}
FULL = 8 * MB + 2 * STEP


def taken(d, growth=2 * STEP, owner="one"):
    p = d.process()
    id = p.lease(owner=owner, memory=8 * MB, wait_ms=60000)["id"]
    got = p.take(id=id, memory=8 * MB, max=8 * MB + growth)
    assert (got["memory"], got["growth"]) == (8 * MB, growth)
    return p


def test_grows(daemon):
    """Step by step, each there when it is told of; all of it is zero, of one size, and accounted."""
    d = daemon([SLOT], on_demand="256M").start().wait_ready(1)
    for _ in range(2):
        p = taken(d)
        assert p.size() == FULL
        for step in (1, 2):
            assert p.grown() == step * STEP
            assert p.present() >= 8 * MB + step * STEP
        assert p.grown() == 0
        assert p.present() == FULL and p.is_zero()
        with pytest.raises(EOFError, match="not permitted"):
            p.resize(size=FULL + MB)
        slot, = d.slots("leased")
        assert (slot["memory"], slot["growth"]) == (8 * MB, 2 * STEP)
        p.plant(pattern="secret")
        p.die()
        d.wait_ready(1)
        assert d.slots()[0]["growth"] == 0


def test_refused(daemon):
    """More than may be made, or in steps that cannot be, is refused with a sentence; the lease is as it
    was."""
    d = daemon([SLOT, SLOT], on_demand="256M").start().wait_ready(2)
    p = d.process()
    id = p.lease(owner="o", memory=8 * MB)["id"]
    for most, code in ((8 * MB + 3 * STEP, errno.EAGAIN), (16 * MB, errno.EINVAL)):
        with pytest.raises(lease.Failed) as e:
            p.take(id=id, memory=8 * MB, max=most)
        assert e.value.code == code and len(e.value.text) > 40, e.value
    assert p.take(id=id, memory=8 * MB)["memory"] == 8 * MB and p.present() == p.size() == 8 * MB
    # Of the limit, what somebody has is not there for others.
    q = taken(d, STEP, "q")
    p.die()
    d.wait_ready(1)
    p = d.process()
    id = p.lease(owner="p", memory=8 * MB)["id"]
    with pytest.raises(lease.Failed, match="134217728 are left"):
        p.take(id=id, memory=8 * MB, max=FULL)
    q.die()
    eventually(lambda: len(d.slots("ready")) == 1, "it is back")
    assert p.take(id=id, memory=8 * MB, max=FULL)["growth"] == 2 * STEP


STEPS = ["growth-filled", "growth-mapped", "growth-told"]


@pytest.mark.parametrize("step", STEPS)
def test_holder_dies(daemon, step):
    """While it grows: the slot comes back, with what it had at first."""
    d = daemon([SLOT], on_demand="256M").start(CAISSON_STOP_AT=step).wait_ready(1)
    p = d.process()
    id = p.lease(owner="o", memory=8 * MB)["id"]
    p.take(id=id, memory=8 * MB, max=FULL)
    eventually(d.stopped, f"it stops at {step}")
    p.die()
    while d.stopped():
        d.popen.send_signal(signal.SIGCONT)
        try:
            eventually(d.stopped, "it stops again", 2)
        except AssertionError:
            pass
    d.wait_ready(1)
    assert d.client().status()["returned"] == 1
    assert d.slots()[0]["memory"] == 8 * MB


@pytest.mark.parametrize("step", ["take-recorded", *STEPS])
def test_daemon_dies(daemon, step):
    """While it grows: the holder keeps what it has and learns that no more comes; the next daemon knows of
    it, and has the slot back when the holder goes."""
    d = daemon([SLOT], on_demand="256M").start(CAISSON_STOP_AT=step).wait_ready(1)
    p = d.process()
    id = p.lease(owner="o", memory=8 * MB)["id"]
    p.begin("take", id=id, memory=8 * MB, max=FULL)
    eventually(d.stopped, f"it stops at {step}")
    d.kill()
    if step == "take-recorded":
        with pytest.raises(EOFError):
            p.end()
    else:
        assert p.end()["growth"] == 2 * STEP
        told = [p.grown()]
        while told[-1]:
            told.append(p.grown())
        assert told == ([STEP, 0] if step == "growth-told" else [0])
        assert p.is_zero()
    d.start()
    slot, = d.slots("leased")
    assert (slot["holder"], slot["growth"]) == (p.pid, 2 * STEP)
    q = d.process()
    with pytest.raises(lease.Failed):
        q.lease(owner="q", memory=8 * MB)
    p.die()
    d.wait_ready(1)
    taken(d).die()
    d.wait_ready(1)


def test_reader_gone(daemon):
    """A holder that closes its end stops what it does not want, and nothing else."""
    d = daemon([SLOT], on_demand="256M").start(CAISSON_STOP_AT="growth-mapped").wait_ready(1)
    p = d.process()
    id = p.lease(owner="o", memory=8 * MB)["id"]
    p.take(id=id, memory=8 * MB, max=FULL)
    p.close_growth()
    eventually(d.stopped, "it stops")
    os.kill(d.popen.pid, signal.SIGCONT)
    eventually(lambda: "grows no more" in d.log.read_text(), "it says so")
    assert d.slots("leased")
    p.die()
    d.wait_ready(1)
