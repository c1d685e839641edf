# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import functions  # noqa: E402
from guest import ENGINE, Guest  # noqa: E402
from kernel_module import Module, Said, counter  # noqa: E402

HOST = "10.77.0.1"


def pytest_collection_modifyitems(config, items):
    """What an engine has not is no test of it."""
    gone = [i for i in items if ENGINE == "cki" and i.get_closest_marker("kvm")]
    config.hook.pytest_deselected(items=gone)
    items[:] = [i for i in items if i not in gone]


def pytest_configure(config):
    config.addinivalue_line("markers", "kvm: of what the engine kvm alone has")


@pytest.fixture(scope="session")
def module(machine):
    """Engine cki: whatever guests did, its module holds nothing afterwards, can go, and nobody in the
    host's kernel said anything of it."""
    if ENGINE != "cki":
        yield
        return
    m = Module()
    if not m.loaded():
        r = m.load(*[f"gate={gate}" for gate in [os.environ.get("CAISSON_GATE")] if gate])
        assert r.returncode == 0, r.stderr
    said = Said()
    yield
    live, r = counter("sandbox_live"), m.unload()
    assert (live, r.returncode) == (0, 0), r.stderr
    bad = re.findall(".*(?:caisson:|BUG|WARNING|Oops|general protection|refcount).*", said.text())
    assert not bad, bad


@pytest.fixture(scope="session")
def machine():
    why = functions.missing()
    if why:
        pytest.skip(why)


@pytest.fixture(scope="session")
def cards(machine, module):
    functions.set_up_iommu()
    found = [functions.Card(d, 7) for d in functions.physical()]
    functions.run("ip", "addr", "replace", f"{HOST}/24", "dev", found[0].name)
    return found


@pytest.fixture
def guest(tmp_path):
    """Makes guests (guest.Guest); those that still run when the test is over are ended."""
    made = []

    def make(*args, **kw):
        made.append(Guest(tmp_path, *args, **kw))
        return made[-1]
    yield make
    for g in made:
        g.end()
