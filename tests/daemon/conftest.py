# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parent.parent)]
from daemon import Daemon  # noqa: E402
from harness import missing  # noqa: E402


@pytest.fixture
def daemon(tmp_path):
    """Makes daemons; what the last one left is looked after at the end."""
    made = []

    def make(slots, **config):
        if os.geteuid() != 0:
            missing("not root: the daemon lends to root")
        made.append(Daemon(tmp_path / f"d{len(made)}", slots=slots, **config))
        return made[-1]

    yield make
    for d in made:
        d.done()
