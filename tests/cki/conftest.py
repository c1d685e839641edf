# SPDX-License-Identifier: Apache-2.0
"""The module, loaded for the tests.  Only in a host of the lab: nothing is loaded into other machines."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from harness import BUILD  # noqa: E402,F401
from kernel_module import MODULE, Module, Said, counter, dmesg, has_pks, is_lab  # noqa: E402,F401


@pytest.fixture
def unloaded():
    if not is_lab():
        pytest.skip("hardware: not a host of the lab (lab/lab test cki)")
    if not MODULE.exists():
        pytest.fail(f"{MODULE} is missing: make kmod", pytrace=False)
    m = Module()
    if m.loaded():
        assert m.unload().returncode == 0
    return m


# Which gates a test is run with: all that the host's CPU has, or what CAISSON_GATE says.
GATES = [os.environ["CAISSON_GATE"]] if "CAISSON_GATE" in os.environ else ["cr3", "pks"]


@pytest.fixture(params=GATES)
def module(unloaded, request):
    if request.param == "pks" and not has_pks():
        pytest.skip("hardware: the CPU has no protection keys for supervisor pages")
    r = unloaded.load(f"gate={request.param}")
    assert r.returncode == 0, r.stderr + dmesg()[-1000:]
    assert unloaded.gate() == request.param
    yield unloaded
    r = unloaded.unload()
    assert r.returncode == 0, r.stderr
