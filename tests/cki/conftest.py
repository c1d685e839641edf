# SPDX-License-Identifier: Apache-2.0
"""The module, loaded for the tests.  Only in a host of the lab: nothing is loaded into other machines."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from harness import BUILD  # noqa: E402,F401
from kernel_module import MODULE, Module, Said, dmesg, is_lab  # noqa: E402,F401


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


@pytest.fixture
def module(unloaded):
    r = unloaded.load()
    assert r.returncode == 0, r.stderr + dmesg()[-1000:]
    yield unloaded
    r = unloaded.unload()
    assert r.returncode == 0, r.stderr
