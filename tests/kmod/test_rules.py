# SPDX-License-Identifier: Apache-2.0
"""The page-table rules of the module, in user space: millions of random operations against a model, and
the rules with one check taken out at a time, which the model must notice.
"""
import os
import pathlib
import re
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
MODEL = pathlib.Path(os.environ["CAISSON_BUILD"]) / "tests/kmod/rules-model"
SEEDS = int(os.environ.get("CAISSON_SEEDS") or 4)
RULES = (TOP / "kmod/rules.c").read_text()
MUTANTS = [int(n) for n in re.findall(r"\b(?:HOLDS|DUTY)\((\d+)", RULES)]


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_model(seed):
    r = subprocess.run([MODEL, str(seed), "1000000"], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=300)
    assert r.returncode == 0, r.stdout
    assert int(re.search(r"(\d+) accepted", r.stdout)[1]) > 100000, r.stdout


def test_checks_are_numbered():
    assert sorted(MUTANTS) == list(range(1, len(MUTANTS) + 1))


def mutant(number, tmp_path):
    program = tmp_path / "model"
    subprocess.run([os.environ.get("CC") or "cc", "-O1", f"-DCAISSON_MUTANT={number}", "-I", TOP,
                    HERE / "model.c", TOP / "kmod/rules.c", "-o", program], check=True)
    return program


def test_no_mutant_is_green(tmp_path):
    """The same way to build and run, with nothing taken out."""
    assert subprocess.run([mutant(0, tmp_path), "1", "300000"], timeout=300).returncode == 0


@pytest.mark.parametrize("number", MUTANTS)
def test_mutant_is_red(number, tmp_path):
    program = mutant(number, tmp_path)
    for seed in ("1", "2", "3"):
        r = subprocess.run([program, seed, "300000"], stdout=subprocess.PIPE, text=True, timeout=300)
        if r.returncode != 0:
            return
    pytest.fail(f"with check {number} of kmod/rules.c taken out, nobody notices")
