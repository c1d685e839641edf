# SPDX-License-Identifier: Apache-2.0
"""Micro guests on the kvm engine's parts: each folder here is one, and says what it is about."""
import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ["CAISSON_BUILD"]) / "tests/guest"
PASS, FAIL, SKIP, ERROR, CRASH, TIMEOUT = range(6)
OUTCOMES = ["pass", "fail", "skip", "error", "crash", "timeout"]
# What is not here has devices, and passes.
SPECIAL = {"hello": ([], PASS), "smp-storm": (["-c", "2", "-d", "-t", "120"], PASS),
           "balloon-deaf": (["-b", "8", "-d"], PASS),
           "pci-msix": (["-p", "-t", "120"], PASS), "pci-wild": (["-p", "-t", "120"], PASS),
           "triple-fault": ([], CRASH), "spin": (["-t", "1"], TIMEOUT)}
NAMES = sorted(p.name for p in HERE.iterdir()
               if (p / "main.c").exists() or (p / "start.S").exists() and p.name != "lib")


def run(name, *options):
    return subprocess.run([BUILD / "runner", *options, BUILD / name], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=180)


# Guests that would not stop for anybody.
PAUSED = {"spin": ["-t", "2"], "doorbell-storm": ["-d", "-t", "5"],
          "smp-storm": ["-c", "2", "-d", "-t", "10"]}


@pytest.mark.parametrize("name", PAUSED)
def test_paused(name):
    """Paused again and again (runner -s): no CPU time in a pause, and it goes on; killed paused."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("hardware: no /dev/kvm")
    r = run(name, "-s", *PAUSED[name])
    assert r.returncode == PASS, f"{r.stdout}\n{r.stderr}"
    assert " pauses" in r.stderr and "Sanitizer" not in r.stderr, r.stderr


@pytest.mark.parametrize("name", NAMES)
def test_kvm(name):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("hardware: no /dev/kvm")
    options, expected = SPECIAL.get(name, (["-d", "-t", "120"], PASS))
    r = run(name, *options)
    assert r.returncode == expected, f"{r.stdout}\n{r.stderr}"
    assert "Sanitizer" not in r.stderr and "runtime error" not in r.stderr, r.stderr
    # A guest can make the monitor say something, but not much.
    assert r.stderr.count("\n") < 40, r.stderr
