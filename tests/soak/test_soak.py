# SPDX-License-Identifier: Apache-2.0
"""Soak: sandboxes start, work and stop, one after the other, and the machine stays as it is.

    SOAK_CYCLES     how many (200)
    SOAK_SECONDS    begin no cycle after so many; what was done is checked all the same
    SOAK_REPORT     a file for the table (in a host of the lab: /results/soak.txt)

On a machine that does nothing else: what is counted is the whole machine's.  First the caches of
the machine fill, so growth is counted from the first look after WARM_UP cycles on.
"""
import os
import pathlib
import subprocess
import sys
import time

import pytest

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS)]
from harness import TIMEOUT, Bundle, Caisson, engine, make_rootfs  # noqa: E402
from holdings import check_nothing_grew, look, meminfo, row  # noqa: E402
from kernel_module import counter, engine_module  # noqa: E402

CYCLES = int(os.environ.get("SOAK_CYCLES", "200"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "1e9"))
EVERY = 20
WARM_UP = 20
WORK = """
set -e
test "$(cat /data/in)" = "$1"
i=0; while [ $i -lt 10 ]; do echo "$1 $i" >/tmp/f$i; i=$((i+1)); done
cat /tmp/f* | sha256sum >/data/out
dd if=/dev/zero of=/tmp/big bs=64k count=16 2>/dev/null
echo worked
exec sleep 1000000
"""


class Soak:
    def __init__(self, path):
        self.path = path
        self.rootfs = make_rootfs(path / "rootfs")
        self.volume = path / "volume"
        self.volume.mkdir()
        self.caisson = Caisson(path, memory="96M")
        # The same containers, every second with memory from huge pages where there are some.
        self.huge = Caisson(path / "huge", memory="96M", cache=str(path / "cache"),
                            hugepages=int(meminfo()["HugePages_Free"] >= 48))
        self.huge.root = self.caisson.root
        self.bundle = Bundle(path / "bundle", self.rootfs)
        self.config = self.bundle.config
        self.config["mounts"].append({"destination": "/data", "type": "bind",
                                      "source": str(self.volume), "options": ["rbind", "rw"]})

    def cycle(self, n):
        """A sandbox with a volume, a cgroup, an exec; its end is a kill, an exit or by force."""
        cid, word = f"soak-{n}", f"word {n}"
        (self.volume / "in").write_text(word)
        (self.volume / "out").unlink(missing_ok=True)
        self.config["process"]["args"] = ["sh", "-c", WORK, "sh", word]
        self.config["linux"]["cgroupsPath"] = f"/caisson-soak-{os.getpid()}-{n}"
        self.bundle.write()
        caisson = self.huge if n % 2 else self.caisson
        with open(self.path / "out", "wb") as out:
            subprocess.run(caisson.command("create", "--bundle", self.bundle.path, cid),
                           stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                           check=True, timeout=TIMEOUT)
        self.caisson("start", cid, check=True)
        until = time.monotonic() + TIMEOUT
        while b"worked" not in (self.path / "out").read_bytes():
            assert time.monotonic() < until, (self.path / "out").read_bytes()
            time.sleep(0.05)
        r = self.caisson("exec", cid, "sh", "-c", "cat /tmp/f* | sha256sum; exit 9")
        assert (r.returncode, r.stdout) == (9, (self.volume / "out").read_text()), r.stderr
        if n % 3:
            self.caisson("kill", cid, "KILL", check=True)
            self.caisson.wait_status(cid, "stopped")
        self.caisson("delete", *(["--force"] if n % 3 == 0 else []), cid, check=True)


@pytest.fixture
def module():
    """Engine cki: at the end its module holds no sandbox, has ended none, can go, and the kernel said nothing."""
    with engine_module():
        yield


def test_soak(module, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("not root")
    soak, looks, start = Soak(tmp_path), {}, time.monotonic()
    report = open(os.environ.get("SOAK_REPORT", tmp_path / "report"), "w", buffering=1)
    done, opened = 0, counter("sandbox") if engine() == "cki" else 0
    while done < CYCLES and time.monotonic() - start < SECONDS:
        soak.cycle(done)
        done += 1
        if done % EVERY == 0 or done == CYCLES:
            looks[done] = look()
            if len(looks) == 1:
                print(f"engine {engine()}\ncycles " + " ".join(looks[done]),
                      file=report)
            print(row(done, looks[done]), file=report)
    took = time.monotonic() - start
    print(f"{done} cycles in {took:.0f} s, {took / max(done, 1):.2f} s each", file=report)
    report.close()
    print(pathlib.Path(report.name).read_text())

    assert [p.name for p in soak.caisson.root.iterdir()] == []
    if engine() == "cki":
        assert counter("sandbox") - opened >= done and counter("sandbox_live") == 0
    first = looks[min(n for n in looks if n >= WARM_UP)]
    last = looks[max(looks)]
    assert max(looks) >= WARM_UP + EVERY, f"only {done} cycles in {took:.0f} s"
    check_nothing_grew(first, last)
