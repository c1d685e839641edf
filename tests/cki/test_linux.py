# SPDX-License-Identifier: Apache-2.0
"""The guest's kernel in ring 1: linux.c boots it, linux-init.c is its init and tries things."""
import os
import pathlib
import re
import subprocess

import pytest

from conftest import BUILD, Said

VMLINUX = pathlib.Path(os.environ.get("CAISSON_VMLINUX", BUILD / "vmlinux"))
TOP = pathlib.Path(__file__).resolve().parents[2]
MAKE = TOP / "guest/init/mkinitramfs"
SOURCE = pathlib.Path(__file__).with_name("linux-init.c").read_text()
STEPS = re.findall(r'\{"([a-z-]+)", step_\w+\}', SOURCE)
POWERED_OFF, RESET, PANIC, FAILED, KILLED, TIMEOUT = range(6)


@pytest.fixture(scope="session")
def initramfs(tmp_path_factory):
    path = tmp_path_factory.mktemp("linux") / "init.cpio"
    subprocess.run([MAKE, path, BUILD / "tests/cki/cki-linux-init"], check=True)
    return path


def boot(*args, append="", seconds=150, kernel=VMLINUX):
    return subprocess.run(
        [BUILD / "tests/cki/cki-linux", "-t", str(seconds), *map(str, args), "-a",
         "panic=-1 printk.devkmsg=on " + append, kernel],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=seconds + 60)


def check_steps(r):
    assert r.returncode == POWERED_OFF, r.stderr + r.stdout[-3000:]
    assert re.findall(r"\] ok ([a-z-]+)$", r.stdout, re.M) == STEPS, r.stdout[-3000:]
    assert "] done\n" in r.stdout
    # The kernel is well all the while.
    assert not re.search(r"WARNING:|BUG:|Oops|Call Trace|Firmware Bug", r.stdout), r.stdout


@pytest.mark.parametrize("cpus,mib", [(1, 128), (1, 256), (2, 256)])
def test_linux(module, initramfs, cpus, mib):
    said = Said()
    r = boot("-c", cpus, "-m", mib, "-i", initramfs)
    check_steps(r)
    if cpus > 1:
        assert f"smp: Brought up 1 node, {cpus} CPUs" in r.stdout
    # And the host's.
    assert said.text() == ""


def test_panic(module):
    r = boot(append="quiet", seconds=60)
    assert r.returncode == PANIC, r.stderr + r.stdout[-1000:]
    assert "Unable to mount root fs" in r.stdout


def test_command_line(module, initramfs):
    r = boot("-i", initramfs, append="quiet rdinit=/nothing init=/nothing", seconds=60)
    assert r.returncode == PANIC, r.stderr + r.stdout[-1000:]


def test_two_at_once(module, initramfs):
    """Sandboxes beside each other, on the same CPUs."""
    args = [BUILD / "tests/cki/cki-linux", "-t", "200", "-m", "128", "-i", initramfs, "-a",
            "panic=-1 printk.devkmsg=on", VMLINUX]
    both = [subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             errors="replace") for _ in range(2)]
    for p in both:
        out, err = p.communicate(timeout=260)
        check_steps(subprocess.CompletedProcess(args, p.returncode, out, err))


def test_not_a_kernel(module, tmp_path):
    r = boot(kernel=BUILD / "tests/cki/cki-runner", seconds=20)
    assert r.returncode == FAILED
    assert "no entry point for ring 1" in r.stderr
    (tmp_path / "short").write_bytes(VMLINUX.read_bytes()[:100000])
    r = boot(kernel=tmp_path / "short", seconds=20)
    assert r.returncode == FAILED
    assert "the file is cut off" in r.stderr


def test_too_long_command_line(module, initramfs):
    r = boot("-i", initramfs, append="x" * 2100, seconds=20)
    assert r.returncode == FAILED
    assert "command line is longer" in r.stderr


def definitions(header):
    """What a header says, without its comments: a macro or struct to its text."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S).replace("\\\n", " ")
    macros = re.findall(r"^#define (CAISSON_\w+(?:\(\w+\))?)[ \t]+(.*)$", text, re.M)
    structs = re.findall(r"^(struct \w+) \{(.*?)^\};", text, re.M | re.S)
    return {name: " ".join(body.split()) for name, body in macros + structs}


@pytest.mark.parametrize("name", ["caisson.h", "caisson_boot.h"])
def test_copies_of_headers(name):
    """The guest's kernel has copies; what they have in common with the contract is the same."""
    patch = "".join(p.read_text() for p in sorted((TOP / "guest/kernel/patches").glob("*.patch")))
    copy = re.search(rf"^\+\+\+ b/arch/x86/caisson/{name}\n@@.*?\n((?:\+.*\n)+)", patch, re.M)[1]
    copy = definitions(re.sub(r"^\+", "", copy, flags=re.M))
    contract = definitions((TOP / "kmod/uapi" / name).read_text())
    # What the monitor alone uses may differ, and the version tells both apart.
    monitors = re.compile(r"CAISSON_(API|IOC|GET|ADD|OPERATE|SET|RUN|IRQFD|IOEVENTFD)|struct caisson_run$")
    common = {n for n in copy if not monitors.match(n)}
    assert len(common) > 10
    assert {n: copy[n] for n in common} == {n: contract.get(n) for n in common}
