# SPDX-License-Identifier: Apache-2.0
"""The cki engine alone: kernel/ is a kernel by the boot protocol that looks at all it was promised, uses
a device, attacks the monitor, and turns the machine off.
"""
import pathlib
import re
import subprocess

import pytest

from conftest import BUILD, Said

ENGINE = BUILD / "tests/cki/cki-engine"
KERNEL = BUILD / "tests/cki/cki-kernel"
INITRD = "a test's initramfs"
OFF, FAILED, ERROR, TIMEOUT = 0, 1, 3, 5


def engine(*args, kernel=KERNEL, timeout=120):
    return subprocess.run([ENGINE, *map(str, args), kernel], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout)


def free_huge():
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(re.search(r"HugePages_Free: +(\d+)", text)[1])


@pytest.mark.parametrize("args", [(), ("-c", 2), ("-m", 512, "-c", 2), ("-s", "-c", 2)],
                         ids=["one", "two", "large", "paused"])
def test_kernel(module, tmp_path, args):
    before, said = free_huge(), Said()
    (tmp_path / "initrd").write_text(INITRD)
    r = engine(*args, "-i", tmp_path / "initrd")
    assert r.returncode == OFF, r.stdout + r.stderr
    assert r.stdout.endswith("all is well\n")
    assert ("two CPUs" in r.stdout) == ("-c" in args)
    assert free_huge() == before
    assert said.text() == ""


def test_memory_is_in_order(module):
    """Pages come back in another order than they were taken in; many pieces are none of its concern."""
    for n in range(4):
        hold = subprocess.Popen([ENGINE, "-m", str(20 + 8 * n), "-a", "hold", KERNEL],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        r = engine("-m", 300)
        assert r.returncode == OFF, r.stdout + r.stderr
        hold.communicate(timeout=60)


def test_several(module):
    before = free_huge()
    many = [subprocess.Popen([ENGINE, "-c", "2", KERNEL], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True) for _ in range(5)]
    said = [p.communicate(timeout=120)[0] for p in many]
    assert [p.returncode for p in many] == [OFF] * 5, said
    assert free_huge() == before


def test_memory_is_short(module):
    r = engine("-m", 1 << 16)
    assert r.returncode == ERROR
    assert "not enough free 2 MiB pages" in r.stderr
    r = engine("-m", 2)
    assert r.returncode == ERROR
    assert "blocks of 2 MiB" in r.stderr
    r = engine("-m", 63)
    assert r.returncode == ERROR
    assert "multiple of 2 MiB" in r.stderr


def test_other_kernels(module, tmp_path):
    r = engine(kernel=BUILD / "tests/cki/cki-hello")
    assert r.returncode == ERROR
    assert "no entry point for ring 1" in r.stderr
    image = bytearray(KERNEL.read_bytes())
    at = image.index(b"Caisson\0") + 8
    for offset, value, why in ((0, 2, "protocol"), (16, 0x1001000, "cannot be"),
                               (32, 1 << 40, "cannot be"), (24, 0xffffffff81001000, "cannot be"),
                               (16, 0x200000, "not in its image"), (32, 4096, "not in its image"),
                               (24, 0xfffffe0000000000, "page-table operation")):
        bad = image.copy()
        bad[at + offset:at + offset + (4 if offset == 0 else 8)] = value.to_bytes(
            4 if offset == 0 else 8, "little")
        (tmp_path / "kernel").write_bytes(bad)
        r = engine(kernel=tmp_path / "kernel")
        assert r.returncode == ERROR, offset
        assert why in r.stderr, r.stderr


def test_killed_kernel(module, tmp_path):
    """Its entry is not mapped: an exception before it can take one."""
    image = bytearray(KERNEL.read_bytes())
    at = image.index(b"Caisson\0") + 16
    image[at:at + 8] = (0xffffffff90000000).to_bytes(8, "little")
    (tmp_path / "kernel").write_bytes(image)
    r = engine(kernel=tmp_path / "kernel")
    assert r.returncode == FAILED
    assert re.search(r"CPU 0: .* at 0x", r.stderr), r.stderr


def test_doctor_says_the_gate(module):
    r = subprocess.run([BUILD / "caisson", "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert f"; gate {module.gate()}\n" in r.stdout, r.stdout


def test_no_module(unloaded):
    r = engine()
    assert r.returncode == ERROR
    assert "the module caisson is not loaded" in r.stderr

