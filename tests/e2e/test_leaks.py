# SPDX-License-Identifier: Apache-2.0
"""Fifty sandboxes come and go, eight at a time, and the machine is as it was before."""
import pathlib
from concurrent.futures import ThreadPoolExecutor

from conftest import cgroups, held, new_caisson
from support import TIMEOUT, Box, Netns, cgroup_path, exited, reap, use_netns

SANDBOXES = 50
AT_A_TIME = 8


def one(caisson, rootfs, number, netns):
    """The whole life of a sandbox; every third has an interface, every second a cgroup."""
    b = Box(caisson, caisson.path, rootfs, ["sh", "-c", f"ls /sys/class/net; exit {number}"])
    if netns:
        use_netns(b.config, netns.path)
    if number % 2:
        b.config["linux"]["cgroupsPath"] = cgroup_path()
    b.create(timeout=4 * TIMEOUT)
    b.start()
    status = exited(reap(b.pid, 4 * TIMEOUT))
    b.delete()
    assert status == number
    assert ("eth0" in b.out.read_text().split()) == bool(netns)
    return number


def test_fifty_sandboxes(work, cache, rootfs, no_leaks):
    """50 sandboxes, 8 at a time, a third of them on network namespaces that are used again and
    again: before and after show the same processes, mounts, links, qdiscs, cgroups and files.
    """
    caisson = new_caisson(work, cache, memory="96M")
    spaces = [Netns(100 + i) for i in range(AT_A_TIME)]
    before = held(work)
    files = {str(p) for p in caisson.path.rglob("*")}

    def lane(i):
        return [one(caisson, rootfs, n, spaces[i] if n % 3 == 0 else None)
                for n in range(i, SANDBOXES, AT_A_TIME)]

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        done = sum(pool.map(lane, range(AT_A_TIME)), [])
    assert sorted(done) == list(range(SANDBOXES))
    no_leaks()
    assert held(work) == before
    for n in spaces:
        n.assert_restored()
        n.remove()
    assert not cgroups()
    assert [str(p) for p in caisson.root.iterdir()] == []
    bundles = {str(p) for b in caisson.path.glob("t-*") for p in (b, *b.rglob("*"))}
    assert {str(p) for p in caisson.path.rglob("*")} - files - bundles <= {str(caisson.root)}
    images = [p.name for p in pathlib.Path(cache).iterdir()]
    assert len(images) == len([i for i in images if i.endswith(".erofs")])
