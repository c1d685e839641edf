# SPDX-License-Identifier: Apache-2.0
"""Pods on virtual functions: containerd, caisson-cni, caissond, the kvm or the cki engine, igb.  In the
lab's hosts with network cards: `lab/lab test sriov cri`, `lab/lab test cki-vf cri/test_function.py`.

    CRI_CYCLES      pods that come and go in test_cycles (5), after WARM_UP that fill the caches
"""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import harness
from conftest import INSTALLED
from cri import CriError
from harness import eventually
from holdings import check_nothing_grew, look, row
from kernel_module import Module

IMAGE, IPERF = "localhost/busybox:1", "localhost/iperf3:1"
MAKE_IMAGE = harness.TOP / "lab/cri/image.py"
NETWORK = pathlib.Path("/etc/cni/net.d/00-fast.conflist")
SETTINGS = pathlib.Path("/etc/caisson/config.json")
SLOTS = pathlib.Path("/etc/caisson/slots.json")
RESERVATIONS = pathlib.Path("/var/lib/cni/networks/fast")
ENGINE = "cki" if harness.ENGINE == "cki" else "kvm"
HOST, SLOT_COUNT, MEMORY = "10.77.0.1", 3, "256M"
CYCLES = int(os.environ.get("CRI_CYCLES", "5"))
WARM_UP, EVERY = 5, 20
RUNNING = 1


def run(*args, **kw):
    return subprocess.run(list(map(str, args)), check=True, stdout=subprocess.PIPE, text=True,
                          **kw).stdout


class Card:
    """The host's first physical function, and the daemon that lends its virtual ones."""

    def __init__(self, pf, log):
        self.pf, self.log = pf, log
        run("ip", "link", "set", pf, "up")
        run("ip", "address", "replace", f"{HOST}/24", "dev", pf)
        SLOTS.parent.mkdir(exist_ok=True)
        SLOTS.write_text(json.dumps({"hugepages": True, "engine": ENGINE, "slots": [
            {"pf": pf, "count": SLOT_COUNT, "memory": MEMORY}]}))
        self.daemon = subprocess.Popen([harness.BUILD / "caissond"], stdout=log, stderr=log)

    def slots(self):
        """[(state, owner)]; none while the daemon is not there yet"""
        r = subprocess.run([INSTALLED / "caisson", "slots", "--json", "list"], stdout=subprocess.PIPE)
        return [(s["state"], s.get("owner")) for s in json.loads(r.stdout or "[]")]

    def leased(self):
        return [owner for state, owner in self.slots() if owner]

    def wait_ready(self, n=SLOT_COUNT):
        """Until that many are there to be lent, which is all that are not leased."""
        eventually(lambda: [s for s, _ in self.slots()].count("ready") == n, f"{n} ready slots")

    def vfs(self):
        return json.loads(run("ip", "-j", "link", "show", self.pf))[0]["vfinfo_list"]

    def close(self):
        self.daemon.terminate()
        self.daemon.wait(60)
        run("ip", "address", "del", f"{HOST}/24", "dev", self.pf)


@pytest.fixture(scope="module")
def card(cri):
    cards = sorted(p.parts[4] for p in
                   pathlib.Path("/sys/class/net").glob("*/device/sriov_totalvfs"))
    if not cards:
        pytest.skip("hardware: no network card with virtual functions")
    if os.environ.get("CRI_RUNTIME", "caisson") != "caisson":
        pytest.skip("hardware: of the runtimes only caisson gives pods functions")
    shutil.copy(harness.BUILD / "caisson-cni", "/usr/lib/cni")
    log = open(os.environ.get("CAISSON_RESULTS", "/tmp") + "/caissond.log", "w")
    card = Card(cards[0], log)
    if ENGINE == "cki" and not Module().loaded():
        r = Module().load()
        assert r.returncode == 0, r.stderr
    SETTINGS.write_text(json.dumps({"memory": MEMORY, "boot_timeout": harness.TIMEOUT,
                                    "engine": harness.ENGINE,
                                    "network_timeout": 45}))
    NETWORK.write_text(json.dumps({"cniVersion": "1.0.0", "name": "fast", "plugins": [{
        "type": "caisson-cni", "pf": card.pf, "capabilities": {"mac": True}, "wait": 60,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24",
                                                   "rangeStart": "10.77.0.10",
                                                   "gateway": HOST}]],
                 "routes": [{"dst": "0.0.0.0/0"}]}}]}))
    eventually(lambda: cri("Status", verbose=True).info["lastCNILoadStatus"] == "OK" and
               '"fast"' in cri("Status", verbose=True).info["cniconfig"], "the network is known")
    yield card
    NETWORK.unlink()
    SETTINGS.unlink()
    card.close()


@pytest.fixture(scope="module")
def iperf_image(cri, tmp_path_factory):
    """The host's iperf3 with the libraries it needs."""
    rootfs = harness.make_rootfs(tmp_path_factory.mktemp("iperf3"))
    (rootfs / "etc/resolv.conf").touch()
    libraries = re.findall(r"(/\S+) \(0x", run("ldd", "/usr/bin/iperf3"))
    # loaded when a thread is cancelled
    gcc = re.search(r"libgcc_s\.so\.1 .*=> (\S+)", run("ldconfig", "-p")).group(1)
    for path in ("/usr/bin/iperf3", gcc, *libraries):
        target = rootfs / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    archive = subprocess.run([MAKE_IMAGE, IPERF, rootfs, "sh"], stdout=subprocess.PIPE,
                             check=True).stdout
    subprocess.run(["ctr", "-n", "k8s.io", "images", "import", "-"], input=archive, check=True)


def nothing_left(card):
    """All functions are ready to be lent, their settings are the card's, no address is taken."""
    card.wait_ready()
    assert card.leased() == []
    assert not [p for p in RESERVATIONS.glob("10.*")]
    for vf in card.vfs()[:SLOT_COUNT]:
        assert vf["spoofchk"] and not vf["trust"]
        assert not any(tag.get("vlan") for tag in vf.get("vlan_list", ()))


def ping(pod, container, address, tries=30):
    out, err, status = pod.exec(container, ["ping", "-c", "3", "-i", "0.5", "-W", "5", address])
    assert status == 0, out + err
    return out


WAIT = {"io.caisson.network": "wait"}


def test_pods_with_functions(card, pod):
    """Each has a function of its own: address, MAC and driver in the guest, the placeholder on the
    host; they reach each other and the host; what they delete is there for the next.
    """
    card.wait_ready()
    one, two = pod(annotations=WAIT), pod(annotations=WAIT)
    assert len(card.leased()) == 2 and one.address != two.address
    first = one.run(IMAGE, ["sleep", "100000"])
    second = two.run(IMAGE, ["sleep", "100000"])
    out = one.exec(first, ["ip", "addr", "show", "eth0"])[0]
    assert f"{one.address}/24" in out and "LOWER_UP" in out
    mac = re.search("link/ether ([0-9a-f:]+)", out).group(1)
    assert mac in [vf["address"] for vf in card.vfs()]
    assert "igbvf" in one.exec(first, ["readlink", "/sys/class/net/eth0/device/driver"])[0]
    assert f"default via {HOST}" in one.exec(first, ["ip", "route"])[0]
    for name, container, other in ((one, first, two), (two, second, one)):
        ping(name, container, HOST)
        ping(name, container, other.address)
    one.remove()
    eventually(lambda: len(card.leased()) == 1, "one is leased")
    ping(two, second, HOST)
    two.remove()
    nothing_left(card)


def iperf(pod, container, address):
    """Megabytes that arrived at a server there in five seconds, and megabytes per second."""
    out, err, status = pod.exec(container, ["iperf3", "--json", "-t", "5", "-c", address],
                                timeout=120)
    assert status == 0, out + err
    end = json.loads(out)["end"]["sum_received"]
    return end["bytes"] / 1e6, end["bits_per_second"] / 8e6


def test_iperf3(card, pod, iperf_image):
    """Between two pods, and to the host.  Emulated, so the figures are of no use; data arrives."""
    card.wait_ready()
    one, two = pod(annotations=WAIT), pod(annotations=WAIT)
    server = one.run(IPERF, ["iperf3", "-s"])
    client = two.run(IPERF, ["sleep", "100000"])
    host = subprocess.Popen(["iperf3", "-s", "-B", HOST], stdout=subprocess.DEVNULL)
    try:
        for what, address in (("pod to pod", one.address), ("pod to host", HOST)):
            bytes, rate = iperf(two, client, address)
            print(f"{what}: {bytes:.1f} MB, {rate:.2f} MB/s")
            assert bytes > 0.1
    finally:
        host.terminate()
        host.wait()
    assert one.container(server).state == RUNNING
    one.remove()
    two.remove()
    nothing_left(card)


def test_start_at_once(card, pod):
    """Without the annotation the container does not wait, and has its network soon."""
    card.wait_ready()
    p = pod()
    c = p.run(IMAGE, ["sleep", "100000"])
    eventually(lambda: p.exec(c, ["ping", "-c", "1", "-W", "2", HOST])[2] == 0, "a ping")
    p.remove()
    nothing_left(card)


def cycle(card, pod):
    """Whether the guest lived; if not, that is all that may be wrong."""
    p = pod(annotations=WAIT)
    c = p.run(IMAGE, ["sleep", "100000"])
    try:
        ping(p, c, HOST)
        lived = True
    except (AssertionError, CriError):
        lived = False
        if p.container(c).state == RUNNING:
            raise
    p.remove()
    return lived


def test_cycles(card, pod):
    """Pods come and go; every one gets a function that works, and nothing stays of them, nor of those whose
    guest the emulator has ended (lab/README.md, Limits: one in a hundred)."""
    died = [cycle(card, pod) for _ in range(WARM_UP)].count(False)
    nothing_left(card)
    looks = [look()]
    print("cycles " + " ".join(looks[0]))
    print(row(0, looks[0]), flush=True)
    for i in range(1, CYCLES + 1):
        died += not cycle(card, pod)
        if i % EVERY == 0 or i == CYCLES:
            nothing_left(card)
            looks.append(look())
            print(row(i, looks[-1]), flush=True)
    check_nothing_grew(looks[0], looks[-1])
    assert not run("ip", "netns").strip()
    print(f"{died} guests were ended", flush=True)
    assert died <= CYCLES // 25


def test_monitor_is_killed(card, pod):
    """The function comes back when the pod is removed, though its guest died on its own."""
    card.wait_ready()
    p = pod(annotations=WAIT)
    p.run(IMAGE, ["sleep", "100000"])
    for pid in run("pgrep", "-f", "caisson-vmm").split():
        os.kill(int(pid), 9)
    p.remove()
    nothing_left(card)
