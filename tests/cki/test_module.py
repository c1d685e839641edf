# SPDX-License-Identifier: Apache-2.0
"""Loading, refusing, unloading."""
import pathlib
import re
import subprocess
import time

import pytest

from conftest import BUILD, Said, has_pks

RUNNER = BUILD / "tests/cki/cki-runner"
SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent / "kmod/host.c"
CHECKS = SOURCE.read_text().partition("checks[] = {")[2].partition("\n\t};")[0].count("\n\t\t{")


def free_pages():
    text = pathlib.Path("/proc/meminfo").read_text()
    return {name: int(re.search(rf"{name}: +(\d+)", text)[1])
            for name in ("HugePages_Free", "MemFree")}


@pytest.mark.parametrize("number", range(1, CHECKS + 1))
def test_refuses(unloaded, number):
    said = unloaded.messages(lambda: unloaded.load(f"fail_check={number}"))
    assert not unloaded.loaded()
    assert not pathlib.Path("/dev/caisson").exists()
    assert re.search(r"caisson: not on this machine: \w.*\w", said), said
    assert said.count("\n") <= 3, said


def test_gates(unloaded):
    """The parameter says afterwards which it is; what is none is refused."""
    for asked, wanted in (("auto", "pks" if has_pks() else "cr3"), ("cr3", "cr3")):
        assert unloaded.load(f"gate={asked}").returncode == 0
        assert unloaded.gate() == wanted
        assert unloaded.unload().returncode == 0
    said = unloaded.messages(lambda: unloaded.load("gate=ring0"))
    assert not unloaded.loaded()
    assert "gate is to be auto, cr3 or pks" in said


def test_loads_and_unloads(unloaded):
    def rounds():
        for _ in range(20):
            assert unloaded.load().returncode == 0
            assert pathlib.Path("/dev/caisson").stat().st_mode & 0o777 == 0o600
            assert unloaded.unload().returncode == 0

    assert unloaded.messages(rounds) == ""


def test_not_unloaded_while_used(module):
    with open("/dev/caisson", "r+b", buffering=0):
        assert module.unload().returncode != 0
    assert module.loaded()


def test_nothing_is_left(module):
    def rounds(n):
        for _ in range(n):
            subprocess.run([RUNNER, BUILD / "tests/cki/cki-user"], stderr=subprocess.PIPE, check=True)

    def lost():
        """KiB that 50 rounds have not given back."""
        before = free_pages()
        rounds(50)
        after = free_pages()
        assert after["HugePages_Free"] == before["HugePages_Free"]
        return before["MemFree"] - after["MemFree"]

    rounds(5)
    said = Said()
    # A leaked vCPU would be 80 KiB, a TABLE block 2 MiB, each time; other things come and go.
    assert any(lost() < 3000 for _ in range(4))
    assert said.text() == ""


def test_killed_in_the_middle(module):
    before = free_pages()["HugePages_Free"]
    for wait in (0.05, 0.2, 0.5, 1):
        p = subprocess.Popen([RUNNER, "-t", "100", BUILD / "tests/cki/cki-fault-loop"],
                             stderr=subprocess.DEVNULL)
        time.sleep(wait)
        p.kill()
        p.wait(30)
    assert free_pages()["HugePages_Free"] == before


def test_fallen_monitor(module):
    said = Said()
    r = subprocess.run([BUILD / "tests/cki/cki-monitor"], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=60)
    assert r.returncode == 0, r.stdout
    assert said.text() == ""
