# SPDX-License-Identifier: Apache-2.0
"""The OCI project's validation programs, but those of test_cgroups.py."""
import re

import pytest

import suite
from test_cgroups import PROGRAMS, shares_a_cgroup


@pytest.mark.parametrize("program", [p for p in PROGRAMS if not shares_a_cgroup(p)])
def test_program(check, program):
    """No case fails that docs/conformance.md does not list, and what it lists does."""
    check(program)


def test_table():
    """The table in docs/conformance.md is about programs that there are, has reasons, and adds up
    to the counts of its classes."""
    rows = suite.known()
    assert rows
    assert {r.program for r in rows} <= set(PROGRAMS)
    assert all(r.pattern and r.reason and 0 <= r.least <= r.most and r.most for r in rows)
    classes = re.findall(r"^- \*\*(\w)\*\* \((\d+)\)", suite.DOC.read_text(), re.MULTILINE)
    assert {c: int(n) for c, n in classes} == {
        c: sum(r.most for r in rows if r.reason.startswith(c + ": ")) for c in "GNRS"}
    assert all(r.reason[:3] in ("G: ", "N: ", "R: ", "S: ") for r in rows)


def test_cases():
    """Case names, outcomes, and the one case of a program that reports none."""
    text = "TAP version 13\nok 1 - a `b`\nnot ok 2 - c\nok 3 # SKIP d\nnot ok 4 # TODO e\n1..4\n"
    assert suite.cases(text, 0) == [("a b", "passed"), ("c", "failed"), ("# SKIP d", "skipped"),
                                    ("# TODO e", "skipped")]
    assert suite.cases("ok 1 - a\n", 1)[1:] == [(suite.THE_PROGRAM, "failed")]
    assert suite.cases("1..0\n", 0) == [(suite.THE_PROGRAM, "passed")]
    said = '  ---\n  {\n    "error": "%s"\n  }\n  ...\n1..0\n'
    assert suite.cases(said % "no", 0) == [(suite.THE_PROGRAM, "failed")]
    assert suite.cases(said % "", 0) == [(suite.THE_PROGRAM, "passed")]


def test_judge():
    """A case that fails and is not known, and one that is known and passes, are both told."""
    rows = [suite.Known("p", "set * right", 2, 2, "why"), suite.Known("q", "set * right", 9, 9, "")]
    bad, good = suite.Case("set a right", "failed"), suite.Case("set a right", "passed")
    assert suite.judge("p", [bad, bad, good], rows) == []
    assert "passes now" in suite.judge("p", [bad, good], rows)[0]
    assert "3 failed, 2 are known" in suite.judge("p", [bad] * 3, rows)[0]
    assert suite.judge("p", [bad, bad, suite.Case("x", "failed")], rows) == ["fails: x"]
