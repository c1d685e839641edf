# SPDX-License-Identifier: Apache-2.0
"""Micro guests in ring 1: each folder here is one, and says what it is about; how they are to end."""
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
PASS, FAIL, SKIP, ERROR, KILLED, TIMEOUT = range(6)
# What is not to pass: the outcome, and what is said.
SPECIAL = {"stack-bad": (KILLED, "the kernel stack cannot be written"),
           "stack-slot": (KILLED, "the kernel stack is in the monitor's slot"),
           "stack-edge": (KILLED, "the kernel stack is in the monitor's slot"),
           "stack-deep": (KILLED, "not an address"),
           "entry-bad": (KILLED, ""),
           "fault-loop": (TIMEOUT, "")}
NAMES = sorted(p.name for p in HERE.iterdir() if (p / "main.c").exists()
               and p.name != "kernel")       # test_engine.py's
# That they want.
CPUS = {"flush": 2, "ipi": 2, "smp": 2, "start": 2}
# Those that want a window of a function's.
WINDOW = {"window"}
