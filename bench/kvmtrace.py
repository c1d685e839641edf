# SPDX-License-Identifier: Apache-2.0
"""What the host's KVM does, by its own tracepoints and CLOCK_MONOTONIC: the same look at any
monitor, without a word from it.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import time

TRACING = pathlib.Path("/sys/kernel/tracing")
EVENT = re.compile(r"-(\d+)\s.*?\s(\d+)\.(\d+): (\w+): (.*)")


class KvmTrace:
    """with KvmTrace("kvm_entry", "kvm_pio") as t: ...; t.wait(event, text)"""

    def __init__(self, *events):
        self.events = events
        self.path = TRACING / "instances" / f"caisson-bench-{os.getpid()}"

    def __enter__(self):
        if not (TRACING / "instances").exists():
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
        self.path.mkdir()
        (self.path / "trace_clock").write_text("mono")
        self.seen = []
        return self

    def __exit__(self, *_):
        self.enable(False)
        self.path.rmdir()

    def enable(self, on):
        for event in self.events:
            (self.path / "events/kvm" / event / "enable").write_text("1" if on else "0")

    def begin(self):
        self.enable(False)
        (self.path / "trace").write_text("")
        self.enable(True)

    def first(self, event, text=""):
        """Seconds of the first such event with the text in it, or None."""
        for line in (self.path / "trace").read_text().splitlines():
            m = EVENT.search(line)
            if m and m[4] == event and text in m[5]:
                return int(m[2]) + int(m[3]) / 10 ** len(m[3])
        return None

    def wait(self, event, text="", timeout=120):
        until = time.monotonic() + timeout
        while (at := self.first(event, text)) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"no {event} {text} within {timeout} s")
            time.sleep(0.1)
        return at


@contextlib.contextmanager
def launched(*words):
    """A process made by bench/start/launch: (when in seconds, pid); killed at the end."""
    p = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         text=True)
    try:
        line = p.stdout.readline().split()
        if len(line) != 2:
            raise RuntimeError(f"{words[0]} ended with {p.wait()}")
        yield int(line[0]) / 1e9, int(line[1])
    finally:
        p.stdin.close()
        p.wait()
