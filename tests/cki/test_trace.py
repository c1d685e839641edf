# SPDX-License-Identifier: Apache-2.0
"""Counters and tracepoints: what they say of micro guests, and that both say the same."""
import collections
import os
import pathlib
import re
import subprocess

import pytest

from conftest import BUILD, Said
from guests import KILLED, PASS
from kernel_module import counter
from test_guests import TRACING, command

CALLS = {name: number for name, number in re.findall(
    r"#define CAISSON_CALL_(\w+) (\d+)",
    (pathlib.Path(__file__).resolve().parent.parent.parent / "kmod/uapi/caisson.h").read_text())}
COUNTERS = ["enter", "hypercall", "interrupt", "nmi", "kill", "shootdown", "monitor", "sandbox",
            "call_unknown", *(f"call_{name.lower()}" for name in CALLS)]
LINE = re.compile(r" (caisson_\w+): (.*)$", re.M)


class Trace:
    """An instance of the kernel's tracer, with all events of the module in it."""

    def __init__(self):
        if not (TRACING / "instances").exists():
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
        self.path = TRACING / "instances/caisson-test"
        self.path.mkdir()
        (self.path / "buffer_size_kb").write_text("8192")

    def on(self, on):
        (self.path / "events/caisson/enable").write_text("1" if on else "0")

    def events(self):
        """[(name, {field: value})]; a kill has its reason as "why"."""
        lost = re.findall(r"overrun: (\d+)", "".join(
            p.read_text() for p in self.path.glob("per_cpu/cpu*/stats")))
        assert lost and not any(map(int, lost)), "the tracer's buffer is too small"
        found = []
        for name, text in LINE.findall((self.path / "trace").read_text()):
            fields = dict(re.findall(r"(\w+)=(\S+)", text))
            fields["why"] = text.partition(" ")[2]
            found.append((name.removeprefix("caisson_"), fields))
        return found


@pytest.fixture
def trace(module):
    t = Trace()
    yield t
    t.on(False)
    t.path.rmdir()


def traced(trace, name):
    """A guest's run: its outcome, how far each counter went, and the events."""
    before = {c: counter(c) for c in COUNTERS}
    trace.on(True)
    r = subprocess.run(command(name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    trace.on(False)
    return r, {c: counter(c) - n for c, n in before.items()}, trace.events()


@pytest.mark.parametrize("name", ["hello", "timer", "flush", "ipi"])
def test_both_say_the_same(trace, name):
    said = Said()
    r, counted, events = traced(trace, name)
    assert r.returncode == PASS, r.stderr
    seen = collections.Counter(e for e, _ in events)
    assert seen["enter"] == seen["leave"] > 0
    assert sum(int(f["stays"]) for e, f in events if e == "leave") == counted["enter"]
    # One that the monitor process answers is handed over, and not heard of again.
    assert seen["monitor"] == counted["monitor"]
    assert seen["hypercall"] + seen["monitor"] == counted["hypercall"] > 0
    by_number = collections.Counter(f["call"] for e, f in events if e == "hypercall")
    for call, number in CALLS.items():
        there = by_number.pop(number, 0) + (seen["monitor"] if call == "MONITOR" else 0)
        assert there == counted[f"call_{call.lower()}"], call
    assert sum(by_number.values()) == counted["call_unknown"]
    assert seen["shootdown"] == counted["shootdown"]
    hosts = [int(f["vector"], 16) for e, f in events if e == "leave"]
    assert sum(32 <= v < 256 for v in hosts) == counted["interrupt"]
    assert counted["sandbox"] > 0 and counted["kill"] == seen["kill"] == 0
    assert said.text() == ""


def test_what_guests_are_about(trace):
    """Each event where it must come, with what it says of it."""
    # On a host with one CPU nobody else is in the guest.
    for name, event, field, value in (("flush", "shootdown", "cpus", str(min(1, os.cpu_count() - 1))),
                                      ("timer", "raise", "event", "0"),
                                      ("start", "hypercall", "result", "-16")):  # EBUSY
        _, _, events = traced(trace, name)
        assert value in {f[field] for e, f in events if e == event}, name


def test_a_kill_says_why(trace):
    r, counted, events = traced(trace, "stack-bad")
    assert r.returncode == KILLED and counted["kill"] == 1
    (why,) = [f["why"] for e, f in events if e == "kill"]
    assert why.startswith("the kernel stack cannot be written (vector 14") and why in r.stderr


def test_untraced_calls_stay_inside(module):
    """Who traces nothing does not pay: page-table calls are answered without a way to the host."""
    before = counter("interrupt"), counter("enter")
    r = subprocess.run(command("tables"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert r.returncode == PASS
    assert counter("enter") - before[1] > counter("interrupt") - before[0]


def test_living_sandboxes(module):
    before = counter("sandbox_live")
    with open("/dev/caisson", "r+b", buffering=0):
        assert counter("sandbox_live") == before + 1
    assert counter("sandbox_live") == before
    p = subprocess.Popen([BUILD / "tests/cki/cki-runner", "-t", "100",
                          BUILD / "tests/cki/cki-fault-loop"], stderr=subprocess.PIPE)
    while counter("sandbox_live") == before:
        assert p.poll() is None
    p.kill()
    p.wait(30)
    assert counter("sandbox_live") == before
