# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the conformance tests.  The programs call a runtime by its name alone, so they get a
script that adds the state directory and the settings of the test's own.
"""
import os
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parent.parent)]

import suite  # noqa: E402
from harness import CAISSON, Caisson, missing  # noqa: E402


@pytest.fixture
def cgroup_v1():
    """The programs know no other, and then look for what the table does not list."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    if " - cgroup " not in mounts:
        missing("the host has no cgroup v1 hierarchy, and the suite does not read v2")


@pytest.fixture
def check(tmp_path):
    """Runs a program and fails when it does not do what docs/conformance.md says it does."""
    if os.geteuid() != 0:
        missing("not root: a runtime's tests need to be")
    caisson = Caisson(tmp_path / "c", memory="192M")
    runtime = tmp_path / "runtime"
    runtime.write_text("#!/bin/sh\nexec '{}' --root '{}' --config '{}' \"$@\"\n".format(
        CAISSON, caisson.root, caisson.settings))
    runtime.chmod(0o755)

    def run(program):
        wrong = suite.judge(program, suite.run(program, runtime, tmp_path), suite.known())
        if wrong:
            for kind in ("tap", "err"):
                print((tmp_path / f"{program}.{kind}").read_text(errors="replace"))
            pytest.fail(f"{program}:\n" + "\n".join(wrong), pytrace=False)

    yield run
    for cid in os.listdir(caisson.root) if caisson.root.is_dir() else []:
        caisson("delete", "--force", cid)
