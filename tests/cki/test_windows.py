# SPDX-License-Identifier: Apache-2.0
"""MMIO windows: registers of a function, lent to a sandbox, and taken away again (lender.c)."""
import pathlib
import re
import subprocess

import pytest

from conftest import BUILD, Said
from kernel_module import counter
from spares import spare, vfio_group

HERE = pathlib.Path(__file__).resolve().parent
CASES = re.findall(r'\{"([a-z-]+)", \w+\}', (HERE / "lender.c").read_text())


def command(case):
    memory, registers = spare("memory"), spare("registers")
    if case.startswith("vfio-"):
        return [BUILD / "tests/cki/cki-lender", case, "-", registers.name, vfio_group(registers)]
    return [BUILD / "tests/cki/cki-lender", case, memory / "resource2", memory / "resource2_wc",
            registers / "resource0"]


@pytest.mark.parametrize("case", CASES)
def test_window(module, case):
    words = command(case)
    said = Said()
    r = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
    assert r.returncode == 0, r.stdout
    assert said.text() == ""
    assert counter("sandbox_live") == 0
    assert (counter("revoke") > 0) == ("refuses" not in case)


def test_taken_under_nmis(module):
    """NMIs, by the backtrace of all CPUs: a vCPU may be in the middle of the entry code, or of the gate."""
    subprocess.run(["dmesg", "-n", "1"], check=True)
    p = subprocess.Popen(command("stops"), stdout=subprocess.PIPE, text=True)
    while p.poll() is None:
        pathlib.Path("/proc/sysrq-trigger").write_text("l")
    assert p.returncode == 0, p.stdout.read()
    assert counter("sandbox_live") == 0
