# SPDX-License-Identifier: Apache-2.0
"""A container's lock: one command at a time works on it, and nobody waits for ever."""
import fcntl
import os
import subprocess
import sys
import time

import pytest

from support import BOUND, alive, assert_sentence

# As a command that hangs: it holds the lock, and says so in it.
HOLDER = """
import fcntl, os, sys, time
f = open(sys.argv[1], "r+")
fcntl.flock(f, fcntl.LOCK_EX)
f.truncate(0)
f.write(sys.argv[2] or f"{os.getpid()} " + open("/proc/self/stat").read().rsplit(")")[1].split()[19])
f.flush()
print("held", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def held(box):
    """Makes a created container whose lock is held, and the process that holds it."""
    holders = []

    def make(signature=""):
        b = box()
        b.create()
        lock = b.caisson.root / b.id / "lock"
        p = subprocess.Popen([sys.executable, "-c", HOLDER, lock, signature],
                             stdout=subprocess.PIPE, text=True)
        holders.append(p)
        assert p.stdout.readline() == "held\n"
        return b, p

    yield make
    for p in holders:
        p.kill()
        p.wait()


def bounded(b, *args):
    begun = time.monotonic()
    r = b.caisson(*args, timeout=BOUND)
    assert time.monotonic() - begun < BOUND
    return r


def test_commands_give_up(held):
    """Each in one sentence that names who has it; afterwards all is as it was."""
    b, holder = held()
    for args in (["start", b.id], ["delete", b.id]):
        assert_sentence(bounded(b, *args), f"pid {holder.pid}", "at work")
    assert b.status() == "created"
    holder.kill()
    holder.wait()
    b.start()
    assert b.status() == "running"


def test_force_ends_the_holder(held):
    """`delete --force` kills a command that hangs."""
    b, holder = held()
    assert bounded(b, "delete", "--force", b.id).stderr == ""
    assert holder.wait(BOUND) == -9
    assert b.status() is None


def test_force_gives_up(held):
    """Whoever cannot be killed, as one that never signed the lock, is not waited for for ever."""
    b, holder = held("0 0")
    assert_sentence(bounded(b, "delete", "--force", b.id), "cannot be killed")
    assert alive(holder.pid)
    assert b.status() == "created"


def test_a_reader_does_not_wait(held):
    """What only looks needs no lock."""
    b, holder = held()
    assert b.status() == "created"
    assert b.id in b.caisson("list", check=True).stdout
    assert b.kill("KILL").returncode == 0
    assert alive(holder.pid)


def test_a_broken_signature_kills_nobody(held):
    """The lock is a file: what is in it is not believed further than it can be checked."""
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        b, _ = held(f"{victim.pid} 1")
        assert_sentence(bounded(b, "delete", "--force", b.id), "cannot be killed")
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
    with open(b.caisson.root / b.id / "lock") as f, pytest.raises(BlockingIOError):
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert os.path.exists(b.caisson.root / b.id / "state.json")
