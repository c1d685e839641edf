# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import functions  # noqa: E402
from guest import Guest  # noqa: E402

HOST = "10.77.0.1"


@pytest.fixture(scope="session")
def cards():
    why = functions.missing()
    if why:
        pytest.skip(why)
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
