# SPDX-License-Identifier: Apache-2.0
"""The validation programs that use one cgroup of the host, /cgrouptest.  They are in a file of
their own because a file is what one worker runs, one test after the other.
"""
import os

import pytest

import suite

try:
    PROGRAMS = suite.programs()
except RuntimeError as error:
    if os.environ.get("STRICT"):
        raise
    pytest.skip(str(error), allow_module_level=True)


def shares_a_cgroup(program):
    return program.startswith("linux_cgroups_") or program == "delete_resources"


@pytest.mark.parametrize("program", [p for p in PROGRAMS if shares_a_cgroup(p)])
def test_program(cgroup_v1, check, program):
    """As in test_programs.py."""
    check(program)
