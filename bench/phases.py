# SPDX-License-Identifier: Apache-2.0
"""The phases of a start, out of its timeline (lib/timeline.h)."""

# Phase: (the mark it begins with, the mark it ends with).
PHASES = {
    "command and config": ("command", "state"),
    "image, cgroup, proxy": ("state", "hooks"),
    "network": ("hooks", "network"),
    "monitor begins": ("network", "monitor"),
    "machine made": ("monitor", "engine"),
    "jail, threads": ("engine", "launch"),
    "kernel boot": ("launch", "agent"),
    "guest set-up": ("agent", "guest-setup"),
    "container created": ("guest-setup", "created"),
    "container started": ("created", "started"),
    "process": ("started", "exited"),
    "machine down, deleted": ("exited", "destroyed"),
}


def read_marks(path):
    """{phase: nanoseconds}; the file is removed, so that the next start begins a new one."""
    marks = {}
    for line in path.read_text().splitlines():
        ns, name = line.split(" ", 1)
        marks.setdefault(name, int(ns))
    path.unlink()
    return marks


def of(marks):
    """{phase: seconds}"""
    return {p: (marks[e] - marks[b]) / 1e9 for p, (b, e) in PHASES.items()
            if b in marks and e in marks}


def read(path):
    return of(read_marks(path))
