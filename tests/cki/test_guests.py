# SPDX-License-Identifier: Apache-2.0
"""Micro guests in ring 1."""
import pathlib
import subprocess
import time

import pytest

from conftest import BUILD, Said
from guests import CPUS, NAMES, PASS, SPECIAL, TIMEOUT, WINDOW
from kernel_module import counter
from spares import spare


def command(name, seconds=60):
    window = ["-w", spare("memory") / "resource2"] if name in WINDOW else []
    return [BUILD / "tests/cki/cki-runner", "-c", str(CPUS.get(name, 1)), "-t", str(seconds), *window,
            BUILD / f"tests/cki/cki-{name}"]


def interrupts():
    """All that the host's CPUs have taken."""
    with open("/proc/stat") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("intr "))


@pytest.mark.parametrize("name", NAMES)
def test_guest(module, name):
    outcome, reason = SPECIAL.get(name, (PASS, ""))
    said = Said()
    r = subprocess.run(command(name, 5 if outcome == TIMEOUT else 60), stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=120)
    assert r.returncode == outcome, f"{r.stdout}\n{r.stderr}"
    assert reason in r.stderr
    if name in ("gate", "tables", "changes", "window"):
        assert (counter("gate") > 0) == (module.gate() == "pks")
    # No guest makes the host's kernel say anything.
    assert said.text() == ""


def test_guest_is_interrupted(module):
    before = interrupts()
    p = subprocess.Popen(command("spin"), stderr=subprocess.PIPE)
    start = time.monotonic()
    assert p.wait(120) == PASS
    assert interrupts() - before > 50 * (time.monotonic() - start)


def test_host_goes_on(module):
    """Beside guests that fault without end, on every CPU."""
    guests = [subprocess.Popen(command("fault-loop", 6), stderr=subprocess.DEVNULL)
              for _ in range(4)]
    try:
        for _ in range(5):
            start = time.monotonic()
            subprocess.run(["true"], check=True)
            assert time.monotonic() - start < 5
            time.sleep(0.5)
        assert [g.poll() for g in guests] == [None] * 4
    finally:
        for g in guests:
            assert g.wait(60) == TIMEOUT


TRACING = pathlib.Path("/sys/kernel/tracing")


def test_no_task_is_held_up(module):
    """Who takes a tracer's code away waits until every task has slept or been in user space, or is known
    to be in a guest: one that goes on for ever must not hold that up."""
    if not (TRACING / "instances").exists():
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
    instance = TRACING / "instances/cki"
    guest = subprocess.Popen(command("fault-loop", 40), stderr=subprocess.DEVNULL)
    try:
        instance.mkdir()
        (instance / "set_ftrace_filter").write_text("vfs_fsync")
        (instance / "current_tracer").write_text("function")
        (instance / "current_tracer").write_text("nop")
        assert guest.poll() is None
    finally:
        guest.kill()
        guest.wait(60)
        instance.rmdir()


def test_halted_guest_sleeps(module):
    """`timer` waits in HALT for 50 ms and more: of that, no time is the CPU's."""
    p = subprocess.run(["sh", "-c", '"$@" & wait $!; cat /proc/self/stat >/dev/null; times', "sh",
                        *command("halt")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.returncode == 0, p.stderr
    minutes, seconds = p.stdout.split()[-1].rstrip("s").split("m")
    assert int(minutes) * 60 + float(seconds) < 1.0, p.stdout


def test_nmi_storm(module):
    """NMIs, by the backtrace of all CPUs, in a guest that goes in and out all the time."""
    subprocess.run(["dmesg", "-n", "1"], check=True)
    guests = [subprocess.Popen(command(name, 100), stderr=subprocess.PIPE)
              for name in ("enter-leave", "enter-leave")]
    sent = 0
    while None in [g.poll() for g in guests]:
        pathlib.Path("/proc/sysrq-trigger").write_text("l")
        sent += 1
    assert [g.returncode for g in guests] == [PASS, PASS], [g.stderr.read() for g in guests]
    assert sent > 10
    # Some of them where it is hard.
    assert counter("nmi_entering") + counter("nmi_entry_code") > 0
    assert module.gate() != "pks" or counter("nmi_gate") > 0
