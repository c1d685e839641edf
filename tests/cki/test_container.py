# SPDX-License-Identifier: Apache-2.0
"""Containers in ring 1: `caisson run` with the cki engine, by its name, and where `auto` chooses it."""
import pathlib
import re
import subprocess
import sys
import time

import pytest

from conftest import BUILD, Said, counter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Bundle, Caisson, eventually, make_rootfs, processes  # noqa: E402


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
def caisson(module, tmp_path):
    """Leaves nothing: huge pages, processes, words of the host's kernel."""
    before, said = free_huge(), Said()
    yield Caisson(tmp_path / "c", engine="cki", memory="192M")
    assert free_huge() == before
    assert not processes("caisson-vmm")
    assert not re.search("caisson|BUG|WARNING|Oops", said.text()), said.text()


def free_huge():
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(re.search(r"HugePages_Free: +(\d+)", text)[1])


def run(caisson, tmp_path, rootfs, *args, name="one", check=True):
    bundle = Bundle(tmp_path / name, rootfs, args)
    r = caisson("run", "--bundle", bundle.path, name)
    assert not check or r.returncode == 0, r.stderr
    return r


def test_runs(caisson, tmp_path, rootfs):
    r = run(caisson, tmp_path, rootfs, "sh", "-c", "uname -s; cat /proc/version; exit 7", check=False)
    assert r.returncode == 7, r.stderr
    assert r.stdout.startswith("Linux\n") and "caisson" in r.stdout


def test_programs(caisson, tmp_path, rootfs):
    """Pipes, forks, files, a few hundred processes, most of the memory."""
    script = """set -e
        seq 1 5000 | sort -r | sort -n | md5sum
        for i in $(seq 1 100); do true | cat >/tmp/f$i; /bin/true; done; ls /tmp | wc -l
        dd if=/dev/urandom of=/tmp/big bs=1M count=20 2>/dev/null
        sha256sum /tmp/big /tmp/big | cut -d' ' -f1 | uniq | wc -l
        (sleep 1; echo late) & wait; echo done"""
    r = run(caisson, tmp_path, rootfs, "sh", "-c", script)
    lines = r.stdout.split("\n")
    assert lines[0].startswith(subprocess.run("seq 1 5000 | md5sum", shell=True, text=True, check=True,
                                              stdout=subprocess.PIPE).stdout.split()[0])
    assert lines[1:5] == ["100", "1", "late", "done"]


def test_crashes_stay_inside(caisson, tmp_path, rootfs):
    """What processes do wrong is their kernel's business: signals, memory that runs out."""
    r = run(caisson, tmp_path, rootfs, "sh", "-c",
            "sh -c 'kill -SEGV $$'; echo $?; tail /dev/zero; echo $?")
    assert r.stdout.split() == ["139", "137"], r.stdout + r.stderr


def test_cpus(module, tmp_path, rootfs):
    caisson = Caisson(tmp_path / "c", engine="cki", memory="192M", vcpus=2)
    r = run(caisson, tmp_path, rootfs, "sh", "-c",
            "nproc; for i in 1 2 3 4; do (seq 1 100000 | md5sum) & done; wait")
    lines = r.stdout.split("\n")
    assert lines[0] == "2" and len(set(lines[1:5])) == 1


def test_killed_in_the_middle(caisson, tmp_path, rootfs):
    bundle = Bundle(tmp_path / "b", rootfs, ["sh", "-c", "while :; do :; done"])
    for wait in (0.02, 0.5, 1.5, 4):
        p = caisson.popen("run", "--bundle", bundle.path, "busy", stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
        eventually(lambda: processes("caisson-vmm"), "there is a monitor")
        time.sleep(wait)
        for pid in processes("caisson-vmm"):
            subprocess.run(["kill", "-9", str(pid)])
        assert p.wait(60) != 0
        caisson("delete", "--force", "busy")


def doctor():
    r = subprocess.run([BUILD / "caisson", "doctor"], stdout=subprocess.PIPE, text=True)
    return r.stdout


def test_auto(module, tmp_path, rootfs):
    """Who asks for no engine gets this one, on a host without hardware virtualization."""
    assert re.search(r"^ok +cki .*; gate " + module.gate() + "$", doctor(), re.M), doctor()
    assert "they get engine cki." in doctor()
    before = counter("enter")
    r = run(Caisson(tmp_path / "c", engine="auto", memory="192M"), tmp_path, rootfs, "echo", "there")
    assert r.stdout == "there\n" and counter("enter") > before


def test_auto_without_module(unloaded):
    assert re.search("^no +cki .*/dev/caisson is missing: the module caisson is not loaded", doctor(), re.M)
    assert "they get engine emu." in doctor()


def test_auto_without_huge_pages(module):
    """They are all of a guest's memory: without any, containers had better be emulated than fail."""
    pages = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    before = pages.read_text()
    try:
        pages.write_text("0")
        assert re.search(r"^no +cki .*huge pages .*vm\.nr_hugepages", doctor(), re.M), doctor()
        assert "they get engine emu." in doctor()
    finally:
        pages.write_text(before)
    assert pages.read_text() == before


def test_too_few_huge_pages(module, tmp_path, rootfs):
    """Pages that are merely not free are no reason to be emulated in silence."""
    free = free_huge()
    r = run(Caisson(tmp_path / "c", engine="auto", memory=f"{2 * free + 2}M"), tmp_path, rootfs, "true",
            check=False)
    assert r.returncode != 0 and "not enough free 2 MiB pages" in r.stderr, r.stderr
    assert free_huge() == free
