# SPDX-License-Identifier: Apache-2.0
"""caissond with functions of the host's (docs/slots.md): `lab/lab test sriov passthrough`."""
import errno
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import functions

# After this suite's own: both have a conftest.
sys.path += [str(pathlib.Path(__file__).resolve().parent.parent / x) for x in ("daemon", ".")]
import daemon as slots  # noqa: E402
import harness  # noqa: E402
import lease  # noqa: E402
from daemon import MB  # noqa: E402
from harness import eventually  # noqa: E402
from sandbox import MEMORY, Sandbox  # noqa: E402

PCI = functions.PCI
# 82576 datasheet, 8.10.9 (in a virtual function: the first of its queues): a reset stops it.
RXDCTL, ENABLE = 0x2828, 1 << 25


@pytest.fixture
def daemon(cards, tmp_path):
    """Makes daemons; afterwards the functions are as other tests expect them."""
    made = []

    def make(slots_, **config):
        made.append(slots.Daemon(tmp_path / f"d{len(made)}", slots=slots_, return_ms=1500,
                                 hugepages=True, engine=lease.ENGINE, **config))
        return made[-1]

    yield make
    for d in made:
        d.done()
    for card in cards:
        functions.Card(card.device, 7)


def slot(card, n=1, memory="32M"):
    return {"functions": [f.address for f in card.functions[:n]], "memory": memory}


def settings(f):
    """What the physical function enforces on it."""
    links = json.loads(functions.run("ip", "-j", "link", "show", f.card.name))
    return {v["vf"]: v for v in links[0]["vfinfo_list"]}[f.number]


def take(d, owner, **kw):
    p = d.process()
    id = p.lease(owner=owner, function=True, wait_ms=60000, **kw)["id"]
    return p, p.take(id=id, memory=32 * MB, wait_ms=60000)


def test_lend_and_return(cards, daemon):
    """A function goes out and comes back: reset, with its settings, on memory that is zero."""
    f = cards[0].functions[0]
    d = daemon([slot(cards[0])]).start().wait_ready(1)
    mac = d.slots()[0]["function"]["mac"]
    for i in range(3):
        p, got = take(d, f"o{i}")
        assert got["fds"] == 2 and got["function"] == {
            "address": f.address, "pf": f.card.name, "vf": f.number, "mac": mac}
        assert p.present() == 32 * MB and p.is_zero()
        p.plant(pattern="secret")
        # The registers answer (igb VF STATUS), and what is written there does not stay.
        assert p.register(offset=0x8) != 0xffffffff
        assert not p.register(offset=RXDCTL) & ENABLE
        assert p.register(offset=RXDCTL, value=ENABLE) & ENABLE
        functions.run("ip", "link", "set", f.card.name, "vf", f.number, "vlan", 7)
        functions.run("ip", "link", "set", f.card.name, "vf", f.number, "spoofchk", "off")
        functions.run("ip", "link", "set", f.card.name, "vf", f.number, "mac", "02:00:00:00:99:99")
        p.die()
        d.wait_ready(1)
        now = settings(f)
        assert (now["address"], now["spoofchk"]) == (mac, True) and not now.get("vlan_list", [
            {"vlan": 0}])[0].get("vlan"), now
    assert d.slots()[0]["lent"] == 3


def test_kept_descriptor(cards, daemon):
    """Whoever keeps a copy of the descriptor keeps the function in quarantine, and only it."""
    d = daemon([slot(cards[0], 2)]).start().wait_ready(2)
    p, got = take(d, "o")
    copy = p.fork()
    try:
        p.die()
        eventually(lambda: d.slots("quarantined"), "it is in quarantine")
        bad, = d.slots("quarantined")
        assert bad["function"]["address"] == got["function"]["address"]
        assert "still" in bad["reason"] and not bad["lease"]
        q, other = take(d, "other")
        assert other["function"]["address"] != got["function"]["address"]
        with pytest.raises(lease.Failed) as e:
            d.client().lease("third", function=True, wait_ms=200)
        assert e.value.code == errno.EAGAIN
        # Not for ever, and not by the operator's word.
        d.client().retry(got["function"]["address"])
        eventually(lambda: d.slots("quarantined"), "it is in quarantine again")
        assert d.client().status()["quarantined"] == 1
        # Nor is a daemon that is started again more trusting.
        d.kill()
        d.start()
        eventually(lambda: d.slots("quarantined"), "it is in quarantine")
    finally:
        os.kill(copy, signal.SIGKILL)
    q.die()
    d.wait_ready(2)


def test_iommu(cards, daemon):
    """Each kind of DMA address space that the kernel has can be asked for; by itself the daemon takes
    iommufd.  One that the kernel has not is not replaced by another."""
    caisson = slots.BUILD / "caisson"
    assert f"DMA by {functions.kind()}\n" in subprocess.run([caisson, "doctor"], text=True,
                                                           stdout=subprocess.PIPE).stdout
    for name in ("auto", "type1", "iommufd"):
        d = daemon([slot(cards[0])], iommu=name).start()
        if name == "iommufd" and functions.kind() != name:
            refused = eventually(lambda: d.slots("quarantined"), "it is in quarantine")
            assert "no '/dev/iommu'" in refused[0]["reason"]
        else:
            d.wait_ready(1)
            kind = functions.kind() if name == "auto" else name
            p, got = take(d, "o")
            assert d.slots()[0]["iommu"] == kind
            assert f"DMA by {kind}\n" in functions.run(caisson, "slots", "--socket", d.socket)
            assert p.register(offset=0x8) != 0xffffffff
            p.die()
            d.wait_ready(1)
        d.stop()


@pytest.fixture
def iommufd(cards):
    if functions.kind() != "iommufd":
        pytest.skip("hardware: this kernel has no iommufd")


def test_reattach(cards, daemon, iommufd):
    """Who holds a function can take it out of its address space, and gets nothing for it: what the daemon
    has in its memory by then, at the same places, is other guests'."""
    d = daemon([slot(cards[0], 1), {"memory": "32M", "count": 4}]).start().wait_ready(5)
    p, got = take(d, "o")
    assert p.reattach() == errno.EFAULT
    p.die()
    d.wait_ready(5)
    p, got = take(d, "o")
    assert p.register(offset=0x8) != 0xffffffff


def test_without_groups(cards, daemon, iommufd):
    """A kernel that has no groups: whether a function is open is seen all the same."""
    d = daemon([slot(cards[0])]).start().wait_ready(1)
    p, got = take(d, "o")
    copy = p.fork()
    # Until the function is bound again.
    group, _ = functions.nodes(cards[0].functions[0].device)
    group.unlink()
    p.die()
    eventually(lambda: d.slots("quarantined"), "it is in quarantine")
    assert "did not come back" in d.slots("quarantined")[0]["reason"]
    os.kill(copy, signal.SIGKILL)
    d.wait_ready(1)
    assert group.exists()


def test_other_memory(cards, daemon):
    """A function whose memory is decided when it is taken; of what another slot has ready."""
    d = daemon([slot(cards[0], 1, "0"), {"memory": "64M"}]).start().wait_ready(2)
    for size in (64 * MB, 32 * MB):
        p = d.process()
        id = p.lease(owner="o", function=True, kept=True)["id"]
        assert p.take(id=id, memory=size, wait_ms=60000)["memory"] == size
        assert p.present() == size and p.is_zero()
        p.die()
        d.client().release(id=id)
        d.wait_ready(2)


@pytest.mark.parametrize("what", ["functions", "memory"])
def test_not_prepared(cards, daemon, what):
    """Configured so, the work is done when it is taken; what is lent is the same."""
    d = daemon([slot(cards[0])], prepare={what: False}).start().wait_ready(1)
    for i in range(2):
        p, got = take(d, "o")
        assert got["fds"] == 2 and p.present() == 32 * MB and p.is_zero()
        p.plant(pattern="secret")
        p.die()
        d.wait_ready(1)


STEPS = ["slot-begin", "slot-unbound", "slot-proven", "slot-bound", "slot-open", "slot-memory",
         "slot-done", "lease-recorded", "take-recorded", "take-sent", "slot-holder-gone"]


def test_killed_at_every_step(cards, daemon):
    """The daemon dies at each step with a function out: the holder has it alone, and it returns."""
    d = daemon([slot(cards[0], 2)])
    d.start().wait_ready(2)
    for step in STEPS:
        p, got = take(d, "holder")
        d.kill()
        d.spawn(CAISSON_STOP_AT=step)
        if not step.startswith("slot") or step == "slot-holder-gone":
            eventually(d.answers, "it answers")
            d.wait_ready(1)
            q = d.process()
            q.begin("lease", owner="q", function=True)
            if step.startswith("take"):
                q.begin("take", id=q.end()["id"], memory=32 * MB)
            elif step == "slot-holder-gone":
                q.end()
                q.die()
        eventually(d.stopped, f"it stops at {step}")
        d.kill()
        d.start()
        held, = d.slots("leased", holder=p.pid)
        assert held["function"]["address"] == got["function"]["address"]
        for x in d.processes:
            x.die()
        d.wait_ready(2)
    assert d.client().status()["slots"]["ready"] == 2


def test_function_removed(cards, daemon):
    """Functions that the kernel takes away are given up at once, and used again when they are
    back; one that is out goes when its holder lets it go.
    """
    card = cards[1]
    d = daemon([slot(card, 2)]).start().wait_ready(2)
    p, got = take(d, "o")
    remover = subprocess.Popen(["sh", "-c", f"echo 0 >{card.device}/sriov_numvfs"])
    time.sleep(2)
    assert remover.poll() is None
    p.die()
    assert remover.wait(60) == 0
    eventually(lambda: all("not there" in (s["reason"] or "") for s in d.slots("cold"))
               and len(d.slots("cold")) == 2, "both are missed")
    with pytest.raises(lease.Failed) as e:
        d.client().lease("o", function=True, wait_ms=200)
    assert "not there" in e.value.text
    (card.device / "sriov_numvfs").write_text(str(len(card.functions)))
    d.wait_ready(2)


def test_driver_reloaded(cards, daemon):
    """The physical function's driver goes and comes: so do the slots, by themselves."""
    card = cards[1]
    d = daemon([{"pf": card.name, "count": 7, "memory": "8M"}]).start().wait_ready(7)
    p, got = take(d, "o")
    p.die()
    d.wait_ready(7)
    (PCI / "drivers/igb/unbind").write_text(card.device.name)
    eventually(lambda: not d.slots("ready"), "they are missed")
    (PCI / "drivers/igb/bind").write_text(card.device.name)
    d.wait_ready(7, 120)
    functions.run("ip", "link", "set", card.name, "up")
    p, got = take(d, "o")
    assert got["fds"] == 2 and p.register(offset=0x8) != 0xffffffff


def test_no_huge_pages(cards, daemon):
    """Without huge pages slots wait for them, and say so."""
    pages = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    before = pages.read_text()
    pages.write_text("0")
    try:
        d = daemon([slot(cards[0])], on_demand=0).start()
        eventually(lambda: "2 MiB pages" in (d.slots()[0]["reason"] or ""), "it says so")
        with pytest.raises(lease.Failed) as e:
            d.client().lease("o", function=True, wait_ms=3000)
        assert "free_hugepages" in e.value.text
    finally:
        pages.write_text(before)
    d.wait_ready(1)


UNIT = """[Service]
Type=notify
ExecStart={program} --config {config}
RuntimeDirectory=caissond-test
RuntimeDirectoryPreserve=yes
{rest}"""


def test_systemd(cards, tmp_path):
    """Under its unit, hardened, it does all of that; started again, nothing is prepared anew."""
    if not pathlib.Path("/run/systemd/system").is_dir():
        pytest.skip("hardware: systemd is not at work here")
    text = (slots.BUILD / "caissond.service").read_text()
    rest = text.split("ExecStart=", 1)[1].split("\n", 1)[1].split("[Install]")[0]
    rest = "\n".join(x for x in rest.splitlines() if not x.startswith(("RuntimeDirectory=",
                     "RuntimeDirectoryPreserve", "ProtectHome", "PrivateTmp")))
    config = pathlib.Path("/run/caissond-test.json")
    config.write_text(json.dumps({
        "directory": "/run/caissond-test", "hugepages": True, "cpu": 0, "engine": lease.ENGINE,
        "slots": [slot(cards[0], 2), {"memory": "32M"}]}))
    unit = pathlib.Path("/run/systemd/system/caissond-test.service")
    unit.write_text(UNIT.format(program=slots.BUILD / "caissond", config=config, rest=rest))
    d = slots.Daemon(tmp_path / "d", slots=[])
    d.socket = pathlib.Path("/run/caissond-test/caissond.sock")
    try:
        functions.run("systemctl", "daemon-reload")
        functions.run("systemctl", "start", "caissond-test")
        d.wait_ready(3)
        p, got = take(d, "o")
        eventually(lambda: d.slots("leased"), "it is lent")
        before = {s["number"]: s["since"] for s in d.slots()}
        pid = d.client().status()["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: who(d) not in (None, pid), "it is back")
        status = d.client().status()["slots"]
        assert (status["ready"], status["leased"]) == (2, 1), status
        assert p.register(offset=0x8) != 0xffffffff
        p.die()
        d.wait_ready(3)
        q, got = take(d, "q")
        assert q.is_zero() and q.register(offset=0x8) != 0xffffffff
        assert before
        if functions.kind() == "iommufd":
            q.die()
            d.wait_ready(3)
            # What systemd keeps is not what it is to be any more.
            config.write_text(config.read_text().replace("{", '{"iommu": "type1", ', 1))
            functions.run("systemctl", "restart", "caissond-test")
            d.wait_ready(3)
            assert [s["iommu"] for s in d.slots()] == ["type1", "type1", None]
    finally:
        d.done()
        subprocess.run(["systemctl", "stop", "caissond-test"])
        unit.unlink()
        config.unlink()
        subprocess.run(["systemctl", "daemon-reload"])


def who(d):
    """The daemon's pid, if it answers."""
    try:
        return d.client().status()["pid"]
    except (OSError, EOFError):
        return None


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    return harness.make_rootfs(tmp_path_factory.mktemp("rootfs"))


def free(card):
    """Slots that are the card's first function with a sandbox's memory."""
    return [slot(card, 1, MEMORY)]


def test_sandbox(cards, daemon, rootfs, tmp_path):
    """A sandbox with a function and without CNI: the guest has the card, and drives it."""
    d = daemon(free(cards[0])).start().wait_ready(1)
    mac = d.slots()[0]["function"]["mac"]
    for i in range(2):
        s = Sandbox(tmp_path, rootfs, d, f"box{i}", engine=lease.ENGINE, slots="function")
        for caps in s.bundle.config["process"]["capabilities"].values():
            caps += ["CAP_NET_ADMIN", "CAP_NET_RAW"]
        s.bundle.write()
        s.up()
        try:
            held, = d.slots("leased")
            assert held["holder"] == s.state()["monitor"]["pid"]
            eventually(lambda: mac in s.sh("cat /sys/class/net/*/address"), "its driver is there")
            s.sh("ip link set eth0 up; ip addr add 10.77.0.9/24 dev eth0; "
                 "for i in $(seq 100); do ping -c 1 -W 1 10.77.0.1 && exit; done; exit 1")
            # A daemon that comes back does not disturb it.
            d.kill()
            d.start()
            s.sh("ping -c 2 10.77.0.1")
        finally:
            s.delete()
        d.wait_ready(1)


def test_sandbox_without_function(daemon, rootfs, tmp_path):
    """Memory alone, which is ready as soon as nobody has it."""
    d = daemon([{"memory": MEMORY}]).start().wait_ready(1)
    for i in range(2):
        s = Sandbox(tmp_path, rootfs, d, f"box{i}", engine=lease.ENGINE, slots="memory").up()
        try:
            held, = d.slots("leased")
            assert held["holder"] == s.state()["monitor"]["pid"]
            assert s.sh("uname").strip() == "Linux"
        finally:
            s.delete()
        d.wait_ready(1)


@pytest.mark.kvm
def test_sandbox_grows(cards, daemon, rootfs, tmp_path):
    """One that begins small: its function reaches what comes later, as it reaches the rest."""
    d = daemon([slot(cards[0], 1, "128M")], on_demand="256M").start().wait_ready(1)
    data = os.urandom(8 * MB)
    (tmp_path / "data").write_bytes(data)
    server = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "10.77.0.1",
                               "--directory", tmp_path, "8077"], stderr=subprocess.DEVNULL)
    s = Sandbox(tmp_path, rootfs, d, engine="kvm", slots="function", memory="384M",
                memory_start="128M", hugepages=1)
    for caps in s.bundle.config["process"]["capabilities"].values():
        caps += ["CAP_NET_ADMIN", "CAP_NET_RAW"]
    s.bundle.write()
    try:
        s.up()
        eventually(lambda: s.total() > 330, "it has grown")
        s.sh("until ip link set eth0 up; do sleep 0.1; done; ip addr add 10.77.0.9/24 dev eth0; "
             "for i in $(seq 100); do ping -c 1 -W 1 10.77.0.1 && exit; done; exit 1")
        # More than it began with: what is received is in what came.
        s.sh("dd if=/dev/zero of=/tmp/x bs=1M count=110")
        got = s.sh("wget -qO /tmp/data http://10.77.0.1:8077/data; sha256sum </tmp/data")
        assert got.split()[0] == hashlib.sha256(data).hexdigest()
    finally:
        s.delete()
        server.terminate()
        server.wait()
    d.wait_ready(1)


@pytest.mark.parametrize("phase,victim", [
    ("lease", "command"), ("monitor", "command"), ("monitor", "monitor"), ("engine", "monitor"),
    ("launch", "monitor"), ("spawned", "command"), ("ready", "command"), ("ready", "monitor")])
def test_sandbox_killed(cards, daemon, rootfs, tmp_path, phase, victim):
    """The command or the monitor dies at a phase of the start: the function comes back by itself."""
    d = daemon(free(cards[0])).start().wait_ready(1)
    s = Sandbox(tmp_path, rootfs, d, engine=lease.ENGINE, slots="function")
    p = s.caisson.popen("create", "--bundle", s.bundle.path, s.id, stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                        env={**os.environ, "CAISSON_STOP_AT": phase})

    def stopped():
        pids = [p.pid, *[x["holder"] for x in d.slots() if x["holder"]]]
        return [pid for pid in pids if slots.process_state(pid) == "T"]
    at, *_ = eventually(stopped, f"somebody stops at {phase}")
    try:
        monitor = s.state()["monitor"]["pid"]
        os.kill(p.pid if victim == "command" else monitor, signal.SIGKILL)
        for pid in {at, p.pid, monitor} - {0}:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        p.wait(60)
        d.wait_ready(1)
        assert d.slots()[0]["lent"] <= 1
    finally:
        s.caisson("delete", "--force", s.id)
