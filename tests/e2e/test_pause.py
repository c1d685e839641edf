# SPDX-License-Identifier: Apache-2.0
"""A machine that is paused, killed while it is, and asked for memory: seen from the host."""
import os
import pathlib
import time

import pytest

from support import Process, alive, assert_sentence, engine, eventually

BUSY = ["sh", "-c", "while :; do :; done & while :; do date +%s.%N; usleep 50000; done"]


def cpu_ticks(box):
    """CPU time of what runs the guest: the vCPUs' threads, or QEMU."""
    pid = box.helper() if engine() == "emu" else box.monitor()
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        text = (task / "stat").read_text()
        name, fields = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        if engine() == "emu" or name.startswith("vcpu"):
            total += int(fields[11]) + int(fields[12])
    return total


def guest_memory(box):
    """Bytes of the guest's RAM that the host holds."""
    for fd in pathlib.Path(f"/proc/{box.monitor()}/fd").iterdir():
        if "memfd:caisson-guest" in os.readlink(fd):
            return os.stat(fd).st_blocks * 512
    raise AssertionError("the monitor has no guest memory")


def free_kib(box):
    return int(box.sh("grep MemFree /proc/meminfo").split()[1])


def test_nothing_runs(box, no_leaks):
    """The CPUs of a paused machine are out of the guest; what asks the guest is told so at once."""
    b = box(BUSY).up()
    eventually(lambda: b.out.read_text(), "it runs")
    before = cpu_ticks(b)
    eventually(lambda: cpu_ticks(b) > before, "it uses the CPU")
    b.caisson("pause", b.id, check=True)
    if engine() == "emu":
        assert Process(b.helper()).state == "T"
    time.sleep(0.5)  # what it had said before arrives
    before, said = cpu_ticks(b), b.out.read_text()
    time.sleep(2)
    assert (cpu_ticks(b), b.out.read_text()) == (before, said)
    begun = time.monotonic()
    for words in (["ps", b.id], ["events", "--stats", b.id], ["update", "--pids-limit", "9", b.id],
                  ["kill", b.id, "TERM"]):
        assert_sentence(b.caisson(*words), "the machine is paused")
    assert_sentence(b.exec("true", options=["--ignore-paused"]), "the machine is paused", status=255)
    assert time.monotonic() - begun < 30
    assert b.status() == "paused"
    b.caisson("resume", b.id, check=True)
    eventually(lambda: cpu_ticks(b) > before and b.out.read_text() != said, "it goes on")
    assert b.sh("echo well") == "well\n"
    assert_sentence(b.caisson("resume", b.id), "running, not paused")
    b.delete("--force")
    no_leaks()


def test_kill_of_a_paused_one(box):
    """SIGKILL does not wait for a resume, and the status says what it was."""
    b = box(BUSY).up()
    b.caisson("pause", b.id, check=True)
    b.kill("KILL")
    assert b.wait() == "SIGKILL"
    assert b.status() == "stopped"
    b.delete()


def test_end_of_the_monitor_in_a_pause(box, no_leaks):
    """Neither its own end nor that of its engine waits for a machine that stands."""
    for how in ("TERM", "KILL"):
        b = box(BUSY).up()
        b.caisson("pause", b.id, check=True)
        pids = [p for p in (b.monitor(), b.helper()) if p]
        os.kill(b.monitor(), 15 if how == "TERM" else 9)
        eventually(lambda: not any(map(alive, pids)), "all are gone", timeout=20)
        b.delete("--force")
    no_leaks()


def test_pause_again_and_again(box):
    b = box(["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; usleep 1000; done"]).up()
    for _ in range(10):
        b.caisson("pause", b.id, check=True)
        b.caisson("resume", b.id, check=True)
    seen = b.sh("seq 1 1000 | md5sum").split()[0]
    assert seen == "53d025127ae99ab79e8502aae2d9bea6"
    lines = b.out.read_text().split()
    assert lines == [str(i) for i in range(1, len(lines) + 1)], "nothing was lost or said twice"


def limited(box):
    b = box()
    b.config["linux"]["resources"] = {"memory": {"limit": 120 << 20}}
    return b.up()


def test_memory_kept(box):
    """An engine whose guests give nothing back says so when that is what a limit asks for, and only
    then; the limit itself is in force."""
    b = limited(box)
    r = b.caisson("update", "--memory", "32M", b.id, check=True)
    if engine() == "kvm":
        assert not r.stderr
    else:
        assert r.stderr == (f"caisson: warning: {b.id}: the limit holds, but the host gets no memory "
                            f"back: engine {engine()} cannot take memory back from a guest\n")
    assert b.sh("cat /sys/fs/cgroup/memory.max") == f"{32 << 20}\n"
    for other in ("--memory=140M", "--memory=-1", "--pids-limit=99"):
        assert not b.caisson("update", other, b.id, check=True).stderr, other


def test_memory_given_back(box):
    """update --memory asks the guest for what it may have no more, and lets it have it again."""
    if engine() != "kvm":
        pytest.skip(f"hardware: the machine has no KVM; engine {engine()} does not resize guests")
    b = limited(box)
    b.sh("dd if=/dev/zero of=/tmp/x bs=1M count=70 2>/dev/null")
    assert guest_memory(b) > 90 << 20
    b.sh("rm /tmp/x")
    before = free_kib(b)
    b.caisson("update", "--memory", "32M", b.id, check=True)
    eventually(lambda: before - free_kib(b) > 60 << 10, "the guest gives it away")
    # 32 MiB, the guest's own 64, and some for a page table or two.
    eventually(lambda: guest_memory(b) < 110 << 20, "the host has it")
    b.caisson("update", "--memory", "120M", b.id, check=True)
    eventually(lambda: before - free_kib(b) < 20 << 10, "the guest has it again")
    b.sh("dd if=/dev/zero of=/tmp/x bs=1M count=70 2>/dev/null; rm /tmp/x")
