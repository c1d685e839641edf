# SPDX-License-Identifier: Apache-2.0
"""Traffic of sandboxes: with the host, and with each other over the host, by both ways that packets
can take (the kernel's vhost, and the monitor itself).
"""
import contextlib
import hashlib
import os
import pathlib
import socket
import subprocess
import urllib.request

import pytest

from support import TIMEOUT, eventually, use_netns

VHOST = pathlib.Path("/dev/vhost-net")
SERVE = ("mkdir /tmp/www && cd /tmp/www && dd if=/dev/urandom of=big bs=1M count=4 2>/dev/null && "
         "echo NAME >name && exec httpd -f -p 8080")


@contextlib.contextmanager
def without_vhost(path):
    """A device that nobody can open, in this mount namespace."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev", "tmpfs", path], check=True)
    try:
        os.mknod(path / "vhost-net", 0o20600, os.makedev(10, 238))
        subprocess.run(["mount", "--bind", path / "vhost-net", VHOST], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", VHOST], check=True)
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def forwarding():
    """The test's own network namespace (see isolate()) is a router."""
    path = pathlib.Path("/proc/sys/net/ipv4/ip_forward")
    before = path.read_text()
    path.write_text("1")
    yield
    path.write_text(before)


def has_vhost(pid):
    """In the jail, its path is another."""
    return any(os.readlink(f).endswith("/vhost-net") for f in pathlib.Path(f"/proc/{pid}/fd").iterdir())


@pytest.fixture(params=["vhost", "monitor"])
def way(request, tmp_path):
    """How packets go: True by vhost."""
    if request.param == "vhost":
        if not VHOST.exists():
            pytest.skip("hardware: no vhost-net")
        yield True
    elif VHOST.exists():
        with without_vhost(tmp_path / "nodev"):
            yield False
    else:
        yield False


def listens(address):
    with contextlib.suppress(OSError), socket.create_connection((address, 8080), TIMEOUT):
        return True
    return False


def fetch(b, address, name):
    """As sha256sum says it; `b` None: from here."""
    url = f"http://{address}:8080/{name}"
    if b:
        return b.sh(f"wget -q -O - {url} | sha256sum").split()[0]
    with urllib.request.urlopen(url, timeout=TIMEOUT) as r:
        return hashlib.sha256(r.read()).hexdigest()


def test_each_serves_the_others(box, netns, forwarding, way):
    """Two sandboxes and the host: each gets from each what it serves, also four at once."""
    spaces, boxes, sums = [netns(), netns()], [], []
    for n, name in zip(spaces, ("one", "two")):
        b = box(["sh", "-c", SERVE.replace("NAME", name)])
        use_netns(b.config, n.path)
        boxes.append(b.up())
        assert b.record()["engine"] == "emu" or has_vhost(b.monitor()) == way
    for b, n in zip(boxes, spaces):
        eventually(lambda: listens(n.address), "it serves")
        sums.append(b.sh("sha256sum /tmp/www/big").split()[0])
    assert len(set(sums)) == 2
    for n, wanted in zip(spaces, sums):
        assert {fetch(by, n.address, "big") for by in (None, *boxes)} == {wanted}
    many = boxes[1].sh(f"for i in 1 2 3 4; do wget -q -O - http://{spaces[0].address}:8080/big | "
                       "sha256sum & done; wait")
    assert {line.split()[0] for line in many.splitlines()} == {sums[0]}
    assert len(many.splitlines()) == 4
    # What is small, and goes to and fro.
    few = boxes[0].sh(f"for i in $(seq 20); do wget -q -O - http://{spaces[1].address}:8080/name; done")
    assert few == "two\n" * 20
    for b in boxes:
        b.delete("--force")
    for n in spaces:
        n.assert_restored()


def test_killed_in_the_traffic(box, netns, way, no_leaks):
    """A monitor that dies while packets come in leaves the namespace as it was."""
    n = netns()
    b = box(["sh", "-c", SERVE])
    use_netns(b.config, n.path)
    b.up()
    eventually(lambda: listens(n.address), "it serves")
    flood = subprocess.Popen(["sh", "-c", f"while :; do busybox wget -q -O /dev/null -T 5 http://{n.address}"
                              ":8080/big; done"], stderr=subprocess.DEVNULL)
    try:
        assert fetch(None, n.address, "name")
        os.kill(b.monitor(), 9)
        assert b.wait() == "SIGKILL"
    finally:
        flood.kill()
        flood.wait()
    b.delete("--force")
    n.assert_restored()
