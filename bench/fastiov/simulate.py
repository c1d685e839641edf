# SPDX-License-Identifier: Apache-2.0
"""Starts of more sandboxes than a host of the lab carries, replayed from the costs of one.

A simulation, and marked as one wherever its figures appear.  A sandbox is a list of phases, each
with CPU time, which `cores` CPUs share evenly, and time that only passes (a function's reset).  A
phase with a lock is gone through by one sandbox at a time, in the order they come.  Nothing else
is modelled: no memory bandwidth, no caches, no contention that the one start had not seen.
"""
import collections
import dataclasses
import math

STEP = 1e-9     # what is left of a phase when it is over


@dataclasses.dataclass
class Phase:
    cpu: float                  # seconds of one CPU
    wait: float = 0.0           # seconds that pass beside it
    lock: str | None = None


class Sandbox:
    def __init__(self, phases):
        self.phases = collections.deque(phases)
        self.cpu = self.wait = 0.0
        self.held = None
        self.end = None


def starts(phases, n, cores):
    """Seconds that each of n sandboxes takes, all started at once."""
    sandboxes = [Sandbox(phases) for _ in range(n)]
    owners, queues = {}, collections.defaultdict(collections.deque)
    running = set()
    now = 0.0

    def enter(s):
        """Its next phase begins, or it waits for the lock."""
        if not s.phases:
            s.end = now
            return
        lock = s.phases[0].lock
        if lock and lock in owners:
            queues[lock].append(s)
            return
        if lock:
            owners[lock] = s
        phase = s.phases.popleft()
        s.held, s.cpu, s.wait = lock, phase.cpu, phase.wait
        running.add(s)

    def leave(s):
        running.discard(s)
        if s.held:
            del owners[s.held]
            if queues[s.held]:
                enter(queues[s.held].popleft())
        enter(s)

    for s in sandboxes:
        enter(s)
    while running:
        busy = [s for s in running if s.cpu > STEP]
        rate = min(1.0, cores / len(busy)) if busy else 0.0
        # Of a phase first the CPU time, then the rest.
        step = min(s.cpu / rate if s.cpu > STEP else s.wait for s in running)
        now += step
        for s in list(running):
            if s.cpu > STEP:
                s.cpu -= step * rate
            else:
                s.wait -= step
        for s in [s for s in sandboxes if s in running and s.cpu <= STEP and s.wait <= STEP]:
            leave(s)
    return [s.end for s in sandboxes]


def percentile(values, p):
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)]
