# SPDX-License-Identifier: Apache-2.0
"""Slots of memory alone: lent once, zero, there already, and back when their holder is gone."""
import errno
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

import lease
from daemon import MB
from harness import eventually

SLOT = {"memory": "8M", "count": 2}


def refused(code, f, *args, **kw):
    with pytest.raises(lease.Failed) as e:
        f(*args, **kw)
    assert e.value.code == code, e.value
    assert "\n" not in e.value.text and len(e.value.text) > 10
    return e.value.text


def test_lend(daemon):
    """What is lent is all there, zero, and cannot be cut short."""
    d = daemon([SLOT]).start().wait_ready(2)
    p = d.process()
    got = p.lease(owner="one", memory=8 * MB)
    assert got["memory"] == 8 * MB and len(got["id"]) == 32 and not got["function"]["address"]
    assert p.take(id=got["id"], memory=8 * MB) == {
        "memory": 8 * MB, "hugepages": False, "growth": 0, "fds": 1,
        "function": {"address": "", "pf": "", "vf": 0, "mac": "00:00:00:00:00:00"}}
    # Before it is read, which would make it present.
    assert p.present() == 8 * MB and p.is_zero()
    with pytest.raises(EOFError, match="not permitted"):
        p.resize(size=MB)
    assert [s["holder"] for s in d.slots("leased", owner="one")] == [p.pid]


def test_pattern(daemon):
    """Whatever a holder leaves behind, and in however many processes, the next finds zeroes."""
    d = daemon([{"memory": "8M"}], on_demand=0).start().wait_ready(1)
    kept = []
    try:
        for i in range(5):
            p = d.process()
            id = p.lease(owner=f"o{i}", memory=8 * MB, wait_ms=30000)["id"]
            p.take(id=id)
            assert p.is_zero()
            p.plant(pattern=f"secret {i} ")
            # This one lives on with the descriptor, and changes what it has.
            kept.append(p.fork())
            p.die()
        eventually(lambda: d.client().status()["returned"] == 5, "all came back")
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGKILL)


def test_two_owners_one_slot(daemon):
    """Many at once for few slots: as many as there are get one, each its own."""
    d = daemon([{"memory": "4M", "count": 3}], on_demand=0).start().wait_ready(3)
    processes = [d.process() for _ in range(8)]
    for i, p in enumerate(processes):
        p.begin("lease", owner=f"o{i}", memory=4 * MB)
    got = []
    for p in processes:
        try:
            got.append(p.end()["id"])
        except lease.Failed as e:
            assert e.code == errno.EAGAIN
    assert len(got) == 3 and len(set(got)) == 3
    assert len({s["lease"] for s in d.slots("leased")}) == 3


def test_waiting(daemon):
    """Who waits gets what comes back, first come, first served; who is tired goes without."""
    d = daemon([{"memory": "4M"}], on_demand=0).start().wait_ready(1)
    a, b, c = d.process(), d.process(), d.process()
    a.lease(owner="a", memory=4 * MB)
    refused(errno.EAGAIN, b.lease, owner="b", memory=4 * MB)
    refused(errno.EAGAIN, b.lease, owner="b", memory=4 * MB, wait_ms=200)
    b.begin("lease", owner="b", memory=4 * MB, wait_ms=60000)
    eventually(lambda: d.client().status()["waiting"] == 1, "it waits")
    assert d.client().status()["refused"] == 2
    c.begin("lease", owner="c", memory=4 * MB, wait_ms=60000)
    a.die()
    b.end()
    assert [s["owner"] for s in d.slots("leased")] == ["b"]
    b.die()
    c.end()
    assert [s["owner"] for s in d.slots("leased")] == ["c"]


def test_no_overtaking(daemon):
    """What comes free at the very moment of a request goes to who waited."""
    d = daemon([{"memory": "4M"}], on_demand=0).start().wait_ready(1)
    for i in range(10):
        a, b, c = d.process(), d.process(), d.process()
        for p in (a, b, c):
            p.status()
        a.lease(owner="a", memory=4 * MB)
        b.begin("lease", owner="b", memory=4 * MB, wait_ms=60000)
        eventually(lambda: d.client().status()["waiting"] == 1, "it waits")
        # The daemon finds both when it goes on.
        d.popen.send_signal(signal.SIGSTOP)
        a.die()
        c.begin("lease", owner="c", memory=4 * MB)
        time.sleep(0.1)
        d.popen.send_signal(signal.SIGCONT)
        b.end()
        refused(errno.EAGAIN, c.end)
        b.die()
        d.wait_ready(1)


def test_waiter_dies(daemon):
    """Who died waiting gets nothing, and nobody else has to wait for that."""
    d = daemon([{"memory": "4M"}], on_demand=0).start().wait_ready(1)
    a, b, c = d.process(), d.process(), d.process()
    a.lease(owner="a", memory=4 * MB)
    b.begin("lease", owner="b", memory=4 * MB, wait_ms=60000)
    eventually(lambda: d.client().status()["waiting"] == 1, "it waits")
    b.die()
    a.die()
    c.lease(owner="c", memory=4 * MB, wait_ms=60000)


def test_hold(daemon):
    """The holder's death gives it back, not the death of who leased it."""
    d = daemon([SLOT]).start().wait_ready(2)
    p, monitor = d.process(), subprocess.Popen(["sleep", "1000"])
    try:
        id = p.lease(owner="o", memory=8 * MB)["id"]
        p.take(id=id)
        p.hold(id=id, pid=monitor.pid)
        p.die()
        assert [s["holder"] for s in d.slots("leased")] == [monitor.pid]
        assert len(d.slots("ready")) == 1
    finally:
        monitor.kill()
        monitor.wait()
    d.wait_ready(2)


def test_kept(daemon):
    """A kept lease outlives its process; each new holder finds zeroes; RELEASE ends it."""
    d = daemon([SLOT]).start().wait_ready(2)
    p = d.process()
    id = p.lease(owner="pod", memory=8 * MB, kept=True)["id"]
    p.die()
    for i in range(3):
        p = d.process()
        p.take(id=id, wait_ms=30000)
        assert p.is_zero()
        p.plant(pattern="secret")
        refused(errno.EBUSY, d.client().take, id)
        p.die()
    eventually(lambda: d.slots("leased", owner="pod", holder=0), "it is clean and still leased")
    refused(errno.EEXIST, d.client().lease, "pod", memory=8 * MB, kept=True)
    d.client().release(owner="pod")
    d.client().release(owner="pod")
    d.client().release(id=id)
    d.wait_ready(2)
    refused(errno.ENOENT, d.client().take, id)


def test_released_while_held(daemon):
    """RELEASE does not take anything from who holds it."""
    d = daemon([{"memory": "4M"}], on_demand=0).start().wait_ready(1)
    p = d.process()
    id = p.lease(owner="pod", memory=4 * MB, kept=True)["id"]
    p.take(id=id)
    d.client().release(id=id)
    assert [s["holder"] for s in d.slots("leased")] == [p.pid]
    refused(errno.EAGAIN, d.client().lease, "other", memory=4 * MB)
    # The name is free again at once.
    q = d.process()
    q.begin("lease", owner="pod", memory=4 * MB, wait_ms=60000)
    p.die()
    q.end()


def test_never_taken(daemon):
    """A lease that nobody took leaves nothing to clean: same memory, ready at once."""
    d = daemon([{"memory": "4M"}], on_demand=0).start().wait_ready(1)
    for i in range(20):
        p = d.client().lease(f"o{i}", memory=4 * MB, kept=True)
        d.client().release(id=p["id"])
        assert d.slots("ready")


def test_on_demand(daemon):
    """What is not configured, or all lent, is made for who waits; up to the limit; then gone."""
    d = daemon([{"memory": "4M"}], on_demand="12M").start().wait_ready(1)
    a, b, c = d.process(), d.process(), d.process()
    a.lease(owner="a", memory=4 * MB)
    id = b.lease(owner="b", memory=8 * MB, wait_ms=30000)["id"]
    b.take(id=id)
    assert b.present() == 8 * MB and b.is_zero()
    c.lease(owner="c", memory=4 * MB, wait_ms=30000)
    assert len(d.slots("leased", on_demand=True)) == 2
    refused(errno.EAGAIN, d.client().lease, "d", memory=4 * MB, wait_ms=100)
    assert "16777216" in refused(errno.ENOENT, d.client().lease, "d", memory=16 * MB)
    for p in (a, b, c):
        p.die()
    d.wait_ready(1)
    assert len(d.slots()) == 1


def test_other_memory_at_take(daemon):
    d = daemon([{"memory": "4M"}, {"memory": "16M"}]).start().wait_ready(2)
    p = d.process()
    id = p.lease(owner="o", memory=4 * MB, kept=True)["id"]
    assert "still" in refused(errno.EAGAIN, p.take, id=id, memory=24 * MB)
    assert p.take(id=id, memory=24 * MB, wait_ms=30000)["memory"] == 24 * MB
    assert p.present() == 24 * MB and p.is_zero()
    p.die()
    d.client().release(owner="o")
    d.wait_ready(2)
    assert sorted(s["memory"] for s in d.slots()) == [4 * MB, 16 * MB]


def test_drain(daemon):
    d = daemon([SLOT, {"memory": "4M"}]).start().wait_ready(3)
    p = d.process()
    id = p.lease(owner="o", memory=8 * MB)["id"]
    p.take(id=id)
    number = d.slots("leased")[0]["number"]
    d.client().drain(str(number))
    assert d.slots("leased", drained=True)
    p.die()
    eventually(lambda: d.slots("cold", drained=True, memory=0), "it is empty")
    assert len(d.slots("ready")) == 2
    d.client().drain(None)
    eventually(lambda: len(d.slots("cold", drained=True)) == 3, "all are empty")
    assert "undrain" in refused(errno.EAGAIN, d.client().lease, "o", memory=4 * MB, wait_ms=100)
    assert d.client().status()["draining"]
    # It stays so.
    d.kill()
    d.start()
    assert len(d.slots("cold", drained=True)) == 3
    d.client().drain(None, drain=False)
    d.wait_ready(3)
    refused(errno.ENOENT, d.client().drain, "ens99")


def test_bad_requests(daemon):
    d = daemon([SLOT]).start().wait_ready(2)
    c = d.client()
    refused(errno.EINVAL, c.lease, "o")
    refused(errno.EINVAL, c.lease, "o", memory=4097)
    refused(errno.ENOENT, c.lease, "o", function=True)
    refused(errno.ENOENT, c.lease, "o", function=True, pf="ens5")
    refused(errno.ENOENT, c.lease, "o", memory=1 << 50)
    refused(errno.ENOENT, c.take, "0" * 32)
    refused(errno.ENOENT, c.hold, "0" * 32, os.getpid())
    id = c.lease("o", memory=8 * MB, kept=True)["id"]
    refused(errno.EINVAL, c.take, id, memory=4097)
    refused(errno.EINVAL, c.hold, id, os.getpid())
    refused(errno.EINVAL, c.exchange, lease.HOLD, lease.string(id))
    fd = os.open("/dev/null", os.O_RDONLY)
    refused(errno.ESRCH, c.exchange, lease.HOLD, lease.string(id), [fd])
    os.close(fd)
    c.release(owner="nobody")
    v = lease.VERSION
    for packet in (b"x", b"\0" * 3, struct.pack("<HB", v, 0), struct.pack("<HB", v, 99),
                   struct.pack("<HB", v + 1, lease.STATUS),
                   struct.pack("<HB", v, lease.STATUS) + b"x",
                   struct.pack("<HB", v, lease.LEASE) + lease.string("a\nb") + bytes(22),
                   b"\xff" * 60000):
        c = d.client()
        c.socket.send(packet)
        refused(errno.EPROTO, c.receive, lease.STATUS)
    assert d.client().status()["slots"]["ready"] == 1


def test_flood(daemon):
    """More connections than it takes, and clients that never ask, keep nobody out for long."""
    d = daemon([SLOT]).start().wait_ready(2)
    idle = []
    for _ in range(600):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.setblocking(False)
        try:
            s.connect(str(d.socket))
        except BlockingIOError:
            pass
        idle.append(s)
    for s in idle:
        s.close()

    def answers():
        try:
            return d.client().status()["slots"]["ready"] == 2
        except BlockingIOError:
            return False  # connections that nobody has any more are still in the queue
    eventually(answers, "it still answers")


def test_stranger(daemon):
    """Who is not root is not let in, unless the configuration names the user."""
    script = ("import sys, os; sys.path.insert(0, sys.argv[1]); import lease; os.setuid(65534); "
              "print(lease.Client(sys.argv[2]).status())")
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o755)
        d = daemon([SLOT], socket=f"{tmp}/socket")
        d.socket = pathlib.Path(f"{tmp}/socket")
        d.start().wait_ready(2)

        def ask():
            return subprocess.run(["/usr/bin/python3", "-c", script,
                                   os.path.dirname(lease.__file__), d.socket], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert "PermissionError" in ask().stderr
        d.socket.chmod(0o666)
        r = ask()
        assert r.returncode != 0 and "PermissionError" not in r.stderr, r.stderr
        assert "user 65534" in d.log.read_text()
        d.stop()
        d.config["clients"] = [65534]
        d.start()
        r = ask()
        assert r.returncode == 0, r.stderr


def test_config(daemon):
    for bad, word in (
            ({"slots": [{"memory": "5000"}]}, "page size"),
            ({"slots": [{"memory": "lots"}]}, "lots"),
            ({"slots": [{}]}, "neither"),
            ({"slots": [{"memory": "4M", "colour": 1}]}, "colour"),
            ({"slots": [{"pf": "nope0", "memory": "4M"}]}, "nope0"),
            ({"slots": [{"functions": ["1:2"]}]}, "1:2"),
            ({"slots": [{"functions": ["0000:00:1f.7", "0000:00:1f.7"]}]}, "twice"),
            ({"slots": [], "threads": 0}, "threads"),
            ({"slots": [], "nonsense": 0}, "nonsense"),
            ({"slots": [], "engine": "emu"}, "'emu' is not kvm or cki"),
            ({"slots": [{"memory": "4M"}], "engine": "cki"}, "huge pages alone"),
            ({"slots": {}}, "slots")):
        d = daemon([])
        d.config |= bad
        for args in ((), ("--check",)):
            r = d.run(*args)
            assert r.returncode == 1 and r.stderr.count("\n") == 1 and word in r.stderr, r.stderr
    r = daemon([SLOT]).run("--check")
    assert (r.returncode, r.stdout) == (0, "2 slots\n")


def test_engine(daemon):
    """Memory is for guests of one engine: who wants another is told so, and has nothing."""
    d = daemon([SLOT], engine="kvm").start().wait_ready(2)
    with pytest.raises(lease.Failed, match="slots are for engine kvm, not 'cki'") as e:
        d.client().lease("one", memory=8 * MB, engine="cki")
    assert e.value.code == errno.ENOENT
    p = d.process()
    id = p.lease(owner="two", memory=8 * MB, engine="kvm")["id"]
    with pytest.raises(lease.Failed, match="slots are for engine kvm, not 'cki'"):
        d.client().take(id, memory=8 * MB, engine="cki")
    assert p.take(id=id, memory=8 * MB)["memory"] == 8 * MB


def test_alone(daemon):
    """A second daemon on the same directory does not take the first one's place."""
    d = daemon([SLOT]).start().wait_ready(2)
    r = d.run()
    assert r.returncode == 1 and "another caissond" in r.stderr
    assert d.client().status()["pid"] == d.popen.pid


def test_metrics(daemon):
    d = daemon([SLOT]).start().wait_ready(2)
    d.client().lease("o", memory=8 * MB, kept=True)
    path = d.path / "metrics.prom"

    def values():
        lines = [line.rsplit(" ", 1) for line in path.read_text().splitlines()
                 if not line.startswith("#")]
        return {k: int(v) for k, v in lines}

    eventually(lambda: values()["caisson_leases_granted_total"] == 1, "it is counted")
    v = values()
    assert v['caisson_slots{state="ready",function="no"}'] == 1
    assert v['caisson_slots_memory_bytes{state="leased"}'] == 8 * MB
    d.stop()
    assert not path.exists() and not d.socket.exists()


def cpu_seconds(pid):
    user, system = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_budget(daemon):
    """What nobody waits for is filled within the CPU budget, by all threads together; what somebody waits
    for is not held up by it."""
    d = daemon([{"memory": "64M", "count": 4}], cpu=10, threads=4)
    begun = time.monotonic()
    d.start().wait_ready(4)
    took, used = time.monotonic() - begun, cpu_seconds(d.popen.pid)
    # A few hundredths are its own start.
    assert used < 0.2 * took + 0.1, f"{used} s of CPU in {took} s"
    d.stop()
    # At this pace it would be ready in half a minute.
    d = daemon([{"memory": "512M"}], cpu=1)
    d.start()
    eventually(lambda: d.slots("preparing"), "it is at work")
    p = d.process()
    p.lease(owner="o", memory=512 * MB, wait_ms=10000)
    p.die()
