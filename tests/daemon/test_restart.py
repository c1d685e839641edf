# SPDX-License-Identifier: Apache-2.0
"""The daemon dies at any step and is started again: what is lent stays lent, nothing is lent
twice, nothing is lost for good.
"""
import errno
import json
import os
import select
import socket
import subprocess
import threading

import pytest

import lease
from daemon import BUILD, MB
from harness import eventually

SLOTS = [{"memory": "4M", "count": 2}]
# Marks in daemon/, in the order in which a lease comes by.
PREPARING = ["slot-begin", "slot-memory", "slot-done"]
LENDING = ["lease-reserved", "lease-recorded", "lease-sent", "take-begun", "take-recorded", "take-sent",
           "hold-begun", "release-begun", "slot-holder-gone"]


def restored(d, held=()):
    """Started again: holders have what they had, and with them gone all is as configured."""
    d.start()
    slots = d.slots()
    for pid in held:
        assert [s["state"] for s in slots if s["holder"] == pid] == ["leased"], slots
    assert len({s["lease"] for s in slots if s["lease"]}) == sum(bool(s["lease"]) for s in slots)
    assert len(slots) == 2
    # What can be lent besides is no more than there is, and zero.
    eventually(lambda: all(s["state"] in ("ready", "leased") for s in d.slots()), "it settles")
    others = []
    for i in range(3):
        p = d.process()
        try:
            id = p.lease(owner=f"other {i}", memory=4 * MB)["id"]
        except lease.Failed as e:
            assert e.code == errno.EAGAIN
            continue
        p.take(id=id)
        assert p.is_zero()
        others.append(p)
    assert len(others) + len({s["lease"] for s in slots if s["lease"]}) == 2
    for p in others:
        p.die()


def wound_up(d, owner="o"):
    for p in d.processes:
        p.die()
    d.client().release(owner=owner)
    d.wait_ready(2)
    d.stop()


@pytest.mark.parametrize("step", PREPARING)
def test_killed_preparing(daemon, step):
    d = daemon(SLOTS, on_demand=0).spawn(CAISSON_STOP_AT=step)
    eventually(d.stopped, "it stops")
    d.kill()
    restored(d)
    wound_up(d)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("step", LENDING)
def test_killed_lending(daemon, step, kept):
    """A whole life of a lease, in which the daemon dies at one step."""
    d = daemon(SLOTS, on_demand=0).start(CAISSON_STOP_AT=step).wait_ready(2)
    p, monitor = d.process(), subprocess.Popen(["sleep", "1000"])
    requests = [("lease", {"owner": "o", "memory": 4 * MB, "kept": kept}), ("take", {}),
                ("plant", {"pattern": "secret"}), ("hold", {"pid": monitor.pid}), ("release", {})]
    id, taken, holder = None, False, None
    try:
        for name, kw in requests:
            if name in ("take", "hold", "release"):
                kw["id"] = id
            p.begin(name, **kw)
            done = threading.Event()
            eventually(lambda: d.stopped() or ready_to_read(p), f"{name} or its stop")
            if d.stopped():
                # What was sent before it died has arrived.
                d.kill()
                done.set()
            try:
                answer = p.end()
            except EOFError:
                answer = None
            if answer is not None and name == "lease":
                id = answer["id"]
            taken = taken or (name == "take" and answer is not None)
            if name == "take" and taken:
                holder = p.pid
            if name == "hold" and not done.is_set():
                holder = monitor.pid
            if done.is_set():
                break
        else:
            assert step == "slot-holder-gone"
            monitor.kill()
            monitor.wait()
            eventually(d.stopped, "it stops")
            d.kill()
            holder = None
        # Of a HOLD that was not answered either may be on record; both live.
        if step == "hold-begun":
            d.start()
            assert [s["holder"] in (p.pid, monitor.pid) for s in d.slots("leased")] == [True]
            d.kill()
            holder = None
        restored(d, [holder] if holder else [])
        # What was granted is on record.
        if step in ("lease-sent", "take-begun", "take-recorded", "take-sent"):
            assert id and [s["lease"] for s in d.slots(owner="o")] == [id]
        if taken and step != "slot-holder-gone":
            assert not p.is_zero() or step == "take-sent"
    finally:
        monitor.kill()
        monitor.wait()
    wound_up(d)


def ready_to_read(p):
    return select.select([p.popen.stdout], [], [], 0)[0]


def test_everybody_dies(daemon):
    """Daemon and holder die, in this order and in the other: the slot comes back."""
    d = daemon(SLOTS, on_demand=0).start().wait_ready(2)
    for kept in (False, True):
        p = d.process()
        p.take(id=p.lease(owner="o", memory=4 * MB, kept=kept)["id"])
        d.kill()
        p.die()
        d.start()
        if kept:
            eventually(lambda: d.slots("leased", owner="o", holder=0), "it is clean")
            d.client().release(owner="o")
        d.wait_ready(2)


def test_pid_of_another(daemon):
    """A holder is known by its start, not only by its pid."""
    d = daemon(SLOTS, on_demand=0).start().wait_ready(2)
    p = d.process()
    p.take(id=p.lease(owner="o", memory=4 * MB)["id"])
    d.kill()
    text = d.state_file.read_text()
    start = [line for line in text.splitlines() if "holderStart" in line][0]
    d.state_file.write_text(text.replace(start, '"holderStart": 1'))
    d.start().wait_ready(2)


def test_another_boot(daemon):
    d = daemon(SLOTS, on_demand=0).start().wait_ready(2)
    p = d.process()
    p.take(id=p.lease(owner="o", memory=4 * MB)["id"])
    d.kill()
    text = d.state_file.read_text()
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    assert boot in text
    d.state_file.write_text(text.replace(boot, "another"))
    d.start().wait_ready(2)


def test_damaged(daemon):
    d = daemon(SLOTS).start().wait_ready(2)
    d.kill()
    d.state_file.write_text("{")
    r = d.run()
    assert r.returncode == 1 and "state.json" in r.stderr and r.stderr.count("\n") == 1


def test_configuration_changed(daemon):
    """What is lent and no longer configured stays lent, and is gone when it comes back."""
    d = daemon(SLOTS, on_demand=0).start().wait_ready(2)
    p, q = d.process(), d.process()
    for x in (p, q):
        x.take(id=x.lease(owner=str(x.pid), memory=4 * MB)["id"])
    d.stop()
    d.config["slots"] = [{"memory": "8M"}]
    d.start().wait_ready(1)
    assert len(d.slots("leased", on_demand=True)) == 2
    p.die()
    q.die()
    eventually(lambda: [s["memory"] for s in d.slots()] == [8 * MB], "the old ones are gone")


class Systemd:
    """systemd's part of FDSTORE: keeps descriptors by name, hands them to the next."""

    def __init__(self, path, forgetful=False):
        self.path, self.forgetful = str(path), forgetful
        self.store, self.ready = [], 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            text, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            lines = text.decode().split("\n")
            name = [x[7:] for x in lines if x.startswith("FDNAME=")]
            if "READY=1" in lines:
                self.ready += 1
            elif "FDSTORE=1" in lines:
                self.store += [(name[0], fd) for fd in fds]
            elif "FDSTOREREMOVE=1" in lines and not self.forgetful:
                for n, fd in [x for x in self.store if x[0] == name[0]]:
                    os.close(fd)
                    self.store.remove((n, fd))

    def inodes(self):
        return {os.fstat(fd).st_ino for _, fd in list(self.store)}

    def start(self, d):
        """The daemon, with the store's descriptors from 3 on."""
        fds = [fd for _, fd in self.store]
        pairs = "".join(f"exec {3 + i}<&{100 + i} {100 + i}<&-; " for i in range(len(fds)))
        # Numbers from 100 first: 3 and up may be among the sources.
        copies = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
        (d.path / "slots.json").write_text(json.dumps(d.config))
        before = self.ready
        d.popen = subprocess.Popen(
            ["bash", "-c", pairs + 'LISTEN_PID=$$ exec "$0" "$@"', BUILD / "caissond", "--config",
             d.path / "slots.json"],
            pass_fds=copies, stdin=subprocess.DEVNULL, stdout=d.log.open("a"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "NOTIFY_SOCKET": self.path, "LISTEN_FDS": str(len(fds)),
                 "LISTEN_FDNAMES": ":".join(n for n, _ in self.store)})
        for fd in copies:
            os.close(fd)
        eventually(lambda: self.ready > before, "it says that it is ready")
        return d


def test_store(daemon, tmp_path):
    """Memory that systemd kept is the same memory afterwards, and nothing is prepared anew."""
    systemd, d = Systemd(tmp_path / "notify"), daemon(SLOTS, on_demand=0)
    systemd.start(d).wait_ready(2)
    eventually(lambda: len(systemd.store) == 2, "it keeps two")
    before = systemd.inodes()
    d.kill()
    systemd.start(d)
    assert d.client().status()["slots"]["ready"] == 2
    assert systemd.inodes() == before
    p = d.process()
    p.take(id=p.lease(owner="o", memory=4 * MB)["id"])
    assert p.is_zero()
    eventually(lambda: len(systemd.store) == 1, "what is handed out is not kept")
    p.die()
    d.wait_ready(2)
    eventually(lambda: len(systemd.store) == 2, "it keeps two")


def test_store_is_forgetful(daemon, tmp_path):
    """A descriptor of memory that was handed out is not taken for clean, though systemd has it."""
    systemd, d = Systemd(tmp_path / "notify", forgetful=True), daemon(SLOTS, on_demand=0)
    systemd.start(d).wait_ready(2)
    for i in range(2):
        eventually(lambda: len(systemd.store) >= 2, "it keeps them")
        holders = [d.process() for _ in range(2)]
        for p in holders:
            p.take(id=p.lease(owner=str(p.pid), memory=4 * MB, wait_ms=30000)["id"])
            assert p.is_zero()
            p.plant(pattern="secret")
        d.kill()
        for p in holders:
            p.die()
        systemd.start(d).wait_ready(2)


def test_store_names(daemon, tmp_path):
    """Descriptors of other names, sizes and kinds are not taken for slots."""
    systemd, d = Systemd(tmp_path / "notify"), daemon(SLOTS, on_demand=0)
    systemd.start(d).wait_ready(2)
    eventually(lambda: len(systemd.store) == 2, "it keeps two")
    d.kill()
    (name, fd), (other, _) = systemd.store
    small = os.memfd_create("small")
    os.ftruncate(small, 4096)
    os.dup2(small, fd)
    systemd.store += [("slot-7-0123456789abcdef-m", os.dup(small)), ("", os.dup(small))]
    before = systemd.inodes()
    systemd.start(d).wait_ready(2)
    eventually(lambda: len(systemd.store) >= 2 and name not in [n for n, _ in systemd.store],
               "the small one is gone")
    for i in range(2):
        p = d.process()
        assert p.take(id=p.lease(owner=f"o{i}", memory=4 * MB)["id"])["memory"] == 4 * MB
        assert p.is_zero()
    assert before != systemd.inodes()
