# SPDX-License-Identifier: Apache-2.0
"""Jobs for the second CPU model (lab/bochs): what runs in it, of which module."""
import pathlib
import shlex
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "lab"), str(TOP / "lab/bochs"), str(TOP / "tests/cki")]

import bochs  # noqa: E402
from guests import CPUS, PASS, SPECIAL, TIMEOUT  # noqa: E402

SECONDS = 300       # of its own time, for a guest


def with_module(command, module="caisson.ko", **parameters):
    """The module for this alone; 99: it could not be loaded, or not be taken out again."""
    words = " ".join(f"{name}={value}" for name, value in {"gate": "cr3", **parameters}.items())
    return f"insmod {module} {words} || exit 99\n{shlex.join(command)}\ns=$?\nrmmod caisson || exit 99\nexit $s\n"


def guest(name, module="caisson.ko", gate="cr3"):
    outcome, _ = SPECIAL.get(name, (PASS, ""))
    seconds = 2 if outcome == TIMEOUT else SECONDS
    return with_module(["./cki-runner", "-c", str(CPUS.get(name, 1)), "-t", str(seconds), f"./cki-{name}"],
                       module, gate=gate)


def guest_files(build, names):
    return {f"cki-{name}": build / f"tests/cki/cki-{name}" for name in ["runner", *names]}
