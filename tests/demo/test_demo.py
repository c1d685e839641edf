# SPDX-License-Identifier: Apache-2.0
"""demo/run: what it shows, and that it leaves nothing."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

DEMO = harness.TOP / "demo/run"
# The first time a Debian is fetched and installed.
TIMEOUT = 1200


def run(build, tmp, timeout):
    """The demo with its temporary files in a directory that is empty again after it."""
    r = subprocess.run([DEMO, build], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=timeout,
                       env={**os.environ, "TMPDIR": str(tmp)})
    assert os.listdir(tmp) == []
    assert not harness.processes(str(tmp))
    return r


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("the demo's root file system is made by root")
    r = run(harness.BUILD, tmp_path_factory.mktemp("demo"), TIMEOUT)
    sys.stdout.write(r.stdout)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_ends_well(demo):
    assert demo.endswith("\nEverything did what it says.\n")
    assert "\x1b" not in demo, "colours without a terminal"
    titles = re.findall(r"^== (\w+)", demo, re.MULTILINE)
    assert titles == ["An", "Start", "Two", "Work", "Work", "Work", "Walls", "The"]
    assert len(re.findall(r"^   ok: ", demo, re.MULTILINE)) == len(titles)


def test_two_kernels(demo):
    host = re.search(r"^   host +(\S+)$", demo, re.MULTILINE).group(1)
    guest = re.search(r"^   guest +(\S+)$", demo, re.MULTILINE).group(1)
    assert host == os.uname().release != guest


def test_phases(demo):
    """The table adds up, and has the phases in the order in which they happen."""
    rows = re.findall(r"^   ([a-z-]+) +([0-9.]+) ms(?:   \.*#*)?$", demo, re.MULTILINE)
    assert rows[-1][0] == "sum"
    assert sum(float(ms) for _, ms in rows[:-1]) == pytest.approx(float(rows[-1][1]), abs=1)
    names = [name for name, _ in rows]
    wanted = ["config", "image", "proxy", "network", "monitor", "engine", "agent", "created",
              "started"]
    assert [name for name in names if name in wanted] == wanted


def test_work(demo):
    assert "count, sum, maximum: 20000|200010000|row 9999\n" in demo
    for name in ("SET", "GET"):
        rate = re.search(rf"^   \| {name}: ([0-9.]+) requests per second", demo, re.MULTILINE)
        assert float(rate.group(1)) > 0
    assert "the sum of the primes below 5000 is 1548136\n" in demo


def test_walls(demo):
    pid = re.search(r"host +sees process (\d+), (caisson-demo-neighbour-\d+)$", demo, re.MULTILINE)
    assert pid
    assert re.search(r"container +sees \d+ processes, none of them that one$", demo, re.MULTILINE)
    assert "does not, and finds no file of that name" in demo
    assert harness.processes(pid.group(2)) == {}


def test_a_broken_build_is_said(tmp_path):
    (tmp_path / "tmp").mkdir()
    r = run(tmp_path, tmp_path / "tmp", harness.TIMEOUT)
    assert r.returncode != 0
    assert "caisson' is missing" in r.stderr
    assert "did what it says" not in r.stdout


def test_a_container_that_does_not_start_is_said(tmp_path, demo):
    """The kernel is none: the demo fails with a sentence and cleans up."""
    for name in ("caisson", "caisson-vmm", "initramfs.cpio"):
        (tmp_path / name).write_bytes((harness.BUILD / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    (tmp_path / "vmlinux").write_text("no kernel\n")
    (tmp_path / "tmp").mkdir()
    r = run(tmp_path, tmp_path / "tmp", 2 * harness.TIMEOUT)
    assert r.returncode != 0
    assert "the container did not start" in r.stderr
    assert "did what it says" not in r.stdout
